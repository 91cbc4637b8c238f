/** Logins as sessions: seen, ended one by one on every replica, and never longer than they may be. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { expectError, expectOk, makeUser, type Role, startInstallation, USER_PASSWORD } from '../support/acceptance.ts';
import { type Client, createClient, until } from '../support/server.ts';

/** The other replica is told by a message: within moments, and long before it would look by itself (5 s). */
const TOLD_WITHIN_MS = 4_000;
const installation = await startInstallation({ ROLE: 'api' });
after(() => installation.close());
const { server, database } = installation;
const { admin, anonymous } = server;
const second = await installation.replica();

interface Pair {
  token: string;
  refresh_token: string;
  expires_in: number;
}
interface Session {
  id: string;
  user: string;
  origin: string;
  address: string;
  user_agent: string | null;
  created_at: string;
  last_used_at: string;
  expires_at: string;
  ends_at: string;
}
const login = (username: string, more: object = {}, headers: Record<string, string> = {}, on: Client = anonymous) =>
  on.request<Pair>('POST', '/v1/auth/login', { username, password: USER_PASSWORD, ...more }, headers);
const refresh = (token: string, on: Client = anonymous) =>
  on.request<Pair>('POST', '/v1/auth/refresh', { refresh_token: token });
const me = (client: Client) => client.request<{ session_id: string | null }>('GET', '/v1/auth/me');
const sessionsOf = async (client: Client, query = '') =>
  expectOk(await client.request<Session[]>('GET', `/v1/auth/sessions${query}`));

async function makeSession(username: string, more: object = {}, headers: Record<string, string> = {}) {
  const pair = expectOk(await login(username, more, headers));
  const here = createClient(server.url, pair.token);
  const there = createClient(second.url, pair.token);
  const { session_id: id } = expectOk(await me(here));
  expectOk(await me(there));
  assert.ok(id !== null);
  return { id, pair, here, there };
}
const makeLogin = async (username: string, roles: Role[] = [{ role: 'viewer' }]) => makeUser(admin, username, roles);

/** Refused here at once, on the other replica a moment later, and for good. */
async function assertEnded({ here, there, pair }: Awaited<ReturnType<typeof makeSession>>): Promise<void> {
  expectError(await me(here), 401, 'UNAUTHORIZED');
  await until(async () => (await me(there)).status === 401, 'the other replica to know', TOLD_WITHIN_MS, 10);
  for (const on of [anonymous, second.anonymous])
    expectError(await refresh(pair.refresh_token, on), 401, 'INVALID_REFRESH_TOKEN');
}

test('a login shows as a session: whose, from where, by what, until when', async () => {
  await makeLogin('seen');
  const headers = { 'user-agent': `agent\t${'x'.repeat(500)}` };
  const { id, here } = await makeSession('seen', {}, headers);
  const [session, ...others] = await sessionsOf(here);
  assert.ok(session !== undefined);
  assert.deepEqual(others, []);
  assert.deepEqual([session.id, session.user, session.origin, session.address], [id, 'seen', 'password', '127.0.0.1']);
  assert.equal(session.user_agent, headers['user-agent'].slice(0, 200));
  const seconds = (from: string, to: string) => Math.round((Date.parse(to) - Date.parse(from)) / 1_000);
  assert.ok(Math.abs(seconds(session.created_at, session.expires_at) - 604_800) <= 2, 'a refresh token holds a week');
  assert.ok(Math.abs(seconds(session.created_at, session.ends_at) - 2_592_000) <= 2, 'thirty days at most');
});

test('ending one session ends its tokens on every replica, and no other session', async () => {
  await makeLogin('several');
  const first = await makeSession('several');
  const other = await makeSession('several');
  assert.deepEqual(new Set((await sessionsOf(other.here)).map(({ id }) => id)), new Set([first.id, other.id]));
  expectOk(await other.here.request('DELETE', `/v1/auth/sessions/${first.id}`));
  await assertEnded(first);
  expectOk(await me(other.here));
  expectOk(await me(other.there));
  expectOk(await refresh(other.pair.refresh_token, second.anonymous));
  assert.deepEqual(
    (await sessionsOf(other.there)).map(({ id }) => id),
    [other.id],
  );
  expectError(await other.here.request('DELETE', `/v1/auth/sessions/${first.id}`), 404, 'NOT_FOUND');
});

test('a session from before the upgrade ends with all others of its user: its access tokens do not name it', async () => {
  await makeLogin('migrated');
  const first = await makeSession('migrated');
  const other = await makeSession('migrated');
  // As the migration makes them of refresh tokens: from where is not known.
  await database.pool.query('update provisioning.sessions set address = null where id = $1', [first.id]);
  expectOk(await admin.request('DELETE', `/v1/auth/sessions/${first.id}`));
  await assertEnded(first);
  await assertEnded(other);
  assert.deepEqual(await sessionsOf(admin, '?user=migrated'), []);
});

