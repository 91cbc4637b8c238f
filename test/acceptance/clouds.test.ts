/** Servers at clouds, through the API: the cloud is a stand-in on loopback, all else is real. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { after, test } from 'node:test';
import { startFakeUpcloud } from '../clouds/upcloud.ts';
import { newStorage } from '../clouds/upcloud-storages.ts';
import { expectOk, type Server, startInstallation } from '../support/acceptance.ts';
import { assertFree, assertNotStored } from '../support/canaries.ts';
import { ended, type Operation, until } from '../support/server.ts';

const upcloud = await startFakeUpcloud();
const installation = await startInstallation({
  PROVIDERS: 'simulated,upcloud',
  UPCLOUD_ENDPOINT: upcloud.endpoint,
  UPCLOUD_TOKEN: upcloud.token,
  UPCLOUD_CALLS_PER_MINUTE: '60000',
});
after(async () => {
  await installation.close();
  await upcloud[Symbol.asyncDispose]();
});
const { server } = installation;
const { admin } = server;

/** The reference's own example. */
const EXAMPLE = { workspace: 'default', provider: 'upcloud', plan: '2xCPU-4GB', hostname: 'web-01', zone: 'de-fra1' };

async function carriedOut(body: object): Promise<Operation> {
  return ended(admin, expectOk(await admin.request<Operation>('POST', '/v1/servers/create', body)).id);
}

test('the example of the reference makes a server at UpCloud, and deleting it leaves nothing there', async () => {
  const made = await carriedOut({ ...EXAMPLE, tags: ['env=prod'] });
  assert.equal(made.status, 'completed', String(made.error));
  const [found] = [...upcloud.servers.values()];
  assert.equal(found?.hostname, 'web-01');
  const id = String(made.result?.server_id);
  const record = expectOk(await admin.request<Server>('GET', `/v1/servers/${id}`));
  assert.deepEqual([record.status, record.ip_address], ['running', found?.addresses.at(-1)?.address]);
  for (const [action, status] of [
    ['stop', 'stopped'],
    ['start', 'running'],
    ['restart', 'running'],
  ] as const) {
    const { id: operation } = expectOk(await admin.request<Operation>('POST', `/v1/servers/${id}/${action}`));
    assert.equal((await ended(admin, operation)).result?.status, status);
  }
  const { id: deletion } = expectOk(await admin.request<Operation>('DELETE', `/v1/servers/${id}`));
  assert.equal((await ended(admin, deletion)).status, 'completed');
  assert.deepEqual([upcloud.servers.size, upcloud.storages.size], [0, 0]);
  const password = found?.password ?? '';
  assert.match(password, /^once-/);
  const secrets = { token: upcloud.token, 'one-time password': password };
  await assertNotStored(installation.database.pool, secrets);
  assertFree(server.output(), secrets, 'in the log');
  for (const operation of [made.id, deletion]) {
    const events = await admin.request('GET', `/v1/operations/${operation}/events`);
    assertFree(JSON.stringify(events.body), secrets, 'in the events');
  }
});

test('a disk that was attached to a server stays when that is deleted, and the events say so', async () => {
  const made = await carriedOut({ ...EXAMPLE, hostname: 'with-data' });
  const server = [...upcloud.servers.values()].find(({ hostname }) => hostname === 'with-data');
  assert.ok(server !== undefined, String(made.error));
  const [own] = server.devices;
  const data = { ...upcloud.storages.get(own?.storage ?? ''), uuid: randomUUID(), title: 'ledger', labels: [] };
  upcloud.storages.set(data.uuid, newStorage(data, data.uuid));
  server.devices.push({ storage: data.uuid, address: 'virtio:1', type: 'disk' });
  const { id } = expectOk(await admin.request<Operation>('DELETE', `/v1/servers/${String(made.result?.server_id)}`));
  assert.equal((await ended(admin, id)).status, 'completed');
  assert.deepEqual([[...upcloud.storages.keys()], upcloud.servers.size], [[data.uuid], 0]);
  const events = await admin.request('GET', `/v1/operations/${id}/events`);
  assert.match(JSON.stringify(events.body), new RegExp(`${data.uuid}.*ledger.*stays at UpCloud`));
  upcloud.storages.clear();
});

test('what a user can cause ends the operation at once, with what to do', async () => {
  const cases = [
    [402, 'INSUFFICIENT_CREDITS', /top it up/],
    [403, 'SERVER_CORE_LIMIT_REACHED', /raise the limit/],
    [503, 'SERVER_RESOURCES_UNAVAILABLE', /another zone or plan/],
    [403, 'SERVER_FORBIDDEN', /access to servers/],
  ] as const;
  for (const [status, code, words] of cases) {
    upcloud.refusing.creates = { status, code, message: `Refused: ${code}.` };
    const operation = await carriedOut({ ...EXAMPLE, hostname: code.toLowerCase().replaceAll('_', '-') });
    assert.equal(operation.status, 'failed');
    assert.match(operation.error ?? '', words);
  }
  upcloud.refusing.creates = null;
  assert.equal(upcloud.servers.size, 0);
});

