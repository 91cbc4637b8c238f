/** The built-in types, on the simulated cloud. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { expectError, expectOk, startInstallation } from '../../test/support/acceptance.ts';
import { type Client, ended, type Operation } from '../../test/support/server.ts';
import { hostsInCloud, rolledBack, stepsOf, submit } from '../../test/support/workflows.ts';

const installation = await startInstallation();
after(() => installation.close());
const { admin } = installation.server;

async function completed(client: Client, type: string, parameters: Record<string, unknown>): Promise<Operation> {
  const done = await ended(client, (await submit(client, type, parameters)).id, 60);
  assert.equal(
    done.status,
    'completed',
    JSON.stringify([done, (await stepsOf(client, done.id)).filter(({ error }) => error)]),
  );
  return done;
}
const lengthOf = (value: unknown) => (Array.isArray(value) ? value.length : -1);
const hosts = () => hostsInCloud(installation.database);

test('every built-in type is usable', async () => {
  const types = expectOk(await admin.request<{ name: string; problems: unknown[] }[]>('GET', '/v1/workflow-types'));
  assert.deepEqual(
    types.filter(({ problems }) => problems.length > 0),
    [],
  );
  for (const name of [
    'batch',
    'cluster_create',
    'cluster_delete',
    'cluster_scale',
    'server_batch',
    'taskserv_rollout',
  ]) {
    assert.ok(
      types.some((type) => type.name === name),
      name,
    );
  }
});

interface Taskserv {
  id: string;
  name: string;
  servers: string[];
  config: Record<string, unknown>;
}
const taskservsOf = async (...names: string[]) =>
  expectOk(await admin.request<Taskserv[]>('GET', '/v1/taskservs')).filter(({ name }) => names.includes(name));
/** Where the checksum of the program has to be given. */
const K3S = { sha256: 'a'.repeat(64) };

for (const [flavor, roles] of Object.entries<Record<string, number[][]>>({
  plain: {},
  etcd: { etcd: [[1, 2, 3]] },
  postgres: { postgresql: [[1], [2, 3]] },
  k3s: { k3s: [[1], [2], [3]] },
  kubernetes: { kubernetes: [[1], [2], [3]], cilium: [[1]] },
})) {
  test(`a cluster of flavor ${flavor} is made, grows, shrinks and goes`, async () => {
    const cluster_name = `c-${flavor}`;
    const name = (n: number) => `${cluster_name}-${n}`;
    const control_plane_count = ['k3s', 'kubernetes'].includes(flavor) ? 2 : 1;
    const made = await completed(admin, 'cluster_create', {
      ...{ cluster_name, node_count: 3, flavor, control_plane_count, taskservs: ['redis'], plan: '1xCPU-1GB' },
      ...(flavor === 'k3s' ? { config: K3S } : {}),
    });
    const runs = made.result?.taskservs as { name: string; status: string; servers: string[] }[];
    const expected = Object.entries({ 'os-base': [[1, 2, 3]], ...roles, redis: [[1, 2, 3]] });
    assert.deepEqual(
      runs.map((run) => [run.name, run.status, run.servers.toSorted()]).sort(),
      expected.flatMap(([taskserv, on]) => on.map((nodes) => [taskserv, 'running', nodes.map(name)])).sort(),
    );
    assert.equal(lengthOf(made.result?.nodes), 3);

    const grown = await completed(admin, 'cluster_scale', { cluster_name, node_count: 5, flavor });
    assert.deepEqual(grown.result?.added, [name(4), name(5)]);
    assert.equal((await hosts()).length, 5);
    const [fourth] = expectOk(
      await admin.request<{ plan: string; tags: string[] }[]>('GET', `/v1/servers?hostname=${name(4)}`),
    );
    assert.equal(fourth?.plan, '1xCPU-1GB', 'a new node is like the others');
    assert.ok(fourth.tags.includes(`flavor:${flavor}`));
    const own = Object.keys(roles).filter((taskserv) => taskserv !== 'cilium');
    for (const taskserv of ['os-base', 'redis', ...own]) {
      const stands = (await taskservsOf(taskserv)).flatMap(({ servers }) => servers);
      for (const node of [4, 5].map(name)) assert.ok(stands.includes(node), `${taskserv} is not on ${node}`);
    }

    const shrunk = await completed(admin, 'cluster_scale', { cluster_name, node_count: 3 });
    assert.deepEqual(shrunk.result?.removed, [name(4), name(5)]);
    assert.deepEqual(await hosts(), [1, 2, 3].map(name));
    const least = await completed(admin, 'cluster_scale', { cluster_name, node_count: 1 });
    const stay = ['k3s', 'kubernetes'].includes(flavor) ? [1, 2] : [1];
    assert.deepEqual(await hosts(), stay.map(name), 'primaries and control planes stay');
    assert.equal(lengthOf(least.result?.removed), 3 - stay.length);
    const gone = await completed(admin, 'cluster_delete', { cluster_name });
    assert.equal(lengthOf(gone.result?.deleted), stay.length);
    assert.deepEqual(await hosts(), []);
    assert.deepEqual(await taskservsOf('os-base', 'redis', ...Object.keys(roles)), []);
  });
}

