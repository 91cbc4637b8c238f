/** What stands at a provider without anybody here knowing of it: found, told, deleted, and never what is ours. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { expectError, expectOk, makeClient, makeServer } from '../support/acceptance.ts';
import { startCloudInstallation } from '../support/cloud-installation.ts';
import { ended, type Operation, until } from '../support/server.ts';

const installation = await startCloudInstallation({ SWEEP_INTERVAL: '1' });
after(() => installation.close());
const { clouds, server, database } = installation;
const { admin } = server;
const path = `${server.dataDir}/workspaces/other`;
expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'other', path }));

interface Orphan {
  id: string;
  provider: string;
  provider_id: string;
  hostname: string;
  workspace: string;
  operation_id: string | null;
  plan: string;
  zone: string;
  ip_address: string | null;
  status: string;
  price: { hourly: number; monthly: number; currency: string | null } | null;
  first_seen: string;
  last_seen: string;
  deletion_operation_id: string | null;
}

const PLACES = [{ name: 'simulated', zone: 'de-fra1' }, ...clouds.map(({ name, zone }) => ({ name, zone }))];
/** Ids of the operations whose servers stand at the provider. */
async function alive(provider: string): Promise<string[]> {
  const cloud = clouds.find(({ name }) => name === provider);
  if (cloud !== undefined) return cloud.alive();
  const { rows } = await database.pool.query<{ operation_id: string }>(
    "select operation_id from simulated_cloud.servers where not (change = 'delete' and settles_at <= clock_timestamp())",
  );
  return rows.map(({ operation_id: id }) => id);
}
const list = async (query = '') => expectOk(await admin.request<Orphan[]>('GET', `/v1/orphans${query}`));

/** Makes a server, and has our books forget it as if that had been long ago. */
async function forgotten(provider: string, zone: string, hostname: string) {
  const { server: made, operation } = await makeServer(admin, hostname, { provider, zone, tags: ['blue'] });
  await database.pool.query('delete from provisioning.servers where id = $1', [made.id]);
  await database.pool.query('delete from provisioning.departed_servers');
  return { made, operation };
}

async function reported(hostname: string): Promise<Orphan> {
  const find = async () => (await list()).find((orphan) => orphan.hostname === hostname);
  await until(async () => (await find()) !== undefined, `${hostname} to be reported`);
  const orphan = await find();
  assert.ok(orphan);
  return orphan;
}

/** Waits until the provider has been looked at whole, by a look that began after now. */
async function swept(provider: string): Promise<void> {
  const { rows } = await database.pool.query('select clock_timestamp() as now');
  await until(async () => {
    const seen = await database.pool.query(
      'select 1 from provisioning.account_sweeps where provider = $1 and listed_at > $2',
      [provider, rows[0].now],
    );
    return seen.rows.length > 0;
  }, `${provider} to be looked at`);
}

for (const { name, zone } of PLACES) {
  test(`${name}: what nobody knows is reported with what it is, counted, and deleted when somebody says so`, async () => {
    const { server: kept } = await makeServer(admin, `kept-at-${name}`, { provider: name, zone });
    const hostname = `lost-at-${name}`;
    const { made, operation } = await forgotten(name, zone, hostname);
    const orphan = await reported(hostname);
    assert.deepEqual(
      [orphan.provider, orphan.hostname, orphan.workspace, orphan.operation_id, orphan.plan, orphan.zone],
      [name, hostname, 'default', operation.id, made.plan, zone],
    );
    assert.deepEqual([orphan.ip_address, orphan.status], [made.ip_address, 'running']);
    assert.deepEqual(await list(`?provider=${name}&workspace=default`), [orphan]);
    assert.deepEqual(await list(`?provider=${name}&per_page=1&page=2`), []);
    assert.deepEqual(expectOk(await admin.request('GET', `/v1/orphans/${orphan.id}`)), orphan);
    if (name === 'upcloud' || name === 'hetzner') assert.ok((orphan.price?.hourly ?? 0) > 0);

    const found = await admin.request<Operation[]>('GET', '/v1/operations?kind=orphan.found');
    const told = expectOk(found).find(({ result }) => result?.orphan_id === orphan.id);
    assert.equal(told?.status, 'completed');
    const events = await admin.request('GET', `/v1/operations/${told.id}/events`);
    assert.match(JSON.stringify(events.body), new RegExp(`The server ${hostname} `));
    const metrics = await admin.request<string>('GET', '/metrics');
    assert.match(String(metrics.body), new RegExp(`provisioning_orphans\\{provider="${name}"\\} 1\n`));

    await swept(name);
    assert.equal((await list(`?provider=${name}`))[0]?.deletion_operation_id, null, 'deleted though nobody said so');
    const deletion = expectOk(await admin.request<Operation>('DELETE', `/v1/orphans/${orphan.id}`));
    assert.equal((await ended(admin, deletion.id)).status, 'completed');
    assert.deepEqual(await list(`?provider=${name}`), []);
    expectError(await admin.request('DELETE', `/v1/orphans/${orphan.id}`), 404);
    await swept(name);
    await swept(name);
    assert.deepEqual(await list(`?provider=${name}`), [], 'reported again though it is gone');
    assert.ok(!(await alive(name)).includes(operation.id));
    assert.equal(expectOk(await admin.request<{ status: string }>('GET', `/v1/servers/${kept.id}`)).status, 'running');
  });
}

