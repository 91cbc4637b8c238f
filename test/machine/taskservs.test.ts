/**
 * Taskservs on real machines: containers as servers of the docker provider, worked on through the API alone; what is
 * on them is looked at from outside. Needs a container engine and a mirror of the distribution.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import Docker from 'dockerode';
import { createDockerExecTransport } from '../../src/transports/docker-exec.ts';
import { openBooks, temporaryDataDir } from '../recovery/support.ts';
import { expectOk } from '../support/acceptance.ts';
import { assertNotOnDisk, assertNotStored } from '../support/canaries.ts';
import { containerEngine } from '../support/container-engine.ts';
import { ended, type Operation, startTestServer, type TestServer, until } from '../support/server.ts';
import { defineTaskserv } from '../support/taskserv-definitions.ts';
import { preparedImage } from './prepared-image.ts';

const CANARY = 'Canary-4d5e6f-password';
/** Seconds that an operation with the package manager may take on three containers of a busy machine. */
const INSTALL_SECONDS = 300;

const engine = await containerEngine();
if (engine === null) {
  test('taskservs on containers', { skip: 'There is no container engine. Run .ci/podman-up.' }, () => {});
} else {
  // Much of either is waiting for scripts that take their time on purpose.
  describe('taskservs on three containers', { concurrency: true }, () => {
    for (const way of ['docker exec', 'ssh'] as const) {
      describe(`by ${way}`, { concurrency: 1 }, () => onContainers(engine, way));
    }
  });
}

interface Host {
  id: string;
  hostname: string;
  /** Runs a shell command in the container, past the server. @returns its output. */
  sh(command: string): Promise<string>;
  /** Restarts the container at once. */
  restart(): Promise<void>;
}

function resultOf({ result }: Operation): Record<string, unknown> {
  assert.ok(result !== null);
  return result;
}

