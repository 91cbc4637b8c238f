/** Logging in, staying in and being put out, on every replica at once. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { expectError, expectOk, makeUser, type Role, startInstallation, USER_PASSWORD } from '../support/acceptance.ts';
import { sendRaw } from '../support/raw.ts';
import {
  ADMIN_PASSWORD,
  type Answer,
  type Client,
  createClient,
  serverRequest,
  spawnProvisioning,
  until,
} from '../support/server.ts';

/** The other replica is told by a message: within moments, and long before it would look by itself (5 s). */
const TOLD_WITHIN_MS = 4_000;
const installation = await startInstallation({ ROLE: 'api' });
after(() => installation.close());
const { server } = installation;
const { admin, anonymous } = server;
const second = await installation.replica();

interface Pair {
  token: string;
  refresh_token: string;
}
const login = (username: string, password = USER_PASSWORD, on: Client = anonymous) =>
  on.request<Pair>('POST', '/v1/auth/login', { username, password });
const refresh = (token: string, on: Client = anonymous) =>
  on.request<Pair>('POST', '/v1/auth/refresh', { refresh_token: token });
const me = (client: Client) => client.request<{ roles: Role[]; permissions: string[] }>('GET', '/v1/auth/me');

/** A user, and their token's client on both replicas, which have just seen it. */
async function makeSession(username: string, roles: Role[] = [{ role: 'operator' }]) {
  const id = await makeUser(admin, username, roles);
  const pair = expectOk(await login(username));
  const here = createClient(server.url, pair.token);
  const there = createClient(second.url, pair.token);
  for (const client of [here, there]) expectOk(await me(client));
  return { id, pair, here, there };
}

/** The token has ended: here with this answer, on the other replica a moment later, and never comes back. */
async function assertEnded({ here, there, pair }: { here: Client; there: Client; pair: Pair }): Promise<void> {
  expectError(await me(here), 401, 'UNAUTHORIZED');
  await until(async () => (await me(there)).status === 401, 'the other replica to know', TOLD_WITHIN_MS, 10);
  for (const client of [here, there]) expectError(await me(client), 401, 'UNAUTHORIZED');
  for (const on of [anonymous, second.anonymous])
    expectError(await refresh(pair.refresh_token, on), 401, 'INVALID_REFRESH_TOKEN');
}

test('a token of one replica holds on the other', async () => {
  const { there, pair } = await makeSession('both');
  expectOk(await there.request('GET', '/v1/servers'));
  expectOk(await refresh(pair.refresh_token, second.anonymous));
});

test('logout ends every login of the user, on every replica; others stay', async () => {
  const session = await makeSession('leaving');
  const other = await makeSession('staying');
  const elsewhere = expectOk(await login('leaving', USER_PASSWORD, second.anonymous));
  expectOk(await session.here.request('POST', '/v1/auth/logout'));
  await assertEnded(session);
  expectError(await me(createClient(second.url, elsewhere.token)), 401);
  expectOk(await me(other.there));
  expectOk(await login('leaving'));
});

test('a refresh token is good for one use; used again, on whichever replica, its whole family ends', async () => {
  const { pair } = await makeSession('rotating');
  const next = expectOk(await refresh(pair.refresh_token));
  const third = expectOk(await refresh(next.refresh_token, second.anonymous));
  assert.equal(new Set([pair.refresh_token, next.refresh_token, third.refresh_token]).size, 3);
  expectError(await refresh(pair.refresh_token, second.anonymous), 401, 'INVALID_REFRESH_TOKEN');
  expectError(await refresh(third.refresh_token), 401, 'INVALID_REFRESH_TOKEN');
  const { refresh_token: fresh } = expectOk(await login('rotating'));
  expectOk(await refresh(fresh));
});

test('of ten uses at once of one refresh token at most one succeeds', async () => {
  const { pair } = await makeSession('racing');
  const answers = await Promise.all(
    Array.from({ length: 10 }, (_, index) =>
      refresh(pair.refresh_token, index % 2 === 0 ? anonymous : second.anonymous),
    ),
  );
  assert.equal(answers.filter(({ status }) => status === 200).length, 1);
  for (const answer of answers) if (answer.status !== 200) expectError(answer, 401, 'INVALID_REFRESH_TOKEN');
});

