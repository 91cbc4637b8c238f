/** `check_mode`: what a request would answer, and that it changes nothing, at every endpoint that changes something. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { askForServer, expectError, expectOk, startInstallation } from '../support/acceptance.ts';
import { ended, type Operation, serverRequest } from '../support/server.ts';

const installation = await startInstallation();
after(() => installation.close());
const { admin } = installation.server;
const { pool } = installation.database;

interface Checked extends Operation {
  title: string;
  check_mode: boolean;
  result: { check_mode: true; plan: { create: object[]; change: object[]; delete: object[]; order: string[] } };
}

/** Every row that a change could touch; the audit log and the checks' own records aside. */
async function everything(): Promise<Record<string, unknown>> {
  const tables = [
    ['operations', 'where not check_mode'],
    ...[
      'servers',
      'taskservs',
      'taskserv_hosts',
      'host_turns',
      'workspaces',
      'users',
      'role_bindings',
      'api_tokens',
    ].map((name) => [name, '']),
    ...['refresh_tokens', 'webhooks', 'schedules', 'workflows', 'workflow_nodes', 'ssh_keys', 'server_ssh'].map(
      (name) => [name, ''],
    ),
  ];
  const rows = await Promise.all(
    tables.map(async ([name, where]) => [
      name,
      (await pool.query(`select * from provisioning.${name} t ${where} order by t::text`)).rows,
    ]),
  );
  const { rows: enqueued } = await pool.query('select count(*) from dbos.workflow_status');
  return { ...Object.fromEntries(rows), enqueued };
}

describe('an operation that is only checked', () => {
  let serverId = '';
  before(async () => {
    const created = await ended(admin, (await askForServer(admin, 'web-01')).id);
    serverId = String((created.result as { server_id: string }).server_id);
  });

  const requests: [method: 'POST' | 'DELETE', path: () => string, title: RegExp, part: 'change' | 'delete'][] = [
    ['POST', () => `/v1/servers/${serverId}/stop`, /^Stop web-01$/, 'change'],
    ['POST', () => `/v1/servers/${serverId}/start`, /^Start web-01$/, 'change'],
    ['POST', () => `/v1/servers/${serverId}/restart`, /^Restart web-01$/, 'change'],
    ['DELETE', () => `/v1/servers/${serverId}`, /^Delete web-01$/, 'delete'],
  ];
  for (const [method, path, title, part] of requests) {
    for (const where of ['query', 'body'] as const) {
      test(`${method} ${title.source}, asked for in the ${where}: is told and not done`, async () => {
        const state = await everything();
        const asked =
          where === 'query'
            ? await admin.request<Checked>(method, `${path()}?check_mode=true`)
            : await admin.request<Checked>(method, path(), { check_mode: true });
        const operation = expectOk(asked);
        assert.deepEqual(
          [operation.status, operation.check_mode, operation.result.check_mode],
          ['completed', true, true],
        );
        assert.match(operation.title, title);
        assert.equal(operation.result.plan[part].length, 1);
        assert.deepEqual(await everything(), state);
        const again = expectOk(await admin.request<Checked>('GET', `/v1/operations/${operation.id}`));
        assert.deepEqual(again, operation);
      });
    }
  }

  test('gets the refusals that the request itself would get', async () => {
    expectError(await admin.request('DELETE', '/v1/servers/srv-nothing?check_mode=true'), 404);
    expectError(await admin.request('POST', '/v1/servers/srv-nothing/stop', { check_mode: true }), 404);
    expectError(await admin.request('DELETE', `/v1/servers/${serverId}?check_mode=true&workspace=other`), 400);
    expectError(await admin.request('DELETE', `/v1/servers/${serverId}?check_mode=perhaps`), 400);
    const operation = expectOk(await admin.request<Operation>('POST', `/v1/servers/${serverId}/restart`));
    const busy = expectError(await admin.request('DELETE', `/v1/servers/${serverId}?check_mode=true`), 409);
    assert.equal(busy.error, 'RESOURCE_BUSY');
    await ended(admin, operation.id);
  });

  test('stands in the list of operations only where it is asked for, and in the audit log', async () => {
    const { id } = expectOk(await admin.request<Operation>('DELETE', `/v1/servers/${serverId}?check_mode=true`));
    const ids = async (query: string) =>
      expectOk(await admin.request<Operation[]>('GET', `/v1/operations${query}`)).map((operation) => operation.id);
    assert.equal((await ids('')).includes(id), false);
    assert.equal((await ids('?check_mode=false')).includes(id), false);
    assert.equal((await ids('?check_mode=true')).includes(id), true);
    assert.equal((await ids('?check_mode=any')).includes(id), true);
    const { rows } = await pool.query('select action, details from provisioning.audit_log where operation_id = $1', [
      id,
    ]);
    assert.deepEqual(rows, [
      { action: 'server.delete', details: { check_mode: true, hostname: 'web-01', force: false } },
    ]);
  });

  test('an Idempotency-Key of a check is not good for the request itself', async () => {
    const headers = { 'idempotency-key': 'check-then-do' };
    const path = `/v1/servers/${serverId}/stop`;
    const checked = expectOk(await admin.request<Checked>('POST', path, { check_mode: true }, headers));
    const repeated = expectOk(await admin.request<Checked>('POST', path, { check_mode: true }, headers));
    assert.equal(repeated.id, checked.id);
    expectError(await admin.request('POST', path, {}, headers), 409);
  });

  test('kinds that check by themselves take the query parameter too', async () => {
    const state = await everything();
    const { id } = expectOk(
      await admin.request<Checked>('POST', '/v1/servers/create?check_mode=true', serverRequest('x')),
    );
    const operation = await ended(admin, id);
    assert.equal((operation.result as { check_mode: boolean }).check_mode, true);
    const { operations, ...rest } = await everything();
    assert.deepEqual({ ...rest, enqueued: state.enqueued, operations }, state);
  });
});