test('a renewed session is the same one; its earlier access tokens end with it', async () => {
  await makeLogin('renewed');
  const session = await makeSession('renewed');
  const next = expectOk(await refresh(session.pair.refresh_token, second.anonymous));
  const renewed = { ...session, pair: next, here: createClient(server.url, next.token) };
  assert.equal(expectOk(await me(renewed.here)).session_id, session.id);
  expectOk(await renewed.here.request('DELETE', `/v1/auth/sessions/${session.id}`));
  await assertEnded(renewed);
  expectError(await me(session.there), 401);
});

test('a refresh token that is used twice ends the session, access tokens too', async () => {
  await makeLogin('stolen');
  const session = await makeSession('stolen');
  const next = expectOk(await refresh(session.pair.refresh_token));
  expectError(await refresh(session.pair.refresh_token, second.anonymous), 401, 'INVALID_REFRESH_TOKEN');
  const thief = createClient(server.url, next.token);
  await until(async () => (await me(thief)).status === 401, 'the session to end', TOLD_WITHIN_MS, 10);
  assert.deepEqual(await sessionsOf((await makeSession('stolen')).here).then((rows) => rows.length), 1);
});

test('sessions of others are for those who may read and write users', async () => {
  await makeLogin('watched');
  await makeLogin('nosy', [{ role: 'operator' }]);
  const watched = await makeSession('watched');
  const nosy = await makeSession('nosy');
  expectError(await nosy.here.request('GET', '/v1/auth/sessions?user=watched'), 403, 'FORBIDDEN');
  expectError(await nosy.here.request('GET', '/v1/auth/sessions?user=*'), 403, 'FORBIDDEN');
  expectError(await nosy.here.request('DELETE', `/v1/auth/sessions/${watched.id}`), 404, 'NOT_FOUND');
  const made = await watched.here.request<{ token: string }>('POST', '/v1/tokens', { name: 'ci' });
  const ofCi = createClient(server.url, expectOk(made).token);
  expectError(await ofCi.request('DELETE', `/v1/auth/sessions/${watched.id}`), 409, 'CONFLICT');
  expectOk(await me(watched.here));
  assert.deepEqual(
    (await sessionsOf(admin, '?user=watched')).map(({ id }) => id),
    [watched.id],
  );
  assert.ok((await sessionsOf(admin, '?user=*')).some(({ id }) => id === nosy.id));
  expectOk(await admin.request('DELETE', `/v1/auth/sessions/${watched.id}`));
  await assertEnded(watched);
  const [row] = expectOk(
    await admin.request<{ resource: string; details: object }[]>('GET', '/v1/audit?action=auth.session.end'),
  );
  assert.deepEqual([row?.resource, row?.details], [`session:${watched.id}`, { user: 'watched' }]);
});

test('logging out leaves no session', async () => {
  await makeLogin('gone');
  const one = await makeSession('gone');
  const other = await makeSession('gone');
  expectOk(await one.here.request('POST', '/v1/auth/logout'));
  await assertEnded(one);
  await assertEnded(other);
  assert.deepEqual(await sessionsOf(admin, '?user=gone'), []);
});

test('access tokens hold as long as the login asks, no longer than the server is set', async () => {
  await makeLogin('brief');
  assert.equal(expectOk(await login('brief')).expires_in, 86_400);
  const { expires_in: seconds, refresh_token: token } = expectOk(await login('brief', { expires_in: 900 }));
  assert.equal(seconds, 900);
  assert.equal(expectOk(await refresh(token, second.anonymous)).expires_in, 900);
  assert.equal(expectOk(await login('brief', { expires_in: 31_536_000 })).expires_in, 86_400);
  expectError(await login('brief', { expires_in: 1 }), 400, 'VALIDATION_ERROR');
});

test('a session ends at the latest when it was to, however often it is renewed', async () => {
  const strict = await installation.replica({ SESSION_TTL: '3' });
  await makeLogin('bounded');
  let pair = expectOk(await login('bounded', {}, {}, strict.anonymous));
  assert.ok(pair.expires_in <= 3);
  const begun = Date.now();
  for (;;) {
    const answer = await refresh(pair.refresh_token, strict.anonymous);
    if (answer.status !== 200) break;
    pair = answer.body;
    assert.ok(Date.now() - begun < 30_000, 'it is renewed for ever');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  expectError(await me(createClient(server.url, pair.token)), 401, 'UNAUTHORIZED');
});

test('a token of a session that is gone from the database opens nothing', async () => {
  await makeLogin('erased');
  const session = await makeSession('erased');
  await database.pool.query('delete from provisioning.sessions where id = $1', [session.id]);
  const asked = async () => (await me(session.here)).status === 401;
  await until(asked, 'what is remembered to be forgotten', 10_000, 50);
});
