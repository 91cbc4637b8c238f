/**
 * Whole clusters on containers, by workflows alone: made, scaled up and down, deleted; what they do is looked at inside.
 * Needs a container engine and a mirror of the distribution.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import Docker from 'dockerode';
import { createDockerExecTransport } from '../../src/transports/docker-exec.ts';
import { preparedImage } from '../machine/prepared-image.ts';
import { expectOk, type Installation, type Server, startInstallation } from '../support/acceptance.ts';
import { assertFree, assertNotStored } from '../support/canaries.ts';
import { containerEngine } from '../support/container-engine.ts';
import { type Client, ended, type Operation, until } from '../support/server.ts';
import { stepsOf, submit } from '../support/workflows.ts';

/** Seconds that a workflow may take with the package manager at work in five containers of a busy machine. */
const WORKFLOW_SECONDS = 400;

/** Of all that gets installed, what starts no service by itself: it is fetched once, not on each of eight hosts. */
const PREPARED = [
  'ca-certificates',
  'curl',
  'procps',
  'iproute2',
  'etcd-client',
  'postgresql-client',
  'postgresql-common',
  'libllvm14',
];

const engine = await containerEngine();
if (engine === null) {
  test('clusters on containers', { skip: 'There is no container engine. Run .ci/podman-up.' }, () => {});
} else {
  describe('clusters on containers', { concurrency: 2 }, () => onContainers(engine));
}

