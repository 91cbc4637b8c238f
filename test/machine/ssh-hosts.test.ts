/**
 * SSH into containers: the workspace's key that a new server lets in, users that become root by sudo, machines that are
 * imported and carry taskservs. Needs a container engine and a mirror of the distribution.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import Docker from 'dockerode';
import type { Provider } from '../../src/providers/contract.ts';
import { createDockerProvider } from '../../src/providers/docker/provider.ts';
import { createDockerExecTransport } from '../../src/transports/docker-exec.ts';
import { generateSshKey } from '../../src/transports/keys.ts';
import { createSshPool } from '../../src/transports/ssh.ts';
import { transportSuite } from '../contracts/transport.testsuite.ts';
import { expectOk } from '../support/acceptance.ts';
import { containerEngine } from '../support/container-engine.ts';
import { startCutProxy } from '../support/cut-proxy.ts';
import { loopbackEgress } from '../support/egress.ts';
import { ended, type Operation, startTestServer, type TestServer } from '../support/server.ts';
import { preparedImage } from './prepared-image.ts';

/** Seconds that the package manager may take on a busy machine. */
const INSTALL_SECONDS = 300;
const SSH_PORT = 22;

/** A user `ops` who gets in with root's key and becomes root without a password. */
const ADD_USER = `
set -eu
id ops >/dev/null 2>&1 || useradd --create-home --shell /bin/bash ops
mkdir -p /home/ops/.ssh
cp /root/.ssh/authorized_keys /home/ops/.ssh/
chown -R ops: /home/ops/.ssh
echo 'ops ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/ops
`;

const engine = await containerEngine();
if (engine === null) {
  test('ssh into containers', { skip: 'There is no container engine. Run .ci/podman-up.' }, () => {});
} else {
  const { host, socketPath } = engine;
  // Asked for by both at once: made once.
  const image = preparedImage(new Docker({ socketPath, host: undefined }), ['sudo']);
  describe('ssh into containers', { concurrency: true }, () => {
    transportSuite('ssh as a user who becomes root by sudo', async () => setUpUser({ host, image: await image }));
    describe('servers and machines over SSH', { concurrency: 1 }, () => overSsh({ host, image }));
  });
}

async function setUpUser({ host, image }: { host: string; image: string }) {
  const key = generateSshKey('sudo suite');
  const provider = createDockerProvider({ host, image, sudo: true });
  const options = { operationId: randomUUID(), guard: () => {} };
  const spec = { workspace: 'machine', hostname: 'box', plan: '1xCPU-1GB', zone: 'local', tags: [] };
  const { ref, ip_address } = await provider.ensureServer({ ...spec, ssh_public_key: key.publicKey }, options);
  assert.ok(ip_address !== null);
  const inside = createDockerExecTransport({ engine: host, container: ref, host: 'box' });
  assert.equal((await inside.run(ADD_USER, { timeoutSeconds: INSTALL_SECONDS })).exitCode, 0);
  const proxy = await startCutProxy({ host: ip_address, port: SSH_PORT });
  const pool = createSshPool();
  return {
    open: async () =>
      pool.transport('box', {
        name: `box (${ip_address})`,
        address: '127.0.0.1',
        port: proxy.port,
        user: 'ops',
        knownKey: async () => null,
        pin: async (seen) => seen,
        privateKey: key.privateKey,
        jump: null,
        egress: loopbackEgress('host', null),
      }),
    cutConnections: async () => proxy.cut(),
    dispose: async () => {
      await pool.close();
      await proxy[Symbol.asyncDispose]();
      await inside.close();
      await provider.deleteServer(ref, options);
      await provider.close?.();
    },
  };
}

