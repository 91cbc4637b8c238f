/** What changes at a provider behind our back: seen, told, taken over or kept as drift, and repaired when somebody says so. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { Console } from '../clouds/all.ts';
import { expectError, expectOk, makeServer, type Server as Row } from '../support/acceptance.ts';
import { startCloudInstallation } from '../support/cloud-installation.ts';
import { ended, type Operation, until } from '../support/server.ts';

const installation = await startCloudInstallation({ SWEEP_INTERVAL: '1' });
after(() => installation.close());
const { clouds, server, database } = installation;
const { admin } = server;

interface Server extends Row {
  drift: { field: string; expected: unknown; actual: unknown; since: string }[];
  observed_at: string | null;
}

interface Place {
  name: string;
  zone: string;
  /** Another size, as the provider calls it. */
  other: string;
  console(operation: string): Console;
}

/** The simulated cloud's console: its books. */
function simulatedConsole(operation: string): Console {
  const change = (set: string) =>
    void database.pool.query(`update simulated_cloud.servers set ${set} where operation_id = $1`, [operation]);
  return {
    ref: '',
    labels: () => ({}),
    relabel: (labels) => change(`tags = '{${Object.entries(labels).map(([key, value]) => `${key}=${value}`)}}'`),
    remove: () => {
      change("operation_id = 'gone ' || operation_id, ref = 'gone ' || ref, installation = 'another'");
      return {
        restore: () =>
          void database.pool.query(
            `update simulated_cloud.servers set operation_id = $1, ref = substr(ref, 6), installation = null
             where operation_id = 'gone ' || $1`,
            [operation],
          ),
      };
    },
    switchOff: () => change("power = 'off'"),
    resize: (plan) => change(`plan = '${plan}'`),
  };
}

const OTHER: Record<string, string> = { upcloud: '4xCPU-8GB', hetzner: 'cx33', aws: 't3.large' };
const PLACES: Place[] = [
  { name: 'simulated', zone: 'de-fra1', other: '4xCPU-8GB', console: simulatedConsole },
  ...clouds.map(({ name, zone, console }) => ({ name, zone, console, other: OTHER[name] ?? '' })),
];

const read = async (id: string) => expectOk(await admin.request<Server>('GET', `/v1/servers/${id}`));
const driftOf = async (id: string) =>
  (await read(id)).drift.map(({ field, expected, actual }) => [field, expected, actual]);
const observations = async (id: string) =>
  expectOk(await admin.request<Operation[]>('GET', '/v1/operations?kind=server.observed')).filter(
    ({ result }) => result?.server_id === id,
  );
/** Sends the request and waits for its operation, and for what tidies up after it. */
async function carriedOut(route: string, body?: object): Promise<Operation> {
  const operation = await ended(admin, expectOk(await admin.request<Operation>('POST', route, body)).id);
  const followUp = operation.result?.cleanup_operation_id;
  if (typeof followUp === 'string') await ended(admin, followUp);
  return operation;
}
const age = (id: string) =>
  database.pool.query("update provisioning.servers set updated_at = now() - interval '1 minute' where id = $1", [id]);

/** Waits for the sweep to say so. The row is aged: what has just been changed is not judged where lists lag (AWS). */
async function untilStatus(id: string, status: string): Promise<void> {
  await age(id);
  await until(async () => (await read(id)).status === status, `${id} to be ${status}`);
}

