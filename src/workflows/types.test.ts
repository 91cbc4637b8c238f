/** The built-in types, on the simulated cloud. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { expectOk, startInstallation } from '../../test/support/acceptance.ts';
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

for (const flavor of ['plain', 'etcd']) {
  test(`a cluster of flavor ${flavor} is made, grows, shrinks and goes`, async () => {
    const cluster_name = `c-${flavor}`;
    const made = await completed(admin, 'cluster_create', { cluster_name, node_count: 3, flavor });
    const taskservs = made.result?.taskservs as { name: string; status: string }[];
    assert.deepEqual(
      taskservs.map(({ name, status }) => [name, status]),
      flavor === 'etcd'
        ? [
            ['os-base', 'running'],
            ['etcd', 'running'],
          ]
        : [['os-base', 'running']],
    );
    assert.equal(lengthOf(made.result?.nodes), 3);
    const grown = await completed(admin, 'cluster_scale', { cluster_name, node_count: 5, flavor });
    assert.deepEqual(grown.result?.added, [`${cluster_name}-4`, `${cluster_name}-5`]);
    assert.equal((await hosts()).length, 5);
    const shrunk = await completed(admin, 'cluster_scale', { cluster_name, node_count: 3, flavor });
    assert.deepEqual(shrunk.result?.removed, [`${cluster_name}-4`, `${cluster_name}-5`]);
    assert.deepEqual(
      await hosts(),
      [1, 2, 3].map((n) => `${cluster_name}-${n}`),
    );
    const gone = await completed(admin, 'cluster_delete', { cluster_name });
    assert.equal(lengthOf(gone.result?.deleted), 3);
    assert.deepEqual(await hosts(), []);
  });
}

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
});
