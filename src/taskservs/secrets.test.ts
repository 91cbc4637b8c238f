import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEncryption } from '../access/encryption.ts';
import { createMask, decryptSecrets, sealConfig } from './secrets.ts';

test('secret values rest encrypted, the rest stays readable, and both come back', () => {
  const encryption = createEncryption('a secret of the installation, long enough');
  const sealed = sealConfig(encryption, { port: 1, password: 'canary-0001', users: { root: 'canary-0002' } }, [
    'password',
    'users',
  ]);
  assert.deepEqual(sealed.config, { port: 1 });
  assert.deepEqual(sealed.secret_names, ['password', 'users']);
  assert.doesNotMatch(JSON.stringify(sealed), /canary/);
  assert.deepEqual(decryptSecrets(encryption, sealed), { password: 'canary-0001', users: { root: 'canary-0002' } });
});

test('a secret is blanked out as it is and in the forms that programs print it in', () => {
  const secret = `it's "a" secret`;
  const mask = createMask([secret, { nested: ['first line of a key\nsecond line of a key'] }]);
  for (const form of [
    secret,
    JSON.stringify({ password: secret }),
    `'it'\\''s "a" secret'`,
    Buffer.from(secret).toString('base64'),
    `postgres://u:${encodeURIComponent(secret)}@host`,
    'key: second line of a key',
  ]) {
    const masked = mask(`before ${form} after`);
    assert.match(masked, /^before .*•••• ?.*after$/);
    assert.doesNotMatch(masked, /secret|second line|aXQncyAi/);
  }
  assert.equal(mask('nothing to hide'), 'nothing to hide');
});

test('secrets that overlap, or hold one another, leave nothing of either', () => {
  const mask = createMask(['abcdef', 'defghi', 'efg', 'xx-efg-xx']);
  assert.equal(mask('1 abcdefghi 2'), '1 •••• 2');
  assert.equal(mask('1 xx-efg-xx 2 efg 3'), '1 •••• 2 •••• 3');
});

test('however many lines a secret has, blanking it out of output takes no time', () => {
  const key = Array.from({ length: 13_000 }, (_, line) => (186_624 + line).toString(36)).join('\n');
  const alike = Array.from({ length: 340 }, (_, length) => 'a'.repeat(length + 4)).join('\n');
  const begun = performance.now();
  const mask = createMask([key, alike]);
  for (let line = 0; line < 100_000; line += 1) assert.equal(mask('y'), 'y');
  assert.equal(mask(`before ${key.slice(0, 4)} after`), 'before •••• after');
  for (let line = 0; line < 100; line += 1) assert.doesNotMatch(mask('a'.repeat(16_000)), /a/);
  assert.ok(performance.now() - begun < 5_000);
});
