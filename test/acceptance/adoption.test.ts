/** Servers that exist at a provider are taken over: by id, by label, once, and only by whoever may. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { Cloud } from '../clouds/all.ts';
import { expectError, expectOk, makeClient, makeServer, type Server } from '../support/acceptance.ts';
import { startCloudInstallation } from '../support/cloud-installation.ts';
import { type Client, ended, type Operation, until } from '../support/server.ts';

const installation = await startCloudInstallation({ SWEEP_INTERVAL: '1' });
after(() => installation.close());
const { clouds, server, database } = installation;
const { admin } = server;
const path = `${server.dataDir}/workspaces/other`;
expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'other', path }));

interface Adoption {
  adopted: { server_id: string; hostname: string; provider_id: string }[];
  refused: { provider_id: string; hostname: string; reason: string }[];
}
interface Plan {
  create: { provider_id: string; hostname: string; price: unknown }[];
  problems: string[];
  note: string;
  costs: { hourly: number }[];
}

async function imported(client: Client, body: object): Promise<Operation> {
  return ended(client, expectOk(await client.request<Operation>('POST', '/v1/servers/import', body)).id);
}

const adoptionOf = (operation: Operation | undefined) => operation?.result as unknown as Adoption;

const OURS = ['operation', 'workspace', 'installation'].map((word) => `provisioning-${word}`);

/** Makes a server, has our books forget it, and takes our labels off: nobody here has made it. */
async function stranger(cloud: Cloud, hostname: string) {
  const { server: made, operation } = await makeServer(admin, hostname, { provider: cloud.name, zone: cloud.zone });
  await database.pool.query('delete from provisioning.servers where id = $1', [made.id]);
  const there = cloud.console(operation.id);
  there.relabel({ ...Object.fromEntries(OURS.map((label) => [label, null])), team: 'web' });
  return there;
}

for (const cloud of clouds) {
  const { name } = cloud;
  test(`${name}: a server with none of our labels is taken over by its id, labelled, known to sweeps, and deleted like any other`, async () => {
    const there = await stranger(cloud, `stranger-at-${name}`);
    const body = { workspace: 'default', provider: name, server: there.ref, hostname: `taken-at-${name}` };
    const before = cloud.fake.counts().mutations;
    const { plan } = (await imported(admin, { ...body, check_mode: true })).result as unknown as { plan: Plan };
    assert.deepEqual(
      plan.create.map(({ provider_id: ref, hostname }) => [ref, hostname]),
      [[there.ref, body.hostname]],
    );
    assert.deepEqual([plan.problems, cloud.fake.counts().mutations], [[], before]);
    assert.match(plan.note, /deletes it at the provider/);
    if (name !== 'aws') assert.ok((plan.costs[0]?.hourly ?? 0) > 0);

    // Also at once: one of them takes it over.
    const both = await Promise.all([imported(admin, body), imported(admin, { ...body, hostname: `twin-at-${name}` })]);
    assert.deepEqual(both.map(({ status }) => status).toSorted(), ['completed', 'failed'], JSON.stringify(both));
    const [winner] = both.filter(({ status }) => status === 'completed');
    const [taken] = adoptionOf(winner).adopted;
    assert.ok(taken);
    const row = expectOk(await admin.request<Server>('GET', `/v1/servers/${taken.server_id}`));
    assert.deepEqual([row.status, row.provider, row.tags, row.created_by], ['running', name, ['team=web'], 'admin']);
    const labels = there.labels();
    assert.deepEqual([labels['provisioning-workspace'], labels.team], ['default', 'web']);
    const again = await imported(admin, { ...body, hostname: 'third' });
    assert.match(again.error ?? '', new RegExp(`It is server ${taken.server_id} already`));

    const { rows } = await database.pool.query('select clock_timestamp() as now');
    await until(
      async () => {
        const seen = 'select 1 from provisioning.servers where id = $1 and observed_at > $2';
        return (await database.pool.query(seen, [taken.server_id, rows[0].now])).rows.length > 0;
      },
      'the sweep to see it',
      60_000,
    );
    assert.equal(expectOk(await admin.request<Server>('GET', `/v1/servers/${taken.server_id}`)).status, 'running');
    assert.deepEqual(expectOk(await admin.request('GET', `/v1/orphans?provider=${name}`)), []);
    const { id } = expectOk(await admin.request<Operation>('DELETE', `/v1/servers/${taken.server_id}`));
    assert.equal((await ended(admin, id)).status, 'completed');
    assert.deepEqual(cloud.alive(), []);
  });
}

