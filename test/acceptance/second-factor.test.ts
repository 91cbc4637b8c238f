/** A code of an authenticator app besides the password: each is good once, guesses end, and a lost app is no end. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, test } from 'node:test';
import { createSigner } from 'fast-jwt';
import {
  expectError,
  expectOk,
  makeUser,
  PROOF,
  type Role,
  startInstallation,
  USER_PASSWORD,
} from '../support/acceptance.ts';
import { assertNotStored } from '../support/canaries.ts';
import { type Client, createClient, SHARED_MASTER_KEY, spawnProvisioning, until } from '../support/server.ts';
import { codeAt, codesNow } from '../support/totp.ts';

const TOLD_WITHIN_MS = 4_000;
const installation = await startInstallation({ ROLE: 'api' });
after(() => installation.close());
const { server, database } = installation;
const { admin, anonymous } = server;
const second = await installation.replica();

interface Pair {
  token: string;
}
interface State {
  enabled: boolean;
  pending: boolean;
  required: boolean;
  recovery_codes: number;
}
const login = (username: string, totp?: string, on: Client = anonymous, password = USER_PASSWORD) =>
  on.request<Pair>('POST', '/v1/auth/login', { username, password, ...(totp === undefined ? {} : { totp }) });
const stateOf = async (client: Client) => expectOk(await client.request<State>('GET', '/v1/auth/totp'));
const enrol = (client: Client, body: object = {}) =>
  client.request<{ secret: string; otpauth_url: string }>('POST', '/v1/auth/totp', {
    password: USER_PASSWORD,
    ...body,
  });
const confirm = (client: Client, code: string) =>
  client.request<{ recovery_codes: string[] }>('POST', '/v1/auth/totp/confirm', { code });

/** A user whose logins ask for a code. The earliest code that is right has been taken. */
async function withApp(username: string, roles: Role[] = [{ role: 'viewer' }]) {
  const id = await makeUser(admin, username, roles);
  const client = await server.login(username, USER_PASSWORD);
  const { secret } = expectOk(await enrol(client));
  const { recovery_codes: codes } = expectOk(await confirm(client, codesNow(secret)[0]));
  return { id, client, secret, codes };
}

/** A code that has not been taken yet. Of what is right now the last; where that is taken, the next is waited for. */
async function freshCode(secret: string, taken: Set<string>): Promise<string> {
  let code = '';
  const find = async () => {
    code = codesNow(secret).find((one) => !taken.has(one)) ?? '';
    return code !== '';
  };
  await until(find, 'the next period', 70_000, 500);
  taken.add(code);
  return code;
}

test('codes are those of RFC 6238', () => {
  // Its test vectors, to six digits: the secret is "12345678901234567890".
  const secret = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';
  const vectors = { 59: '287082', 1111111109: '081804', 1234567890: '005924', 20000000000: '353130' };
  for (const [seconds, code] of Object.entries(vectors)) assert.equal(codeAt(secret, Number(seconds) * 1_000), code);
});

