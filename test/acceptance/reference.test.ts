/** The API reference, example by example: a client written from it alone works. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import pg from 'pg';
import {
  askForServer,
  expectError,
  expectOk,
  makeClient,
  makeServer,
  type Server,
  startInstallation,
} from '../support/acceptance.ts';
import { ADMIN_PASSWORD, type Answer, ended, type Operation, serverRequest, until } from '../support/server.ts';

const root = await mkdtemp(path.join(tmpdir(), 'provisioning-test-workspaces-'));
const installation = await startInstallation({ WORKSPACE_ROOTS: root, BODY_LIMIT: '65536' });
after(async () => {
  await installation.close();
  await rm(root, { recursive: true, force: true });
});
const { server } = installation;
const { admin, anonymous } = server;
expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'production', path: `${root}/production` }));

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const UNKNOWN_OPERATION = '01890000-0000-7000-8000-000000000000';

function assertOperation(operation: Operation): void {
  assert.match(operation.id, UUID);
  assert.ok(['pending', 'running', 'completed', 'failed', 'cancelled'].includes(operation.status), operation.status);
  assert.match(operation.created_at, TIME);
  assert.match(operation.updated_at, TIME);
  assert.equal(typeof operation.result, 'object');
  assert.ok(operation.error === null || typeof operation.error === 'string');
}

/** The answer to whatever goes on afterwards: 200, a pending operation and where to find it. */
function assertAccepted(answer: Answer<Operation>): Operation {
  const operation = expectOk(answer);
  assertOperation(operation);
  assert.ok(['pending', 'running'].includes(operation.status), operation.status);
  assert.equal(operation.result, null);
  assert.equal(operation.error, null);
  assert.equal(answer.headers.get('location'), `/v1/operations/${operation.id}`);
  return operation;
}

function assertServer(record: Server): void {
  assert.match(record.id, /^srv-[a-z0-9]+$/);
  for (const field of ['hostname', 'provider', 'plan', 'zone', 'status'] as const) {
    assert.equal(typeof record[field], 'string', field);
  }
  assert.ok(record.ip_address === null || typeof record.ip_address === 'string');
  assert.match(record.created_at, TIME);
}

function assertTokens(body: Record<string, unknown>): void {
  assert.deepEqual(Object.keys(body).sort(), ['expires_in', 'refresh_token', 'token']);
  assert.match(String(body.token), /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/);
  assert.match(String(body.refresh_token), /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/);
  assert.equal(body.expires_in, 86_400);
}

test('POST /v1/auth/login answers token, refresh_token and expires_in, and 401 for wrong credentials', async () => {
  const credentials = { username: 'admin', password: ADMIN_PASSWORD };
  assertTokens(expectOk(await anonymous.request<Record<string, unknown>>('POST', '/v1/auth/login', credentials)));
  expectError(await anonymous.request('POST', '/v1/auth/login', { ...credentials, password: 'admin123' }), 401);
  expectError(await anonymous.request('POST', '/v1/auth/login', { ...credentials, username: 'nobody' }), 401);
});

test('POST /v1/auth/refresh answers a new pair, and 401 for what is no refresh token', async () => {
  const credentials = { username: 'admin', password: ADMIN_PASSWORD };
  const pair = expectOk(await anonymous.request<{ refresh_token: string }>('POST', '/v1/auth/login', credentials));
  const refresh = { refresh_token: pair.refresh_token };
  assertTokens(expectOk(await anonymous.request<Record<string, unknown>>('POST', '/v1/auth/refresh', refresh)));
  expectError(await anonymous.request('POST', '/v1/auth/refresh', { refresh_token: 'eyJhbGc...' }), 401);
});

