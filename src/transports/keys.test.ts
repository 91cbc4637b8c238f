import assert from 'node:assert/strict';
import { test } from 'node:test';
import ssh2 from 'ssh2';
import { fingerprintOf, generateSshKey, readHostKey, readSshKey } from './keys.ts';

test('every generated key reads back as itself, and what it signs is its own', async () => {
  // A generator that drops leading zeros fails for one key in 256.
  for (let round = 0; round < 2_000; round += 1) {
    const { publicKey, privateKey } = generateSshKey('made for a test');
    assert.equal((await readSshKey(privateKey, 'made for a test')).publicKey, publicKey);
    const parsed = ssh2.utils.parseKey(privateKey);
    assert.ok(!(parsed instanceof Error));
    const signature = parsed.sign(Buffer.from('text'));
    assert.ok(signature instanceof Buffer);
    const known = ssh2.utils.parseKey(publicKey);
    assert.ok(!(known instanceof Error) && known.verify(Buffer.from('text'), signature) === true);
  }
});

test('a host key is kept without options and comment; what is none is refused', () => {
  const { publicKey } = generateSshKey('root@web-01');
  const kept = publicKey.split(' ').slice(0, 2).join(' ');
  assert.equal(readHostKey(`  ${publicKey}\n`), kept);
  for (const text of ['', 'ssh-ed25519', `ssh-rsa ${publicKey.split(' ')[1]}`, 'ssh-ed25519 AAAA', 'no key at all']) {
    assert.throws(() => readHostKey(text), /ssh-keyscan/);
  }
});

test('the fingerprint is the one that ssh-keygen -l shows', () => {
  const key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl github.com';
  assert.equal(fingerprintOf(key), 'SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU');
});
