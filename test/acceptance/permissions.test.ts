/**
 * Who may do what: every endpoint of the OpenAPI document is asked by every role, bound to this workspace, to another
 * one and to all. What must come of it is written out here, apart from the server's own table: a change there fails here.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { expectError, expectOk, makeClient, startInstallation } from '../support/acceptance.ts';
import { readEndpoints } from '../support/openapi.ts';
import type { Answer, Client } from '../support/server.ts';

/** `own`: only over what the caller made. `global`: only for whom is bound to all workspaces. */
const READER = {
  server_read: 'all',
  taskserv_read: 'all',
  workflow_read: 'all',
  operation_read: 'all',
  workspace_read: 'all',
  provider_read: 'all',
  catalog_read: 'all',
} as const;
const OPERATOR = {
  ...READER,
  server_create: 'all',
  server_update: 'all',
  server_delete: 'all',
  taskserv_create: 'all',
  taskserv_update: 'all',
  taskserv_delete: 'all',
  taskserv_privileged: 'all',
  protection_remove: 'all',
  taskserv_kubeconfig: 'all',
  workflow_submit: 'all',
  workflow_cancel: 'all',
  workflow_approve: 'all',
  operation_cancel: 'all',
  workspace_update: 'all',
  workspace_delete: 'all',
  workspace_create: 'global',
  credential_write: 'all',
  secret_read: 'all',
  secret_write: 'all',
  webhook_read: 'all',
  webhook_write: 'all',
  service_account_read: 'all',
  system_metrics: 'global',
} as const;
type Verdict = 'all' | 'own' | 'global';
const MAY: Record<string, Record<string, Verdict>> = {
  admin: {
    ...OPERATOR,
    service_account_write: 'all',
    user_read: 'global',
    user_write: 'global',
    audit_read: 'global',
    workspace_limit: 'global',
  },
  operator: OPERATOR,
  developer: {
    ...READER,
    system_metrics: 'global',
    server_create: 'all',
    server_update: 'own',
    server_delete: 'own',
    taskserv_create: 'all',
    taskserv_update: 'own',
    taskserv_delete: 'own',
    workflow_submit: 'all',
    workflow_cancel: 'own',
    operation_cancel: 'own',
    secret_read: 'own',
    secret_write: 'own',
  },
  viewer: { ...READER, system_metrics: 'global' },
  auditor: { ...READER, system_metrics: 'global', audit_read: 'global' },
};
const KNOWN = [...new Set(Object.values(MAY).flatMap((permissions) => Object.keys(permissions)))];

/** `here` is where the things of this test are. */
const PLACES = ['here', 'there', null] as const;
type Place = (typeof PLACES)[number];

interface Caller {
  role: string;
  place: Place;
  client: Client;
}

// Nothing is carried out in this installation: servers stay in the making, so that all that may touch them is told 409.
const installation = await startInstallation({ ROLE: 'api' });
after(() => installation.close());
const { server } = installation;
const { admin, anonymous } = server;
for (const name of ['here', 'there']) {
  expectOk(
    await admin.request('POST', '/v1/workspaces/create', { name, path: `${server.dataDir}/workspaces/${name}` }),
  );
}
expectOk(await admin.request('POST', '/v1/workspaces/here/activate'));
const endpoints = await readEndpoints(admin);

const callers: Caller[] = [];
for (const role of Object.keys(MAY)) {
  for (const place of PLACES) {
    callers.push({ role, place, client: await makeClient(server, `${role}.${place}`, [{ role, workspace: place }]) });
  }
}

/** Whether the caller has the permission anywhere at all. */
function holds({ role, place }: Caller, permission: string): boolean {
  const verdict = MAY[role]?.[permission];
  return verdict !== undefined && (place === null || verdict !== 'global');
}

/** An address of the endpoint at which there is nothing. */
const nowhere = (path: string) => path.replaceAll(/\{\w+\}/g, '01890000-0000-7000-8000-000000000000');

/** A body that is refused where a good one would do something. */
const harmless = (body: unknown) => (body === null ? undefined : { 'no such field': true });

test('every permission that an endpoint asks for is in this table', () => {
  const asked = new Set(endpoints.flatMap(({ permission }) => permission ?? []));
  assert.deepEqual(
    [...asked].filter((permission) => !KNOWN.includes(permission)),
    [],
  );
  assert.ok(endpoints.length >= 38, String(endpoints.length));
});