test('POST /v1/servers/create takes the request of the reference and answers 200 with a pending operation', async () => {
  const answer = await admin.request<Operation>('POST', '/v1/servers/create', {
    workspace: 'production',
    provider: 'simulated',
    plan: '2xCPU-4GB',
    hostname: 'web-01',
    zone: 'de-fra1',
    check_mode: false,
    tags: ['web', 'production'],
  });
  const { id } = assertAccepted(answer);
  const done = await ended(admin, id);
  assertOperation(done);
  assert.equal(done.status, 'completed');
  assert.equal(done.error, null);
  assert.match(String(done.result?.server_id), /^srv-/);
  assert.match(String(done.result?.ip_address), /^[0-9a-f.:]+$/);
});

test('GET /v1/servers answers a bare array with every field of the reference', async () => {
  const { server: made } = await makeServer(admin, 'listed', { tags: ['web'] });
  const rows = expectOk(await admin.request<Server[]>('GET', '/v1/servers'));
  assert.ok(Array.isArray(rows));
  for (const row of rows) assertServer(row);
  const row = rows.find(({ id }) => id === made.id);
  const { id, hostname, provider, plan, zone, status } = row ?? {};
  assert.deepEqual(
    { id, hostname, provider, plan, zone, status },
    {
      id: made.id,
      hostname: 'listed',
      provider: 'simulated',
      plan: '2xCPU-4GB',
      zone: 'de-fra1',
      status: 'running',
    },
  );
  assert.equal(typeof row?.ip_address, 'string');
});

test('GET /v1/servers/{id}/status answers the server, and 404 for an unknown one', async () => {
  const { server: made } = await makeServer(admin, 'asked');
  const record = expectOk(await admin.request<Server>('GET', `/v1/servers/${made.id}/status`));
  assertServer(record);
  assert.deepEqual(record, made);
  expectError(await admin.request('GET', '/v1/servers/srv-abc123/status'), 404);
});

test('DELETE /v1/servers/{id} takes the request of the reference and answers 200 with an operation', async () => {
  const { server: made } = await makeServer(admin, 'deleted', { workspace: 'production' });
  const body = { workspace: 'production', server_id: made.id, force: false };
  const { id } = assertAccepted(await admin.request<Operation>('DELETE', `/v1/servers/${made.id}`, body));
  assert.equal((await ended(admin, id)).status, 'completed');
  const unknown = { workspace: 'production', server_id: 'srv-abc123', force: false };
  expectError(await admin.request('DELETE', '/v1/servers/srv-abc123', unknown), 404);
});

test('DELETE without a body works, with and without query parameters', async () => {
  const { server: one } = await makeServer(admin, 'no-body');
  assertAccepted(await admin.request<Operation>('DELETE', `/v1/servers/${one.id}`));
  const { server: two } = await makeServer(admin, 'query-only');
  assertAccepted(await admin.request<Operation>('DELETE', `/v1/servers/${two.id}?workspace=default&force=true`));
});

test('GET /v1/operations and /v1/operations/{id} answer operations of the reference, and 404', async () => {
  const { operation } = await makeServer(admin, 'operated');
  const rows = expectOk(await admin.request<Operation[]>('GET', '/v1/operations'));
  assert.ok(Array.isArray(rows));
  for (const row of rows) assertOperation(row);
  assert.ok(rows.some(({ id }) => id === operation.id));
  const single = expectOk(await admin.request<Operation>('GET', `/v1/operations/${operation.id}`));
  assert.deepEqual(single, operation);
  assert.equal(single.status, 'completed');
  expectError(await admin.request('GET', `/v1/operations/${UNKNOWN_OPERATION}`), 404);
});

test('an operation carries the additions: kind, workspace, progress, created_by, parent_id, cancel_requested_at', async () => {
  const { operation } = await makeServer(admin, 'additions');
  const { kind, workspace, progress, created_by, parent_id, cancel_requested_at } = operation as Operation &
    Record<string, unknown>;
  assert.deepEqual(
    { kind, workspace, progress, created_by, parent_id, cancel_requested_at },
    {
      kind: 'server.create',
      workspace: 'default',
      progress: 100,
      created_by: 'admin',
      parent_id: null,
      cancel_requested_at: null,
    },
  );
});