function onContainers({ host, socketPath }: { host: string; socketPath: string }) {
  const docker = new Docker({ socketPath, host: undefined });
  const stack = new AsyncDisposableStack();
  let installation: Installation;
  let admin: Client;

  before(async () => {
    const image = await preparedImage(docker, PREPARED);
    installation = await startInstallation({
      ...{ PROVIDERS: 'docker', DOCKER_HOST: host, DOCKER_IMAGE: image },
      ...{ DEFAULT_PROVIDER: 'docker', DEFAULT_PLAN: '1xCPU-1GB', DEFAULT_ZONE: 'local' },
    });
    stack.use(installation);
    ({ admin } = installation.server);
  });
  after(() => stack.disposeAsync());

  const run = async (type: string, parameters: Record<string, unknown>): Promise<Operation> => {
    const done = await ended(admin, (await submit(admin, type, parameters)).id, WORKFLOW_SECONDS);
    const failed = (await stepsOf(admin, done.id)).filter(({ error }) => error !== null);
    assert.equal(done.status, 'completed', JSON.stringify([done, failed]));
    return done;
  };
  const containers = async (cluster: string) =>
    (await docker.listContainers({ all: true })).flatMap(({ Names }) => Names).filter((name) => name.includes(cluster));
  /** A shell in a server's container, past the API. */
  const shell = async (hostname: string) => {
    const { rows } = await installation.database.pool.query<{ ref: string }>(
      'select provider_ref as ref from provisioning.servers where hostname = $1',
      [hostname],
    );
    const transport = createDockerExecTransport({ engine: host, container: rows[0]?.ref ?? '', host: hostname });
    stack.defer(() => transport.close());
    return async (command: string, env: Record<string, string> = {}) => {
      const lines: string[] = [];
      const { exitCode } = await transport.run(command, {
        env,
        timeoutSeconds: 60,
        onLine: ({ text }) => lines.push(text),
      });
      assert.equal(exitCode, 0, `${hostname}: ${command}: ${lines.join('\n')}`);
      return lines.join('\n');
    };
  };
  /** Deletes the cluster whatever came before. */
  const scoped = (cluster_name: string) => ({
    async [Symbol.asyncDispose]() {
      const left = expectOk(await admin.request<Server[]>('GET', `/v1/servers?tag=cluster:${cluster_name}`));
      if (left.length > 0) await run('cluster_delete', { cluster_name });
    },
  });

  test('etcd: three members serve as one, five do, three again; deleted, nothing is left', async () => {
    const cluster_name = `kv-${randomBytes(3).toString('hex')}`;
    await using _cluster = scoped(cluster_name);
    const etcdctl = async (node: number, command: string) =>
      (await shell(`${cluster_name}-${node}`))(`etcdctl ${command}`, { ETCDCTL_API: '3' });
    const healthy = async (nodes: number[]) => {
      for (const node of nodes) assert.match(await etcdctl(node, 'endpoint health'), /is healthy/);
      const members = (await etcdctl(1, 'member list')).split('\n').map((line) => line.split(', '));
      assert.deepEqual(
        members.map(([, status, name]) => [name, status]).sort(),
        nodes.map((n) => [`${cluster_name}-${n}`, 'started']),
      );
    };

    const made = await run('cluster_create', { cluster_name, node_count: 3, flavor: 'etcd' });
    assert.deepEqual(
      (made.result?.nodes as { hostname: string }[] | undefined)?.map(({ hostname }) => hostname),
      [1, 2, 3].map((n) => `${cluster_name}-${n}`),
    );
    await healthy([1, 2, 3]);
    await etcdctl(1, 'put greeting hello');
    assert.equal(await etcdctl(3, 'get --print-value-only greeting'), 'hello');

    const grown = await run('cluster_scale', { cluster_name, node_count: 5 });
    assert.deepEqual(grown.result?.added, [`${cluster_name}-4`, `${cluster_name}-5`]);
    await healthy([1, 2, 3, 4, 5]);
    assert.equal(await etcdctl(5, 'get --print-value-only greeting'), 'hello');
    await etcdctl(5, 'put greeting five');

    const shrunk = await run('cluster_scale', { cluster_name, node_count: 3 });
    assert.deepEqual(shrunk.result?.removed, [`${cluster_name}-4`, `${cluster_name}-5`]);
    const steps = await stepsOf(admin, shrunk.id);
    const leftAt = steps.filter(({ step }) => step === 'leave_etcd').map(({ finished_at }) => finished_at ?? '');
    const deletedAt = steps.filter(({ step }) => step === 'fewer').map(({ started_at }) => started_at ?? '');
    assert.equal(leftAt.length, 2);
    assert.ok(
      Math.max(...leftAt.map(Date.parse)) <= Math.min(...deletedAt.map(Date.parse)),
      'members leave before their servers go',
    );
    await healthy([1, 2, 3]);
    assert.equal(await etcdctl(2, 'get --print-value-only greeting'), 'five');

    await run('cluster_delete', { cluster_name });
    assert.deepEqual(await containers(cluster_name), []);
  });

  test('postgres: what is written on the primary is read on the replica, also on one that comes later', async () => {
    const cluster_name = `pg-${randomBytes(3).toString('hex')}`;
    await using _cluster = scoped(cluster_name);
    const sql = async (node: number, statement: string) =>
      (await shell(`${cluster_name}-${node}`))(
        'setpriv --reuid=postgres --regid=postgres --init-groups psql -XAtc "$STATEMENT"',
        { STATEMENT: statement },
      );
    await run('cluster_create', { cluster_name, node_count: 2, flavor: 'postgres' });
    await sql(1, "create table greetings as select 'hello' as text");
    await until(
      async () => (await sql(2, "select count(*) from pg_tables where tablename = 'greetings'")) === '1',
      'the table',
    );
    assert.equal(await sql(2, 'select text from greetings'), 'hello');

    await run('cluster_scale', { cluster_name, node_count: 3 });
    await sql(1, "insert into greetings values ('again')");
    await until(async () => (await sql(3, 'select count(*) from greetings')) === '2', 'the second row');
    assert.equal(await sql(1, 'select count(*) from pg_stat_replication'), '2');

    const config = await (await shell(`${cluster_name}-3`))('cat /etc/provisioning/postgresql.json');
    const password = (JSON.parse(config) as { config: { replication_password: string } }).config.replication_password;
    assert.match(password, /^[A-Za-z0-9]{32}$/);
    await assertNotStored(installation.database.pool, { 'replication password': password });
    assertFree(installation.server.output(), { 'replication password': password }, 'in the log');
    assertFree(
      await (await shell(`${cluster_name}-1`))(
        "tr '\\0' ' ' </proc/[0-9]*/cmdline 2>/dev/null; cat /proc/[0-9]*/cmdline; true",
      ),
      { password },
      'in an argument',
    );

    await run('cluster_delete', { cluster_name });
    assert.deepEqual(await containers(cluster_name), []);
  });
}