test('without a token every endpoint answers 401 unless it is public', async () => {
  const open = endpoints.filter(({ access }) => access === 'public').map(({ method, path }) => `${method} ${path}`);
  assert.deepEqual(open.sort(), [
    'GET /health',
    'GET /health/live',
    'GET /health/ready',
    'GET /v1/auth/sso',
    'GET /v1/auth/sso/{name}/callback',
    'GET /v1/auth/sso/{name}/start',
    'POST /v1/auth/exchange',
    'POST /v1/auth/login',
    'POST /v1/auth/refresh',
    'POST /v1/auth/sso/device/token',
    'POST /v1/auth/sso/token',
    'POST /v1/auth/sso/{name}/device',
  ]);
  for (const { method, path, access, body } of endpoints) {
    if (access === 'public') continue;
    expectError(await anonymous.request(method, nowhere(path), harmless(body)), 401, 'UNAUTHORIZED');
  }
});

test('a user without roles is refused wherever a permission is asked for', async () => {
  const nobody = await makeClient(server, 'nobody', []);
  for (const { method, path, permission, body } of endpoints) {
    if (permission === null) continue;
    expectError(await nobody.request(method, nowhere(path), harmless(body)), 403, 'FORBIDDEN');
  }
  assert.deepEqual(expectOk(await nobody.request<{ permissions: string[] }>('GET', '/v1/auth/me')).permissions, []);
});

for (const caller of callers) {
  const { role, place, client } = caller;
  test(`${role} of ${place ?? 'all workspaces'}: every endpoint`, async () => {
    for (const { method, path, permission, body } of endpoints) {
      if (permission === null) continue;
      const answer = await client.request(method, nowhere(path), harmless(body));
      const what = `${method} ${path} (${permission})`;
      if (holds(caller, permission)) assert.ok([200, 400, 404].includes(answer.status), `${what}: ${answer.status}`);
      else assert.equal(answer.status, 403, what);
    }
    const me = expectOk(await client.request<{ permissions: string[] }>('GET', '/v1/auth/me'));
    assert.deepEqual(me.permissions.sort(), KNOWN.filter((permission) => holds(caller, permission)).sort());
  });
}

/** Asks for a server in `here`; it stays in the making. */
async function startServer(client: Client, hostname: string): Promise<{ id: string; operation: string }> {
  const body = { workspace: 'here', provider: 'simulated', plan: '2xCPU-4GB', zone: 'de-fra1', hostname };
  const { id } = expectOk(await client.request<{ id: string }>('POST', '/v1/servers/create', body));
  const servers = expectOk(await client.request<{ id: string }[]>('GET', `/v1/servers?hostname=${hostname}`));
  return { id: servers[0]?.id ?? '', operation: id };
}

/** An operation in `here` that has ended. */
async function endOperation(client: Client, hostname: string): Promise<string> {
  const { operation } = await startServer(client, hostname);
  assert.equal((await client.request('POST', `/v1/operations/${operation}/cancel`)).status, 200);
  return operation;
}

interface Action {
  permission: string;
  /** What must be readable for the caller to be told that it exists. */
  read: string;
  /** The answer to whom it is permitted. */
  permitted: number;
  ask(client: Client): Promise<Answer>;
}

/** What can be done to a server in the making and to an ended operation. */
function actionsOn(thing: { id: string; ended: string }): Action[] {
  const onServer = (permission: string, permitted: number, method: string, route = ''): Action => ({
    permission,
    read: 'server_read',
    permitted,
    ask: (client) => client.request(method, `/v1/servers/${thing.id}${route}`),
  });
  const onOperation = (permission: string, permitted: number, method: string, route = ''): Action => ({
    permission,
    read: 'operation_read',
    permitted,
    ask: (client) => client.request(method, `/v1/operations/${thing.ended}${route}`),
  });
  return [
    onServer('server_read', 200, 'GET'),
    onServer('server_read', 200, 'GET', '/status'),
    onServer('server_update', 409, 'POST', '/start'),
    onServer('server_update', 409, 'POST', '/stop'),
    onServer('server_update', 409, 'POST', '/restart'),
    onServer('server_delete', 409, 'DELETE'),
    onOperation('operation_read', 200, 'GET'),
    onOperation('operation_read', 200, 'GET', '/events'),
    onOperation('operation_read', 200, 'POST', '/wait?timeout=1'),
    onOperation('operation_cancel', 409, 'POST', '/cancel'),
  ];
}