test('POST /v1/operations/{id}/cancel answers 200 with a cancelled operation', async () => {
  // Nobody carries it out: cancelled while it is pending, it leaves nothing to clean up, which `result` would name.
  await using slow = await startInstallation({ ROLE: 'api' });
  const { id } = await askForServer(slow.server.admin, 'cancelled');
  const answer = await slow.server.admin.request<Operation>('POST', `/v1/operations/${id}/cancel`);
  assertOperation(expectOk(answer));
  const done = await ended(slow.server.admin, id);
  assert.equal(done.status, 'cancelled');
  assert.equal(done.result, null);
  assert.equal(done.error, null, 'the reference shows null');
});

test('POST /v1/workspaces/create answers exactly the record of the reference', async () => {
  const body = { name: 'staging', path: `${root}/staging`, activate: false };
  const answer = await admin.request('POST', '/v1/workspaces/create', body);
  assert.deepEqual(expectOk(answer), { name: 'staging', path: `${root}/staging`, active: false, last_used: null });
});

test('GET /v1/workspaces answers name, path, active and last_used; using one sets last_used', async () => {
  await makeServer(admin, 'uses-it');
  const rows = expectOk(await admin.request<Record<string, unknown>[]>('GET', '/v1/workspaces'));
  for (const row of rows) assert.deepEqual(Object.keys(row).sort(), ['active', 'last_used', 'name', 'path']);
  assert.equal(rows.filter(({ active }) => active).length, 1);
  const used = rows.find(({ name }) => name === 'default');
  assert.match(String(used?.last_used), TIME);
  assert.deepEqual(expectOk(await admin.request('GET', '/v1/workspaces/default')), used);
});

test('GET /health answers without a token', async () => {
  const body = expectOk(await anonymous.request<Record<string, unknown>>('GET', '/health'));
  assert.deepEqual(Object.keys(body).sort(), ['status', 'uptime_seconds', 'version']);
  assert.equal(body.status, 'healthy');
  assert.match(String(body.version), /^\d+\.\d+\.\d+/);
  assert.ok(Number.isInteger(body.uptime_seconds));
});

test('GET /v1/metrics answers uptime_seconds and tasks', async () => {
  await makeServer(admin, 'counted');
  const body = expectOk(
    await admin.request<{ uptime_seconds: number; tasks: Record<string, number> }>('GET', '/v1/metrics'),
  );
  assert.deepEqual(Object.keys(body).sort(), ['tasks', 'uptime_seconds']);
  assert.deepEqual(Object.keys(body.tasks).sort(), ['running', 'total']);
  assert.ok(Number.isInteger(body.uptime_seconds));
  assert.ok(Number.isInteger(body.tasks.running));
  assert.equal(body.tasks.total, expectOk(await admin.request<unknown[]>('GET', '/v1/operations')).length);
});

