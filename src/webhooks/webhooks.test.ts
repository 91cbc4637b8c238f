/** Webhooks through HTTP, with a receiver that really listens. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { after, test } from 'node:test';
import { Webhook as Verifier } from 'standardwebhooks';
import {
  expectError,
  expectOk,
  makeClient,
  makeServer,
  makeUser,
  startInstallation,
  USER_PASSWORD,
} from '../../test/support/acceptance.ts';
import { startReceiver } from '../../test/support/receiver.ts';
import { freePort, until } from '../../test/support/server.ts';
import {
  type Delivery,
  deliveriesOf,
  deliveryThat,
  makeWebhook,
  type Payload,
  readWebhook,
  type Webhook,
} from '../../test/support/webhooks.ts';

const installation = await startInstallation({ WEBHOOK_ALLOW: 'http,local' });
const receiver = await startReceiver();
after(async () => {
  await installation.close();
  await receiver[Symbol.asyncDispose]();
});
const { server, database } = installation;
const { admin } = server;

const at = (path: string) => receiver.received.filter((request) => request.path === path);
const payloadsAt = (path: string) => at(path).map(({ body }) => JSON.parse(body) as Payload);
/** Makes what waits for its next try due now. */
const hurry = (id: string) =>
  database.pool.query(
    `update provisioning.webhook_deliveries set next_attempt_at = now()
    where webhook_id = $1 and status = 'pending' and claim is null`,
    [id],
  );

test('an operation that ends is told once, signed so that a Standard Webhooks library believes it', async () => {
  const { id, secret } = await makeWebhook(admin, { url: `${receiver.url}/signed`, workspace: 'default' });
  const { operation } = await makeServer(admin, 'told');
  await until(async () => at('/signed').length > 0, 'the delivery');
  const [request] = at('/signed');
  assert.ok(request !== undefined);
  const headers = request.headers as Record<string, string>;
  assert.equal(headers['content-type'], 'application/json');
  const payload = new Verifier(secret).verify(request.body, headers) as Payload;
  assert.equal(payload.id, headers['webhook-id']);
  assert.equal(payload.type, 'operation.completed');
  assert.equal(payload.webhook_id, id);
  assert.deepEqual(payload.operation, operation);
  assert.throws(() => new Verifier(secret).verify(`${request.body} `, headers));
  assert.throws(() => new Verifier(`whsec_${Buffer.alloc(32).toString('base64')}`).verify(request.body, headers));
  const delivery = await deliveryThat(admin, id, ({ status }) => status === 'delivered', 'the log to say so');
  assert.deepEqual(
    [delivery.id, delivery.event, delivery.operation_id, delivery.attempts, delivery.response_status, delivery.error],
    [payload.id, 'operation.completed', operation.id, 1, 204, null],
  );
  assert.equal(delivery.next_attempt_at, null);
  assert.equal((await deliveriesOf(admin, id)).length, 1);
});

test('a webhook is told what its patterns and its workspace name, and nothing from before it was made', async () => {
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'elsewhere' }));
  await makeServer(admin, 'before');
  const hook = (path: string, more: Record<string, unknown>) =>
    makeWebhook(admin, { url: receiver.url + path, ...more });
  await hook('/all', { events: ['*'] });
  await hook('/begun', { events: ['server.create.running'], workspace: 'default' });
  await hook('/taskservs', { events: ['taskserv.*', 'operation.failed'] });
  await hook('/elsewhere', { workspace: 'elsewhere' });
  await hook('/resting', { active: false });
  const { operation } = await makeServer(admin, 'during');
  const { operation: other } = await makeServer(admin, 'other', { workspace: 'elsewhere' });
  await until(async () => at('/all').length >= 4 && at('/elsewhere').length >= 1 && at('/begun').length >= 1, 'all');
  assert.deepEqual(
    payloadsAt('/all')
      .map(({ type, operation: told }) => `${type} ${told?.id}`)
      .sort(),
    [operation, other].flatMap(({ id }) => [`operation.completed ${id}`, `operation.running ${id}`]).sort(),
  );
  assert.deepEqual(
    payloadsAt('/begun').map(({ operation: told }) => told?.id),
    [operation.id],
  );
  assert.deepEqual(
    payloadsAt('/elsewhere').map(({ operation: told }) => told?.id),
    [other.id],
  );
  assert.deepEqual([at('/taskservs').length, at('/resting').length], [0, 0]);
});