const onWorkspace: Action[] = [
  { method: 'GET', route: '', permission: 'workspace_read', permitted: 200 },
  { method: 'POST', route: '/activate', permission: 'workspace_update', permitted: 200 },
  { method: 'DELETE', route: '', permission: 'workspace_delete', permitted: 409 },
].map(({ method, route, ...rest }) => ({
  ...rest,
  read: 'workspace_read',
  ask: (client) => client.request(method, `/v1/workspaces/here${route}`),
}));

/** The status that the table above asks for, for a thing in `here`. */
function expected({ role, place }: Caller, { permission, read, permitted }: Action, own: boolean): number {
  const verdict = MAY[role]?.[permission];
  if (verdict === undefined) return 403;
  if (place === 'there' || MAY[role]?.[read] === undefined) return 404;
  return verdict === 'own' && !own ? 403 : permitted;
}

test('over things of others: by role and workspace, 404 for what the caller may not see', async () => {
  const thing = { id: (await startServer(admin, 'of-admin')).id, ended: await endOperation(admin, 'ended-of-admin') };
  for (const caller of callers) {
    for (const action of [...actionsOn(thing), ...onWorkspace]) {
      const answer = await action.ask(caller.client);
      const wanted = expected(caller, action, false);
      const what = `${caller.role} of ${caller.place}: ${action.permission}: ${JSON.stringify(answer.body)}`;
      assert.equal(answer.status, wanted, what);
      if (wanted >= 400) expectError(answer, wanted);
    }
  }
});

test('over their own things: what a developer may, and no more after a move to another workspace', async () => {
  for (const role of ['admin', 'operator', 'developer']) {
    const client = await makeClient(server, `${role}.owner`, [{ role, workspace: 'here' }]);
    const hostname = `owned-by-${role}`;
    const thing = { id: (await startServer(client, hostname)).id, ended: await endOperation(client, `x-${hostname}`) };
    const { id } = expectOk(await client.request<{ id: string }>('GET', '/v1/auth/me'));
    for (const place of ['here', 'there'] as const) {
      expectOk(await admin.request('PATCH', `/v1/users/${id}`, { roles: [{ role, workspace: place }] }));
      const caller = { role, place, client };
      for (const action of actionsOn(thing)) {
        const { status } = await action.ask(client);
        assert.equal(status, expected(caller, action, true), `${role}, now of ${place}: ${action.permission}`);
      }
    }
  }
});

test('a server is made only where the caller may make one', async () => {
  // Refused for its plan where it is not refused for its workspace before.
  const body = { workspace: 'here', provider: 'simulated', plan: 'no such plan', zone: 'de-fra1', hostname: 'nope' };
  for (const { role, place, client } of callers) {
    const answer = await client.request('POST', '/v1/servers/create', body);
    const what = `${role} of ${place}`;
    if (MAY[role]?.server_create === undefined) {
      assert.equal(answer.status, 403, what);
      continue;
    }
    const [problem] = expectError(answer, 400).details as { field: string }[];
    assert.equal(problem?.field, place === 'there' ? 'workspace' : 'plan', what);
  }
});

test('lists and the feed hold what the caller may see, and nothing else', async () => {
  for (const { role, place, client } of callers) {
    for (const list of ['/v1/servers', '/v1/operations', '/v1/events']) {
      const rows = expectOk(await client.request<{ workspace: string }[]>('GET', list));
      const workspaces = [...new Set(rows.map(({ workspace }) => workspace))];
      assert.deepEqual(workspaces, place === 'there' ? [] : ['here'], `${role} of ${place}: ${list}`);
      const elsewhere = expectOk(await client.request<unknown[]>('GET', `${list}?workspace=there`));
      assert.deepEqual(elsewhere, []);
    }
    const names = expectOk(await client.request<{ name: string }[]>('GET', '/v1/workspaces')).map(({ name }) => name);
    assert.deepEqual(names.sort(), place === null ? ['default', 'here', 'there'] : [place]);
  }
});
