/**
 * What goes wrong with real hosts, seen through the API: each failure names the host and what was being done there, and
 * nothing hangs past its deadline. Machines with an sshd, imported; needs a container engine and a mirror.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import Docker from 'dockerode';
import { expectOk } from '../support/acceptance.ts';
import { containerEngine } from '../support/container-engine.ts';
import { ended, type Operation, startTestServer, type TestServer, until } from '../support/server.ts';
import { defineTaskserv } from '../support/taskserv-definitions.ts';
import type { Host } from './catalog-host.ts';
import { preparedImage } from './prepared-image.ts';
import { importMachines, startMachines, workspaceKey } from './ssh-machines.ts';

/** Seconds beyond a script's own time until a host that is gone is given up: see ATTACH_MARGIN of transports/job.ts. */
const GIVEN_UP_SECONDS = 90;
/** Bytes of a disk that is as good as full. */
const SMALL_DISK = 16_384;
const DISKS: Record<string, Record<string, number>> = {
  full: { '/var/lib/provisioning': SMALL_DISK },
  packed: { '/var/cache/small': SMALL_DISK },
};
const NAMES = ['locked', 'changed', 'restarted', 'gone', 'lost', 'plain', ...Object.keys(DISKS)];

const engine = await containerEngine();
if (engine === null) {
  test('failures of hosts', { skip: 'There is no container engine. Run .ci/podman-up.' }, () => {});
} else {
  describe('failures of hosts, through the API', { concurrency: true }, () => onMachines(engine.socketPath));
}