test('what fails is tried again with growing waits, and Retry-After is honoured', async () => {
  receiver.answer = { status: 500, body: `broken\u0000 ${'x'.repeat(10_000)}` };
  const { id } = await makeWebhook(admin, { url: `${receiver.url}/failing`, workspace: 'default' });
  await makeServer(admin, 'retried');
  const first = await deliveryThat(admin, id, ({ response_status }) => response_status === 500, 'the first try');
  assert.equal(first.status, 'pending');
  assert.match(first.response_excerpt ?? '', /^broken +x+$/);
  assert.ok((first.response_excerpt ?? '').length <= 500);
  assert.equal(first.error, 'answered 500');
  const wait = Date.parse(first.next_attempt_at ?? '') - Date.now();
  assert.ok(wait > -1_000 && wait < 7_000, `${wait} ms`);
  assert.notEqual((await readWebhook(admin, id)).failing_since, null);

  receiver.answer = { status: 503, headers: { 'retry-after': '600' } };
  // Not hurried: it comes by itself.
  const second = await deliveryThat(
    admin,
    id,
    ({ attempts, error }) => attempts === 2 && error !== 'answered 500',
    'the second try',
  );
  const asked = Date.parse(second.next_attempt_at ?? '') - Date.now();
  assert.ok(asked > 590_000 && asked < 602_000, `${asked} ms`);

  receiver.answer = { status: 204 };
  await hurry(id);
  const third = await deliveryThat(admin, id, ({ status }) => status === 'delivered', 'the third try');
  assert.equal(third.attempts, 3);
  assert.equal((await readWebhook(admin, id)).failing_since, null);
  const tries = at('/failing');
  assert.equal(new Set(tries.map(({ headers }) => headers['webhook-id'])).size, 1, 'one id in all tries');
  assert.equal(new Set(tries.map(({ body }) => body)).size, 1, 'one body in all tries');
});

test('tries are bounded: then the delivery has failed, and can be sent again by hand', async () => {
  receiver.answer = { status: 500 };
  const { id } = await makeWebhook(admin, { url: `${receiver.url}/bounded`, workspace: 'default' });
  await makeServer(admin, 'bounded');
  await deliveryThat(admin, id, ({ attempts, error }) => attempts === 1 && error !== null, 'the first try');
  await database.pool.query('update provisioning.webhook_deliveries set attempts = 11 where webhook_id = $1', [id]);
  await hurry(id);
  const failed = await deliveryThat(admin, id, ({ status }) => status === 'failed', 'the end of the tries');
  assert.equal(failed.attempts, 12);
  assert.notEqual(failed.ended_at, null);
  assert.equal((await readWebhook(admin, id)).active, true);

  receiver.answer = { status: 204 };
  const route = `/v1/webhooks/${id}/deliveries/${failed.id}/redeliver`;
  assert.equal(expectOk(await admin.request<Delivery>('POST', route)).status, 'pending');
  const again = await deliveryThat(admin, id, ({ status }) => status === 'delivered', 'the redelivery');
  assert.deepEqual([again.id, again.attempts], [failed.id, 1]);
  expectError(await admin.request('POST', `/v1/webhooks/${id}/deliveries/${id}/redeliver`), 404);
});

test('410 deactivates at once, long failure in the end; the reason is visible and what waits is given up', async () => {
  for (const [path, answer, reason] of [
    ['/gone', { status: 410 }, 'the receiver answered 410: it is gone'],
    ['/dead', { status: 500 }, 'nothing has arrived for 5 days'],
  ] as const) {
    receiver.answer = { status: 500 };
    const { id } = await makeWebhook(admin, { url: receiver.url + path, workspace: 'default' });
    await makeServer(admin, `one${path.replace('/', '-')}`);
    await makeServer(admin, `two${path.replace('/', '-')}`);
    const tried = async () => (await deliveriesOf(admin, id)).filter(({ error }) => error !== null).length;
    await until(async () => (await tried()) === 2, 'the first tries');
    await database.pool.query(
      `update provisioning.webhooks set failing_since = now() - interval '6 days' where id = $1`,
      [id],
    );
    receiver.answer = answer;
    await hurry(id);
    await until(async () => !(await readWebhook(admin, id)).active, 'the deactivation');
    assert.equal((await readWebhook(admin, id)).inactive_reason, reason);
    const log = await deliveriesOf(admin, id);
    assert.deepEqual(
      log.map(({ status }) => status),
      ['failed', 'failed'],
    );
    expectError(await admin.request('POST', `/v1/webhooks/${id}/test`), 409, 'CONFLICT');
    const audit = expectOk(
      await admin.request<{ details: { reason: string } }[]>('GET', `/v1/audit?action=webhook.deactivate`),
    );
    assert.ok(audit.some(({ details }) => details.reason === reason));
    receiver.answer = { status: 204 };
    const active = expectOk(await admin.request<Webhook>('PATCH', `/v1/webhooks/${id}`, { active: true }));
    assert.deepEqual([active.active, active.inactive_reason, active.failing_since], [true, null, null]);
    const tested = expectOk(await admin.request<Delivery>('POST', `/v1/webhooks/${id}/test`));
    await deliveryThat(admin, id, (one) => one.id === tested.id && one.status === 'delivered', 'the test event');
    assert.deepEqual(payloadsAt(path).at(-1)?.type, 'webhook.test');
  }
});

