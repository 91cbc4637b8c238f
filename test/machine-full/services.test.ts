/**
 * Eight services through the API on three machines, over ssh and by docker exec: each used as its clients use it, then
 * removed, leaving no service. Short: each on one of the machines; `npm run test:machine:full`: each on all three.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import Docker from 'dockerode';
import { createDockerExecTransport } from '../../src/transports/docker-exec.ts';
import { CANARY, CASES, type Case } from '../machine/catalog-cases.ts';
import { preparedImage } from '../machine/prepared-image.ts';
import { importMachines, startMachines, workspaceKey } from '../machine/ssh-machines.ts';
import { openBooks, scale } from '../recovery/support.ts';
import { expectOk } from '../support/acceptance.ts';
import { containerEngine } from '../support/container-engine.ts';
import { ended, type Operation, startTestServer, type TestServer } from '../support/server.ts';

/** Eight installs after one another on a busy machine. */
const INSTALL_SECONDS = 600;
const WEB = 'nginx';
const BALANCER = 'haproxy';
const OTHERS = ['redis', 'postgresql', 'etcd', 'node-exporter', 'containerd', 'podman'];
/** The names of all programs that run, but for a machine's own and what asks. */
const PROGRAMS = "ps -eo comm= | sort -u | grep -vxE 'ps|sh|sort|grep|sleep|sshd|ssh-keygen' || true";

/** Of those that CASES has with a container of their own. */
const OWN: Record<string, Pick<Case, 'config' | 'use'>> = {
  containerd: {
    config: { snapshotter: 'native' },
    use: ['ctr version', /Server:[\s\S]*Version:/],
  },
  podman: {
    config: { storage_driver: 'vfs', api_socket: true },
    use: ['curl -s --unix-socket /run/podman/podman.sock http://podman/_ping', /^OK$/],
  },
};

/** One of the three. */
interface Box {
  hostname: string;
  address: string;
  /** Runs a shell command there, past the server. @returns its output. */
  sh(command: string): Promise<string>;
}

const engine = await containerEngine();
suite('eight services on three machines', {
  skip: engine === null && 'There is no container engine. Run .ci/podman-up.',
}, () => {
  if (engine === null) return;
  const docker = new Docker({ socketPath: engine.socketPath, host: undefined });
  const stack = new AsyncDisposableStack();
  let server: TestServer;
  let image = '';
  before(async () => {
    image = await preparedImage(docker);
    const settings = { PROVIDERS: 'docker', DOCKER_HOST: engine.host, DOCKER_IMAGE: image, HEALTH_CHECK_INTERVAL: '0' };
    server = stack.use(await startTestServer({ settings }));
  });
  after(() => stack.disposeAsync());

  test('over ssh', async () => {
    const publicKey = await workspaceKey(server.admin, 'default');
    const names = ['ssh-01', 'ssh-02', 'ssh-03'];
    await using machines = await startMachines(docker, names, { publicKey, image, host: () => ({ privileged: true }) });
    await importMachines(server.admin, 'default', machines.hosts);
    const boxes = machines.hosts.map((host) => ({
      hostname: host.name,
      address: host.address,
      sh: (command: string) => host.run(['sh', '-c', command], { env: { CANARY } }),
    }));
    await comeAndGo(server, boxes, OTHERS);
  });

  test('by docker exec', async () => {
    const made = await Promise.all(
      ['box-01', 'box-02', 'box-03'].map((hostname) => makeBox(server, engine.host, hostname)),
    );
    try {
      // A container without privileges may not mount, which Podman needs.
      await comeAndGo(
        server,
        made,
        OTHERS.filter((name) => name !== 'podman'),
      );
    } finally {
      await Promise.all(made.map((box) => box.remove()));
    }
  });
});

/** A server of the docker provider. */
async function makeBox({ admin, dataDir }: TestServer, engine: string, hostname: string) {
  const body = { workspace: 'default', provider: 'docker', plan: '1xCPU-1GB', zone: 'local', hostname };
  const { id, result } = await completed(admin, 'POST', '/v1/servers/create', body);
  await using books = await openBooks({ dataDir });
  const [row] = await books.query<{ ref: string }>(
    'select provider_ref as ref from provisioning.servers where operation_id = $1',
    [id],
  );
  const transport = createDockerExecTransport({ engine, container: row?.ref ?? '', host: hostname });
  return {
    hostname,
    address: String(result?.ip_address),
    async sh(command: string) {
      const lines: string[] = [];
      const env = { CANARY };
      await transport.run(command, { env, timeoutSeconds: 60, onLine: ({ text }) => lines.push(text) });
      return lines.map((line) => `${line}\n`).join('');
    },
    async remove() {
      await transport.close();
      await completed(admin, 'DELETE', `/v1/servers/${result?.server_id}?force=true`);
    },
  };
}

async function completed(
  client: TestServer['admin'],
  method: string,
  route: string,
  body?: unknown,
): Promise<Operation> {
  const { id } = expectOk(await client.request<Operation>(method, route, body));
  const operation = await ended(client, id, INSTALL_SECONDS);
  assert.equal(operation.status, 'completed', JSON.stringify(operation));
  return operation;
}

/** Installs all, uses all, removes all. */
async function comeAndGo({ admin }: TestServer, boxes: readonly Box[], others: readonly string[]): Promise<void> {
  const caseOf = (name: string): Pick<Case, 'config' | 'use'> => {
    const found = OWN[name] ?? CASES.find((one) => one.name === name);
    assert.ok(found !== undefined, name);
    return found;
  };
  const install = (name: string, on: readonly Box[], config: Record<string, unknown> = {}) =>
    completed(admin, 'POST', '/v1/taskservs/create', {
      workspace: 'default',
      name,
      servers: on.map(({ hostname }) => hostname),
      config,
    });
  /** Short: the machines take turns. */
  const placed = (index: number) =>
    scale(
      [boxes[index % boxes.length]].flatMap((box) => box ?? []),
      [...boxes],
    );

  const web = install(WEB, boxes, { port: 8080 });
  const [balancer] = boxes;
  assert.ok(balancer !== undefined);
  await Promise.all([
    ...others.map((name, index) => install(name, placed(index), caseOf(name).config)),
    web.then(() =>
      install(BALANCER, scale([balancer], [...boxes]), { backends: boxes.map(({ address }) => `${address}:8080`) }),
    ),
  ]);

  for (const [index, name] of others.entries()) {
    const [command, expected] = caseOf(name).use;
    for (const box of placed(index)) assert.match(await box.sh(command), expected, `${name} on ${box.hostname}`);
  }
  const answers = await balancer.sh('for n in 1 2 3 4 5 6; do curl -s http://127.0.0.1:8000/; done');
  for (const { hostname } of boxes) assert.match(answers, new RegExp(`nginx on ${hostname}`), 'haproxy balances');

  const list = expectOk(await admin.request<{ id: string; name: string }[]>('GET', '/v1/taskservs'));
  assert.deepEqual(list.map(({ name }) => name).sort(), [WEB, BALANCER, ...others].sort());
  for (const box of boxes) assert.match(await box.sh(PROGRAMS), /^nginx$/m, box.hostname);
  await Promise.all(list.map(({ id }) => completed(admin, 'DELETE', `/v1/taskservs/${id}`)));
  for (const box of boxes) {
    assert.equal(await box.sh(PROGRAMS), '', `a service is left on ${box.hostname}`);
    const left = await box.sh('find /etc/provisioning/services /var/lib/provisioning/taskservs -type f');
    assert.equal(left, '', `something is left on ${box.hostname}`);
  }
}
