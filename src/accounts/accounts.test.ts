import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import Fastify from 'fastify';
import { sql } from 'kysely';
import { pino } from 'pino';
import { createTestDatabase } from '../../test/support/database.ts';
import { createAuthenticator, USERS_CHANNEL } from '../access/authenticate.ts';
import { createEncryption } from '../access/encryption.ts';
import { prepareInstallation } from '../access/installation.ts';
import { isPermitted } from '../access/permissions.ts';
import { createIssuers } from '../access/sso/issuers.ts';
import { type Config, loadConfig } from '../config.ts';
import { type Listener, startListener } from '../database/listener.ts';
import { errors } from '../errors.ts';
import { principalOf, setPrincipal } from '../http/context.ts';
import { installErrorHandler } from '../http/error-handler.ts';
import { createMutate } from '../http/mutation.ts';
import { installRateLimit } from '../http/rate-limit.ts';
import type { App, Services } from '../http/section.ts';
import { installValidation } from '../http/validation.ts';
import { startSharedCounts } from '../limits/shared-counts.ts';
import { createEgressPolicy } from '../outbound/egress.ts';
import { registerAuthRoutes } from './routes.ts';
import { createSessionCheck } from './sso/session-check.ts';

const PASSWORD = 'correct horse';
const testDatabase = await createTestDatabase({ poolSize: 20 });
const { db } = testDatabase;
const opened: (() => Promise<unknown>)[] = [];
after(async () => {
  for (const close of opened.reverse()) await close();
  await testDatabase.close();
});

/** A replica as far as this section goes. */
async function startReplica(config: Config, secret: string): Promise<{ app: App; listener: Listener }> {
  const listener = await startListener(testDatabase.settings, [USERS_CHANNEL]);
  opened.push(() => listener.close());
  const issuers = createIssuers(createEgressPolicy(config.egress)('issuer', null));
  const checkSession = createSessionCheck({ db, encryption, issuers, logger: pino({ enabled: false }) });
  const auth = createAuthenticator({ db, listener, secret, adminTotp: config.adminTotp, checkSession });
  const app = Fastify() as unknown as App;
  installValidation(app);
  installErrorHandler(app, () => {});
  app.addHook('onRequest', async (request) => {
    const access = request.routeOptions.config.access;
    if (access === undefined || access === 'public') return;
    setPrincipal(request, await auth.authenticate(request));
    if (access !== 'authenticated' && !isPermitted(principalOf(request), access)) throw errors.forbidden(access);
  });
  const counts = await startSharedCounts(db, (error) => app.log.error(error));
  opened.push(() => counts.stop());
  await installRateLimit(app, counts, config.rateLimit);
  const mutate = createMutate(db, encryption, encryption);
  const services = { config, db, listener, encryption, mutate, issuers, checkSession, limits: { counts } };
  registerAuthRoutes(app, services as unknown as Services, auth);
  opened.push(() => app.close());
  return { app, listener };
}

let one: App;
let two: App;
let secret: string;
const encryption = createEncryption('the data key of this test, long enough to be one');
const config = { ...loadConfig(), adminPassword: PASSWORD, jwtSecret: null, loginRateLimit: 0 };

