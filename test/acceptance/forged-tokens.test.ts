/** No token but one that this installation has signed, for this use, and that still holds, opens anything. */
import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync, sign as signWith } from 'node:crypto';
import { after, test } from 'node:test';
import { countRows, expectError, expectOk, startInstallation } from '../support/acceptance.ts';
import { sendRaw } from '../support/raw.ts';
import { ADMIN_PASSWORD, createClient, serverRequest } from '../support/server.ts';

const SECRET = 'a secret that the test knows too, of more than 32 bytes';
const installation = await startInstallation({ ROLE: 'api', JWT_SECRET: SECRET });
after(() => installation.close());
const { url, admin, anonymous } = installation.server;

type Part = Record<string, unknown>;
const encode = (part: Part | string) =>
  Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url');
const decode = (token: string, part: 0 | 1): Part =>
  JSON.parse(Buffer.from(token.split('.')[part] ?? '', 'base64url').toString()) as Part;
const HASHES: Record<string, string> = { HS256: 'sha256', HS384: 'sha384', HS512: 'sha512' };

/** A token as the server makes them, with what the test wants of it. */
function forge(claims: Part, header: Part = { alg: 'HS256', typ: 'JWT' }, secret = SECRET): string {
  const text = `${encode(header)}.${encode(claims)}`;
  return `${text}.${createHmac(HASHES[String(header.alg)] ?? 'sha256', secret)
    .update(text)
    .digest('base64url')}`;
}

const pair = expectOk(
  await anonymous.request<{ token: string; refresh_token: string }>('POST', '/v1/auth/login', {
    username: 'admin',
    password: ADMIN_PASSWORD,
  }),
);
const claims = decode(pair.token, 1);
const now = Math.floor(Date.now() / 1_000);

/** Refused everywhere: for reading, for changing, and as a refresh token. */
async function assertRefused(token: string, what: string): Promise<void> {
  const client = createClient(url, token);
  const before = await countRows(admin, '/v1/operations');
  const { message } = expectError(await client.request('GET', '/v1/servers'), 401, 'UNAUTHORIZED');
  assert.doesNotMatch(message, /secret|signature|algorithm/i, 'says nothing that helps forging');
  expectError(await client.request('POST', '/v1/servers/create', serverRequest('forged')), 401, 'UNAUTHORIZED');
  expectError(await client.request('GET', '/v1/auth/me'), 401, 'UNAUTHORIZED');
  expectError(await anonymous.request('POST', '/v1/auth/refresh', { refresh_token: token || 'x' }), 401);
  assert.equal(await countRows(admin, '/v1/operations'), before, what);
}

test('a token of HS256 with sub, roles, iat, exp, jti and typ: signed by the secret it holds, so the forgeries below fail for what they are', async () => {
  assert.deepEqual(decode(pair.token, 0), { alg: 'HS256', typ: 'JWT' });
  for (const name of ['sub', 'roles', 'iat', 'exp', 'jti', 'typ']) assert.ok(name in claims, name);
  assert.equal(Number(claims.exp) - Number(claims.iat), 86_400);
  expectOk(await createClient(url, forge(claims)).request('GET', '/v1/servers'));
});

test('unsigned, `alg: none` in every spelling, and a signature cut off', async () => {
  for (const alg of ['none', 'None', 'NONE', 'nOnE', '', null]) {
    const text = `${encode({ alg, typ: 'JWT' })}.${encode(claims)}`;
    await assertRefused(`${text}.`, `alg ${alg}`);
    await assertRefused(text, `alg ${alg}, two parts`);
    await assertRefused(forge(claims, { alg, typ: 'JWT' }), `alg ${alg}, signed`);
  }
  await assertRefused(pair.token.split('.').slice(0, 2).join('.'), 'cut off');
  await assertRefused(`${pair.token.slice(0, -4)}AAAA`, 'another end');
});

test('another algorithm, also with the right secret', async () => {
  for (const alg of ['HS384', 'HS512']) await assertRefused(forge(claims, { alg, typ: 'JWT' }), alg);
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const jwk = publicKey.export({ format: 'jwk' });
  const text = `${encode({ alg: 'RS256', typ: 'JWT', jwk })}.${encode(claims)}`;
  await assertRefused(`${text}.${signWith('sha256', Buffer.from(text), privateKey).toString('base64url')}`, 'RS256');
  const pem = publicKey.export({ format: 'pem', type: 'spki' }).toString();
  await assertRefused(forge(claims, { alg: 'HS256', typ: 'JWT' }, pem), 'a public key as secret');
});

