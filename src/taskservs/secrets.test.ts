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
