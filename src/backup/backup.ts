import { createWriteStream } from 'node:fs';
import { lstat, open, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type pg from 'pg';
import { type ConnectionSettings, createClient } from '../database/pool.ts';
import { VERSION } from '../version.ts';
import { encryptTo } from './encryption.ts';
import { BackupError } from './errors.ts';
import { readFiles, type WorkspacePlace } from './files.ts';
import { encode, FORMAT, type Manifest, type Part } from './format.ts';
import { listSequences, listTables, readRows } from './tables.ts';

/** Nothing is wrong with the database where the file cannot be written. */
const UNWRITABLE = ['ENOENT', 'ENOTDIR', 'EACCES', 'EROFS', 'ENOSPC', 'EDQUOT', 'EFBIG'];

/** What a backup holds, to be told to whoever made it. */
export interface BackupSummary {
  bytes: number;
  tables: number;
  files: number;
  /** Links and the like, and directories of workspaces that are not here. */
  skipped: string[];
  masterKeyId: string | null;
}

/**
 * Writes a backup of the whole database, as it stands at one moment, to a file that only its owner may read. Servers may
 * go on working. The file appears whole or not at all, encrypted to the recipients where there are any.
 * @throws BackupError where there is a file of that name, or nothing to back up.
 */
export async function backUp(
  settings: ConnectionSettings,
  options: { file: string; dataDir: string; withFiles: boolean; recipients: readonly string[]; signal?: AbortSignal },
): Promise<BackupSummary> {
  const file = path.resolve(options.file);
  if ((await lstat(file).catch(() => null)) !== null)
    throw new BackupError(`${file} already exists. Choose another name.`);
  const partial = `${file}.${process.pid}.partial`;
  const summary: BackupSummary = { bytes: 0, tables: 0, files: 0, skipped: [], masterKeyId: null };
  const encrypt = options.recipients.length === 0 ? null : await encryptTo(options.recipients);
  const client = createClient(settings, 'provisioning backup');
  await client.connect();
  try {
    await pipeline(
      Readable.from(encode(partsOf(client, options, summary)), { objectMode: false }),
      createGzip(),
      encrypt ?? new PassThrough(),
      createWriteStream(partial, { flags: 'wx', mode: 0o600 }),
      options.signal === undefined ? {} : { signal: options.signal },
    );
    await sync(partial);
    await rename(partial, file);
    await sync(path.dirname(file));
  } catch (error) {
    await rm(partial, { force: true });
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (UNWRITABLE.includes(String(code)))
      throw new BackupError(`${file} cannot be written: ${error instanceof Error ? error.message : ''}`);
    throw error;
  } finally {
    await client.end();
  }
  summary.bytes = (await stat(file)).size;
  return summary;
}

async function sync(place: string): Promise<void> {
  const handle = await open(place, 'r');
  await handle.sync();
  await handle.close();
}

async function* partsOf(
  client: pg.Client,
  { dataDir, withFiles }: { dataDir: string; withFiles: boolean },
  summary: BackupSummary,
): AsyncGenerator<Part> {
  // Everything below sees the database as it was at the first statement.
  await client.query('begin isolation level repeatable read, read only');
  const head = await manifestOf(client, dataDir);
  summary.masterKeyId = head.master_key_id;
  yield { type: 'manifest', head };
  for (const table of await listTables(client)) {
    summary.tables += 1;
    yield { type: 'table', head: table };
    for await (const bytes of readRows(client, table)) yield { type: 'content', bytes };
  }
  for (const sequence of await listSequences(client)) yield { type: 'sequence', head: sequence };
  const { rows: workspaces } = await client.query<WorkspacePlace>(
    'select name, path from provisioning.workspaces order by name',
  );
  await client.query('commit');
  if (!withFiles) return;
  for (const workspace of workspaces) {
    for await (const part of readFiles(workspace, (skipped) => summary.skipped.push(skipped))) {
      if (part.type === 'file') summary.files += 1;
      yield part;
    }
  }
}

async function manifestOf(client: pg.Client, dataDir: string): Promise<Manifest> {
  const { rows: present } = await client.query<{ present: boolean }>(
    `select to_regclass('provisioning.migrations') is not null and to_regclass('dbos.dbos_migrations') is not null as present`,
  );
  if (present[0]?.present !== true) {
    throw new BackupError('There is nothing to back up: no server has been started on this database yet.');
  }
  const { rows } = await client.query<Pick<Manifest, 'migrations' | 'engine_migration' | 'postgres' | 'master_key_id'>>(
    `select (select array_agg(name order by name) from provisioning.migrations) as migrations,
            (select max(version)::int from dbos.dbos_migrations) as engine_migration,
            current_setting('server_version') as postgres,
            (select max(master_key_id) from provisioning.data_keys) as master_key_id`,
  );
  const [row] = rows;
  if (row === undefined) throw new BackupError('The database did not say what it holds.');
  return { format: FORMAT, application: VERSION, created_at: new Date().toISOString(), data_dir: dataDir, ...row };
}