function overSsh({ host, image: making }: { host: string; image: Promise<string> }) {
  let server: TestServer;
  let box: { id: string; ip_address: string; ref: string };
  let provider: Provider;
  /** Another way to the same machine: at its own address it is a server of the workspace already. */
  let proxy: Awaited<ReturnType<typeof startCutProxy>>;

  before(async () => {
    const image = await making;
    provider = createDockerProvider({ host, image, sudo: true });
    server = await startTestServer({
      settings: {
        ...{ PROVIDERS: 'docker', DOCKER_HOST: host, DOCKER_IMAGE: image, DOCKER_SUDO: 'true' },
        EGRESS_ALLOW: '127.0.0.1/32',
      },
    });
    const made = await request('POST', '/v1/servers/create', {
      ...{ workspace: 'default', provider: 'docker', plan: '1xCPU-1GB', zone: 'local', hostname: 'box-01' },
    });
    assert.equal(made.status, 'completed', made.error ?? '');
    const found = await provider.findServer(made.id);
    assert.ok(found !== null && found.ip_address !== null);
    box = { id: String(made.result?.server_id), ip_address: found.ip_address, ref: found.ref };
    proxy = await startCutProxy({ host: box.ip_address, port: SSH_PORT });
  });
  after(async () => {
    if (box !== undefined) await request('DELETE', `/v1/servers/${box.id}?force=true`);
    await server?.[Symbol.asyncDispose]();
    await proxy?.[Symbol.asyncDispose]();
    await provider?.close?.();
  });

  const request = async (method: string, route: string, body?: unknown): Promise<Operation> => {
    const operation = expectOk(await server.admin.request<Operation>(method, route, body));
    return ended(server.admin, operation.id, INSTALL_SECONDS);
  };
  const inBox = async (script: string): Promise<string[]> => {
    const inside = createDockerExecTransport({ engine: host, container: box.ref, host: 'box-01' });
    const lines: string[] = [];
    try {
      const { exitCode } = await inside.run(script, {
        timeoutSeconds: INSTALL_SECONDS,
        onLine: ({ text }) => lines.push(text),
      });
      assert.equal(exitCode, 0, lines.join('\n'));
    } finally {
      await inside.close();
    }
    return lines;
  };
  const importing = (hostname: string, user: string) =>
    request('POST', '/v1/servers/import', {
      workspace: 'default',
      hostname,
      ip_address: '127.0.0.1',
      ssh: { user, port: proxy.port },
    });

  test('a new server lets its workspace’s key in, also after a restart, and keeps it once', async () => {
    const operation = await importing('old-01', 'root');
    assert.equal(operation.status, 'completed', operation.error ?? '');
    assert.match(String(operation.result?.os), /Debian/);
    const deleted = await request('DELETE', `/v1/servers/${operation.result?.server_id}`);
    assert.deepEqual(deleted.result, { ...deleted.result, forgotten: true });
    await request('POST', `/v1/servers/${box.id}/restart`);
    const found = (await provider.observeServers([box.ref])).get(box.ref);
    box.ip_address = found?.ip_address ?? box.ip_address;
    await proxy[Symbol.asyncDispose]();
    proxy = await startCutProxy({ host: box.ip_address, port: SSH_PORT });
    assert.deepEqual(
      await inBox('stat -c %a /root/.ssh /root/.ssh/authorized_keys; wc -l </root/.ssh/authorized_keys'),
      ['700', '600', '1'],
    );
  });

  test('a user without sudo is told apart from a failing script; with it the machine is adopted', async () => {
    await inBox(`${ADD_USER}rm /etc/sudoers.d/ops`);
    const refused = await importing('old-02', 'ops');
    assert.equal(refused.status, 'failed');
    assert.match(refused.error ?? '', /old-02 .*cannot become root without a password.*NOPASSWD/);
    await inBox(ADD_USER);
    const adopted = await importing('old-02', 'ops');
    assert.equal(adopted.status, 'completed', adopted.error ?? '');
  });

  test('the machine carries taskservs over SSH, and is left with them when it is forgotten', async () => {
    const body = { workspace: 'default', name: 'redis', servers: ['old-02'] };
    const installed = await request('POST', '/v1/taskservs/create', body);
    assert.equal(installed.status, 'completed', JSON.stringify(installed));
    assert.deepEqual(await inBox('redis-cli ping'), ['PONG']);
    const [machine] = expectOk(await server.admin.request<{ id: string }[]>('GET', '/v1/servers?provider=existing'));
    const route = `/v1/servers/${machine?.id}`;
    assert.equal((await server.admin.request('DELETE', route)).status, 409);
    assert.equal((await request('DELETE', `${route}?force=true`)).status, 'completed');
    assert.deepEqual(await inBox('redis-cli ping'), ['PONG']);
  });
}