test('an app is set up by password and code; from then on a login asks for one', async () => {
  const id = await makeUser(admin, 'careful', [{ role: 'viewer' }]);
  const client = await server.login('careful', USER_PASSWORD);
  assert.deepEqual(await stateOf(client), { enabled: false, pending: false, required: false, recovery_codes: 0 });
  expectError(await enrol(client, { password: 'not the password' }), 401, 'INVALID_CREDENTIALS');
  expectError(await confirm(client, '000000'), 409, 'CONFLICT');
  const enrolled = expectOk(await enrol(client));
  const url = new URL(enrolled.otpauth_url);
  assert.deepEqual([url.protocol, url.host, url.searchParams.get('secret')], ['otpauth:', 'totp', enrolled.secret]);
  assert.match(decodeURIComponent(url.pathname), /careful$/);
  // Nothing is asked for before the app has shown that it has the secret.
  expectOk(await login('careful'));
  expectError(await confirm(client, '00000x'), 401, 'INVALID_TOTP');
  const [code, next] = codesNow(enrolled.secret);
  const { recovery_codes: recovery } = expectOk(await confirm(client, code));
  assert.equal(new Set(recovery).size, 10);
  for (const one of recovery) assert.match(one, /^[a-z2-9]{5}-[a-z2-9]{5}$/);
  assert.deepEqual(await stateOf(client), { enabled: true, pending: false, required: false, recovery_codes: 10 });
  const user = expectOk(await admin.request<{ totp_enabled: boolean }>('GET', `/v1/users/${id}`));
  assert.equal(user.totp_enabled, true);

  for (const on of [anonymous, second.anonymous]) {
    expectError(await login('careful', undefined, on), 401, 'TOTP_REQUIRED');
    // Whoever lacks the password does not learn that there is one.
    expectError(await login('careful', undefined, on, 'a wrong password'), 401, 'INVALID_CREDENTIALS');
    expectError(await login('careful', next, on, 'a wrong password'), 401, 'INVALID_CREDENTIALS');
  }
  expectError(await login('careful', code), 401, 'INVALID_TOTP');
  expectOk(await login('careful', next));

  const secrets = { secret: enrolled.secret, 'recovery code': recovery[0] ?? '' };
  await assertNotStored(database.pool, secrets);
  for (const one of [server, second]) {
    for (const [what, text] of Object.entries(secrets))
      assert.ok(!one.output().includes(text), `the log has a ${what}`);
  }
});

test('a code is good once, over all replicas', async () => {
  const { secret } = await withApp('once');
  const [, code] = codesNow(secret);
  const answers = await Promise.all(
    Array.from({ length: 4 }, (_, index) => login('once', code, index % 2 === 0 ? anonymous : second.anonymous)),
  );
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 401, 401, 401]);
  for (const answer of answers) if (answer.status !== 200) expectError(answer, 401, 'INVALID_TOTP');
});

test('a recovery code stands in for the app once, however it is written', async () => {
  const { client, codes } = await withApp('lost');
  const [first = '', other = ''] = codes;
  const answers = await Promise.all([login('lost', first), login('lost', first, second.anonymous)]);
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 401]);
  assert.equal((await stateOf(client)).recovery_codes, 9);
  expectOk(await login('lost', other.replace('-', ' ').toUpperCase()));
  expectError(await login('lost', first), 401, 'INVALID_TOTP');
  assert.equal((await stateOf(client)).recovery_codes, 8);
});

test('guesses end after five, on every replica, also from where the user has logged in', async () => {
  const { secret, codes } = await withApp('guessed');
  for (let guess = 0; guess < 5; guess += 1) {
    const on = guess % 2 === 0 ? anonymous : second.anonymous;
    expectError(await login('guessed', String(100_000 + guess), on), 401, 'INVALID_TOTP');
  }
  for (const on of [anonymous, second.anonymous]) {
    expectError(await login('guessed', codesNow(secret)[1], on), 429, 'RATE_LIMITED');
    expectError(await login('guessed', 'aaaaa-aaaaa', on), 401, 'INVALID_TOTP');
  }
  const reasons = expectOk(
    await admin.request<{ details: { reason: string } }[]>('GET', '/v1/audit?principal=guessed&outcome=denied'),
  ).map(({ details }) => details.reason);
  assert.ok(reasons.includes('wrong code') && reasons.includes('too many wrong codes'), reasons.join());
  // The window has passed.
  await database.pool.query(
    `update provisioning.second_factors set failing_since = failing_since - interval '15 minutes' where failures >= 5`,
  );
  expectError(await login('guessed', '000000'), 401, 'INVALID_TOTP');
  // Guesses of others do not keep the user out: recovery codes are too long to be guessed.
  for (let guess = 0; guess < 4; guess += 1) expectError(await login('guessed', '000000'), 401, 'INVALID_TOTP');
  expectError(await login('guessed', codesNow(secret)[1]), 429, 'RATE_LIMITED');
  expectOk(await login('guessed', codes[0], second.anonymous));
});

