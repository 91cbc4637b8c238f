/** Containers that are machines which were there already: each with an sshd that lets one key in as root. */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import type Docker from 'dockerode';
import { expectOk } from '../support/acceptance.ts';
import { type Client, ended, type Operation, until } from '../support/server.ts';
import { type Host, type HostOptions, startHost } from './catalog-host.ts';

const SSH_PORT = 22;
/** Ten machines that start at once on a busy one take their time. */
const LISTENING_MS = 120_000;
/** Seconds until an imported machine has answered. */
const IMPORT_SECONDS = 60;
/** Addresses are drawn, so that a restarted machine has the one that it had; two runs may draw the same. */
const ADDRESS_TRIES = 20;

/** Runs as process 1: host keys of its own, the key in $1 let in, sshd until the machine goes down. */
const INIT = `
(umask 077; mkdir -p /root/.ssh; printf '%s\\n' "$1" >/root/.ssh/authorized_keys)
mkdir -p /run/sshd
[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/unsafe-io
/usr/sbin/sshd
while :; do sleep 3600; done
`;

/** Several of them, removed together. */
export interface Machines extends AsyncDisposable {
  hosts: Host[];
}

/**
 * Starts a machine for each name.
 * @param options `host`: what else a container needs, by the machine's name.
 */
export async function startMachines(
  engine: Docker,
  names: readonly string[],
  options: { publicKey: string; image?: string; host?: (name: string) => Partial<HostOptions> },
): Promise<Machines> {
  const started = await Promise.allSettled(names.map((hostname) => startMachine(engine, hostname, options)));
  const hosts = started.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const machines: Machines = {
    hosts,
    async [Symbol.asyncDispose]() {
      await Promise.all(hosts.map((host) => host[Symbol.asyncDispose]()));
    },
  };
  const failed = started.find((one) => one.status === 'rejected');
  if (failed === undefined) return machines;
  await machines[Symbol.asyncDispose]();
  throw failed.reason;
}

async function startMachine(
  engine: Docker,
  hostname: string,
  { publicKey, image, host }: Parameters<typeof startMachines>[2],
): Promise<Host> {
  const { Subnet: subnet = '' } = await subnetOf(engine);
  for (let tries = 1; ; tries += 1) {
    try {
      const started = await startHost(engine, {
        hostname,
        ...(image === undefined ? {} : { image }),
        command: ['/bin/sh', '-c', INIT, 'init', publicKey],
        address: addressIn(subnet),
        ...host?.(hostname),
      });
      await untilListening(started.address).catch(async (error: unknown) => {
        await started[Symbol.asyncDispose]();
        throw error;
      });
      return started;
    } catch (error) {
      const taken = error instanceof Error && /already allocated|in use/i.test(error.message);
      if (!taken || tries === ADDRESS_TRIES) throw error;
    }
  }
}

async function untilListening(address: string): Promise<void> {
  const listens = async () => {
    const socket = connect(SSH_PORT, address);
    try {
      return await once(socket, 'connect').then(
        () => true,
        () => false,
      );
    } finally {
      socket.destroy();
    }
  };
  await until(listens, `an sshd at ${address}`, LISTENING_MS);
}

/** The engine's own network: `podman` there, `bridge` at Docker, which gives out no addresses on demand. */
async function subnetOf(engine: Docker): Promise<{ Subnet?: string }> {
  const network = await engine.getNetwork('podman').inspect();
  return network.IPAM?.Config?.[0] ?? {};
}

/** Somewhere in the upper half of a network of 16 bits: the engine counts from below. */
function addressIn(subnet: string): string {
  const [, network] = /^(\d+\.\d+)\.0\.0\/16$/.exec(subnet) ?? [];
  if (network === undefined) throw new Error(`no address can be drawn from ${subnet}`);
  return `${network}.${randomInt(128, 255)}.${randomInt(1, 255)}`;
}

/** Imports machines into a workspace, each by its name. @returns the servers' ids, in that order. */
export async function importMachines(
  client: Client,
  workspace: string,
  hosts: readonly Host[],
  ssh?: { user: string },
): Promise<string[]> {
  return Promise.all(
    hosts.map(async ({ name: hostname, address }) => {
      const body = { workspace, hostname, ip_address: address, ...(ssh === undefined ? {} : { ssh }) };
      const { id } = expectOk(await client.request<Operation>('POST', '/v1/servers/import', body));
      const { status, error, result } = await ended(client, id, IMPORT_SECONDS);
      if (status !== 'completed') throw new Error(`${hostname} cannot be imported: ${error}`);
      return String(result?.server_id);
    }),
  );
}

/** The public key that a workspace's machines have to let in. */
export async function workspaceKey(client: Client, workspace: string): Promise<string> {
  const answer = await client.request<{ public_key: string }>('GET', `/v1/workspaces/${workspace}/ssh-key`);
  return expectOk(answer).public_key;
}