test('a wrong plan, zone and image are told at the door, with what is there', async () => {
  const body = { ...EXAMPLE, plan: '2xCPU-4G', zone: 'de-fra2', image: 'debian-9' };
  const { status, body: answer } = await admin.request<{ details: { field: string; near_matches: string[] }[] }>(
    'POST',
    '/v1/servers/create',
    body,
  );
  assert.equal(status, 400);
  assert.deepEqual(
    answer.details.map(({ field, near_matches: near }) => [field, near.length > 0]),
    [
      ['zone', true],
      ['plan', true],
      ['image', true],
    ],
  );
});

test('check_mode says what the server would cost, an hour and a month, and makes nothing', async () => {
  const before = upcloud.counts().mutations;
  const planned = await carriedOut({ ...EXAMPLE, check_mode: true });
  assert.equal(planned.status, 'completed', String(planned.error));
  const { plan } = planned.result as { plan: { cost: unknown; create: { price: unknown }[]; problems: unknown[] } };
  assert.deepEqual(plan.cost, { currency: null, hourly: 0.02976, monthly: 20 });
  assert.deepEqual([plan.create[0]?.price, plan.problems], [plan.cost, []]);
  assert.equal(upcloud.counts().mutations, before);
  const elsewhere = await carriedOut({ ...EXAMPLE, provider: 'simulated', check_mode: true });
  assert.equal((elsewhere.result as { plan: { cost: unknown } }).plan.cost, null);
});

test('validating a workflow says what its servers would cost together', async () => {
  const step = (id: string, provider: string, count: number) =>
    `  - { id: ${id}, kind: server.create, for_each: ${JSON.stringify(Array.from({ length: count }, (_, n) => `${id}-${n}`))},
      with: { hostname: "\${{ item }}", provider: ${provider}, plan: 2xCPU-4GB, zone: de-fra1 } }`;
  const definition = `operations:\n${step('web', 'upcloud', 3)}\n${step('db', 'simulated', 2)}`;
  const answer = await admin.request<{ costs: unknown; unpriced: number }>('POST', '/v1/workflows/validate', {
    ...{ workspace: 'default', definition },
  });
  const { costs, unpriced } = expectOk(answer);
  assert.deepEqual([costs, unpriced], [[{ currency: null, hourly: 0.08928, monthly: 60 }], 2]);
});

test('what nested workflows make costs as well; what depends on results has no price yet', async () => {
  const directory = `${server.dataDir}/workspaces/nested`;
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'nested', path: directory }));
  await mkdir(`${directory}/workflows`, { recursive: true });
  const makes = (id: string) =>
    `  - { id: ${id}, kind: server.create, with: { hostname: "\${{ parameters.name }}-${id}", provider: upcloud, plan: 2xCPU-4GB, zone: de-fra1 } }`;
  const runs = (id: string, type: string, more = '', name = 'parameters.name') =>
    `  - { id: ${id}, kind: workflow, ${more}with: { workflow_type: ${type}, parameters: { name: "\${{ ${name} }}" } } }`;
  const type = (...steps: string[]) =>
    `parameters: { type: object, properties: { name: { type: string, default: web } } }\noperations:\n${steps.join('\n')}\n`;
  await writeFile(`${directory}/workflows/one.yaml`, `name: one\n${type(makes('a'))}`);
  await writeFile(
    `${directory}/workflows/three.yaml`,
    `name: three\n${type(makes('b'), makes('c'), runs('d', 'one'))}`,
  );
  const definition = type(
    makes('first'),
    runs('twice', 'three', 'for_each: [x, y], ', 'item'),
    runs('never', 'three', 'when: false, '),
    runs('later', 'three', '', 'operations.first.result.hostname'),
  );
  const answer = await admin.request<{ costs: unknown; unpriced: number }>('POST', '/v1/workflows/validate', {
    ...{ workspace: 'nested', definition },
  });
  const { costs, unpriced } = expectOk(answer);
  assert.deepEqual([costs, unpriced], [[{ currency: null, hourly: 0.20832, monthly: 140 }], 3]);
});

test('an operation waits while the cloud asks for a pause, and its events say so', async () => {
  upcloud.chances.throttled = 1;
  const { id } = expectOk(
    await admin.request<Operation>('POST', '/v1/servers/create', { ...EXAMPLE, hostname: 'later' }),
  );
  const eventsOf = async () => JSON.stringify((await admin.request('GET', `/v1/operations/${id}/events`)).body);
  await until(async () => (await eventsOf()).includes('asked for fewer calls'), 'the reason to show in the events');
  upcloud.chances.throttled = 0;
  assert.equal((await ended(admin, id)).status, 'completed');
});
