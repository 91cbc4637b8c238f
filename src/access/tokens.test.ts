import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { createTokens, isApiToken, newApiTokenSecret } from './tokens.ts';

const SECRET = 'a secret of the tests, longer than 32 bytes';
const tokens = createTokens(SECRET);
const subject = { id: randomUUID(), roles: ['admin', 'admin'], generation: 3, sessionId: randomUUID() };

function forge(header: object, claims: object, secret = SECRET, hash = 'sha256'): string {
  const text = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  return `${text}.${createHmac(hash, secret).update(text).digest('base64url')}`;
}

const now = Math.floor(Date.now() / 1_000);
const good = { sub: subject.id, roles: [], iat: now, exp: now + 60, jti: 'x', typ: 'access', gen: 3 };
const HS256 = { alg: 'HS256', typ: 'JWT' };

test('an access token says whom it is for', () => {
  const { token, expiresAt } = tokens.issue('access', subject, 60);
  assert.match(token, /^eyJhbGc/);
  const claims = tokens.verify('access', token);
  assert.equal(claims?.sub, subject.id);
  assert.equal(claims?.gen, 3);
  assert.equal(claims?.sid, subject.sessionId);
  assert.deepEqual(claims?.roles, ['admin']);
  assert.equal(claims?.exp, expiresAt.getTime() / 1_000);
  assert.notEqual(tokens.issue('access', subject, 60).token, token);
});

test('a refresh token is no access token, nor the other way round', () => {
  assert.equal(tokens.verify('access', tokens.issue('refresh', subject, 60).token), null);
  assert.equal(tokens.verify('refresh', tokens.issue('access', subject, 60).token), null);
});

test('what is forged, expired or incomplete is refused', () => {
  assert.notEqual(tokens.verify('access', forge(HS256, good)), null);
  const text = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from(JSON.stringify(good)).toString('base64url')}`;
  const refused = {
    'alg none': `${text}.`,
    'alg none with a signature': forge({ alg: 'none' }, good),
    'another algorithm': forge({ alg: 'HS512' }, good, SECRET, 'sha512'),
    'another key': forge(HS256, good, 'another secret, just as long as the first'),
    expired: forge(HS256, { ...good, exp: now - 1 }),
    'without exp': forge(HS256, { ...good, exp: undefined }),
    'without gen': forge(HS256, { ...good, gen: undefined }),
    'another sub': forge(HS256, { ...good, sub: "' or true --" }),
    'changed claims': tokens.issue('access', subject, 60).token.replace(/\.[^.]+\./, `.${text.split('.')[1]}.`),
    empty: '',
    nonsense: 'a.b.c',
  };
  for (const [name, token] of Object.entries(refused)) assert.equal(tokens.verify('access', token), null, name);
});

test('a token that was verified before still expires', ({ mock }) => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const { token } = tokens.issue('access', subject, 1);
  assert.notEqual(tokens.verify('access', token), null);
  mock.timers.tick(1_100);
  assert.equal(tokens.verify('access', token), null);
});

test('API tokens are told from JWTs and never repeat', () => {
  const made = new Set(Array.from({ length: 100 }, newApiTokenSecret));
  assert.equal(made.size, 100);
  for (const token of made) assert.ok(isApiToken(token));
  assert.ok(!isApiToken(tokens.issue('access', subject, 60).token));
});
