/** Users that are no persons: tokens alone open them, their workspace bounds them, and they go with it. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import {
  askForServer,
  expectError,
  expectOk,
  makeClient,
  makeUser,
  PROOF,
  startInstallation,
  USER_PASSWORD,
} from '../support/acceptance.ts';
import { type Client, createClient, ended, serverRequest, until } from '../support/server.ts';
import { stepsOf, submitBatch } from '../support/workflows.ts';

const TOLD_WITHIN_MS = 4_000;
const installation = await startInstallation();
after(() => installation.close());
const { server } = installation;
const { admin, anonymous } = server;
const second = await installation.replica();

async function makeWorkspace(name: string): Promise<string> {
  const path = `${server.dataDir}/workspaces/${name}`;
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name, path }));
  return name;
}

interface Account {
  id: string;
  name: string;
  username: string;
  roles: string[];
  created_by: string;
}
const route = (workspace: string, rest = '') => `/v1/workspaces/${workspace}/service-accounts${rest}`;
const make = (client: Client, workspace: string, name: string, ...roles: string[]) =>
  client.request<Account>('POST', route(workspace), { name, roles });
const makeToken = (client: Client, workspace: string, name: string, body: object = {}) =>
  client.request<{ id: string; token: string; expires_at: string }>('POST', route(workspace, `/${name}/tokens`), {
    name: 'pipeline',
    ...body,
  });
const me = (client: Client) =>
  client.request<{ id: string; username: string; roles: object[]; permissions: string[] }>('GET', '/v1/auth/me');

test('a service account acts by tokens in its workspace, and shows as what it is', async () => {
  await makeWorkspace('acts');
  const account = expectOk(await make(admin, 'acts', 'deploy', 'developer'));
  assert.deepEqual([account.username, account.roles, account.created_by], ['deploy@acts', ['developer'], 'admin']);
  const made = expectOk(await makeToken(admin, 'acts', 'deploy'));
  assert.ok(Date.parse(made.expires_at) - Date.now() < 91 * 86_400_000);
  const client = createClient(second.url, made.token);
  const self = expectOk(await me(client));
  assert.deepEqual([self.username, self.roles], ['deploy@acts', [{ role: 'developer', workspace: 'acts' }]]);
  const operation = await askForServer(client, 'by-robot', { workspace: 'acts' });
  assert.equal((await ended(admin, operation.id)).status, 'completed');
  expectError(await client.request('POST', '/v1/servers/create', serverRequest('elsewhere')), 400);
  const [row] = expectOk(
    await admin.request<{ principal: string; workspace: string }[]>('GET', '/v1/audit?action=server.create'),
  );
  assert.deepEqual([row?.principal, row?.workspace], ['deploy@acts (token pipeline)', 'acts']);
  const servers = expectOk(await admin.request<{ created_by: string }[]>('GET', '/v1/servers?hostname=by-robot'));
  assert.equal(servers[0]?.created_by, 'deploy@acts');
});

test('it has no password, logs in nowhere, and is no user', async () => {
  await makeWorkspace('robots');
  const { id } = expectOk(await make(admin, 'robots', 'shut', 'admin'));
  const { token } = expectOk(await makeToken(admin, 'robots', 'shut'));
  const client = createClient(server.url, token);
  for (const password of ['', 'null', 'a password for tests']) {
    const answer = await anonymous.request('POST', '/v1/auth/login', {
      username: 'shut@robots',
      password: `${password}x`,
    });
    expectError(answer, 401, 'INVALID_CREDENTIALS');
  }
  const change = { current_password: 'anything', new_password: 'another password of mine' };
  expectError(await client.request('POST', '/v1/auth/password', change), 409, 'CONFLICT');
  expectError(await client.request('POST', '/v1/auth/totp', { password: 'anything' }), 409, 'CONFLICT');
  // Users are people: it is neither among them nor changed as one of them.
  const users = expectOk(await admin.request<{ username: string }[]>('GET', '/v1/users'));
  assert.ok(users.every(({ username }) => !username.includes('@')));
  for (const [method, body] of [
    ['GET', undefined],
    ['PATCH', { password: 'another password of mine' }],
    ['PATCH', { roles: [{ role: 'admin' }] }],
    ['DELETE', undefined],
  ] as const) {
    expectError(await admin.request(method, `/v1/users/${id}`, body), 404, 'NOT_FOUND');
  }
  expectOk(await me(client));
  // Nor is a person ever called like one.
  const person = { username: 'shut@robots', password: 'a password for tests' };
  expectError(await admin.request('POST', '/v1/users', person), 400, 'VALIDATION_ERROR');
});

test('a token makes no accounts, tokens or roles, whatever its account may', async () => {
  await makeWorkspace('closed');
  expectOk(await make(admin, 'closed', 'chief', 'admin'));
  const client = createClient(server.url, expectOk(await makeToken(admin, 'closed', 'chief')).token);
  expectError(await make(client, 'closed', 'child', 'viewer'), 409, 'CONFLICT');
  expectError(await makeToken(client, 'closed', 'chief', { name: 'child' }), 409, 'CONFLICT');
  expectError(await client.request('POST', '/v1/tokens', { name: 'child' }), 409, 'CONFLICT');
  expectError(await client.request('PATCH', route('closed', '/chief'), { roles: ['viewer'] }), 409, 'CONFLICT');
});

test('only who administers the workspace makes accounts there, with no more than they hold', async () => {
  await makeWorkspace('mine');
  await makeWorkspace('theirs');
  const chief = await makeClient(server, 'chief', [{ role: 'admin', workspace: 'mine' }]);
  const operator = await makeClient(server, 'operates', [{ role: 'operator' }]);
  const viewer = await makeClient(server, 'views', [{ role: 'viewer' }]);
  expectOk(await make(chief, 'mine', 'deploy', 'operator'));
  expectError(await make(chief, 'theirs', 'deploy', 'viewer'), 404, 'NOT_FOUND');
  expectError(await make(operator, 'mine', 'other', 'viewer'), 403, 'FORBIDDEN');
  expectError(await makeToken(operator, 'mine', 'deploy'), 403, 'FORBIDDEN');
  assert.equal(expectOk(await operator.request<Account[]>('GET', route('mine'))).length, 1);
  expectError(await viewer.request('GET', route('mine')), 403, 'FORBIDDEN');
  expectError(await admin.request('GET', route('nowhere')), 404, 'NOT_FOUND');
  expectError(await make(admin, 'nowhere', 'deploy', 'viewer'), 404, 'NOT_FOUND');
  expectError(await make(chief, 'mine', 'deploy', 'viewer'), 409, 'CONFLICT');
  expectError(await make(chief, 'mine', 'Not A Name', 'viewer'), 400, 'VALIDATION_ERROR');
  // A token of another's account, and the account itself, are ended by who may write them alone.
  const { id, token } = expectOk(await makeToken(chief, 'mine', 'deploy'));
  expectError(await operator.request('DELETE', `/v1/tokens/${id}`), 404, 'NOT_FOUND');
  expectOk(await chief.request('DELETE', `/v1/tokens/${id}`));
  expectError(await me(createClient(server.url, token)), 401, 'UNAUTHORIZED');
});

test('tokens that somebody made end with what let them make these, on every replica; the account stays', async () => {
  await makeWorkspace('kept');
  await makeWorkspace('other');
  const ends: [string, (id: string, client: Client) => Promise<unknown>][] = [
    ['deleted', async (id) => expectOk(await admin.request('DELETE', `/v1/users/${id}`))],
    ['disabled', async (id) => expectOk(await admin.request('PATCH', `/v1/users/${id}`, { disabled: true }))],
    [
      'lowered',
      async (id) =>
        expectOk(
          await admin.request('PATCH', `/v1/users/${id}`, {
            roles: [
              { role: 'operator', workspace: 'kept' },
              { role: 'admin', workspace: 'other' },
            ],
          }),
        ),
    ],
    [
      'reset',
      async (id) =>
        expectOk(await admin.request('PATCH', `/v1/users/${id}`, { password: 'nobody knew this before', ...PROOF })),
    ],
    [
      'renewed',
      async (_id, client) =>
        expectOk(
          await client.request('POST', '/v1/auth/password', {
            current_password: USER_PASSWORD,
            new_password: 'nobody knew this before',
          }),
        ),
    ],
  ];
  expectOk(await make(admin, 'kept', 'keep', 'operator'));
  const ours = createClient(second.url, expectOk(await makeToken(admin, 'kept', 'keep', { name: 'ours' })).token);
  for (const [name, end] of ends) {
    const id = await makeUser(admin, name, [{ role: 'admin', workspace: 'kept' }]);
    const maker = await server.login(name, USER_PASSWORD);
    const made = expectOk(await makeToken(maker, 'kept', 'keep', { name }));
    const here = createClient(server.url, made.token);
    const there = createClient(second.url, made.token);
    for (const one of [here, there]) expectOk(await me(one));
    const tokens = async () =>
      expectOk(
        await admin.request<{ id: string; created_by: string | null; revoked_at: string | null }[]>(
          'GET',
          route('kept', '/keep/tokens'),
        ),
      ).find((token) => token.id === made.id);
    assert.equal((await tokens())?.created_by, name);
    // A change that takes nothing away ends nothing.
    expectOk(
      await admin.request('PATCH', `/v1/users/${id}`, {
        roles: [
          { role: 'admin', workspace: 'kept' },
          { role: 'viewer', workspace: 'other' },
        ],
      }),
    );
    expectOk(await me(here));
    await end(id, maker);
    expectError(await me(here), 401, 'UNAUTHORIZED');
    await until(async () => (await me(there)).status === 401, 'the other replica to know', TOLD_WITHIN_MS, 10);
    const left = await tokens();
    assert.notEqual(left?.revoked_at ?? null, null);
    assert.equal(left?.created_by, name === 'deleted' ? null : name);
    const rows = expectOk(
      await admin.request<{ resource: string; details: { revoked_tokens?: string[] } | null }[]>(
        'GET',
        '/v1/audit?per_page=50',
      ),
    );
    assert.ok(rows.some((row) => row.resource === `user:${name}` && row.details?.revoked_tokens?.[0] === made.id));
  }
  expectOk(await me(ours));
  assert.equal(expectOk(await admin.request<Account[]>('GET', route('kept'))).length, 1);
});

test('a narrowed token of an account does only that', async () => {
  await makeWorkspace('narrow');
  expectOk(await make(admin, 'narrow', 'reads', 'operator'));
  const body = { permissions: ['server_read'], expires_in: 3_600 };
  const client = createClient(server.url, expectOk(await makeToken(admin, 'narrow', 'reads', body)).token);
  assert.deepEqual(expectOk(await me(client)).permissions, ['server_read']);
  const listed = expectOk(await admin.request<{ name: string }[]>('GET', route('narrow', '/reads/tokens')));
  assert.deepEqual(
    listed.map(({ name }) => name),
    ['pipeline'],
  );
});

test('disabled, lowered and deleted: its tokens and its runs end on every replica', async () => {
  await makeWorkspace('ends');
  expectOk(await make(admin, 'ends', 'deploy', 'operator'));
  const client = createClient(server.url, expectOk(await makeToken(admin, 'ends', 'deploy')).token);
  const there = createClient(second.url, client.token);
  for (const one of [client, there]) expectOk(await me(one));
  const run = async (hostname: string) => {
    const { id } = await submitBatch(
      client,
      [
        { id: 'go', kind: 'approval', with: {} },
        { id: 'make', kind: 'server.create', depends_on: ['go'], with: { hostname } },
      ],
      {},
      'ends',
    );
    await until(async () => (await stepsOf(admin, id))[0]?.status === 'running', 'the approval to wait');
    return id;
  };
  const assertHeld = async (id: string) => {
    expectOk(await admin.request('POST', `/v1/workflows/${id}/steps/go/approve`));
    assert.equal((await ended(admin, id)).status, 'failed');
    assert.equal((await stepsOf(admin, id)).find((step) => step.id === 'make')?.error_code, 'AUTHORITY_ENDED');
  };
  const lowered = await run('ends-01');
  expectOk(await admin.request('PATCH', route('ends', '/deploy'), { roles: ['viewer'] }));
  await assertHeld(lowered);
  expectOk(await admin.request('PATCH', route('ends', '/deploy'), { roles: ['operator'] }));
  const disabled = await run('ends-02');
  expectOk(await admin.request('PATCH', route('ends', '/deploy'), { disabled: true }));
  expectError(await me(client), 401, 'UNAUTHORIZED');
  await until(async () => (await me(there)).status === 401, 'the other replica to know', TOLD_WITHIN_MS, 10);
  await assertHeld(disabled);
  expectOk(await admin.request('PATCH', route('ends', '/deploy'), { disabled: false }));
  expectOk(await me(client));
  expectOk(await admin.request('DELETE', route('ends', '/deploy')));
  expectError(await me(client), 401, 'UNAUTHORIZED');
  await until(async () => (await me(there)).status === 401, 'the other replica to know', TOLD_WITHIN_MS, 10);
  // Operations go on naming it: nobody else is called so.
  expectError(await make(admin, 'ends', 'deploy', 'viewer'), 409, 'CONFLICT');
});

test('it goes with its workspace', async () => {
  await makeWorkspace('passing');
  expectOk(await make(admin, 'passing', 'deploy', 'viewer'));
  expectOk(await make(admin, 'passing', 'roleless'));
  const tokens = [];
  for (const name of ['deploy', 'roleless']) tokens.push(expectOk(await makeToken(admin, 'passing', name)).token);
  const clients = tokens.flatMap((token) => [createClient(server.url, token), createClient(second.url, token)]);
  for (const client of clients) expectOk(await me(client));
  expectOk(await admin.request('DELETE', '/v1/workspaces/passing'));
  for (const client of clients)
    await until(async () => (await me(client)).status === 401, 'the account to be gone', TOLD_WITHIN_MS, 10);
  await makeWorkspace('passing');
  assert.deepEqual(expectOk(await admin.request<Account[]>('GET', route('passing'))), []);
  expectOk(await make(admin, 'passing', 'deploy', 'viewer'));
});