test('GET /metrics speaks Prometheus; /health/live and /health/ready answer', async () => {
  const metrics = await admin.request<string>('GET', '/metrics');
  assert.match(expectOk(metrics), /^# (HELP|TYPE) /m);
  assert.match(metrics.headers.get('content-type') ?? '', /^text\/plain/);
  expectOk(await anonymous.request('GET', '/health/live'));
  expectOk(await anonymous.request('GET', '/health/ready'));
});

test('providers tell their plans and zones', async () => {
  const providers = expectOk(await admin.request<{ name: string }[]>('GET', '/v1/providers'));
  assert.deepEqual(
    providers.map(({ name }) => name),
    ['simulated'],
  );
  const plans = expectOk(await admin.request<{ name: string }[]>('GET', '/v1/providers/simulated/plans'));
  assert.ok(plans.some(({ name }) => name === '2xCPU-4GB'));
  const zones = expectOk(await admin.request<{ name: string }[]>('GET', '/v1/providers/simulated/zones'));
  assert.ok(zones.some(({ name }) => name === 'de-fra1'));
  expectError(await admin.request('GET', '/v1/providers/nowhere/plans'), 404);
});

test('400 names the field that is wrong, its neighbours, and unknown fields', async () => {
  const wrong = (overrides: Record<string, unknown>) =>
    admin.request('POST', '/v1/servers/create', serverRequest('wrong', overrides));
  const fieldsOf = (answer: Answer) =>
    (expectError(answer, 400).details as { field: string; near_matches?: string[] }[]).map(({ field }) => field);
  assert.deepEqual(fieldsOf(await wrong({ plan: '2xCPU-4G' })), ['plan']);
  assert.deepEqual(fieldsOf(await wrong({ zone: 'de-fra' })), ['zone']);
  assert.deepEqual(fieldsOf(await wrong({ provider: 'upclout' })), ['provider']);
  assert.deepEqual(fieldsOf(await wrong({ workspace: 'produktion' })), ['workspace']);
  assert.deepEqual(fieldsOf(await wrong({ hostname: 'Not Valid' })), ['hostname']);
  assert.deepEqual(fieldsOf(await wrong({ chek_mode: true })), ['chek_mode']);
  assert.deepEqual(fieldsOf(await wrong({ hostname: undefined })), ['hostname']);
  const near = expectError(await wrong({ workspace: 'produktion' }), 400).details as { near_matches: string[] }[];
  assert.deepEqual(near[0]?.near_matches[0], 'production');
});

test('401 for every protected endpoint of the reference without a token', async () => {
  for (const [method, route] of [
    ['GET', '/v1/servers'],
    ['POST', '/v1/servers/create'],
    ['DELETE', '/v1/servers/srv-abc123'],
    ['GET', '/v1/servers/srv-abc123/status'],
    ['GET', '/v1/operations'],
    ['GET', `/v1/operations/${UNKNOWN_OPERATION}`],
    ['POST', `/v1/operations/${UNKNOWN_OPERATION}/cancel`],
    ['GET', '/v1/workspaces'],
    ['POST', '/v1/workspaces/create'],
    ['GET', '/v1/metrics'],
  ] as const) {
    expectError(await anonymous.request(method, route), 401, 'UNAUTHORIZED');
  }
});

test('403 for a caller without the permission', async () => {
  const viewer = await makeClient(server, 'reference.viewer', [{ role: 'viewer' }]);
  expectError(await viewer.request('POST', '/v1/servers/create', serverRequest('forbidden')), 403, 'FORBIDDEN');
  expectOk(await viewer.request('GET', '/v1/servers'));
});

test('404 for an endpoint that does not exist, 405 for a method that it does not take', async () => {
  expectError(await admin.request('GET', '/v1/nothing'), 404, 'NOT_FOUND');
  expectError(await admin.request('PUT', '/v1/servers'), 405, 'METHOD_NOT_ALLOWED');
  expectError(await anonymous.request('GET', '/nothing'), 404, 'NOT_FOUND');
});

test('409 for a workspace that exists', async () => {
  expectError(await admin.request('POST', '/v1/workspaces/create', { name: 'default' }), 409, 'CONFLICT');
});

test('413 for a body past the limit, 415 for one that is no JSON', async () => {
  const large = JSON.stringify(serverRequest('large', { tags: ['x'.repeat(70_000)] }));
  expectError(await admin.request('POST', '/v1/servers/create', large), 413, 'PAYLOAD_TOO_LARGE');
  const text = { 'content-type': 'text/plain' };
  expectError(await admin.request('POST', '/v1/servers/create', 'hello', text), 415, 'UNSUPPORTED_MEDIA_TYPE');
});

test('X-Request-Id is echoed, made where there is none, and repeated in errors', async () => {
  const given = await admin.request('GET', '/v1/servers', undefined, { 'x-request-id': 'my-request-1' });
  assert.equal(given.headers.get('x-request-id'), 'my-request-1');
  const failed = await admin.request('GET', '/v1/servers/srv-abc123');
  assert.equal(expectError(failed, 404).request_id, failed.headers.get('x-request-id'));
  assert.notEqual(failed.headers.get('x-request-id') ?? '', '');
});

test('429 past the limit of a principal, and at a fifth of it for expensive operations, with Retry-After and RateLimit headers', async () => {
  await using limited = await startInstallation({ RATE_LIMIT: '20', SIMULATED_LATENCY_MS: '0' });
  const { admin: caller } = limited.server;
  const statuses: number[] = [];
  for (let request = 0; request < 6; request += 1) {
    statuses.push((await caller.request('POST', '/v1/servers/create', serverRequest(`burst-${request}`))).status);
  }
  assert.deepEqual(statuses, [200, 200, 200, 200, 429, 429]);
  const first = await caller.request('GET', '/v1/servers');
  expectOk(first);
  assert.equal(first.headers.get('ratelimit-limit'), '20');
  let last: Answer = first;
  for (let request = 0; request < 25 && last.status === 200; request += 1) {
    last = await caller.request('GET', '/v1/servers');
  }
  expectError(last, 429, 'RATE_LIMITED');
  assert.match(last.headers.get('retry-after') ?? '', /^[1-9]\d*$/);
  expectOk(await limited.server.anonymous.request('GET', '/health'));
});

test('429 past the limit of logins from an address, whatever the password', async () => {
  await using limited = await startInstallation({ LOGIN_RATE_LIMIT: '5' });
  const login = (password: string) =>
    limited.server.anonymous.request('POST', '/v1/auth/login', { username: 'admin', password });
  // The harness has logged in once.
  for (let attempt = 0; attempt < 4; attempt += 1) expectError(await login('wrong password'), 401);
  const refused = await login(ADMIN_PASSWORD);
  expectError(refused, 429, 'RATE_LIMITED');
  assert.match(refused.headers.get('retry-after') ?? '', /^[1-9]\d*$/);
  expectOk(await limited.server.admin.request('GET', '/v1/servers'));
});

test('503 while the database is away, in the format of the reference; it recovers by itself', async () => {
  await using away = await startInstallation();
  const { settings } = away.database;
  const { admin: caller, anonymous: nobody } = away.server;
  expectOk(await caller.request('GET', '/v1/servers'));
  const administrator = new pg.Client({ ...settings, database: 'postgres' });
  await administrator.connect();
  try {
    await administrator.query(`alter database ${settings.database} with allow_connections false`);
    await administrator.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [
      settings.database,
    ]);
    await until(async () => (await nobody.request('GET', '/health')).status === 503, 'the server to notice');
    for (const answer of [
      await nobody.request('GET', '/health'),
      await nobody.request('GET', '/health/ready'),
      await caller.request('GET', '/v1/servers'),
      await caller.request('POST', '/v1/servers/create', serverRequest('away')),
      await nobody.request('POST', '/v1/auth/login', { username: 'admin', password: ADMIN_PASSWORD }),
    ]) {
      const { message } = expectError(answer, 503, 'SERVICE_UNAVAILABLE');
      assert.doesNotMatch(message, new RegExp(settings.database), 'no internal message');
      assert.match(answer.headers.get('retry-after') ?? '', /^[1-9]\d*$/);
    }
    expectOk(await nobody.request('GET', '/health/live'));
  } finally {
    await administrator.query(`alter database ${settings.database} with allow_connections true`);
    await administrator.end();
  }
  await until(async () => (await nobody.request('GET', '/health/ready')).status === 200, 'the server to recover');
  expectOk(await caller.request('GET', '/v1/servers'));
  await makeServer(caller, 'back-again');
});