test('what cannot become a cluster is refused before anything starts', async () => {
  const refused = async (type: string, parameters: Record<string, unknown>) =>
    expectError(
      await admin.request('POST', '/v1/workflows/submit', { workspace: 'default', workflow_type: type, parameters }),
      400,
    ).message;
  const create = (more: Record<string, unknown>) =>
    refused('cluster_create', { cluster_name: 'no', node_count: 3, ...more });
  assert.match(await create({ flavor: 'k3s' }), /config\.sha256: is required \(k3s\)/);
  assert.match(
    await create({ flavor: 'k3s', config: { ...K3S, rolle: 'agent' } }),
    /config\.rolle: k3s has no such setting/,
  );
  assert.match(
    await create({ flavor: 'k3s', control_plane_count: 4 }),
    /control_plane_count is greater than node_count/,
  );
  assert.match(await create({ flavor: 'etcd', node_count: 10 }), /an etcd cluster has at most 9 nodes/);
  assert.match(
    await create({ flavor: 'swarm' }),
    /parameters\.flavor: must be one of plain, etcd, postgres, k3s, kubernetes/,
  );
  assert.match(await refused('cluster_scale', { cluster_name: 'no', node_count: 3 }), /there is no cluster "no"/);
  assert.match(await refused('cluster_delete', { cluster_name: 'no' }), /there is no cluster "no"/);
  assert.deepEqual(await hosts(), []);
});

test('server_batch makes what is asked for', async () => {
  await completed(admin, 'server_batch', { name: 'batch', count: 7 });
  assert.deepEqual(
    await hosts(),
    [1, 2, 3, 4, 5, 6, 7].map((n) => `batch-${n}`),
  );
});

test('taskserv_rollout goes batch by batch, and undoes everything at the first bad one', async () => {
  const servers = [1, 2, 3, 4, 5, 6, 7].map((n) => `batch-${n}`);
  const good = await completed(admin, 'taskserv_rollout', { name: 'redis', servers, batch_size: 3 });
  assert.equal(good.result?.batches, 3);
  const stopped = await admin.request<{ id: string }[]>('GET', '/v1/servers?hostname=batch-6');
  const [six] = expectOk(stopped);
  await ended(admin, expectOk(await admin.request<Operation>('POST', `/v1/servers/${six?.id}/stop`)).id);
  const bad = await ended(
    admin,
    (await submit(admin, 'taskserv_rollout', { name: 'memcached', servers, batch_size: 2 })).id,
  );
  assert.equal(bad.status, 'failed');
  assert.match(bad.error ?? '', /batches\[2\] failed: .*batch-6 is stopped/);
  assert.equal((await rolledBack(admin, bad)).status, 'completed');
  const left = expectOk(await admin.request<{ name: string }[]>('GET', '/v1/taskservs'));
  assert.ok(
    left.every(({ name }) => name !== 'memcached'),
    JSON.stringify(left),
  );
  // For the next test.
  await ended(admin, expectOk(await admin.request<Operation>('POST', `/v1/servers/${six?.id}/start`)).id);
});

test('taskserv_rollout: what a script does to one server of a batch stops it there; the canaries alone are touched where they fail', async () => {
  const servers = [1, 2, 3, 4, 5, 6, 7].map((n) => `batch-${n}`);
  const rollOut = async (bad: string, hosts: string[]) => {
    const { pool } = installation.database;
    const fails = 'from simulated_cloud.servers where hostname = $1';
    await pool.query(`insert into simulated_cloud.failures (ref, label) select ref, 'install nginx' ${fails}`, [bad]);
    const run = await ended(
      admin,
      (await submit(admin, 'taskserv_rollout', { name: 'nginx', servers, canary_count: 2, batch_size: 2 })).id,
      60,
    );
    await pool.query(`delete from simulated_cloud.failures where ref in (select ref ${fails})`, [bad]);
    assert.equal(run.status, 'failed');
    const report = await rolledBack(admin, run);
    assert.equal(report.status, 'completed', JSON.stringify(report));
    const steps = await stepsOf(admin, run.id);
    const begun = steps.filter(({ kind, operation_id }) => kind === 'taskserv.create' && operation_id !== null);
    assert.deepEqual(begun.flatMap(({ with: fields }) => fields?.servers as string[]).sort(), hosts);
    assert.deepEqual(await taskservsOf('nginx'), []);
    const { rows } = await pool.query("select from simulated_cloud.marks where name = 'nginx'");
    assert.equal(rows.length, 0, 'nothing of it is left on any server');
    return run.error ?? '';
  };
  assert.match(
    await rollOut('batch-4', servers.slice(0, 4)),
    /^batches\[0\] failed: nginx failed on 1 of 2 servers: .*batch-4: /,
  );
  assert.match(
    await rollOut('batch-2', servers.slice(0, 2)),
    /^canary failed: nginx failed on 1 of 2 servers: .*batch-2: /,
  );
  const good = await completed(admin, 'taskserv_rollout', { name: 'nginx', servers, canary_count: 2, batch_size: 2 });
  assert.equal(good.result?.batches, 4);
  assert.deepEqual((await taskservsOf('nginx')).flatMap((taskserv) => taskserv.servers).sort(), servers);
});