test('a disabled user is out at once; enabled again they log in anew', async () => {
  const session = await makeSession('suspended');
  expectOk(await admin.request('PATCH', `/v1/users/${session.id}`, { disabled: true }));
  await assertEnded(session);
  expectError(await login('suspended'), 401, 'INVALID_CREDENTIALS');
  expectOk(await admin.request('PATCH', `/v1/users/${session.id}`, { disabled: false }));
  expectError(await me(session.there), 401);
  expectOk(await login('suspended'));
});

test('a deleted user is out at once', async () => {
  const session = await makeSession('deleted');
  expectOk(await admin.request('DELETE', `/v1/users/${session.id}`));
  await assertEnded(session);
  expectError(await login('deleted'), 401, 'INVALID_CREDENTIALS');
});

test('a changed password ends every token, API tokens too; only the new one opens', async () => {
  const session = await makeSession('changing');
  const made = await session.here.request<{ token: string }>('POST', '/v1/tokens', { name: 'ci' });
  const apiToken = createClient(second.url, expectOk(made).token);
  expectOk(await me(apiToken));
  const wrong = { current_password: 'not the password', new_password: 'another password' };
  expectError(await session.here.request('POST', '/v1/auth/password', wrong), 401, 'INVALID_CREDENTIALS');
  const change = { current_password: USER_PASSWORD, new_password: 'another password' };
  expectOk(await session.here.request('POST', '/v1/auth/password', change));
  await assertEnded(session);
  expectError(await me(apiToken), 401);
  expectError(await login('changing'), 401, 'INVALID_CREDENTIALS');
  expectOk(await login('changing', 'another password'));
});

test('new roles hold from the next request on, on every replica, with the old token', async () => {
  const { id, here, there } = await makeSession('promoted', [{ role: 'viewer' }]);
  expectError(await there.request('POST', '/v1/servers/create', serverRequest('too-early')), 403, 'FORBIDDEN');
  expectOk(await admin.request('PATCH', `/v1/users/${id}`, { roles: [{ role: 'operator', workspace: 'default' }] }));
  expectOk(await here.request('POST', '/v1/servers/create', serverRequest('promoted-here')));
  const may = async () => expectOk(await me(there)).permissions.includes('server_create');
  await until(may, 'the other replica to know', TOLD_WITHIN_MS, 10);
  expectOk(await there.request('POST', '/v1/servers/create', serverRequest('promoted-there')));
});

test('an API token has what it was given, never more than its owner, and ends when deleted', async () => {
  const { id, here, there } = await makeSession('owner', [{ role: 'developer' }]);
  const excess = { name: 'excess', roles: [{ role: 'admin' }] };
  expectError(await here.request('POST', '/v1/tokens', excess), 400, 'VALIDATION_ERROR');
  const body = { name: 'scoped', roles: [{ role: 'viewer', workspace: 'default' }] };
  const made = expectOk(await here.request<{ id: string; token: string }>('POST', '/v1/tokens', body));
  const token = createClient(second.url, made.token);
  assert.deepEqual(expectOk(await me(token)).roles, [{ role: 'viewer', workspace: 'default' }]);
  expectError(await token.request('POST', '/v1/servers/create', serverRequest('by-token')), 403, 'FORBIDDEN');
  expectError(await token.request('POST', '/v1/tokens', { name: 'child' }), 409);
  const listed = expectOk(await here.request<Record<string, unknown>[]>('GET', '/v1/tokens'));
  assert.ok(!JSON.stringify(listed).includes(made.token), 'the secret is shown once');
  expectOk(await admin.request('PATCH', `/v1/users/${id}`, { roles: [] }));
  await until(
    async () => expectOk(await me(token)).permissions.length === 0,
    'the roles to be gone',
    TOLD_WITHIN_MS,
    10,
  );
  expectOk(await there.request('DELETE', `/v1/tokens/${made.id}`));
  expectError(await me(token), 401, 'UNAUTHORIZED');
  await until(
    async () => (await me(createClient(server.url, made.token))).status === 401,
    'both to know',
    TOLD_WITHIN_MS,
    10,
  );
});

test('an API token ends when its time is over', async () => {
  const made = await admin.request<{ token: string }>('POST', '/v1/tokens', { name: 'brief', expires_in: 1 });
  const token = createClient(server.url, expectOk(made).token);
  await until(async () => (await me(token)).status === 401, 'the token to expire');
});

