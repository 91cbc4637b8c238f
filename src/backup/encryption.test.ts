import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { createTestDatabase } from '../../test/support/database.ts';
import { needs } from '../../test/support/needs.ts';
import { spawnProvisioning } from '../../test/support/server.ts';

const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-encrypted-'));
after(() => rm(directory, { recursive: true, force: true }));
const place = (name: string) => path.join(directory, name);

/** A file with a new secret key, as age-keygen makes it, and its public key. */
async function newKey(name: string): Promise<{ file: string; recipient: string }> {
  const identity = await generateIdentity();
  const recipient = await identityToRecipient(identity);
  await writeFile(place(name), `# public key: ${recipient}\n${identity}\n`, { mode: 0o600 });
  return { file: place(name), recipient };
}

const key = await newKey('key');
const second = await newKey('second-key');
const stranger = await newKey('stranger-key');
const database = await createTestDatabase({ poolSize: 1 });
after(() => database.close());

async function run(args: string[], url = database.url): Promise<{ status: number | null; output: string }> {
  const command = spawnProvisioning(args, { DATABASE_URL: url, DATA_DIR: directory, LOG_LEVEL: 'warn' });
  return { status: await command.closed, output: command.output() };
}

async function backUpTo(file: string, ...recipients: string[]): Promise<string> {
  const { status, output } = await run(['backup', file, ...recipients.flatMap((one) => ['--recipient', one])]);
  assert.equal(status, 0, output);
  return output;
}

test('an encrypted backup is restored by the holder of a key, and by nobody else', async () => {
  const file = place('encrypted');
  assert.match(
    await backUpTo(file, key.recipient, second.recipient),
    /Encrypted: only the secret keys .* \(2\) can open it/,
  );
  const content = await readFile(file, 'latin1');
  assert.ok(content.startsWith('age-encryption.org/v1\n'));
  assert.ok(!content.includes('provisioning'));
  await using empty = await createTestDatabase({ poolSize: 1, empty: true });
  for (const [options, words] of [
    [[], /is encrypted\. Give the file with the secret key: --identity FILE\n$/],
    [['--identity', stranger.file], /is encrypted for other keys than those in the --identity file/],
    [['--identity', place('nowhere')], /nowhere cannot be read: /],
    [['--identity', file], /is encrypted\. Decrypt it first/],
  ] as const) {
    const { status, output } = await run(['restore', file, ...options], empty.url);
    assert.equal(status, 1);
    assert.match(output, words);
  }
  const { rows } = await empty.pool.query(`select from pg_namespace where nspname in ('provisioning', 'dbos')`);
  assert.equal(rows.length, 0, 'nothing was written');
  const restored = await run(['restore', file, '--identity', second.file], empty.url);
  assert.equal(restored.status, 0, restored.output);
  assert.match(restored.output, /^Restored the state of /m);
});

test('one that was cut off or changed is refused in words', async () => {
  await backUpTo(place('whole'), key.recipient);
  const whole = await readFile(place('whole'));
  await using empty = await createTestDatabase({ poolSize: 1, empty: true });
  const flipped = Buffer.from(whole);
  flipped.writeUInt8(flipped.readUInt8(whole.length >> 1) ^ 1, whole.length >> 1);
  for (const [name, bytes] of [
    ['cut', whole.subarray(0, whole.length - 100)],
    ['cut-in-the-header', whole.subarray(0, 60)],
    ['flipped', flipped],
  ] as const) {
    await writeFile(place(name), bytes);
    const { status, output } = await run(['restore', place(name), '--identity', key.file], empty.url);
    assert.equal(status, 1, name);
    assert.match(output, /^provisioning: .* is damaged or cut off\. .*\n$/, 'and no stack');
  }
});

test('a secret key given as a recipient is refused and not printed; nothing is written', async () => {
  const secret = await generateIdentity();
  for (const wrong of [secret, 'age1nonsense', 'somebody@example.com']) {
    const { status, output } = await run([
      'backup',
      place('refused'),
      '--recipient',
      key.recipient,
      '--recipient',
      wrong,
    ]);
    assert.equal(status, 1);
    assert.match(output, /^provisioning: Recipient 2 is not an age public key\./);
    assert.ok(!output.includes(wrong));
  }
  await assert.rejects(readFile(place('refused')), { code: 'ENOENT' });
});

test('age itself opens it, with a key that it made', { skip: needs('age', 'age-keygen') }, async () => {
  execFileSync('age-keygen', ['--output', place('of-age')], { stdio: 'ignore' });
  const recipient = execFileSync('age-keygen', ['-y', place('of-age')], { encoding: 'utf8' }).trim();
  await backUpTo(place('for-age'), recipient);
  const plain = execFileSync('age', ['--decrypt', '--identity', place('of-age'), place('for-age')], {
    maxBuffer: 64 * 1024 * 1024,
  });
  assert.match(gunzipSync(plain).toString('latin1', 0, 30), /^provisioning backup\n/);
  // And the other way round.
  await backUpTo(place('open'));
  execFileSync('age', ['--recipient', recipient, '--output', place('by-age'), place('open')]);
  await using empty = await createTestDatabase({ poolSize: 1, empty: true });
  const { status, output } = await run(['restore', place('by-age'), '--identity', place('of-age')], empty.url);
  assert.equal(status, 0, output);
});
