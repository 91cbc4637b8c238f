import type pg from 'pg';
import type { Logger } from 'pino';
import { replaceSigningKey } from '../access/signing-key.ts';
import type { Config } from '../config.ts';
import { knownMigrations, migrate, withMigrationLock } from '../database/migrate.ts';
import { type ConnectionSettings, createClient, type Database, PROCESS_TAG } from '../database/pool.ts';
import { migrateEngine } from '../engine/engine.ts';
import { announceExpiriesAgain } from '../servers/expiry/store.ts';
import { BackupError } from './errors.ts';
import { type FilesRestored, writeFiles } from './files.ts';
import { decode, FORMAT, type Manifest, type Part } from './format.ts';
import { emptyTables, listTables, type RowsWriter, SCHEMAS, setSequence, writeRows } from './tables.ts';

/** What was restored, to be told to whoever did it. */
export interface RestoreSummary {
  manifest: Manifest;
  tables: number;
  /** Migrations that brought an older backup forward. */
  migrated: string[];
  files: FilesRestored;
}

export interface RestoreOptions {
  file: string;
  config: Pick<Config, 'dataDir' | 'workspaceRoots'>;
  /** Also over what is in the database, which is then lost. */
  force: boolean;
  withFiles: boolean;
  /** Secret keys, for a backup that is encrypted. */
  identities: readonly string[];
  logger: Logger;
}

/**
 * Puts a backup into an empty database and brings it to this version. Before anything is written the file is read to its
 * end and found whole. Every session ends: whoever has the file has none. Where the restore fails after that, the database is left empty.
 * @throws BackupError: a damaged file, one of a newer version, a database that is in use or not empty.
 */
export async function restore(
  settings: ConnectionSettings,
  db: Database,
  { file, config, force, withFiles, identities, logger }: RestoreOptions,
): Promise<RestoreSummary> {
  const manifest = await verify(file, identities);
  const known = await knownMigrations();
  const unknown = manifest.migrations.filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    throw new BackupError(
      `${file} was made by a newer version (${manifest.application}): this version does not know ${unknown.join(', ')}. Restore it with that version or a later one.`,
    );
  }
  await withClient(settings, async (client) => {
    await requireUnused(client);
    const found = await schemasThere(client);
    if (found.length > 0 && !force) {
      throw new BackupError(
        `The database is not empty: it has the schemas ${found.join(', ')}. Restore into an empty database, or give --force, which deletes everything in these schemas.`,
      );
    }
    await dropSchemas(client);
  });
  try {
    await withMigrationLock(settings, async () => {
      await migrate(db, manifest.migrations.at(-1));
      await migrateEngine(settings, logger);
    });
    const tables = await withClient(settings, async (client) => {
      await requireEngine(client, manifest, file);
      return load(client, decode(file, identities), manifest, config.dataDir);
    });
    const migrated = await withMigrationLock(settings, () => migrate(db));
    await db.transaction().execute(replaceSigningKey);
    await db.transaction().execute(announceExpiriesAgain);
    const files = withFiles
      ? await restoreFiles(db, decode(file, identities), config)
      : { written: 0, kept: [], refused: [] };
    return { manifest, tables, migrated, files };
  } catch (error) {
    // On a connection of its own: that of the failure may be in the middle of something.
    await withClient(settings, dropSchemas);
    throw error;
  }
}

/** Runs `work` on a connection of its own, which is closed whatever it is in the middle of. */
async function withClient<T>(settings: ConnectionSettings, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = createClient(settings, 'provisioning restore');
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Reads the file to its end. @returns what it is of. */
async function verify(file: string, identities: readonly string[]): Promise<Manifest> {
  let manifest: Manifest | undefined;
  for await (const part of decode(file, identities)) {
    if (part.type !== 'manifest') continue;
    manifest = part.head;
    if (manifest.format > FORMAT) {
      throw new BackupError(
        `${file} was made by a newer version (${manifest.application}) in a format that this version cannot read.`,
      );
    }
  }
  if (manifest === undefined) throw new BackupError(`${file} is not a backup.`);
  return manifest;
}

/** Whoever works on the database would go on with what is no longer there. */
async function requireUnused(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ name: string }>(
    `select distinct application_name as name from pg_stat_activity
     where datname = current_database() and pid <> pg_backend_pid() and application_name ~ '^provisioning (listen|replica|migrate|backup|restore)'
       and application_name not like '%' || $1`,
    [PROCESS_TAG],
  );
  if (rows.length === 0) return;
  throw new BackupError(
    `Servers are using this database (${rows.map(({ name }) => name).join(', ')}). Stop all servers first.`,
  );
}

async function schemasThere(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    'select nspname as name from pg_namespace where nspname = any($1) order by 1',
    [SCHEMAS],
  );
  return rows.map(({ name }) => name);
}

async function dropSchemas(client: pg.Client): Promise<void> {
  await client.query(`drop schema if exists ${SCHEMAS.join(', ')} cascade`);
}

async function requireEngine(client: pg.Client, manifest: Manifest, file: string): Promise<void> {
  const { rows } = await client.query<{ version: number }>(
    'select max(version)::int as version from dbos.dbos_migrations',
  );
  if ((rows[0]?.version ?? 0) >= manifest.engine_migration) return;
  throw new BackupError(
    `${file} was made by a version (${manifest.application}) with a newer engine. Restore it with that version or a later one.`,
  );
}

/** Everything but the files, in one transaction. @returns how many tables. */
async function load(
  client: pg.Client,
  parts: AsyncIterable<Part>,
  manifest: Manifest,
  dataDir: string,
): Promise<number> {
  const known = await listTables(client);
  let tables = 0;
  const open: { table: RowsWriter | null } = { table: null };
  const endTable = async () => {
    await open.table?.end();
    open.table = null;
  };
  await client.query('begin');
  await emptyTables(client, known);
  for await (const part of parts) {
    if (part.type === 'content') {
      await open.table?.write(part.bytes);
      continue;
    }
    await endTable();
    if (part.type === 'table') {
      open.table = await writeRows(client, part.head, known);
      tables += 1;
    } else if (part.type === 'sequence') await setSequence(client, part.head);
  }
  await endTable();
  if (manifest.data_dir !== dataDir) {
    // Workspaces below the data directory move with it.
    await client.query(
      `update provisioning.workspaces set path = $2 || substr(path, length($1) + 1) where starts_with(path, $1 || '/')`,
      [manifest.data_dir, dataDir],
    );
  }
  await client.query('commit');
  return tables;
}

async function restoreFiles(
  db: Database,
  parts: AsyncIterable<Part>,
  config: RestoreOptions['config'],
): Promise<FilesRestored> {
  const rows = await db.selectFrom('provisioning.workspaces').select(['name', 'path']).execute();
  const workspaces = new Map(rows.map((row) => [row.name, row.path]));
  return writeFiles(parts, workspaces, config.workspaceRoots);
}