test('unknown users, disabled ones and wrong passwords are answered alike', async () => {
  const { id } = await makeSession('asleep');
  expectOk(await admin.request('PATCH', `/v1/users/${id}`, { disabled: true }));
  const told = (answer: Answer) => ({ ...expectError(answer, 401, 'INVALID_CREDENTIALS'), request_id: undefined });
  const wrong = told(await login('admin', 'a wrong password'));
  for (const username of ['nobody', 'asleep', 'ADMIN ', 'a'.repeat(200), "' or 1=1 --"]) {
    assert.deepEqual(told(await login(username, 'a wrong password')), wrong);
  }
});

test('the last administrator can be neither deleted, disabled nor demoted', async () => {
  const users = expectOk(await admin.request<{ id: string }[]>('GET', '/v1/users?username=admin'));
  const path = `/v1/users/${users[0]?.id}`;
  expectError(await admin.request('DELETE', path), 409, 'CONFLICT');
  expectError(await admin.request('PATCH', path, { disabled: true }), 409, 'CONFLICT');
  expectError(
    await admin.request('PATCH', path, { roles: [{ role: 'admin', workspace: 'default' }] }),
    409,
    'CONFLICT',
  );
  expectOk(await login('admin', ADMIN_PASSWORD));
});

test('the audit log tells who did what and who was refused; no secret is in it, or in what the server prints', async () => {
  const { here, pair } = await makeSession('watched', [{ role: 'viewer' }]);
  expectError(await here.request('POST', '/v1/users', { username: 'sneaky', password: 'sneaky password' }), 403);
  expectError(await login('watched', 'guessed password'), 401);
  const audit = async (query: string) =>
    expectOk(await admin.request<Record<string, string>[]>('GET', `/v1/audit?${query}`));
  await until(async () => (await audit('principal=watched&outcome=denied')).length === 2, 'the denials to be written');
  const denied = (await audit('principal=watched&outcome=denied')).map(({ action }) => action);
  assert.deepEqual(denied.sort(), ['POST /v1/users', 'auth.login']);
  assert.ok((await audit('action=user.create')).some(({ resource }) => resource === 'user:watched'));
  const everything = JSON.stringify(await audit('')) + server.output() + second.output();
  for (const secret of [
    'sneaky password',
    'guessed password',
    USER_PASSWORD,
    ADMIN_PASSWORD,
    pair.token,
    pair.refresh_token,
  ]) {
    assert.ok(!everything.includes(secret), `leaked: ${secret}`);
  }
});

test('logins are counted by address: a header does not make another one, unless a proxy is trusted', async () => {
  const attempt = (url: string, address: string) =>
    sendRaw(url, {
      method: 'POST',
      path: '/v1/auth/login',
      headers: { 'content-type': 'application/json', 'x-forwarded-for': address },
      body: JSON.stringify({ username: 'nobody', password: 'whatever it is' }),
      // Not where the harness logs in: all replicas count together.
      localAddress: '127.0.0.53',
    });
  const limited = { LOGIN_RATE_LIMIT: '3' };
  const [direct, behind] = await Promise.all([
    installation.replica(limited),
    installation.replica({ ...limited, TRUST_PROXY: '1' }),
  ]);
  const statuses: number[] = [];
  for (let host = 1; host <= 4; host += 1) statuses.push((await attempt(direct.url, `192.0.2.${host}`)).status);
  assert.deepEqual(statuses, [401, 401, 401, 429]);
  for (let tries = 1; tries <= 3; tries += 1) assert.equal((await attempt(behind.url, '192.0.2.1')).status, 401);
  expectError(await attempt(behind.url, '192.0.2.1'), 429, 'RATE_LIMITED');
  assert.equal((await attempt(behind.url, '192.0.2.2')).status, 401);
});

/** A login as a proxy passes it on. */
function loginThrough(url: string, forwarded: string, username: string, password: string) {
  return sendRaw(url, {
    method: 'POST',
    path: '/v1/auth/login',
    headers: { 'content-type': 'application/json', 'x-forwarded-for': forwarded },
    body: JSON.stringify({ username, password }),
  });
}