test('whoever has a session and the password but not the app takes it not off, and their guesses count', async () => {
  const { client, secret } = await withApp('kept');
  expectError(await enrol(client), 401, 'TOTP_REQUIRED');
  const remove = (totp?: string) =>
    client.request('POST', '/v1/auth/totp/remove', {
      password: USER_PASSWORD,
      ...(totp === undefined ? {} : { totp }),
    });
  expectError(await remove(), 401, 'TOTP_REQUIRED');
  for (let guess = 0; guess < 5; guess += 1) expectError(await remove(String(200_000 + guess)), 401, 'INVALID_TOTP');
  expectError(await remove(codesNow(secret)[1]), 429, 'RATE_LIMITED');
  expectError(await login('kept', codesNow(secret)[1]), 429, 'RATE_LIMITED');
  assert.equal((await stateOf(client)).enabled, true);
});

test('changing the password asks for a code, too', async () => {
  const { client, codes } = await withApp('changing');
  const change = (totp?: string) =>
    client.request('POST', '/v1/auth/password', {
      current_password: USER_PASSWORD,
      new_password: 'another password of mine',
      ...(totp === undefined ? {} : { totp }),
    });
  expectError(await change(), 401, 'TOTP_REQUIRED');
  expectError(await change('aaaaa-aaaaa'), 401, 'INVALID_TOTP');
  expectOk(await client.request('GET', '/v1/auth/me'));
  expectOk(await change(codes[0]));
  expectOk(await login('changing', codes[1], anonymous, 'another password of mine'));
});

test('guesses at once are five as well; a check counts them and uses no code up', async () => {
  const { client, codes } = await withApp('burst');
  const remove = (totp: string, query = '') =>
    client.request('POST', `/v1/auth/totp/remove${query}`, { password: USER_PASSWORD, totp });
  const answers = await Promise.all(Array.from({ length: 40 }, (_, guess) => remove(String(300_000 + guess))));
  const wrong = answers.filter(({ status }) => status === 401);
  assert.equal(wrong.length, 5);
  assert.ok(answers.every(({ status }) => status === 401 || status === 429));
  const [code = ''] = codes;
  expectOk(await remove(code, '?check_mode=true'));
  expectError(await remove('999999', '?check_mode=true'), 429, 'RATE_LIMITED');
  expectOk(await remove(code));
});

test('codes of an app that is being set up cannot be guessed, and it waits for a quarter of an hour', async () => {
  await makeUser(admin, 'beginning', [{ role: 'viewer' }]);
  const client = await server.login('beginning', USER_PASSWORD);
  const { secret } = expectOk(await enrol(client));
  const wrong = Array.from({ length: 5 }, (_, guess) => String(400_000 + guess));
  for (const code of wrong) expectError(await confirm(client, code), 401, 'INVALID_TOTP');
  expectError(await confirm(client, codesNow(secret)[0]), 429, 'RATE_LIMITED');
  const later = (column: string) =>
    database.pool.query(
      `update provisioning.second_factors set ${column} = ${column} - interval '15 minutes'
       where user_id = (select id from provisioning.users where username = 'beginning')`,
    );
  await later('failing_since');
  await later('pending_at');
  assert.equal((await stateOf(client)).pending, false);
  expectError(await confirm(client, codesNow(secret)[0]), 409, 'CONFLICT');
});