test('all servers with a label are taken over; those that cannot be are named with the reason', async () => {
  const [upcloud] = clouds;
  assert.ok(upcloud);
  const [first, second] = [await stranger(upcloud, 'labelled-1'), await stranger(upcloud, 'labelled-2')];
  const theirs = await stranger(upcloud, 'labelled-3');
  theirs.relabel({
    'provisioning-operation': '01890000-0000-7000-8000-000000000000',
    'provisioning-installation': 'x',
  });
  await makeServer(admin, 'labelled-2', { workspace: 'other' });
  const body = { workspace: 'other', provider: 'upcloud', label: 'team=web' };
  const planned = (await imported(admin, { ...body, check_mode: true })).result as unknown as { plan: Plan };
  assert.equal(planned.plan.create.length, 1);
  const result = (await imported(admin, body)).result as unknown as Adoption;
  assert.deepEqual(
    result.adopted.map(({ provider_id: ref }) => ref),
    [first.ref],
  );
  const reasons = new Map(result.refused.map(({ provider_id: ref, reason }) => [ref, reason]));
  assert.match(reasons.get(second.ref) ?? '', /The hostname "labelled-2" is taken in workspace "other" by server srv-/);
  assert.match(reasons.get(theirs.ref) ?? '', /another installation/);
  const nothing = await imported(admin, { ...body, label: 'team=db' });
  assert.match(nothing.error ?? '', /does not show a server with the label team=db/);
});

test('an orphan is taken over the same way, and is none from then on', async () => {
  const { server: made, operation } = await makeServer(admin, 'lost-and-found');
  await database.pool.query('delete from provisioning.servers where id = $1', [made.id]);
  await database.pool.query('delete from provisioning.departed_servers');
  const orphans = async () =>
    expectOk(await admin.request<{ provider_id: string }[]>('GET', '/v1/orphans?provider=simulated'));
  await until(async () => (await orphans()).length === 1, 'it to be reported');
  const [orphan] = await orphans();
  const body = { workspace: 'default', provider: 'simulated', server: orphan?.provider_id };
  const { adopted } = (await imported(admin, body)).result as unknown as Adoption;
  assert.equal(adopted[0]?.hostname, 'lost-and-found');
  assert.deepEqual(await orphans(), []);
  const { rows } = await database.pool.query('select workspace from simulated_cloud.servers where operation_id = $1', [
    operation.id,
  ]);
  assert.deepEqual(rows, [], 'it still carries the label of the operation that made it');
});

test('taking over needs the right to set credentials, and all workspaces for what stands in the account of all', async () => {
  const [upcloud] = clouds;
  assert.ok(upcloud);
  const there = await stranger(upcloud, 'wanted');
  const body = { workspace: 'other', provider: 'upcloud', server: there.ref };
  const developer = await makeClient(server, 'developer', [{ role: 'developer', workspace: 'other' }]);
  expectError(await developer.request('POST', '/v1/servers/import', body), 403);
  const operator = await makeClient(server, 'operator', [{ role: 'operator', workspace: 'other' }]);
  const refused = await imported(operator, body);
  assert.match(refused.error ?? '', /a role bound to all workspaces/);
  assert.equal((await imported(admin, body)).status, 'completed');
});

test('a request that says both, or neither, is told what goes with what', async () => {
  const cases = [
    [{ workspace: 'default', provider: 'simulated' }, 'server'],
    [{ workspace: 'default', provider: 'simulated', server: 'a', label: 'b' }, 'server'],
    [{ workspace: 'default', provider: 'simulated', label: 'b', hostname: 'c' }, 'hostname'],
    [{ workspace: 'default', provider: 'simulatd', server: 'a' }, 'provider'],
    [{ workspace: 'default', provider: 'simulated', server: 'a', ip_address: '192.0.2.1' }, 'ip_address'],
    [{ workspace: 'default', hostname: 'a' }, 'ip_address'],
    [{ workspace: 'default', hostname: 'a', ip_address: '192.0.2.1', label: 'x' }, 'label'],
  ] as const;
  for (const [body, field] of cases) {
    const { details } = expectError(await admin.request('POST', '/v1/servers/import', body), 400);
    assert.equal((details as { field: string }[])[0]?.field, field, JSON.stringify(body));
  }
});
