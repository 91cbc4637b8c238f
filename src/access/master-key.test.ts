import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { sql } from 'kysely';
import { pino } from 'pino';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { openEncryption } from './master-key.ts';

const logger = pino({ level: 'silent' });
const OLD = 'the first master key, long enough to be one';
const NEW = 'the second master key, long enough to be one';

describe('the master key', () => {
  let database: TestDatabase;
  let dataDir: string;
  before(async () => {
    database = await createTestDatabase();
    dataDir = await mkdtemp(path.join(tmpdir(), 'provisioning-key-'));
  });
  after(async () => {
    await database.close();
    await rm(dataDir, { recursive: true });
  });
  const open = (masterKey: string | null, previousMasterKeys: string[] = [], directory = dataDir) =>
    openEncryption(database.db, { masterKey, previousMasterKeys, dataDir: directory }, logger);
  const forget = () => sql`delete from provisioning.data_keys`.execute(database.db);

  test('what one start has sealed the next one opens; the database alone does not hold what it takes', async () => {
    const sealed = (await open(OLD)).encrypt('canary', 'ssh key of default');
    assert.equal((await open(OLD)).decrypt(sealed, 'ssh key of default'), 'canary');
    const { rows } = await sql<{ all: string }>`select json_agg(k)::text as all from provisioning.data_keys k`.execute(
      database.db,
    );
    assert.doesNotMatch(rows[0]?.all ?? '', /first master key/);
    const wrapped = JSON.parse(rows[0]?.all ?? '[]')[0].sealed as string;
    const { createEncryption } = await import('./encryption.ts');
    assert.throws(() => createEncryption(wrapped).decrypt(sealed, 'ssh key of default'));
    await forget();
  });

  test('a sealed text opens only for what it was sealed for, and not once it was changed', async () => {
    const encryption = await open(OLD);
    const sealed = encryption.encrypt('canary', 'one');
    assert.throws(() => encryption.decrypt(sealed, 'another'));
    assert.throws(() => encryption.decrypt(sealed));
    assert.throws(() =>
      encryption.decrypt(`${sealed.slice(0, 30)}${sealed[30] === 'A' ? 'B' : 'A'}${sealed.slice(31)}`, 'one'),
    );
    assert.notEqual(sealed, encryption.encrypt('canary', 'one'));
    await forget();
  });

  test('rotation: with the previous key given once, everything opens under the new one, and no longer under the old', async () => {
    const sealed = (await open(OLD)).encrypt('canary');
    assert.equal((await open(NEW, [OLD])).decrypt(sealed), 'canary');
    assert.equal((await open(NEW)).decrypt(sealed), 'canary');
    const outdated = await open(OLD);
    assert.throws(() => outdated.decrypt(sealed), { code: 'MASTER_KEY_MISMATCH', status: 503 });
    assert.throws(() => outdated.encrypt('x'), { code: 'MASTER_KEY_MISMATCH' });
    await forget();
  });

  test('without a setting it is a file of the data directory that only its owner reads', async () => {
    const seals = await Promise.all([open(null), open(null), open(null)]);
    const file = path.join(dataDir, 'master.key');
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(dataDir), ['master.key']);
    const sealed = seals[0]?.encrypt('canary') ?? '';
    assert.equal(seals[1]?.decrypt(sealed), 'canary');
    assert.equal((await open((await readFile(file, 'utf8')).trim())).decrypt(sealed), 'canary');
    await chmod(file, 0o640);
    await assert.rejects(open(null), { name: 'ConfigError', message: /chmod 600/ });
    await chmod(file, 0o600);
    await writeFile(file, 'short\n');
    await assert.rejects(open(null), { name: 'ConfigError', message: /shorter than 32/ });
  });
});