describe('a change of settings that is only checked', () => {
  const changes: [string, 'POST' | 'PATCH' | 'PUT' | 'DELETE', string, object?][] = [
    ['a user', 'POST', '/v1/users', { username: 'checked', password: 'a password of its own', roles: [] }],
    ['a token', 'POST', '/v1/tokens', { name: 'checked' }],
    ['a workspace', 'POST', '/v1/workspaces/create', { name: 'checked' }],
    ['a workspace to be active', 'POST', '/v1/workspaces/default/activate'],
    ['the end of all logins', 'POST', '/v1/auth/logout'],
  ];
  for (const [what, method, path, body] of changes) {
    test(`${what}: is answered and not made`, async () => {
      const state = await everything();
      const { status, headers } = await admin.request(method, `${path}?check_mode=true`, body);
      assert.equal(status, 200);
      assert.equal(headers.get('x-check-mode'), 'true');
      assert.deepEqual(await everything(), state);
    });
  }

  test('what would be refused is refused', async () => {
    expectError(
      await admin.request('POST', '/v1/users?check_mode=true', {
        username: 'admin',
        password: 'long enough 12',
        roles: [],
      }),
      409,
    );
    expectError(await admin.request('DELETE', '/v1/workspaces/nothing?check_mode=true'), 404);
  });
});

test('every endpoint that changes something takes check_mode, and none that does not', async () => {
  const { paths } = expectOk(
    await admin.request<{ paths: Record<string, Record<string, { parameters?: { name: string }[] }>> }>(
      'GET',
      '/openapi.json',
    ),
  );
  const taking = (takes: boolean) =>
    Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(([method]) => ['post', 'put', 'patch', 'delete'].includes(method))
        .filter(([, { parameters = [] }]) => parameters.some(({ name }) => name === 'check_mode') === takes)
        .map(([method]) => `${method.toUpperCase()} ${path}`),
    );
  assert.deepEqual(taking(false).sort(), [
    'POST /v1/auth/exchange',
    'POST /v1/auth/login',
    'POST /v1/auth/refresh',
    'POST /v1/auth/sso/device/token',
    'POST /v1/auth/sso/token',
    'POST /v1/auth/sso/{name}/device',
    'POST /v1/operations/{id}/wait',
    'POST /v1/workflows/validate',
  ]);
  assert.ok(taking(true).length > 30);
});
