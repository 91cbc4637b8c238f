/**
 * kill -9 of the server while it installs on ten real hosts. What the hosts themselves have written down (apt's history,
 * dpkg's log, a file of the script's own) proves that each install ran once on each. Needs a container engine and a mirror.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Docker from 'dockerode';
import { preparedImage } from '../machine/prepared-image.ts';
import { importMachines, startMachines, workspaceKey } from '../machine/ssh-machines.ts';
import { openBooks, temporaryDataDir } from '../recovery/support.ts';
import { expectOk } from '../support/acceptance.ts';
import { assertFree, assertNotOnDisk, assertNotStored } from '../support/canaries.ts';
import { containerEngine } from '../support/container-engine.ts';
import { ended, type Operation, startTestServer, type TestServer, until } from '../support/server.ts';
import { defineTaskserv } from '../support/taskserv-definitions.ts';

const HOSTS = 10;
/** The package manager on ten hosts of two processors. */
const INSTALL_SECONDS = 300;
const LINES = 40;
const SECRETS = { token: 'Canary-9c1e77-token' };

/** Of hosts, when so many have got so far, the server is killed. */
const KILLS = [
  { reached: 'test -s /var/log/apt/history.log', hosts: 2 },
  { reached: 'grep -q "status installed memcached" /var/log/dpkg.log', hosts: 5 },
  { reached: 'test -s /root/counted.log', hosts: 8 },
];

const engine = await containerEngine();
const skip = engine === null && 'There is no container engine. Run .ci/podman-up.';

test(`a server killed with -9 ${KILLS.length} times while it installs on ${HOSTS} hosts over ssh: each install ran once on each`, {
  skip,
}, async (t) => {
  if (engine === null) return;
  const docker = new Docker({ socketPath: engine.socketPath, host: undefined });
  await using data = await temporaryDataDir();
  await using stack = new AsyncDisposableStack();
  const start = () => startTestServer({ dataDir: data.directory, settings: { HEALTH_CHECK_INTERVAL: '0' } });
  let server: TestServer = await start();
  stack.defer(() => server[Symbol.asyncDispose]());
  const image = await preparedImage(docker);
  const names = Array.from({ length: HOSTS }, (_, n) => `kill-${n + 1}`);
  const publicKey = await workspaceKey(server.admin, 'default');
  await using machines = await startMachines(docker, names, { publicKey, image });
  await importMachines(server.admin, 'default', machines.hosts);
  await defineTaskserv(
    data.directory,
    'default',
    'counted',
    {
      install: `echo "run $$" >>/root/counted.log\nfor n in $(seq 1 ${LINES}); do echo "line $n"; sleep 0.1; done`,
      check: 'test -s /root/counted.log',
      remove: 'rm -f /root/counted.log',
    },
    'requires: [memcached]\nconfig:\n  token: { type: string, secret: true }\n',
  );
  const body = { workspace: 'default', name: 'counted', servers: names, config: SECRETS };
  const operation = expectOk(await server.admin.request<Operation>('POST', '/v1/taskservs/create', body));

  for (const { reached, hosts } of KILLS) {
    const count = async () => {
      const all = await Promise.all(machines.hosts.map((host) => host.attempt(['sh', '-c', reached])));
      return all.filter(({ exitCode }) => exitCode === 0).length;
    };
    await until(async () => (await count()) >= hosts, `${hosts} hosts: ${reached}`, INSTALL_SECONDS * 1_000);
    await server.kill();
    t.diagnostic(`killed with ${await count()} hosts past "${reached}"`);
    server = await start();
  }
  const done = await ended(server.admin, operation.id, INSTALL_SECONDS);
  assert.equal(done.status, 'completed', JSON.stringify(done));

  const events = expectOk(
    await server.admin.request<Record<string, unknown>[]>('GET', `/v1/operations/${operation.id}/events?limit=10000`),
  );
  for (const host of machines.hosts) {
    const once = async (command: string, what: string) =>
      assert.equal((await host.run(['sh', '-c', `${command} || true`])).trim(), '1', `${host.name}: ${what}`);
    await once('grep -c "^Start-Date" /var/log/apt/history.log', 'apt ran once');
    await once('grep -c "status installed memcached:" /var/log/dpkg.log', 'memcached was installed once');
    await once('wc -l </root/counted.log', 'the script ran once');
    await once('pgrep -c -x memcached', 'one memcached runs');
    const lines = events.filter((event) => event.host === host.name && event.job === 'install counted');
    assert.deepEqual(
      lines.map(({ line }) => line),
      Array.from({ length: LINES }, (_, n) => `line ${n + 1}`),
      `${host.name}: a line is missing or told twice`,
    );
  }
  await using books = await openBooks({ dataDir: data.directory });
  assert.deepEqual(await books.query('select * from provisioning.host_turns'), []);
  await assertNotStored(books.pool, SECRETS);
  await books.query('checkpoint');
  await assertNotOnDisk(data.directory, SECRETS);
  assertFree(JSON.stringify([events, done]), SECRETS, 'in an answer');
});