test('redirects are not followed', async () => {
  receiver.answer = { status: 302, headers: { location: `${receiver.url}/secret-place` } };
  const { id } = await makeWebhook(admin, { url: `${receiver.url}/redirecting` });
  expectOk(await admin.request('POST', `/v1/webhooks/${id}/test`));
  const { error } = await deliveryThat(admin, id, (one) => one.error !== null, 'the try');
  assert.equal(error, 'answered 302: redirects are not followed');
  assert.equal(at('/secret-place').length, 0);
  receiver.answer = { status: 204 };
  expectOk(await admin.request('DELETE', `/v1/webhooks/${id}`));
});

test('a new secret signs beside the old one for a while', async () => {
  const given = `whsec_${Buffer.alloc(24, 1).toString('base64')}`;
  const { id, secret } = await makeWebhook(admin, { url: `${receiver.url}/rotating`, secret: given });
  assert.equal(secret, given);
  const next = `whsec_${Buffer.alloc(24, 2).toString('base64')}`;
  const changed = expectOk(await admin.request('PATCH', `/v1/webhooks/${id}`, { secret: next }));
  assert.ok(!JSON.stringify(changed).includes('whsec_'));
  expectOk(await admin.request('POST', `/v1/webhooks/${id}/test`));
  await until(async () => at('/rotating').length === 1, 'the test event');
  const [{ body, headers } = { body: '', headers: {} }] = at('/rotating');
  for (const good of [given, next]) new Verifier(good).verify(body, headers as Record<string, string>);
});

test('the secret is shown once, is encrypted in the database, and is in no log', async () => {
  const { id, secret } = await makeWebhook(admin, { url: `${receiver.url}/shy` });
  const bare = secret.slice('whsec_'.length);
  for (const route of ['/v1/webhooks', `/v1/webhooks/${id}`, `/v1/webhooks/${id}/deliveries`, '/v1/audit']) {
    assert.ok(!JSON.stringify(expectOk(await admin.request('GET', route))).includes(bare), route);
  }
  const { rows } = await database.pool.query<{ row: string }>('select w::text as row from provisioning.webhooks w');
  assert.ok(rows.every(({ row }) => !row.includes(bare)));
  assert.ok(!server.output().includes(bare));
  const key = { 'idempotency-key': 'a webhook once'.replaceAll(' ', '-') };
  const twice = [1, 2].map(() =>
    admin.request<{ id: string; secret: string }>('POST', '/v1/webhooks', { url: `${receiver.url}/once` }, key),
  );
  const [one, other] = await Promise.all(twice);
  assert.deepEqual(one?.body, other?.body);
  const kept = await database.pool.query<{ body: string }>(
    'select response_body as body from provisioning.idempotency_keys',
  );
  assert.ok(kept.rows.every(({ body }) => !body.includes(one?.body.secret ?? '')));
});

test('what is no address for deliveries is refused when it is given', async () => {
  const refused = async (body: Record<string, unknown>, field: string) => {
    const { details } = expectError(await admin.request('POST', '/v1/webhooks', body), 400);
    assert.equal((details as { field: string }[])[0]?.field, field, JSON.stringify(details));
  };
  for (const url of [
    'ftp://example.com/',
    'nonsense',
    'https://user:password@example.com/',
    'https://example.com/#x',
    'http://10.0.0.1/',
    'http://[fd00::1]/',
    'http://[64:ff9b::7f00:1]/',
  ]) {
    await refused({ url }, 'url');
  }
  await refused({ url: receiver.url, secret: 'whsec_short' }, 'secret');
  await refused({ url: receiver.url, workspace: 'nowhere' }, 'workspace');
  await refused({ url: receiver.url, events: ['Not An Event'] }, 'events[0]');
});

test('who may see and make webhooks: by workspace; one of all workspaces needs a role in all', async () => {
  const here = await makeClient(server, 'operator.here', [{ role: 'operator', workspace: 'default' }]);
  const viewer = await makeClient(server, 'viewer.hooks', [{ role: 'viewer' }]);
  const body = { url: `${receiver.url}/scoped` };
  expectError(await here.request('POST', '/v1/webhooks', body), 403, 'FORBIDDEN');
  expectError(await here.request('POST', '/v1/webhooks', { ...body, workspace: 'elsewhere' }), 403, 'FORBIDDEN');
  expectError(await viewer.request('POST', '/v1/webhooks', body), 403, 'FORBIDDEN');
  expectError(await viewer.request('GET', '/v1/webhooks'), 403, 'FORBIDDEN');
  const own = await makeWebhook(here, { ...body, workspace: 'default' });
  const all = await makeWebhook(admin, body);
  const seen = expectOk(await here.request<Webhook[]>('GET', '/v1/webhooks'));
  assert.ok(seen.some(({ id }) => id === own.id));
  assert.ok(seen.every(({ workspace }) => workspace === 'default'));
  for (const [method, route] of [
    ['GET', ''],
    ['DELETE', ''],
    ['GET', '/deliveries'],
    ['POST', '/test'],
  ] as const) {
    expectError(await here.request(method, `/v1/webhooks/${all.id}${route}`), 404);
  }
});