test('sessions from before the second factor end when it is confirmed, on every replica', async () => {
  await makeUser(admin, 'suspicious', [{ role: 'viewer' }]);
  const pair = expectOk(
    await anonymous.request<Pair & { refresh_token: string }>('POST', '/v1/auth/login', {
      username: 'suspicious',
      password: USER_PASSWORD,
    }),
  );
  const thief = createClient(server.url, pair.token);
  const there = createClient(second.url, pair.token);
  const me = (on: Client) => on.request('GET', '/v1/auth/me');
  for (const on of [thief, there]) expectOk(await me(on));
  const client = await server.login('suspicious', USER_PASSWORD);
  const { secret } = expectOk(await enrol(client));
  expectOk(await me(thief));
  expectOk(await confirm(client, codesNow(secret)[0]));
  expectError(await me(thief), 401, 'UNAUTHORIZED');
  await until(async () => (await me(there)).status === 401, 'the other replica to know', TOLD_WITHIN_MS, 10);
  for (const on of [anonymous, second.anonymous]) {
    const refreshed = await on.request('POST', '/v1/auth/refresh', { refresh_token: pair.refresh_token });
    expectError(refreshed, 401, 'INVALID_REFRESH_TOKEN');
  }
  expectOk(await me(client));
  const sessions = expectOk(await client.request<object[]>('GET', '/v1/auth/sessions'));
  assert.equal(sessions.length, 1);
});

test('access tokens of a version that knew no sessions are none of a user with a second factor', async () => {
  const JWT_SECRET = 'a-signing-key-that-the-test-knows-well-enough';
  const { url } = await installation.replica({ JWT_SECRET });
  const sign = createSigner({ key: JWT_SECRET, algorithm: 'HS256' });
  const askAs = async (id: string) => {
    const { rows } = await database.pool.query('select token_generation as gen from provisioning.users where id = $1', [
      id,
    ]);
    const now = Math.floor(Date.now() / 1_000);
    const claims = { sub: id, roles: [], iat: now, exp: now + 60, jti: randomUUID(), typ: 'access', gen: rows[0].gen };
    return createClient(url, sign(claims)).request('GET', '/v1/auth/me');
  };
  expectOk(await askAs(await makeUser(admin, 'not.upgraded', [{ role: 'viewer' }])));
  expectError(await askAs((await withApp('upgraded')).id), 401, 'UNAUTHORIZED');
});

test('another app takes the place of the one before when it has confirmed; both vouch for the change', async () => {
  const taken = new Set<string>();
  const { client, secret, codes } = await withApp('moving');
  taken.add(codesNow(secret)[0]);
  const { secret: next } = expectOk(await enrol(client, { totp: await freshCode(secret, taken) }));
  assert.equal((await stateOf(client)).pending, true);
  expectOk(await login('moving', codes[0]));
  const { recovery_codes: fresh } = expectOk(await confirm(client, codesNow(next)[0]));
  expectError(await login('moving', codesNow(secret)[1]), 401, 'INVALID_TOTP');
  expectError(await login('moving', codes[1]), 401, 'INVALID_TOTP');
  expectOk(await login('moving', fresh[0]));
  expectOk(await client.request('POST', '/v1/auth/totp/remove', { password: USER_PASSWORD, totp: fresh[1] }));
  expectOk(await login('moving'));
});

test('an administrator takes it off for somebody who has lost everything; their sessions end', async () => {
  const { id, client } = await withApp('helpless');
  const there = createClient(second.url, client.token);
  const reset = (on: Client, body: object = PROOF.proof) =>
    on.request<{ totp_enabled: boolean }>('POST', `/v1/users/${id}/totp/remove`, body);
  expectError(await reset(client, { password: USER_PASSWORD }), 403, 'FORBIDDEN');
  const token = expectOk(await admin.request<{ token: string }>('POST', '/v1/tokens', { name: 'helper' })).token;
  expectError(await reset(createClient(server.url, token)), 409, 'CONFLICT');
  const user = expectOk(await reset(admin));
  assert.equal(user.totp_enabled, false);
  const me = (on: Client) => on.request('GET', '/v1/auth/me');
  expectError(await me(client), 401, 'UNAUTHORIZED');
  await until(async () => (await me(there)).status === 401, 'the other replica to know', TOLD_WITHIN_MS, 10);
  expectOk(await login('helpless'));
  expectError(await reset(admin), 409, 'CONFLICT');
});