function onMachines(socketPath: string) {
  const docker = new Docker({ socketPath, host: undefined });
  const stack = new AsyncDisposableStack();
  let server: TestServer;
  const hosts = new Map<string, Host>();

  before(async () => {
    const image = await preparedImage(docker, ['sudo']);
    server = stack.use(await startTestServer());
    const publicKey = await workspaceKey(server.admin, 'default');
    const host = (name: string) => ({ tmpfs: DISKS[name] ?? {} });
    const machines = stack.use(await startMachines(docker, NAMES, { publicKey, image, host }));
    for (const one of machines.hosts) hosts.set(one.name, one);
    await on('packed').put('/etc/apt/apt.conf.d/99-small', 'Dir::Cache::archives "/var/cache/small/";', '0644');
    const plain = on('plain');
    await plain.run(['sh', '-ec', ADD_USER]);
    await importMachines(
      server.admin,
      'default',
      machines.hosts.filter((host) => host !== plain),
    );
    await importMachines(server.admin, 'default', [plain], { user: 'ops' });
    await define('steady', { install: 'true', check: 'true', remove: 'true' });
    const slow = { install: 'touch /root/begun\nsleep 4714', check: 'true', remove: 'true' };
    await define('slow', slow, 'timeouts: { install: 15 }\n');
    await define('slower', slow, 'timeouts: { install: 240 }\n');
  });
  after(() => stack.disposeAsync());

  const on = (name: string): Host => {
    const host = hosts.get(name);
    assert.ok(host !== undefined, name);
    return host;
  };
  const define = (name: string, scripts: Record<'install' | 'check' | 'remove', string>, more?: string) =>
    defineTaskserv(server.dataDir, 'default', name, scripts, more);
  const request = async (method: string, route: string, body?: unknown): Promise<Operation> =>
    expectOk(await server.admin.request<Operation>(method, route, body));
  const create = (name: string, host: string) =>
    request('POST', '/v1/taskservs/create', { workspace: 'default', name, servers: [host] });
  /** Asks for an install that must fail. @returns its error, once the taskserv and its host say the same. */
  const failure = async (name: string, host: string): Promise<string> => failed(await create(name, host));
  const failed = async ({ id }: Operation): Promise<string> => {
    const { status, error, result } = await ended(server.admin, id, 300);
    assert.equal(status, 'failed', JSON.stringify(result));
    const record = expectOk(
      await server.admin.request<{ status: string; hosts: { message: string }[] }>(
        'GET',
        `/v1/taskservs/${result?.taskserv_id}`,
      ),
    );
    assert.equal(record.status, 'failed');
    const [{ message } = { message: '' }] = record.hosts;
    assert.ok(error?.includes(message), `${error} says other than ${message}`);
    return error ?? '';
  };
  const begun = (host: string) =>
    until(async () => (await on(host).attempt(['test', '-e', '/root/begun'])).exitCode === 0, `${host} to be at work`);
  /** So that the next command has to log in again. */
  const endConnections = (host: string) => on(host).run(['pkill', '-f', '^sshd: root']);

  test('a key that is not let in any more', async () => {
    await on('locked').run(['rm', '/root/.ssh/authorized_keys']);
    await endConnections('locked');
    assert.match(
      await failure('steady', 'locked'),
      /^steady failed: Could not install on \w+: locked \([\d.]+\): the user "root" cannot log in with the workspace's key\. .*authorized_keys.*\(step: look around\)$/,
    );
  });

  test('a host key that is another one than before', async () => {
    await on('changed').run(['sh', '-ec', 'rm /etc/ssh/ssh_host_*']);
    await on('changed').restart();
    const error = await failure('steady', 'changed');
    assert.match(
      error,
      /^steady failed: Could not install on \w+: changed \([\d.]+\): its host key has changed\. .*host-key/,
    );
    assert.match(error, /\(step: look around\)$/);
  });

  test('a user who may not become root any more', async () => {
    await on('plain').run(['rm', '/etc/sudoers.d/ops']);
    assert.match(
      await failure('steady', 'plain'),
      /^steady failed: Could not install on \w+: plain \([\d.]+\): the user cannot become root without a password .*NOPASSWD.*\(step: look around\)$/,
    );
  });

  test('a disk that is full: no place for the script', async () => {
    const error = await failure('steady', 'full');
    assert.match(
      error,
      /^steady failed: Could not install on \w+: full \([\d.]+\): install steady could not be begun there .*[Nn]o space left/,
    );
    assert.match(error, /\(step: install\.sh of steady\)$/);
  });

  test('a disk that is full: no place for the packages', async () => {
    assert.match(
      await failure('redis', 'packed'),
      /^redis failed: .*packed: install\.sh of (redis|os-base) ended with status \d+: .*(enough free space|[Nn]o space left)/,
    );
  });

  test('a host that restarts in the middle', async () => {
    const operation = await create('slower', 'restarted');
    await begun('restarted');
    await on('restarted').restart();
    assert.match(
      await failed(operation),
      /^slower failed: Could not install on \w+: restarted \([\d.]+\): install slower was cut off: the host restarted/,
    );
  });

  for (const [name, what, command] of [
    ['lost', 'an sshd that is killed and stays away', 'pkill -KILL sshd'],
    ['gone', 'a host that goes down for good', null],
  ] as const) {
    test(`${what} in the middle: given up soon after the script's time`, async () => {
      const operation = await create('slow', name);
      await begun(name);
      const since = Date.now();
      if (command === null) await docker.getContainer(on(name).id).stop({ t: 0 });
      else await on(name).run(['sh', '-c', command]);
      const error = await failed(operation);
      assert.match(
        error,
        /^slow failed: Could not install on \w+: \w+ \([\d.]+\): install slow (did not end within 15 s|could not be stopped)/,
      );
      assert.ok(Date.now() - since < GIVEN_UP_SECONDS * 1_000, `${Date.now() - since} ms`);
    });
  }
}

/** A user `ops` with root's key, who becomes root by sudo. */
const ADD_USER = `
useradd --create-home --shell /bin/bash ops
install -d -o ops -m 0700 /home/ops/.ssh
install -o ops -m 0600 /root/.ssh/authorized_keys /home/ops/.ssh/authorized_keys
echo 'ops ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/ops
`;