test('a webhook whose maker loses the right to read is deactivated instead of telling', async () => {
  for (const [name, change, reason] of [
    [
      'demoted',
      { roles: [{ role: 'operator', workspace: 'elsewhere' }] },
      '"demoted" may no longer read the operations of default',
    ],
    ['disabled', { disabled: true }, 'the user "disabled" is disabled'],
  ] as const) {
    const userId = await makeUser(admin, name, [{ role: 'operator' }]);
    const maker = await server.login(name, USER_PASSWORD);
    const { id } = await makeWebhook(maker, { url: `${receiver.url}/${name}`, workspace: 'default' });
    expectOk(await admin.request('PATCH', `/v1/users/${userId}`, change));
    await makeServer(admin, `after-${name}`);
    await until(async () => !(await readWebhook(admin, id)).active, 'the deactivation');
    assert.equal((await readWebhook(admin, id)).inactive_reason, reason);
    assert.equal(at(`/${name}`).length, 0);
  }
});

test('a slow receiver does not keep the others waiting', async () => {
  const slow = await startReceiver();
  slow.answer = 'hold';
  try {
    const { id } = await makeWebhook(admin, { url: `${slow.url}/`, workspace: 'default' });
    for (let n = 0; n < 8; n += 1) expectOk(await admin.request('POST', `/v1/webhooks/${id}/test`));
    await until(async () => slow.received.length >= 4, 'the slow one to be busy');
    const quick = await makeWebhook(admin, { url: `${receiver.url}/quick` });
    const begun = Date.now();
    expectOk(await admin.request('POST', `/v1/webhooks/${quick.id}/test`));
    await until(async () => at('/quick').length === 1, 'the quick one');
    assert.ok(Date.now() - begun < 10_000);
    assert.ok(slow.received.length <= 4, `${slow.received.length} at once`);
    expectOk(await admin.request('DELETE', `/v1/webhooks/${id}`));
  } finally {
    await slow[Symbol.asyncDispose]();
  }
});

test('the receiver in the guide takes what is genuine, once, and nothing else', async () => {
  const guide = await readFile(new URL('../../docs/guides/webhooks.md', import.meta.url), 'utf8');
  const example = /```js\n(.*?)```/s.exec(guide)?.[1];
  assert.ok(example !== undefined);
  const port = await freePort();
  const { id, secret } = await makeWebhook(admin, {
    url: `http://127.0.0.1:${port}/`,
    events: ['server.create.completed'],
  });
  const child = spawn(process.execPath, ['--input-type=module', '--eval', example], {
    env: { PATH: process.env.PATH, WEBHOOK_SECRET: secret, PORT: String(port) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    let printed = '';
    child.stdout.on('data', (chunk: Buffer) => {
      printed += chunk.toString();
    });
    const url = `http://127.0.0.1:${port}/`;
    const post = (headers: Record<string, string>, body: string) =>
      fetch(url, { method: 'POST', headers, body }).then(
        ({ status }) => status,
        () => 0,
      );
    await until(async () => (await post({}, '{}')) === 401, 'the example to listen and to refuse what is not signed');
    await makeServer(admin, 'guided');
    const delivery = await deliveryThat(admin, id, ({ status }) => status === 'delivered', 'the delivery');
    assert.equal(printed, 'operation.completed server.create completed\n');
    expectOk(await admin.request('POST', `/v1/webhooks/${id}/deliveries/${delivery.id}/redeliver`));
    await deliveryThat(admin, id, ({ status }) => status === 'delivered', 'the redelivery');
    assert.equal(printed, 'operation.completed server.create completed\n', 'the same event is taken once');
    const old = new Date(Date.now() - 600_000);
    const sign = (at: Date) => ({
      'webhook-id': 'x',
      'webhook-timestamp': String(Math.floor(at.getTime() / 1_000)),
      'webhook-signature': new Verifier(secret).sign('x', at, '{}'),
    });
    assert.equal(await post(sign(new Date()), '{}'), 204);
    assert.equal(await post(sign(new Date()), '{ }'), 401);
    assert.equal(await post(sign(old), '{}'), 401, 'played back later');
  } finally {
    child.kill();
  }
});
