/** A request with an Idempotency-Key happens once, however often, wherever and whenever it is sent. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, test } from 'node:test';
import { countRows, expectError, expectOk, makeClient, makeServer, startInstallation } from '../support/acceptance.ts';
import { type Answer, type Client, createClient, ended, type Operation, serverRequest } from '../support/server.ts';

const AT_ONCE = 50;
const installation = await startInstallation();
after(() => installation.close());
const { server } = installation;
const { admin } = server;

const withKey = (key: string) => ({ 'idempotency-key': key });
const create = (client: Client, hostname: string, key: string, overrides: Record<string, unknown> = {}) =>
  client.request<Operation>('POST', '/v1/servers/create', serverRequest(hostname, overrides), withKey(key));

function assertIdentical(answers: Answer[]): void {
  const [first] = answers;
  for (const { status, body, headers } of answers) {
    assert.equal(status, 200, JSON.stringify(body));
    assert.deepEqual(body, first?.body);
    assert.equal(headers.get('location'), first?.headers.get('location'));
  }
}

const operationsOf = (hostname: string) => async () => {
  const all = expectOk(await admin.request<{ resource: string }[]>('GET', '/v1/operations?kind=server.create'));
  const servers = expectOk(await admin.request<{ id: string }[]>('GET', `/v1/servers?hostname=${hostname}`));
  return all.filter(({ resource }) => servers.some(({ id }) => resource === `server:${id}`)).length;
};

test('fifty at once make one operation, and all are answered alike', async () => {
  const key = randomUUID();
  const before = await countRows(admin, '/v1/operations');
  const answers = await Promise.all(Array.from({ length: AT_ONCE }, () => create(admin, 'fifty', key)));
  assertIdentical(answers);
  assert.equal(await countRows(admin, '/v1/operations'), before + 1);
  assert.equal(await operationsOf('fifty')(), 1);
  const done = await ended(admin, String(answers[0]?.body.id));
  assert.equal(done.status, 'completed');
  // Later too: the answer of then, not the state of now.
  assertIdentical([...answers, await create(admin, 'fifty', key)]);
});

test('fifty at once over two replicas make one operation', async () => {
  const second = await installation.replica();
  const clients = [admin, createClient(second.url, admin.token)];
  const key = randomUUID();
  const before = await countRows(admin, '/v1/operations');
  const answers = await Promise.all(
    Array.from({ length: AT_ONCE }, (_, index) => create(clients[index % 2] ?? admin, 'fifty-over-two', key)),
  );
  assertIdentical(answers);
  assert.equal(await countRows(admin, '/v1/operations'), before + 1);
  await ended(admin, String(answers[0]?.body.id));
});

test('the order of fields in the body makes no difference, another value is 409', async () => {
  const key = randomUUID();
  const first = await create(admin, 'ordered', key, { tags: ['a', 'b'] });
  const reversed = Object.fromEntries(Object.entries(serverRequest('ordered', { tags: ['a', 'b'] })).reverse());
  assertIdentical([first, await admin.request('POST', '/v1/servers/create', reversed, withKey(key))]);
  for (const overrides of [{ tags: ['b', 'a'] }, { zone: 'us-nyc1', tags: ['a', 'b'] }, { check_mode: true }, {}]) {
    expectError(await create(admin, 'ordered', key, overrides), 409, 'IDEMPOTENCY_KEY_REUSED');
  }
  expectError(await create(admin, 'another-name', key), 409, 'IDEMPOTENCY_KEY_REUSED');
});

test('the same key for another endpoint or with another query is 409', async () => {
  const key = randomUUID();
  const { server: made } = await makeServer(admin, 'elsewhere');
  const stopped = await admin.request<Operation>('POST', `/v1/servers/${made.id}/stop`, undefined, withKey(key));
  await ended(admin, expectOk(stopped).id);
  const other = await admin.request('POST', `/v1/servers/${made.id}/start`, undefined, withKey(key));
  expectError(other, 409, 'IDEMPOTENCY_KEY_REUSED');
  const deleting = randomUUID();
  const gone = await admin.request<Operation>('DELETE', `/v1/servers/${made.id}`, undefined, withKey(deleting));
  await ended(admin, expectOk(gone).id);
  // Without the key it would be 404 by now.
  assertIdentical([gone, await admin.request('DELETE', `/v1/servers/${made.id}`, undefined, withKey(deleting))]);
  const forced = await admin.request('DELETE', `/v1/servers/${made.id}?force=true`, undefined, withKey(deleting));
  expectError(forced, 409, 'IDEMPOTENCY_KEY_REUSED');
});

test('the answer is the same when the request would be refused by now', async () => {
  const key = randomUUID();
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'short-lived' }));
  const planned = { workspace: 'short-lived', check_mode: true };
  const first = await create(admin, 'planned', key, planned);
  await ended(admin, expectOk(first).id);
  expectOk(await admin.request('DELETE', '/v1/workspaces/short-lived'));
  expectError(await create(admin, 'planned', randomUUID(), planned), 400);
  assertIdentical([first, await create(admin, 'planned', key, planned)]);
});

test("another caller's same key is another key, also that of the same user's API token", async () => {
  const key = randomUUID();
  const other = await makeClient(server, 'other.caller', [{ role: 'operator' }]);
  const made = await admin.request<{ token: string }>('POST', '/v1/tokens', { name: 'ci' });
  const token = createClient(server.url, expectOk(made).token);
  const mine = expectOk(await create(admin, 'mine', key));
  const theirs = expectOk(await create(other, 'theirs', key));
  const ofToken = expectOk(await create(token, 'of-token', key));
  assert.equal(new Set([mine.id, theirs.id, ofToken.id]).size, 3);
  assertIdentical([
    await create(other, 'theirs', key),
    { status: 200, headers: new Headers({ location: `/v1/operations/${theirs.id}` }), body: theirs },
  ]);
});

test('a refused request does not use its key up', async () => {
  const key = randomUUID();
  expectError(await create(admin, 'used-up', key, { plan: 'no such plan' }), 400);
  await makeServer(admin, 'taken');
  expectError(await create(admin, 'taken', key), 409, 'CONFLICT');
  expectOk(await create(admin, 'used-up', key));
});

test('a failed burst of different bodies: one wins, the others are told', async () => {
  const key = randomUUID();
  const answers = await Promise.all(Array.from({ length: 10 }, (_, index) => create(admin, `racing-${index}`, key)));
  assert.equal(answers.filter(({ status }) => status === 200).length, 1);
  for (const answer of answers) if (answer.status !== 200) expectError(answer, 409, 'IDEMPOTENCY_KEY_REUSED');
});

test('an answer with a secret is repeated too, and the secret works', async () => {
  const key = randomUUID();
  const ask = () => admin.request<{ token: string }>('POST', '/v1/tokens', { name: 'repeated' }, withKey(key));
  const [first, second] = [await ask(), await ask()];
  assertIdentical([first, second]);
  expectOk(await createClient(server.url, second.body.token).request('GET', '/v1/auth/me'));
});

test('the same answer after kill -9 and a restart, and on another replica', async () => {
  await using own = await startInstallation();
  const { token } = own.server.admin;
  const key = randomUUID();
  const first = await create(own.server.admin, 'survivor', key);
  const tokenKey = randomUUID();
  const body = { name: 'survivor' };
  const secret = await own.server.admin.request('POST', '/v1/tokens', body, withKey(tokenKey));
  await own.server.kill();
  const [restarted, replica] = [await own.replica(), await own.replica()];
  for (const { url } of [restarted, replica]) {
    const client = createClient(url, token);
    assertIdentical([first, await create(client, 'survivor', key)]);
    assertIdentical([secret, await client.request('POST', '/v1/tokens', body, withKey(tokenKey))]);
    expectError(await create(client, 'other-body', key), 409, 'IDEMPOTENCY_KEY_REUSED');
  }
  const client = createClient(replica.url, token);
  assert.equal((await ended(client, first.body.id)).status, 'completed');
  assert.equal(await countRows(client, '/v1/operations'), 1);
  assert.equal(await countRows(client, '/v1/servers'), 1);
});