test('guesses at one account end, from however many addresses; its user still gets in from where they have been', async () => {
  const { url } = await installation.replica({ LOGIN_RATE_LIMIT: '0', ACCOUNT_LOGIN_LIMIT: '3', TRUST_PROXY: '1' });
  await makeUser(admin, 'guessed', [{ role: 'viewer' }]);
  await makeUser(admin, 'not.guessed', [{ role: 'viewer' }]);
  const at = (address: string, username = 'guessed', password = USER_PASSWORD) =>
    loginThrough(url, address, username, password);
  for (let host = 1; host <= 5; host += 1) expectOk(await at(`192.0.2.${host}`));

  for (const username of ['guessed', 'nobody.at.all']) {
    for (let host = 1; host <= 3; host += 1) {
      expectError(await at(`198.51.100.${host}`, username, 'a guess'), 401, 'INVALID_CREDENTIALS');
    }
    for (let host = 4; host <= 6; host += 1) {
      const limited = expectError(await at(`198.51.100.${host}`, username), 429, 'RATE_LIMITED');
      assert.match(limited.message, /Try again in \d+ s/);
    }
  }
  expectOk(await at('192.0.2.1'));
  expectError(await at('192.0.2.2', 'guessed', 'a guess'), 401, 'INVALID_CREDENTIALS');
  expectOk(await at('198.51.100.1', 'not.guessed'));
  const { rows } = await installation.database.pool.query(
    "select principal from provisioning.audit_log where details ->> 'reason' = 'too many tries' order by 1",
  );
  assert.deepEqual(
    rows.map(({ principal }) => principal),
    ['guessed', 'nobody.at.all'],
  );
});

test('whoever renews a session from an address is known there, as after a login', async () => {
  const { url } = await installation.replica({ LOGIN_RATE_LIMIT: '0', ACCOUNT_LOGIN_LIMIT: '2', TRUST_PROXY: '1' });
  await makeUser(admin, 'moved', [{ role: 'viewer' }]);
  const login = (address: string, password = USER_PASSWORD) => loginThrough(url, address, 'moved', password);
  const { refresh_token } = expectOk(await login('192.0.2.10')) as { refresh_token: string };
  const renewed = await sendRaw(url, {
    method: 'POST',
    path: '/v1/auth/refresh',
    headers: { 'content-type': 'application/json', 'x-forwarded-for': '192.0.2.11' },
    body: JSON.stringify({ refresh_token }),
  });
  assert.equal(renewed.status, 200);
  for (let host = 1; host <= 2; host += 1) expectError(await login(`198.51.100.${host}`, 'a guess'), 401);
  expectError(await login('198.51.100.3'), 429);
  expectOk(await login('192.0.2.11'));
});

test('the address that counts is the one that the trusted proxies saw, whatever a client writes in front of it', async () => {
  const chain = '203.0.113.66, 192.0.2.1, 10.0.0.9';
  const cases = { '1': '10.0.0.9', '2': '192.0.2.1', '127.0.0.1,10.0.0.0/8': '192.0.2.1', '10.0.0.0/8': '127.0.0.1' };
  for (const [setting, expected] of Object.entries(cases)) {
    const { url } = await installation.replica({ TRUST_PROXY: setting });
    const username = `through.${Object.keys(cases).indexOf(setting)}`;
    expectError(await loginThrough(url, chain, username, 'a guess'), 401);
    const { rows } = await installation.database.pool.query(
      'select address from provisioning.audit_log where principal = $1',
      [username],
    );
    assert.deepEqual(rows, [{ address: expected }], setting);
  }
});

test('a setting that would believe everybody is refused at the start, with the reason', async () => {
  for (const [setting, reason] of [
    ['true', /would believe whoever connects.*Set the number of proxies/],
    ['10.0.0.1,0.0.0.0/0', /TRUST_PROXY=0\.0\.0\.0\/0 would believe whoever connects/],
    ['::/0', /would believe whoever connects/],
    ['0.0.0.0/1,128.0.0.0/1', /TRUST_PROXY=0\.0\.0\.0\/1 would believe whoever connects/],
    ['10.0.0.1,11.0.0.0/7', /would believe whoever connects/],
    ['2000::/3', /would believe whoever connects/],
    ['::ffff:0:0/96', /would believe whoever connects/],
    ['::/64', /would believe whoever connects/],
    ['0', /whole number from 1 to 10/],
    ['all', /must be the number of proxies in front/],
  ] as const) {
    const run = spawnProvisioning(['serve'], { TRUST_PROXY: setting });
    assert.equal(await run.closed, 2);
    assert.match(run.output(), reason);
  }
});