function onContainers({ host, socketPath }: { host: string; socketPath: string }, way: 'docker exec' | 'ssh') {
  // By ssh the same containers are machines that were there already, in a workspace of their own.
  const workspace = way === 'ssh' ? 'metal' : 'default';
  const docker = new Docker({ socketPath, host: undefined });
  let prepared = '';
  const stack = new AsyncDisposableStack();
  let dataDir: string;
  let server: TestServer;
  let made: Host[] = [];
  let hosts: Host[] = [];

  const start = () =>
    startTestServer({
      dataDir,
      settings: { PROVIDERS: 'docker', DOCKER_HOST: host, DOCKER_IMAGE: prepared, HEALTH_CHECK_INTERVAL: '2' },
    });
  const request = async (method: string, route: string, body?: unknown): Promise<Operation> =>
    expectOk(await server.admin.request<Operation>(method, route, body));
  const create = (name: string, on: readonly Host[], more: Record<string, unknown> = {}) =>
    request('POST', '/v1/taskservs/create', {
      workspace,
      name,
      servers: on.map(({ hostname }) => hostname),
      ...more,
    });
  const completed = async (operation: Operation): Promise<Operation> => {
    const done = await ended(server.admin, operation.id, INSTALL_SECONDS);
    assert.equal(done.status, 'completed', JSON.stringify(done));
    return done;
  };
  const eventsOf = async ({ id }: Operation, after = 0) =>
    expectOk(
      await server.admin.request<Record<string, unknown>[]>(
        'GET',
        `/v1/operations/${id}/events?limit=10000&after=${after}`,
      ),
    );

  const define = (name: string, scripts: Record<'install' | 'check' | 'remove', string>, more?: string) =>
    defineTaskserv(dataDir, workspace, name, scripts, more);

  const makeHost = async (hostname: string): Promise<Host> => {
    const operation = await request('POST', '/v1/servers/create', {
      workspace: 'default',
      provider: 'docker',
      plan: '1xCPU-1GB',
      zone: 'local',
      hostname,
    });
    const id = String((await completed(operation)).result?.server_id);
    await using books = await openBooks({ dataDir });
    const [row] = await books.query<{ ref: string }>(
      'select provider_ref as ref from provisioning.servers where id = $1',
      [id],
    );
    const transport = createDockerExecTransport({ engine: host, container: row?.ref ?? '', host: hostname });
    stack.defer(() => transport.close());
    const sh = async (command: string) => {
      const lines: string[] = [];
      await transport.run(command, { timeoutSeconds: 60, onLine: ({ text }) => lines.push(text) });
      return lines.join('\n');
    };
    const restart = () => docker.getContainer(row?.ref ?? '').restart({ t: 0 });
    return { id, hostname, sh, restart };
  };

  /** Starts sshd in the containers, lets the workspace's key in, and imports them. */
  const adopt = async (containers: readonly Host[]): Promise<Host[]> => {
    expectOk(await server.admin.request('POST', '/v1/workspaces/create', { name: workspace }));
    const key = await server.admin.request<{ public_key: string }>('GET', `/v1/workspaces/${workspace}/ssh-key`);
    return Promise.all(
      containers.map(async (container) => {
        await container.sh(
          `mkdir -p /run/sshd /root/.ssh; ssh-keygen -A >/dev/null; echo '${expectOk(key).public_key}' >/root/.ssh/authorized_keys; chmod -R go= /root/.ssh; /usr/sbin/sshd`,
        );
        const { ip_address } = expectOk(
          await server.admin.request<{ ip_address: string }>('GET', `/v1/servers/${container.id}`),
        );
        const { hostname } = container;
        const operation = await request('POST', '/v1/servers/import', { workspace, hostname, ip_address });
        return { ...container, id: String((await completed(operation)).result?.server_id) };
      }),
    );
  };

  before(async () => {
    const data = await temporaryDataDir();
    stack.use(data);
    dataDir = data.directory;
    prepared = await preparedImage(docker);
    server = await start();
    stack.defer(() => server[Symbol.asyncDispose]());
    made = await Promise.all(['web-01', 'web-02', 'web-03'].map(makeHost));
    hosts = way === 'ssh' ? await adopt(made) : made;
  });
  after(async () => {
    for (const { id } of made) {
      const operation = await request('DELETE', `/v1/servers/${id}?force=true`);
      await ended(server.admin, operation.id, 60);
    }
    await stack.disposeAsync();
  });

  test('redis on web-01 and web-02: live output, healthy, changed in place, unhealthy noticed, deleted, gone', async () => {
    const two = hosts.slice(0, 2);
    const config = { port: 6400, password: CANARY };
    const plan = await completed(await create('redis', two, { config, check_mode: true }));
    const { hosts: looks } = resultOf(plan).plan as { hosts: { platform: string; would: { action: string }[] }[] };
    for (const { platform, would } of looks) {
      assert.equal(platform, 'debian-12');
      assert.deepEqual(
        would.map(({ action }) => action),
        ['install', 'install'],
      );
    }
    for (const one of two) assert.equal(await one.sh('ls /etc/provisioning /var/lib/provisioning 2>/dev/null'), '');

    const operation = await create('redis', two, { config });
    // Sampled while the scripts run: no argument of any process holds the password.
    const samples: string[] = [];
    await until(
      async () => {
        for (const one of two)
          samples.push(await one.sh("tr '\\0' ' ' </proc/[0-9]*/cmdline 2>/dev/null; cat /proc/[0-9]*/cmdline"));
        const { status } = await request('GET', `/v1/operations/${operation.id}`);
        return status !== 'running' && status !== 'pending';
      },
      'the install to end',
      INSTALL_SECONDS * 1_000,
      200,
    );
    assert.ok(samples.length > 4);
    assert.ok(!samples.some((sample) => sample.includes(CANARY)), 'a process carried the password in its arguments');
    await completed(operation);
    const events = await eventsOf(operation);
    for (const { hostname, sh } of two) {
      const lines = events.filter((event) => event.host === hostname && event.stream !== undefined);
      assert.ok(
        lines.some(({ line }) => /redis-server/.test(String(line))),
        `${hostname} said nothing of its install`,
      );
      assert.equal(await sh(`REDISCLI_AUTH=${CANARY} redis-cli -p 6400 ping`), 'PONG');
      assert.match(await sh('stat -c "%a %U" /etc/provisioning/redis.json'), /^600 root$/);
      assert.equal(await sh(`grep -rl ${CANARY} /var/lib/provisioning /tmp /run /var/log 2>/dev/null`), '');
    }
    const id = String((await request('GET', `/v1/operations/${operation.id}`)).result?.taskserv_id);
    const read = async () =>
      expectOk(await server.admin.request<{ status: string; hosts: unknown }>('GET', `/v1/taskservs/${id}`));
    assert.equal((await read()).status, 'running');
    assert.ok(!JSON.stringify([events, await read()]).includes(CANARY));
    assert.ok(!server.output().includes(CANARY));
    await using books = await openBooks({ dataDir });
    await assertNotStored(books.pool, { password: CANARY });
    await books.query('checkpoint');
    await assertNotOnDisk(dataDir, { password: CANARY });

    const again = await completed(await create('redis', two, { config }));
    const [same] = resultOf(again).hosts as { done: { action: string }[] }[];
    assert.ok(same?.done.every(({ action }) => action === 'unchanged'));
    await completed(await create('redis', two, { config: { ...config, port: 6401 } }));
    for (const { sh } of two) assert.equal(await sh(`REDISCLI_AUTH=${CANARY} redis-cli -p 6401 ping`), 'PONG');

    const [, bad] = two;
    await bad?.sh('chmod -x /etc/provisioning/services/redis-server; kill -9 $(pidof redis-server)');
    await until(async () => (await read()).status === 'degraded', 'the dead redis to be noticed');
    const retried = await completed(await request('POST', `/v1/taskservs/${id}/retry`));
    assert.equal((resultOf(retried).hosts as unknown[]).length, 1, 'only the one that failed is touched');
    assert.equal((await read()).status, 'running');

    const gone = await completed(await request('DELETE', `/v1/taskservs/${id}`, { workspace, taskserv_id: id }));
    for (const { removed } of resultOf(gone).hosts as { removed: string[] }[])
      assert.deepEqual(removed, ['redis', 'os-base']);
    for (const { sh } of two) {
      assert.equal(await sh('pidof redis-server; command -v redis-server; ls /var/lib/provisioning/taskservs'), '');
    }
    assert.equal((await server.admin.request('GET', `/v1/taskservs/${id}`)).status, 404);
  });

  test('kill -9 of the server in the middle: each host runs the install once, and no line is lost or told twice', async () => {
    await define('counted', {
      install: 'echo "run $$" >>/root/counted.log\nfor n in $(seq 1 60); do echo "line $n"; sleep 0.1; done',
      check: 'test -s /root/counted.log',
      remove: 'rm -f /root/counted.log',
    });
    const operation = await create('counted', hosts);
    await until(
      async () =>
        (await Promise.all(hosts.map(({ sh }) => sh('cat /root/counted.log 2>/dev/null')))).every((log) => log !== ''),
      'all installs to have begun',
    );
    await server.kill();
    server = await start();
    await completed(operation);
    const events = await eventsOf(operation);
    for (const { hostname, sh } of hosts) {
      assert.match(await sh('cat /root/counted.log'), /^run \d+$/, 'it ran once');
      const lines = events.filter((event) => event.host === hostname && event.stream === 'stdout');
      assert.deepEqual(
        lines.map(({ line }) => line),
        Array.from({ length: 60 }, (_, n) => `line ${n + 1}`),
      );
    }
  });

  test('sshd is killed in the middle: the install goes on, and ran once', { skip: way !== 'ssh' }, async () => {
    await define('unwatched', {
      install: 'echo "run $$" >>/root/unwatched.log\nfor n in $(seq 1 50); do echo "line $n"; sleep 0.1; done',
      check: 'test -s /root/unwatched.log',
      remove: 'rm -f /root/unwatched.log',
    });
    const operation = await create('unwatched', hosts);
    const begun = async () => Promise.all(hosts.map(({ sh }) => sh('cat /root/unwatched.log 2>/dev/null')));
    await until(async () => (await begun()).every((log) => log !== ''), 'all installs to have begun');
    // The port is free only when the last of them has ended.
    const again = 'kill -9 $(pidof sshd); while pidof sshd; do sleep 0.05; done; /usr/sbin/sshd; echo "sshd: $?"';
    for (const said of await Promise.all(hosts.map(({ sh }) => sh(again)))) assert.match(said, /sshd: 0$/);
    const done = await completed(operation);
    for (const log of await begun()) assert.match(log, /^run \d+$/);
    const events = await eventsOf(done);
    for (const { hostname } of hosts) {
      const lines = events.filter((event) => event.host === hostname && event.stream === 'stdout');
      assert.deepEqual(
        lines.map(({ line }) => line),
        Array.from({ length: 50 }, (_, n) => `line ${n + 1}`),
      );
    }
  });

  test('a host that is restarted in the middle: a clear reason, and retry does it', {
    skip: way === 'ssh',
  }, async () => {
    await define('restarted', {
      install: 'if [ -e /root/restarted ]; then exit 0; fi\ntouch /root/restarted\nsleep 4713',
      check: 'test -e /root/restarted',
      remove: 'rm -f /root/restarted',
    });
    const [one] = hosts;
    assert.ok(one !== undefined);
    const operation = await create('restarted', [one]);
    await until(async () => (await one.sh('ls /root/restarted 2>/dev/null')) !== '', 'the install to have begun');
    await one.restart();
    const failed = await ended(server.admin, operation.id, 60);
    assert.equal(failed.status, 'failed', JSON.stringify(failed));
    assert.match(failed.error ?? '', /web-01: install restarted was cut off: the host restarted/);
    const id = String(failed.result?.taskserv_id);
    await completed(await request('POST', `/v1/taskservs/${id}/retry`));
    await completed(await request('DELETE', `/v1/taskservs/${id}`));
  });

  test('services are back when their server was stopped and started, restarted, or restarted behind the API', {
    skip: way === 'ssh',
  }, async () => {
    const [one] = hosts;
    assert.ok(one !== undefined);
    const done = await completed(await create('memcached', [one]));
    const id = String(done.result?.taskserv_id);
    const answers = async () => (await one.sh('pidof memcached')) !== '';
    for (const action of ['stop', 'start', 'restart'] as const) {
      await completed(await request('POST', `/v1/servers/${one.id}/${action}`));
      if (action !== 'stop') await until(answers, `memcached after ${action}`);
    }
    await one.restart();
    await until(answers, 'memcached after a restart of the container');
    const checked = await completed(await request('POST', `/v1/taskservs/${id}/check`));
    assert.deepEqual(
      (resultOf(checked).hosts as { healthy: boolean }[]).map(({ healthy }) => healthy),
      [true],
    );
    await completed(await request('DELETE', `/v1/taskservs/${id}`));
  });

  test('a mirror that cannot be reached: a clear message with host and script, and retry when it is there again', async () => {
    const [, , three] = hosts;
    assert.ok(three !== undefined);
    await three.sh('rm -f /var/cache/apt/archives/*.deb');
    await three.sh(`echo 'Acquire::http::Proxy "http://127.0.0.1:9";' >/etc/apt/apt.conf.d/99-closed`);
    const failed = await ended(server.admin, (await create('memcached', [three])).id, INSTALL_SECONDS);
    assert.equal(failed.status, 'failed');
    assert.match(
      failed.error ?? '',
      /memcached failed: .*web-03: install\.sh of (os-base|memcached) ended with status \d+: .*(mirror|127\.0\.0\.1)/,
    );
    await three.sh('rm /etc/apt/apt.conf.d/99-closed');
    const id = String(failed.result?.taskserv_id);
    await completed(await request('POST', `/v1/taskservs/${id}/retry`));
    await completed(await request('DELETE', `/v1/taskservs/${id}`));
  });

  test('cancel ends what runs on the hosts, and says what each of them has', async () => {
    await define('slow', { install: 'echo begun\nsleep 4711', check: 'false', remove: 'true' });
    const operation = await create('slow', hosts);
    const sleeping = async () =>
      Promise.all(hosts.map(({ sh }) => sh("grep -lzx '471[1]' /proc/[0-9]*/cmdline 2>/dev/null | wc -l")));
    await until(async () => (await sleeping()).every((found) => found === '1'), 'all installs to have begun');
    await request('POST', `/v1/operations/${operation.id}/cancel`);
    const cancelled = await ended(server.admin, operation.id, 60);
    assert.equal(cancelled.status, 'cancelled');
    assert.deepEqual(await sleeping(), ['0', '0', '0']);
    await completed({ ...operation, id: String(cancelled.result?.cleanup_operation_id) });
    const id = String(cancelled.result?.taskserv_id);
    const record = expectOk(await server.admin.request<{ hosts: { status: string }[] }>('GET', `/v1/taskservs/${id}`));
    assert.deepEqual(
      record.hosts.map(({ status }) => status),
      ['absent', 'absent', 'absent'],
    );
    await completed(await request('DELETE', `/v1/taskservs/${id}`));
  });

  test('a script that fails, prints its secret, or never ends: a clear message with host and script, nothing given away', async () => {
    const [one] = hosts;
    assert.ok(one !== undefined);
    await define(
      'talkative',
      {
        install:
          'set -x\n: "$TASKSERV_TOKEN"\ncat "$TASKSERV_CONFIG" | base64 -w0 >/dev/null\necho "token $TASKSERV_TOKEN"\necho "no space left on device" >&2\nexit 3',
        check: 'true',
        remove: 'true',
      },
      'config:\n  token: { type: string, secret: true }\n',
    );
    await define('chatty', { install: 'seq 1 30000', check: 'true', remove: 'true' });
    const chatty = await create('chatty', [one]);
    await completed(chatty);
    const said = (await eventsOf(chatty, 9_000)).filter(({ stream }) => stream !== undefined);
    assert.match(String(said.at(-1)?.line), /More than 10000 lines/);
    await define('endless', { install: 'sleep 4712', check: 'true', remove: 'true' }, 'timeouts: { install: 2 }\n');
    const talked = await ended(server.admin, (await create('talkative', [one], { config: { token: CANARY } })).id, 60);
    assert.equal(talked.status, 'failed');
    assert.match(talked.error ?? '', /web-01: install\.sh of talkative ended with status 3: .*no space left on device/);
    const events = await eventsOf(talked);
    assert.ok(events.some(({ line }) => line === 'token ••••'));
    assert.ok(!JSON.stringify([talked, events]).includes(CANARY));
    const late = await ended(server.admin, (await create('endless', [one])).id, 60);
    assert.equal(late.status, 'failed');
    assert.match(late.error ?? '', /web-01.*: install endless did not end within 2 s/);
    assert.equal(await one.sh("grep -lzx '471[2]' /proc/[0-9]*/cmdline 2>/dev/null | wc -l"), '0');
  });
}
