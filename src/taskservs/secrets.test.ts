import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEncryption } from '../access/encryption.ts';
import { createLimiter } from './limiter.ts';
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

test('no more than the limit runs at once, in order; one that waits gives up when its signal fires', async () => {
  const limiter = createLimiter(2);
  const never = new AbortController().signal;
  const order: number[] = [];
  const open = Promise.withResolvers<void>();
  let running = 0;
  let most = 0;
  const work = (n: number, signal = never) =>
    limiter.run(signal, async () => {
      order.push(n);
      running += 1;
      most = Math.max(most, running);
      await open.promise;
      running -= 1;
    });
  const impatient = new AbortController();
  const all = [work(1), work(2), work(3), work(4, impatient.signal), work(5)];
  impatient.abort(new Error('enough'));
  await assert.rejects(all[3] ?? Promise.resolve(), /enough/);
  assert.deepEqual(order, [1, 2]);
  open.resolve();
  await Promise.all([all[0], all[1], all[2], all[4]]);
  assert.deepEqual(order, [1, 2, 3, 5]);
  assert.equal(most, 2);
  await limiter.run(never, async () => 'free again');
});
