/** API tokens that may less than their owner: in some workspaces, with some permissions, for some time. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import {
  expectError,
  expectOk,
  makeClient,
  makeUser,
  startInstallation,
  USER_PASSWORD,
} from '../support/acceptance.ts';
import { readEndpoints } from '../support/openapi.ts';
import { startReceiver } from '../support/receiver.ts';
import { type Client, createClient, ended, serverRequest, until } from '../support/server.ts';
import { makeWebhook, readWebhook } from '../support/webhooks.ts';
import { stepsOf, submitBatch } from '../support/workflows.ts';

const installation = await startInstallation({ WEBHOOK_ALLOW: 'http,local' });
const receiver = await startReceiver();
after(async () => {
  await installation.close();
  await receiver[Symbol.asyncDispose]();
});
const { server, database } = installation;
const { admin } = server;
for (const name of ['one', 'two']) {
  const path = `${server.dataDir}/workspaces/${name}`;
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name, path }));
}

interface Token {
  id: string;
  token: string;
  roles: { role: string; workspace: string | null; permissions?: string[] }[];
  expires_at: string | null;
}
const makeToken = async (client: Client, body: object) =>
  expectOk(await client.request<Token>('POST', '/v1/tokens', body));
const withToken = async (client: Client, body: object) =>
  createClient(server.url, (await makeToken(client, body)).token);
const permissionsOf = async (client: Client) =>
  expectOk(await client.request<{ permissions: string[] }>('GET', '/v1/auth/me')).permissions;

test('a token with single permissions may do these and nothing else, at every endpoint that asks for one', async () => {
  const wanted = ['server_read', 'operation_read'];
  const token = await withToken(admin, { name: 'reads-servers', permissions: wanted });
  assert.deepEqual((await permissionsOf(token)).sort(), [...wanted].sort());
  for (const { method, path, permission, body } of await readEndpoints(admin)) {
    if (permission === null) continue;
    const nowhere = path.replaceAll(/\{\w+\}/g, '01890000-0000-7000-8000-000000000000');
    const { status } = await token.request(method, nowhere, body === null ? undefined : { 'no such field': true });
    if (wanted.includes(permission)) assert.ok([200, 400, 404].includes(status), `${method} ${path}: ${status}`);
    else assert.equal(status, 403, `${method} ${path}`);
  }
});

test('a token ends and shows nothing of its owner but itself, whatever its permissions', async () => {
  const id = await makeUser(admin, 'pipelines', [{ role: 'operator' }]);
  const owner = await server.login('pipelines', USER_PASSWORD);
  const sibling = await makeToken(owner, { name: 'ci' });
  const made = await makeToken(owner, { name: 'monitor', permissions: ['server_read'] });
  const token = createClient(server.url, made.token);
  const { session_id: session } = expectOk(await owner.request<{ session_id: string }>('GET', '/v1/auth/me'));
  const answers: Record<string, number> = {};
  const given: Record<string, object> = {
    'POST /v1/auth/password': { current_password: USER_PASSWORD, new_password: 'another password of mine' },
    'POST /v1/auth/totp': { password: USER_PASSWORD },
    'POST /v1/auth/totp/confirm': { code: '000000' },
    'POST /v1/auth/totp/remove': { password: USER_PASSWORD },
    'POST /v1/tokens': { name: 'child' },
  };
  for (const { method, path, access } of await readEndpoints(admin)) {
    if (!/^\/v1\/(auth|tokens)/.test(path) || access !== 'authenticated') continue;
    const on = path.replace('{id}', path.startsWith('/v1/tokens') ? sibling.id : session);
    const what = `${method} ${path}`;
    answers[what] = (await token.request(method, on, given[what])).status;
  }
  assert.deepEqual(answers, {
    'GET /v1/auth/me': 200,
    'POST /v1/auth/logout': 409,
    'POST /v1/auth/password': 409,
    'GET /v1/auth/sessions': 409,
    'DELETE /v1/auth/sessions/{id}': 409,
    'GET /v1/auth/totp': 409,
    'POST /v1/auth/totp': 409,
    'POST /v1/auth/totp/confirm': 409,
    'POST /v1/auth/totp/remove': 409,
    'GET /v1/tokens': 200,
    'POST /v1/tokens': 409,
    'DELETE /v1/tokens/{id}': 404,
  });
  expectOk(await owner.request('GET', '/v1/auth/me'));
  expectOk(await createClient(server.url, sibling.token).request('GET', '/v1/auth/me'));
  const listed = expectOk(await token.request<Token[]>('GET', '/v1/tokens'));
  assert.deepEqual(
    listed.map((one) => one.id),
    [made.id],
  );
  assert.equal(expectOk(await owner.request<Token[]>('GET', '/v1/tokens')).length, 2);
  expectOk(await token.request('DELETE', `/v1/tokens/${made.id}`));
  expectError(await token.request('GET', '/v1/auth/me'), 401, 'UNAUTHORIZED');
  expectOk(await admin.request('DELETE', `/v1/users/${id}`));
});

test('a token for some workspaces sees and does nothing elsewhere', async () => {
  const owner = await makeClient(server, 'everywhere', [{ role: 'operator' }]);
  const token = await withToken(owner, { name: 'one', workspaces: ['one'] });
  const names = expectOk(await token.request<{ name: string }[]>('GET', '/v1/workspaces')).map(({ name }) => name);
  assert.deepEqual(names, ['one']);
  expectOk(await token.request('POST', '/v1/servers/create', serverRequest('in-one', { workspace: 'one' })));
  expectError(await token.request('POST', '/v1/servers/create', serverRequest('in-two', { workspace: 'two' })), 400);
  // Permissions over the whole installation are bound to none.
  assert.ok(!(await permissionsOf(token)).includes('workspace_create'));
});

test('a token for a workspace that is deleted holds in no later one of that name', async () => {
  const path = `${server.dataDir}/workspaces/passing`;
  const make = async () => expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'passing', path }));
  await make();
  const owner = await makeClient(server, 'outlasts', [{ role: 'operator' }]);
  const whole = await withToken(owner, { name: 'whole', workspaces: ['passing', 'one'] });
  const narrowed = await withToken(owner, {
    name: 'narrowed',
    workspaces: ['passing'],
    permissions: ['workspace_read'],
  });
  const seenBy = async (client: Client) =>
    expectOk(await client.request<{ name: string }[]>('GET', '/v1/workspaces'))
      .map(({ name }) => name)
      .sort();
  assert.deepEqual(await seenBy(whole), ['one', 'passing']);
  assert.deepEqual(await seenBy(narrowed), ['passing']);
  expectOk(await admin.request('DELETE', '/v1/workspaces/passing'));
  await make();
  await until(async () => (await seenBy(whole)).join() === 'one', 'the token to be told', 4_000, 10);
  expectError(await narrowed.request('GET', '/v1/workspaces'), 403, 'FORBIDDEN');
});

test('both narrow at once, and what is no part of the roles is refused with its place', async () => {
  const owner = await makeClient(server, 'bound', [
    { role: 'operator', workspace: 'one' },
    { role: 'viewer', workspace: 'two' },
  ]);
  const { roles, token } = await makeToken(owner, {
    name: 'both',
    workspaces: ['one', 'two'],
    permissions: ['workspace_read', 'server_read', 'server_create'],
  });
  assert.deepEqual(
    roles.toSorted((a, b) => String(a.workspace).localeCompare(String(b.workspace))),
    [
      { role: 'operator', workspace: 'one', permissions: ['workspace_read', 'server_read', 'server_create'] },
      { role: 'viewer', workspace: 'two', permissions: ['workspace_read', 'server_read'] },
    ],
  );
  const client = createClient(server.url, token);
  expectOk(await client.request('POST', '/v1/servers/create', serverRequest('by-both', { workspace: 'one' })));
  expectError(await client.request('POST', '/v1/servers/create', serverRequest('not-two', { workspace: 'two' })), 403);
  expectError(await client.request('GET', '/v1/operations'), 403, 'FORBIDDEN');

  const refused: [object, RegExp][] = [
    [{ workspaces: ['ones'] }, /workspaces\.0: there is no workspace "ones"/],
    [{ workspaces: ['default'] }, /workspaces\.0: nothing of what the token is to have holds in workspace "default"/],
    [{ permissions: ['user_write'] }, /permissions\.0: "user_write" is in none of the roles/],
    [{ workspaces: ['two'], permissions: ['server_create'] }, /permissions\.0: "server_create" is in none/],
    [{ permissions: ['everything'] }, /permissions/],
  ];
  for (const [more, message] of refused) {
    const answer = await owner.request('POST', '/v1/tokens', { name: 'refused', ...more });
    assert.match(expectError(answer, 400, 'VALIDATION_ERROR').message, message);
  }
});

test('a narrowed token loses what its owner loses', async () => {
  const id = await makeUser(admin, 'lowered', [{ role: 'operator' }]);
  const owner = await server.login('lowered', USER_PASSWORD);
  const token = await withToken(owner, { name: 'makes', permissions: ['server_read', 'server_create'] });
  assert.deepEqual((await permissionsOf(token)).sort(), ['server_create', 'server_read']);
  expectOk(await admin.request('PATCH', `/v1/users/${id}`, { roles: [{ role: 'viewer' }] }));
  assert.deepEqual(await permissionsOf(token), ['server_read']);
});

test('a workflow of a narrowed token does no more than the token may, at acceptance and at each node', async () => {
  await makeUser(admin, 'runner', [{ role: 'operator' }]);
  const owner = await server.login('runner', USER_PASSWORD);
  const reads = ['workspace_read', 'workflow_read', 'operation_read', 'server_read'];
  const permissions = [...reads, 'workflow_submit', 'server_create'];
  const made = await makeToken(owner, { name: 'runs', workspaces: ['default'], permissions });
  const client = createClient(server.url, made.token);
  const nodes = (kind: string, given: object) => [{ id: 'it', kind, with: given }];
  const body = (operations: object[]) => ({
    workspace: 'default',
    workflow_type: 'batch',
    parameters: { operations },
  });
  expectError(
    await client.request(
      'POST',
      '/v1/workflows/submit',
      body(nodes('command', { servers: ['nowhere'], script: 'true' })),
    ),
    403,
  );
  const { id } = await submitBatch(client, [
    { id: 'go', kind: 'wait', with: { seconds: 1 } },
    { id: 'make', kind: 'server.create', depends_on: ['go'], with: { hostname: 'narrowed-01' } },
  ]);
  assert.equal((await ended(admin, id)).status, 'completed', JSON.stringify(await stepsOf(admin, id)));

  // What it was permitted when it asked is not what it may now.
  const { id: late } = await submitBatch(client, [
    { id: 'go', kind: 'approval', with: {} },
    { id: 'make', kind: 'server.create', depends_on: ['go'], with: { hostname: 'narrowed-02' } },
  ]);
  await until(async () => (await stepsOf(admin, late))[0]?.status === 'running', 'the approval to wait');
  await database.pool.query('update provisioning.api_tokens set narrowed = $2 where id = $1', [
    made.id,
    JSON.stringify([{ role: 'operator', workspace: 'default', permissions: [...reads, 'workflow_submit'] }]),
  ]);
  expectOk(await admin.request('POST', `/v1/workflows/${late}/steps/go/approve`));
  assert.equal((await ended(admin, late)).status, 'failed');
  const step = (await stepsOf(admin, late)).find((one) => one.id === 'make');
  assert.deepEqual([step?.status, step?.error_code], ['failed', 'AUTHORITY_ENDED']);
  assert.match(step?.error ?? '', /no longer has the permission "server_create"/);
});

test('a webhook of a narrowed token is told what the token may know', async () => {
  await makeUser(admin, 'hooked', [{ role: 'operator' }]);
  const owner = await server.login('hooked', USER_PASSWORD);
  const permissions = ['webhook_read', 'webhook_write', 'operation_read'];
  const made = await makeToken(owner, { name: 'hooks', workspaces: ['one'], permissions });
  const client = createClient(server.url, made.token);
  const { id } = await makeWebhook(client, { url: `${receiver.url}/narrowed`, workspace: 'one' });
  expectError(await client.request('POST', '/v1/webhooks', { url: `${receiver.url}/x`, workspace: 'two' }), 403);
  await database.pool.query(
    `update provisioning.api_tokens set narrowed = '[{"role":"operator","workspace":"one","permissions":["webhook_read"]}]'
     where id = $1`,
    [made.id],
  );
  expectOk(await admin.request('POST', '/v1/servers/create', serverRequest('told', { workspace: 'one' })));
  await until(async () => !(await readWebhook(admin, id)).active, 'the webhook to be deactivated');
});

test('tokens expire after 90 days; other lifetimes are the setting’s to allow', async () => {
  const days = ({ expires_at: at }: Token) => (Date.parse(at ?? '') - Date.now()) / 86_400_000;
  assert.ok(Math.abs(days(await makeToken(admin, { name: 'default' })) - 90) < 0.01);
  assert.ok(Math.abs(days(await makeToken(admin, { name: 'year', expires_in: 31_536_000 })) - 365) < 0.01);
  for (const expires_in of [31_536_001, null]) {
    const answer = await admin.request('POST', '/v1/tokens', { name: 'long', expires_in });
    assert.match(expectError(answer, 400, 'VALIDATION_ERROR').message, /at most 31536000 seconds.*API_TOKEN_MAX_TTL/);
  }
  const lenient = await installation.replica({ API_TOKEN_MAX_TTL: '0', API_TOKEN_TTL: '60' });
  assert.equal((await makeToken(lenient.admin, { name: 'for-ever', expires_in: null })).expires_at, null);
  assert.ok(days(await makeToken(lenient.admin, { name: 'minute' })) < 0.001);
  const strict = await installation.replica({ API_TOKEN_MAX_TTL: '3600' });
  assert.ok(days(await makeToken(strict.admin, { name: 'hour' })) < 0.05);
});

test('a replica of the version before refuses a narrowed token rather than let it do more', async () => {
  const { id } = await makeToken(admin, { name: 'old-replica', permissions: ['server_read'] });
  const { rows } = await database.pool.query('select roles from provisioning.api_tokens where id = $1', [id]);
  assert.deepEqual(rows, [{ roles: [] }]);
});