test('a session of an administrator takes neither their own app nor their own password away', async () => {
  const { id, client, codes } = await withApp('second.admin', [{ role: 'admin' }]);
  const proof = { password: USER_PASSWORD, totp: codes[0] };
  expectError(await client.request('POST', `/v1/users/${id}/totp/remove`, proof), 409, 'CONFLICT');
  const change = { password: 'another password of mine', proof: { ...proof, totp: codes[1] } };
  expectError(await client.request('PATCH', `/v1/users/${id}`, change), 409, 'CONFLICT');
  assert.equal((await stateOf(client)).enabled, true);
  expectError(await login('second.admin'), 401, 'TOTP_REQUIRED');
});

test('whoever has the database lets somebody in whom no administrator can help', async () => {
  const { client } = await withApp('shut.out', [{ role: 'admin' }]);
  const there = createClient(second.url, client.token);
  const settings = { DATABASE_URL: database.url, MASTER_KEY: SHARED_MASTER_KEY };
  const unknown = spawnProvisioning(['reset-login', 'nobody.at.all'], settings);
  assert.equal(await unknown.closed, 1);
  assert.match(unknown.output(), /nobody\.at\.all/);
  const command = spawnProvisioning(['reset-login', 'shut.out'], settings);
  assert.equal(await command.closed, 0, command.output());
  const password = /New password of user "shut\.out": {2}(\S+) {2}/.exec(command.output())?.[1] ?? '';
  const me = (on: Client) => on.request('GET', '/v1/auth/me');
  for (const on of [client, there])
    await until(async () => (await me(on)).status === 401, 'the replicas to know', TOLD_WITHIN_MS, 10);
  expectError(await login('shut.out'), 401, 'INVALID_CREDENTIALS');
  expectOk(await login('shut.out', undefined, anonymous, password));
  const [row] = expectOk(
    await admin.request<{ principal: string; resource: string }[]>('GET', '/v1/audit?action=user.login.reset'),
  );
  assert.deepEqual([row?.principal, row?.resource], ['system', 'user:shut.out']);
});

test('where administrators need one, their roles do not count until they have it, for tokens either', async () => {
  const strict = await installation.replica({ ADMIN_TOTP: 'true' });
  await makeUser(admin, 'new.admin', [{ role: 'admin' }]);
  await makeUser(admin, 'plain', [{ role: 'operator' }]);
  const before = expectOk(
    await (await server.login('new.admin', USER_PASSWORD)).request<{ token: string }>('POST', '/v1/tokens', {
      name: 'before',
    }),
  ).token;
  const client = await strict.login('new.admin', USER_PASSWORD);
  const thief = await strict.login('new.admin', USER_PASSWORD);
  const read = (on: Client) => on.request('GET', '/v1/users');
  expectError(await read(client), 403, 'TOTP_ENROLMENT_REQUIRED');
  expectError(await read(createClient(strict.url, before)), 403, 'TOTP_ENROLMENT_REQUIRED');
  expectError(await client.request('POST', '/v1/tokens', { name: 'around', roles: [{ role: 'viewer' }] }), 400);
  const empty = expectOk(await client.request<{ token: string }>('POST', '/v1/tokens', { name: 'empty' })).token;
  assert.equal((await stateOf(client)).required, true);
  expectOk(await (await strict.login('plain', USER_PASSWORD)).request('GET', '/v1/servers'));

  const { secret } = expectOk(await enrol(client));
  expectOk(await confirm(client, codesNow(secret)[0]));
  expectOk(await read(client));
  expectError(await read(thief), 401, 'UNAUTHORIZED');
  expectOk(await read(createClient(strict.url, before)));
  expectError(await read(createClient(strict.url, empty)), 403, 'FORBIDDEN');
  assert.equal((await stateOf(client)).required, false);
});