before(async () => {
  const prepared = await Promise.all(Array.from({ length: 4 }, () => prepareInstallation(db, config, encryption)));
  secret = prepared[0]?.secret ?? '';
  assert.equal(new Set(prepared.map((installation) => installation.secret)).size, 1);
  one = (await startReplica(config, secret)).app;
  two = (await startReplica(config, secret)).app;
});

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';
async function call(app: App, method: Method, url: string, token: string | null, payload?: object, more = {}) {
  const headers = { ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...more };
  const response = await app.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) });
  return { status: response.statusCode, body: response.json(), headers: response.headers };
}
async function login(username = 'admin', password = PASSWORD) {
  const { status, body } = await call(one, 'POST', '/v1/auth/login', null, { username, password });
  assert.equal(status, 200);
  return body as { token: string; refresh_token: string; expires_in: number };
}
async function createUser(username: string, ...roles: object[]): Promise<string> {
  const { token } = await login();
  const { status, body } = await call(one, 'POST', '/v1/users', token, {
    username,
    password: PASSWORD,
    roles,
    proof: { password: PASSWORD },
  });
  assert.equal(status, 200, JSON.stringify(body));
  return body.id;
}
const me = async (app: App, token: string) => (await call(app, 'GET', '/v1/auth/me', token)).status;
const refresh = (token: string) => call(two, 'POST', '/v1/auth/refresh', null, { refresh_token: token });
/** On the other replica, to which the message takes a moment. */
async function ends(token: string): Promise<void> {
  for (let tries = 0; tries < 100 && (await me(two, token)) !== 401; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(await me(two, token), 401);
}

test('of many replicas at their first start one makes the user and has its password', async () => {
  await using fresh = await createTestDatabase();
  const prepared = await Promise.all(
    Array.from({ length: 4 }, () => prepareInstallation(fresh.db, { ...config, adminPassword: null }, encryption)),
  );
  const passwords = prepared.flatMap(({ generatedAdminPassword }) => generatedAdminPassword ?? []);
  assert.equal(passwords.length, 1);
  assert.match(passwords[0] ?? '', /^[\w-]{24}$/);
  const again = await prepareInstallation(fresh.db, { ...config, adminPassword: null }, encryption);
  assert.deepEqual(again, { secret: prepared[0]?.secret, generatedAdminPassword: null });
});

test('login answers as the reference says; all that is wrong is answered alike', async () => {
  const pair = await login();
  assert.deepEqual(Object.keys(pair), ['token', 'refresh_token', 'expires_in']);
  assert.equal(pair.expires_in, 86_400);
  assert.equal(await me(two, pair.token), 200);
  await createUser('disabled.user');
  await sql`update provisioning.users set disabled = true where username = 'disabled.user'`.execute(db);
  const tries = [
    ['admin', 'wrong password'],
    ['nobody', PASSWORD],
    ['not a name\u0000', PASSWORD],
    ['disabled.user', PASSWORD],
  ];
  const answers = new Set<string>();
  for (const [username, password] of tries) {
    const { status, body } = await call(one, 'POST', '/v1/auth/login', null, { username, password });
    answers.add(JSON.stringify([status, body.error, body.message, body.code]));
  }
  assert.equal(answers.size, 1);
  assert.match([...answers].join(), /^\[401,"INVALID_CREDENTIALS"/);
  const { rows } = await sql<{ n: number }>`
    select count(*)::int as n from provisioning.audit_log where action = 'auth.login' and outcome = 'denied'`.execute(
    db,
  );
  assert.equal(rows[0]?.n, 4);
});

test('a refresh token works once; used again it ends its family', async () => {
  const first = await login();
  const second = await refresh(first.refresh_token);
  assert.equal(second.status, 200);
  assert.equal(await me(one, second.body.token), 200);
  const other = await login();
  const reused = await refresh(first.refresh_token);
  assert.equal(reused.status, 401);
  assert.equal(reused.body.error, 'INVALID_REFRESH_TOKEN');
  assert.equal((await refresh(second.body.refresh_token)).status, 401);
  assert.equal((await refresh(other.refresh_token)).status, 200);
  assert.equal((await refresh(other.token)).status, 401);
});

test('of many refreshes at once one succeeds, and nothing survives the reuse', async () => {
  const { refresh_token } = await login();
  const answers = await Promise.all(Array.from({ length: 8 }, () => refresh(refresh_token)));
  const good = answers.filter(({ status }) => status === 200);
  assert.equal(good.length, 1);
  assert.equal((await refresh(good[0]?.body.refresh_token)).status, 401);
});

test('logout ends every login on every replica at once; API tokens stay', async () => {
  await createUser('leaver', { role: 'viewer' });
  const [a, b] = [await login('leaver'), await login('leaver')];
  const api = await call(one, 'POST', '/v1/tokens', a.token, { name: 'ci' });
  assert.deepEqual([await me(one, b.token), await me(two, b.token)], [200, 200]);
  assert.equal((await call(one, 'POST', '/v1/auth/logout', a.token)).status, 200);
  assert.deepEqual([await me(one, a.token), await me(one, b.token)], [401, 401]);
  await ends(b.token);
  assert.equal((await refresh(b.refresh_token)).status, 401);
  assert.equal(await me(two, api.body.token), 200);
  assert.equal(await me(two, (await login('leaver')).token), 200);
});

test('a changed password ends everything, API tokens too', async () => {
  await createUser('changer', { role: 'viewer' });
  const { token } = await login('changer');
  const api = await call(one, 'POST', '/v1/tokens', token, { name: 'ci' });
  const change = (current_password: string) =>
    call(one, 'POST', '/v1/auth/password', token, { current_password, new_password: 'another horse' });
  assert.equal((await change('wrong password')).status, 401);
  assert.equal(await me(two, api.body.token), 200);
  assert.equal((await change(PASSWORD)).status, 200);
  assert.deepEqual([await me(one, token), await me(one, api.body.token)], [401, 401]);
  await ends(token);
  await ends(api.body.token);
  const again = await login('changer', 'another horse');
  assert.equal((await call(one, 'POST', '/v1/tokens', again.token, { name: 'ci' })).status, 200);
});

test('an API token is shown once, expires, and never has more than its owner now', async () => {
  const id = await createUser('owner', { role: 'operator' });
  const admin = (await login()).token;
  const { token } = await login('owner');
  const create = (body: object, headers = {}) => call(one, 'POST', '/v1/tokens', token, body, headers);
  assert.equal((await create({ name: 'too much', roles: [{ role: 'admin' }] })).status, 400);
  assert.equal((await create({ name: 'nowhere', roles: [{ role: 'viewer', workspace: 'none' }] })).status, 400);
  const key = { 'idempotency-key': 'token-1' };
  const made = await create({ name: 'ci', roles: [{ role: 'operator' }], expires_in: 3_600 }, key);
  assert.equal(made.status, 200);
  assert.match(made.body.token, /^prv_[0-9A-Za-z]{40}$/);
  assert.deepEqual(
    (await create({ name: 'ci', roles: [{ role: 'operator' }], expires_in: 3_600 }, key)).body,
    made.body,
  );
  assert.equal((await create({ name: 'ci' })).status, 409);
  const stored = await sql<{ text: string }>`
    select coalesce(string_agg(t::text, ' '), '') || (select string_agg(k::text, ' ') from provisioning.idempotency_keys k)
      || (select string_agg(a::text, ' ') from provisioning.audit_log a) as text
    from provisioning.api_tokens t`.execute(db);
  assert.ok(!stored.rows[0]?.text.includes(made.body.token));

  const roles = async () => (await call(two, 'GET', '/v1/auth/me', made.body.token)).body.roles;
  assert.deepEqual(await roles(), [{ role: 'operator', workspace: null }]);
  assert.equal((await call(two, 'POST', '/v1/tokens', made.body.token, { name: 'child' })).status, 409);
  assert.equal((await call(two, 'PATCH', `/v1/users/${id}`, admin, { roles: [{ role: 'viewer' }] })).status, 200);
  assert.deepEqual(await roles(), [{ role: 'viewer', workspace: null }]);

  assert.deepEqual(
    (await call(one, 'GET', '/v1/tokens', token)).body.map((t: object) => [...Object.entries(t)][1]),
    [['name', 'ci']],
  );
  assert.equal((await call(one, 'GET', '/v1/tokens?user=admin', token)).status, 403);
  assert.equal((await call(one, 'GET', '/v1/tokens?user=owner', admin)).body.length, 1);
  assert.ok((await call(one, 'GET', '/v1/tokens?user=*', admin)).body.length > 1);
  const others = await createUser('stranger', { role: 'viewer' }).then(() => login('stranger'));
  assert.equal((await call(one, 'DELETE', `/v1/tokens/${made.body.id}`, others.token)).status, 404);
  assert.equal((await call(one, 'DELETE', `/v1/tokens/${made.body.id}`, token)).status, 200);
  assert.equal(await me(one, made.body.token), 401);
  await ends(made.body.token);

  const short = await create({ name: 'short', expires_in: 1 });
  assert.equal(await me(one, short.body.token), 200);
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  assert.equal(await me(one, short.body.token), 401);
});

test('users: created, listed, changed, disabled, deleted', async () => {
  const { token } = await login();
  const id = await createUser('ann', { role: 'viewer' }, { role: 'viewer', workspace: null });
  const user = (await call(one, 'GET', `/v1/users/${id}`, token)).body;
  assert.deepEqual(user.roles, [{ role: 'viewer', workspace: null }]);
  assert.ok(!JSON.stringify(user).includes('argon2'));
  const again = { username: 'ann', password: PASSWORD };
  assert.equal((await call(one, 'POST', '/v1/users', token, again)).status, 409);
  for (const body of [
    { ...again, username: 'Ann' },
    { ...again, username: 'b', password: 'short' },
    { ...again, username: 'b', roles: [{ role: 'king' }] },
    { ...again, username: 'b', admin: true },
  ]) {
    assert.equal((await call(one, 'POST', '/v1/users', token, body)).status, 400, JSON.stringify(body));
  }
  assert.equal((await call(one, 'GET', '/v1/users?username=ann', token)).body[0].id, id);
  const ann = await login('ann');
  assert.equal((await call(one, 'GET', '/v1/users', ann.token)).status, 403);
  assert.equal(await me(two, ann.token), 200);
  assert.equal((await call(one, 'PATCH', `/v1/users/${id}`, token, { disabled: true })).body.disabled, true);
  await ends(ann.token);
  assert.equal((await call(one, 'PATCH', `/v1/users/${id}`, token, { disabled: false })).status, 200);
  assert.equal(await me(one, ann.token), 401);
  assert.equal((await call(one, 'PATCH', `/v1/users/${id}`, token, {})).status, 400);
  const later = await login('ann');
  assert.equal((await call(one, 'DELETE', `/v1/users/${id}`, token)).body.deleted, true);
  assert.equal(await me(one, later.token), 401);
  for (const missing of [id, 'nonsense']) {
    assert.equal((await call(one, 'GET', `/v1/users/${missing}`, token)).status, 404);
  }
});

test('the last enabled administrator stays, also when two go at once', async () => {
  const { token } = await login();
  const first = (await call(one, 'GET', '/v1/auth/me', token)).body.id;
  for (const change of [{ disabled: true }, { roles: [] }, { roles: [{ role: 'operator' }] }]) {
    assert.equal((await call(one, 'PATCH', `/v1/users/${first}`, token, change)).status, 409);
  }
  assert.equal((await call(one, 'DELETE', `/v1/users/${first}`, token)).status, 409);
  const second = await createUser('second.admin', { role: 'admin' });
  const both = await Promise.all(
    [first, second].map((id) => call(one, 'PATCH', `/v1/users/${id}`, token, { roles: [{ role: 'viewer' }] })),
  );
  assert.deepEqual(both.map(({ status }) => status).sort(), [200, 409]);
  await sql`insert into provisioning.role_bindings values (${first}, 'admin', null) on conflict do nothing`.execute(db);
  await sql`select pg_notify(${USERS_CHANNEL}, ${first})`.execute(db);
});

test('the audit log is listed newest first and filtered, to those who may', async () => {
  await createUser('looker', { role: 'auditor' });
  const { token } = await login('looker');
  const rows = (await call(one, 'GET', '/v1/audit?per_page=2', token)).body;
  assert.equal(rows[0].action, 'auth.login');
  assert.equal(rows[0].principal, 'looker');
  assert.equal(rows[1].action, 'user.create');
  const { body } = await call(one, 'GET', '/v1/audit?principal=nobody&outcome=denied&created_after=2020-01-01', token);
  assert.deepEqual([body.length, body[0].details], [1, { reason: 'unknown user' }]);
  assert.equal((await call(one, 'GET', '/v1/audit?operation_id=x', token)).status, 400);
  const viewer = await createUser('viewer', { role: 'viewer' }).then(() => login('viewer'));
  assert.equal((await call(one, 'GET', '/v1/audit', viewer.token)).status, 403);
});

test('while messages may be missed nothing remembered is trusted', async () => {
  const { app, listener } = await startReplica(config, secret);
  await createUser('cut.off', { role: 'viewer' });
  const { token } = await login('cut.off');
  assert.equal(await me(app, token), 200);
  await listener.close();
  assert.equal(listener.connected, false);
  await call(one, 'POST', '/v1/auth/logout', token);
  assert.equal(await me(app, token), 401);
});

test('logins of one address are limited', async () => {
  const { app } = await startReplica({ ...config, loginRateLimit: 2 }, randomBytes(32).toString('hex'));
  const attempt = () => call(app, 'POST', '/v1/auth/login', null, { username: 'nobody', password: PASSWORD });
  assert.equal((await attempt()).headers['ratelimit-remaining'], '1');
  assert.equal((await attempt()).status, 401);
  const limited = await attempt();
  assert.deepEqual([limited.status, limited.body.error], [429, 'RATE_LIMITED']);
  assert.ok(Number(limited.headers['retry-after']) > 0);
});

test('what one client can have many of counts as one address', async () => {
  const { app } = await startReplica({ ...config, loginRateLimit: 2, rateLimit: 0 }, randomBytes(32).toString('hex'));
  const from = async (remoteAddress: string) => {
    const payload = { username: 'nobody', password: PASSWORD };
    return (await app.inject({ method: 'POST', url: '/v1/auth/login', remoteAddress, payload })).statusCode;
  };
  const [a, b, c] = ['2001:db8:1:2:aaaa::1', '2001:db8:1:2::ffff', '2001:db8:1:2::1'] as const;
  assert.deepEqual([await from(a), await from(b), await from(c)], [401, 401, 429]);
  assert.equal(await from('2001:db8:1:3::1'), 401, 'the neighbour');
  assert.deepEqual([await from('10.0.0.1'), await from('::ffff:10.0.0.1'), await from('10.0.0.1')], [401, 401, 429]);
});