for (const { name, zone, other, console } of PLACES) {
  test(`${name}: what was switched off, resized and relabelled elsewhere shows as drift, and is repaired on demand`, async () => {
    const request = { provider: name, zone, tags: ['env=prod'] };
    const { server: made, operation } = await makeServer(admin, `drifts-at-${name}`, request);
    const { id } = made;
    await age(id);
    await until(async () => (await read(id)).observed_at !== null, 'a first look');
    assert.deepEqual([await driftOf(id), await observations(id)], [[], []], 'drift though nothing has changed');

    const there = console(operation.id);
    there.switchOff();
    there.resize(other);
    there.relabel({ env: 'test' });
    await until(async () => (await driftOf(id)).length === 3, 'three differences to show');
    const drifted = await read(id);
    assert.equal(drifted.status, 'stopped');
    assert.deepEqual((await driftOf(id)).toSorted(), [
      ['plan', '2xCPU-4GB', other],
      ['status', 'running', 'stopped'],
      ['tags', ['env=prod'], ['env=test']],
    ]);
    const seen = await observations(id);
    const refreshed = await carriedOut('/v1/servers/refresh', { servers: [id] });
    assert.deepEqual([refreshed.result?.looked_at, refreshed.result?.changed], [1, []]);
    assert.deepEqual((await observations(id)).length, seen.length, 'an event though nothing has changed');
    assert.deepEqual((await read(id)).drift, drifted.drift, 'since when it is so has changed');

    const planned = await carriedOut(`/v1/servers/${id}/repair`, { check_mode: true });
    const { plan } = planned.result as { plan: { order: string[]; costs: { hourly: number }[]; problems: unknown[] } };
    assert.deepEqual([plan.order.length, plan.problems], [3, []], JSON.stringify(planned));
    if (name === 'upcloud' || name === 'hetzner') assert.ok((plan.costs[0]?.hourly ?? 0) > 0);
    assert.equal((await driftOf(id)).length, 3, 'check_mode has repaired');

    const repaired = await carriedOut(`/v1/servers/${id}/repair`);
    assert.equal(repaired.status, 'completed', String(repaired.error));
    assert.deepEqual([await driftOf(id), (await read(id)).status], [[], 'running']);
    const looked = await carriedOut('/v1/servers/refresh', { servers: [made.hostname], workspace: 'default' });
    assert.deepEqual(looked.result?.changed, [], 'it is not what the repair says');
    assert.deepEqual(await driftOf(id), []);
  });

  test(`${name}: a server that vanished is missing, comes back when it reappears, is made anew when asked, or forgotten`, async () => {
    const { server: made, operation } = await makeServer(admin, `vanishes-at-${name}`, { provider: name, zone });
    const { id } = made;
    const removed = console(operation.id).remove();
    await untilStatus(id, 'missing');
    const [told] = await observations(id);
    const events = await admin.request('GET', `/v1/operations/${told?.id}/events`);
    assert.match(JSON.stringify(events.body), /its provider has it no more/);
    const metrics = await admin.request<string>('GET', '/metrics');
    assert.match(metrics.body, /provisioning_servers_missing [1-9]/);
    removed.restore();
    await untilStatus(id, 'running');
    assert.deepEqual(await driftOf(id), []);

    console(operation.id).remove();
    await untilStatus(id, 'missing');
    const started = await carriedOut(`/v1/servers/${id}/start`);
    assert.equal(started.status, 'failed');
    await untilStatus(id, 'missing');
    const refused = await carriedOut(`/v1/servers/${id}/repair`);
    assert.equal(refused.status, 'failed');
    assert.match(refused.error ?? '', /"recreate": true/);
    await untilStatus(id, 'missing');

    const anew = await carriedOut(`/v1/servers/${id}/repair`, { recreate: true });
    assert.equal(anew.status, 'completed', String(anew.error));
    const now = await read(id);
    assert.deepEqual([now.id, now.status, now.plan, now.drift], [id, 'running', made.plan, []]);
    await carriedOut('/v1/servers/refresh', { servers: [id] });
    assert.equal((await read(id)).status, 'running');

    console(anew.id).remove();
    await untilStatus(id, 'missing');
    const { id: deletion } = expectOk(await admin.request<Operation>('DELETE', `/v1/servers/${id}`));
    assert.equal((await ended(admin, deletion)).status, 'completed');
    expectError(await admin.request('GET', `/v1/servers/${id}`), 404);
    assert.deepEqual(expectOk(await admin.request('GET', `/v1/orphans?provider=${name}`)), []);
  });
}

test('another address is taken over and is no drift', async () => {
  const { server: made, operation } = await makeServer(admin, 'moves');
  await database.pool.query("update simulated_cloud.servers set ip_address = '10.99.99.99' where operation_id = $1", [
    operation.id,
  ]);
  const looked = await carriedOut('/v1/servers/refresh', { servers: [made.id] });
  const change = { field: 'ip_address', before: made.ip_address, after: '10.99.99.99' };
  const now = await read(made.id);
  assert.deepEqual([now.ip_address, now.drift], ['10.99.99.99', []]);
  // The sweep may have been faster.
  const changed = looked.result?.changed as { changes: unknown[] }[];
  if (changed.length > 0) assert.deepEqual(changed[0]?.changes, [change]);
  assert.deepEqual((await observations(made.id))[0]?.result?.changes, [change]);
});

test('what must be done by hand is refused before anything is touched, and the rest can be chosen', async () => {
  const { server: made, operation } = await makeServer(admin, 'by-hand');
  await database.pool.query(
    "update simulated_cloud.servers set zone = 'fi-hel1', power = 'off' where operation_id = $1",
    [operation.id],
  );
  await until(async () => (await driftOf(made.id)).length === 2, 'the differences to show');
  const refused = await carriedOut(`/v1/servers/${made.id}/repair`);
  assert.equal(refused.status, 'failed');
  assert.match(refused.error ?? '', /Nothing was changed. Repair this by hand: .*de-fra1.*"fields": \["status"\]/);
  await untilStatus(made.id, 'stopped');
  const chosen = await carriedOut(`/v1/servers/${made.id}/repair`, { fields: ['status'] });
  assert.equal(chosen.status, 'completed', String(chosen.error));
  assert.deepEqual(
    [(await read(made.id)).status, await driftOf(made.id)],
    ['running', [['zone', 'de-fra1', 'fi-hel1']]],
  );
});

test('a list that fails marks nothing as missing', async () => {
  const [upcloud] = clouds;
  assert.ok(upcloud);
  const { server: made } = await makeServer(admin, 'stays', { provider: 'upcloud', zone: upcloud.zone });
  for (const fault of ['garbage', 'truncated', 'server_error'] as const) {
    upcloud.fake.chances[fault] = 1;
    const looked = await carriedOut('/v1/servers/refresh', { servers: [made.id] });
    const { not_asked: notAsked } = looked.result as { not_asked: unknown[] };
    assert.equal(notAsked.length, 1, JSON.stringify(looked));
    assert.equal((await read(made.id)).status, 'running');
    upcloud.fake.chances[fault] = 0;
  }
});
