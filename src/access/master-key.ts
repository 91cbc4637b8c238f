/**
 * The encryption for what must rest unreadable in the database and its backups: SSH keys, secrets in configurations. They are
 * encrypted with a data key, and that under the master key, which is not in the database.
 */
import { createHash, randomBytes } from 'node:crypto';
import { chmod, link, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from 'pino';
import { type Config, ConfigError } from '../config.ts';
import type { Database } from '../database/pool.ts';
import { errors } from '../errors.ts';
import { createEncryption, type Encryption } from './encryption.ts';
import { insertDataKey, readDataKey, replaceDataKey } from './store.ts';

const KEY_FILE = 'master.key';
const KEY_BYTES = 32;
const DATA_KEY = 'main';

/**
 * Opens the installation's encryption. At the first start it makes the data key, and the master key where none is set; where
 * a previous master key is given, the data key changes over to the current one. With a master key that is not the
 * installation's the encryption throws whenever it is used, and says what to do.
 * @throws ConfigError where the key file cannot be used.
 */
export async function openEncryption(
  db: Database,
  config: Pick<Config, 'masterKey' | 'previousMasterKeys' | 'dataDir'>,
  logger: Logger,
): Promise<Encryption> {
  const current = config.masterKey ?? (await keyFromFile(config.dataDir));
  const fresh = randomBytes(KEY_BYTES).toString('base64');
  await insertDataKey(db, { name: DATA_KEY, sealed: wrap(current, fresh), master_key_id: idOf(current) });
  const row = await readDataKey(db, DATA_KEY);
  const used = [current, ...config.previousMasterKeys].find((key) => idOf(key) === row.master_key_id);
  if (used === undefined) {
    logger.error(
      'the master key of this replica is not the one that the secrets in the database are encrypted under; what needs them fails here (see PROVISIONING_MASTER_KEY)',
    );
    return lockedSeal();
  }
  const dataKey = unwrap(used, row.sealed);
  if (used !== current) {
    await replaceDataKey(db, row.master_key_id, {
      name: DATA_KEY,
      sealed: wrap(current, dataKey),
      master_key_id: idOf(current),
    });
    logger.info('the data key is now encrypted under the current master key; the previous one is no longer needed');
  }
  return createEncryption(dataKey);
}

/**
 * Where the master key of this installation is kept, and whether it is the one with this id. `present` false: there is
 * none yet. Nothing is made.
 */
export async function findMasterKey(
  config: Pick<Config, 'masterKey' | 'dataDir'>,
  id: string | null,
): Promise<{ place: string; present: boolean; fits: boolean }> {
  const file = path.join(config.dataDir, KEY_FILE);
  const key = config.masterKey ?? (await readFile(file, 'utf8').catch(() => null))?.trim() ?? null;
  const place = config.masterKey === null ? file : 'PROVISIONING_MASTER_KEY';
  return { place, present: key !== null, fits: key !== null && (id === null || idOf(key) === id) };
}

const wrap = (masterKey: string, dataKey: string) =>
  createEncryption(masterKey).encrypt(dataKey, `data key ${DATA_KEY}`);
const unwrap = (masterKey: string, sealed: string) =>
  createEncryption(masterKey).decrypt(sealed, `data key ${DATA_KEY}`);

/** Tells master keys apart. One hash of 32 random bytes gives nothing away. */
function idOf(masterKey: string): string {
  return createHash('sha256').update('provisioning master key id\0').update(masterKey).digest('hex').slice(0, 16);
}

function lockedSeal(): Encryption {
  const refuse = () => {
    throw errors.masterKeyMismatch();
  };
  return { encrypt: refuse, decrypt: refuse, digest: refuse };
}

/** Reads `<data dir>/master.key`, which it makes where it is missing: several replicas on one directory agree on it. */
async function keyFromFile(dataDir: string): Promise<string> {
  const file = path.join(dataDir, KEY_FILE);
  try {
    await mkdir(dataDir, { recursive: true });
    await makeKeyFile(file);
    const { mode } = await stat(file);
    if ((mode & 0o077) !== 0) {
      throw new ConfigError(`The master key ${file} can be read by others than its owner. Run: chmod 600 ${file}`);
    }
    const key = (await readFile(file, 'utf8')).trim();
    if (Buffer.byteLength(key) >= KEY_BYTES) return key;
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError(
      `The master key cannot be kept in ${file}: ${reason}. Set PROVISIONING_MASTER_KEY, or PROVISIONING_DATA_DIR.`,
    );
  }
  throw new ConfigError(`The master key ${file} is shorter than ${KEY_BYTES} bytes. Restore it from its backup.`);
}

/** It appears whole or not at all, and never over another one. */
async function makeKeyFile(file: string): Promise<void> {
  if ((await stat(file).catch(() => null)) !== null) return;
  const made = `${file}.${process.pid}`;
  await writeFile(made, `${randomBytes(KEY_BYTES).toString('base64')}\n`, { mode: 0o600 });
  await chmod(made, 0o600);
  try {
    await link(made, file);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  } finally {
    await rm(made, { force: true });
  }
}