test('servers of another installation in the same account are never ours', async () => {
  const [upcloud] = clouds;
  assert.ok(upcloud);
  const { made, operation } = await forgotten('upcloud', upcloud.zone, 'of-others');
  const theirs = upcloud.console(operation.id);
  theirs.relabel({ 'provisioning-installation': 'another' });
  await database.pool.query('delete from provisioning.orphans');
  await swept('upcloud');
  await swept('upcloud');
  assert.deepEqual(await list('?provider=upcloud'), []);
  assert.ok(upcloud.alive().includes(operation.id), `${made.hostname} is gone`);
  theirs.remove();
});

test('a list that fails, or comes by half, changes nothing', async () => {
  const [upcloud] = clouds;
  assert.ok(upcloud);
  await forgotten('upcloud', upcloud.zone, 'seen-once');
  const orphan = await reported('seen-once');
  // A sweep that was under way still notes when it looked.
  const known = async () =>
    expectOk(await admin.request<Record<string, unknown>[]>('GET', '/v1/servers?provider=upcloud')).map(
      ({ observed_at: _, ...server }) => server,
    );
  const before = await known();
  for (const fault of ['server_error', 'garbage', 'truncated'] as const) {
    upcloud.fake.chances[fault] = 1;
    const failing = async () => {
      const { rows } = await database.pool.query(
        "select 1 from provisioning.account_sweeps where provider = 'upcloud' and error is not null",
      );
      return rows.length > 0;
    };
    await until(failing, `a sweep to fail for ${fault}`);
    assert.deepEqual(
      (await list('?provider=upcloud')).map(({ id }) => id),
      [orphan.id],
    );
    assert.deepEqual(await known(), before);
    upcloud.fake.chances[fault] = 0;
    await swept('upcloud');
    await until(async () => !(await failing()), 'a sweep to succeed');
  }
});

test('an orphan is seen and deleted by whoever may do so with servers of its workspace', async () => {
  const orphan = (await list())[0];
  assert.ok(orphan);
  const viewer = await makeClient(server, 'viewer', [{ role: 'viewer', workspace: 'default' }]);
  const developer = await makeClient(server, 'developer', [{ role: 'developer', workspace: 'default' }]);
  const elsewhere = await makeClient(server, 'elsewhere', [{ role: 'operator', workspace: 'other' }]);
  const seen = expectOk(await viewer.request<Orphan[]>('GET', '/v1/orphans'));
  assert.deepEqual(
    seen.map(({ id }) => id),
    [orphan.id],
  );
  assert.deepEqual(expectOk(await elsewhere.request<Orphan[]>('GET', '/v1/orphans')), []);
  expectError(await elsewhere.request('GET', `/v1/orphans/${orphan.id}`), 404);
  expectError(await elsewhere.request('DELETE', `/v1/orphans/${orphan.id}`), 404);
  expectError(await viewer.request('DELETE', `/v1/orphans/${orphan.id}`), 403);
  expectError(await developer.request('DELETE', `/v1/orphans/${orphan.id}`), 403);
});

test('what the labels or the books say otherwise right before the deletion is left alone', async () => {
  const { made, operation } = await forgotten('simulated', 'de-fra1', 'changed-since');
  const orphan = await reported('changed-since');
  await database.pool.query(
    `insert into provisioning.servers (id, workspace, hostname, provider, plan, zone, status, provider_ref, operation_id, created_by)
     values ($1, 'default', 'back-again', 'simulated', $2, $3, 'running', $4, $5, 'admin')`,
    [made.id, made.plan, made.zone, orphan.provider_id, operation.id],
  );
  const answer = await admin.request<Operation>('DELETE', `/v1/orphans/${orphan.id}`);
  // The sweep may have struck it out meanwhile.
  if (answer.status === 404) return;
  const deletion = await ended(admin, expectOk(answer).id);
  assert.equal(deletion.status, 'failed');
  assert.match(deletion.error ?? '', /belongs to a server or an operation/);
  const { rows } = await database.pool.query('select 1 from simulated_cloud.servers where ref = $1', [
    orphan.provider_id,
  ]);
  assert.equal(rows.length, 1);
});