test('a foreign key, an empty one, and the key of another installation', async () => {
  for (const key of ['', 'secret', SECRET.slice(1), `${SECRET} `, SECRET.toUpperCase()]) {
    await assertRefused(forge(claims, { alg: 'HS256', typ: 'JWT' }, key), JSON.stringify(key));
  }
  await assertRefused(forge(claims, { alg: 'HS256', typ: 'JWT', kid: '../../../../dev/null' }, ''), 'kid');
});

test('expired, from the future, or without an end', async () => {
  await assertRefused(forge({ ...claims, iat: now - 100, exp: now - 1 }), 'expired');
  await assertRefused(forge({ ...claims, exp: 0 }), 'expired in 1970');
  await assertRefused(forge({ ...claims, exp: String(now + 1_000) }), 'a text as end');
  await assertRefused(forge({ ...claims, exp: undefined }), 'without an end');
  await assertRefused(forge({ ...claims, nbf: now + 1_000 }), 'not yet');
});

test('claims that are missing or changed', async () => {
  for (const name of ['sub', 'roles', 'iat', 'exp', 'jti', 'typ']) {
    await assertRefused(forge({ ...claims, [name]: undefined }), `without ${name}`);
  }
  for (const sub of ['admin', '01890000-0000-7000-8000-000000000000', "' or true --", '\u0000', 7, null, ['x']]) {
    await assertRefused(forge({ ...claims, sub }), `sub ${JSON.stringify(sub)}`);
  }
  for (const typ of ['refresh', 'ACCESS', null]) await assertRefused(forge({ ...claims, typ }), `typ ${typ}`);
  // The payload of one token with the signature of another.
  const [head, , signature] = pair.token.split('.');
  await assertRefused(`${head}.${encode({ ...claims, roles: ['admin'], exp: now + 9_999_999 })}.${signature}`, 'mixed');
});

test('roles in a token grant nothing: what counts is what the user has now', async () => {
  const user = { username: 'reader', password: ADMIN_PASSWORD, roles: [{ role: 'viewer' }] };
  expectOk(await admin.request('POST', '/v1/users', user));
  const reader = await installation.server.login('reader', ADMIN_PASSWORD);
  const promoted = createClient(url, forge({ ...decode(reader.token, 1), roles: ['admin'] }));
  expectError(await promoted.request('POST', '/v1/servers/create', serverRequest('promoted')), 403, 'FORBIDDEN');
});

test('a refresh token opens nothing, an access token refreshes nothing', async () => {
  const refreshToken = createClient(url, pair.refresh_token);
  expectError(await refreshToken.request('GET', '/v1/servers'), 401, 'UNAUTHORIZED');
  const wrong = await anonymous.request('POST', '/v1/auth/refresh', { refresh_token: pair.token });
  expectError(wrong, 401, 'INVALID_REFRESH_TOKEN');
  const unknown = forge({ ...decode(pair.refresh_token, 1), jti: '01890000-0000-7000-8000-000000000000' });
  expectError(await anonymous.request('POST', '/v1/auth/refresh', { refresh_token: unknown }), 401);
});

test('what is no token at all, and other schemes', async () => {
  const basic = `Basic ${Buffer.from(`admin:${ADMIN_PASSWORD}`).toString('base64')}`;
  const nonsense = ['', 'Bearer', 'Bearer ', 'Bearer x', 'Bearer a.b.c', 'Bearer ..', `Bearer ${'x'.repeat(8_000)}`];
  const prv = `Bearer prv_${'0'.repeat(40)}`;
  for (const authorization of [...nonsense, basic, prv, pair.token, `Token ${pair.token}`, `Bearer ${pair.token} x`]) {
    const answer = await sendRaw(url, { method: 'GET', path: '/v1/servers', headers: { authorization } });
    expectError(answer, 401, 'UNAUTHORIZED');
    assert.equal(answer.headers.get('www-authenticate'), 'Bearer');
  }
  // Never where it would land in logs.
  expectError(await anonymous.request('GET', `/v1/servers?token=${pair.token}`), 401);
  const cookie = await sendRaw(url, { method: 'GET', path: '/v1/servers', headers: { cookie: `token=${pair.token}` } });
  expectError(cookie, 401);
});
