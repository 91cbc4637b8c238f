import { readdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Migration, Migrator, sql } from 'kysely';
import type pg from 'pg';
import { MIGRATIONS } from '../root.ts';
import { sleep } from '../util/sleep.ts';
import { type ConnectionSettings, createClient, type Database } from './pool.ts';

/** `nulls not distinct` came with 15. */
const OLDEST_POSTGRES = 15;
/** Any number, the same in every replica: whoever holds it migrates. */
const MIGRATION_LOCK = 7_201_001;
const LOCK_POLL_MS = 100;
const LOCK_TIMEOUT_MS = 120_000;

/** A database that this version cannot work with. The message says why, and what to do. */
export class UnusableDatabaseError extends Error {
  override readonly name = 'UnusableDatabaseError';
}

const MIGRATION_FILE = /^(\d{4}_.*)\.[tj]s$/;

/** Each is loaded when it has to run. */
async function findMigrations(): Promise<Record<string, Migration>> {
  const migrations: Record<string, Migration> = {};
  for (const file of (await readdir(MIGRATIONS)).sort()) {
    const name = MIGRATION_FILE.exec(file)?.[1];
    if (name === undefined) continue;
    migrations[name] = {
      async up(db) {
        const { up } = (await import(pathToFileURL(path.join(MIGRATIONS, file)).href)) as Migration;
        await up(db);
      },
    };
  }
  return migrations;
}

/**
 * Runs `work` while holding the migration lock, so that any number of replicas may start at once. Polls for the lock:
 * waiting for it inside Postgres would hang against `create index concurrently`, which waits for every transaction.
 */
export async function withMigrationLock<T>(settings: ConnectionSettings, work: () => Promise<T>): Promise<T> {
  const client = createClient(settings, `provisioning migrate on ${hostname()}`);
  await client.connect();
  try {
    await takeLock(client);
    return await work();
  } finally {
    await client.end();
  }
}

async function takeLock(client: pg.Client): Promise<void> {
  const deadline = performance.now() + LOCK_TIMEOUT_MS;
  for (;;) {
    const { rows } = await client.query<{ locked: boolean }>('select pg_try_advisory_lock($1) as locked', [
      MIGRATION_LOCK,
    ]);
    if (rows[0]?.locked === true) return;
    if (performance.now() > deadline) {
      throw new Error(
        `Another process has been migrating this database for ${LOCK_TIMEOUT_MS / 1000} s. Look at pg_stat_activity for "provisioning migrate", and start again when it is done.`,
      );
    }
    await sleep(LOCK_POLL_MS);
  }
}

/** Names of all migrations of this version, in order. */
export async function knownMigrations(): Promise<string[]> {
  return Object.keys(await findMigrations());
}

/**
 * Brings the application's schema up to date. Call it under `withMigrationLock`.
 * @param upTo only as far as this migration.
 * @returns names of the migrations that ran now.
 * @throws when Postgres is too old, or the database was migrated by a newer version of this program.
 */
export async function migrate(db: Database, upTo?: string): Promise<string[]> {
  await requirePostgresVersion(db);
  const migrations = await findMigrations();
  const migrator = new Migrator({
    db,
    provider: { getMigrations: async () => migrations },
    migrationTableSchema: 'provisioning',
    migrationTableName: 'migrations',
    migrationLockTableName: 'migrations_lock',
  });
  await refuseNewerSchema(db, Object.keys(migrations));
  const { error, results } = await (upTo === undefined ? migrator.migrateToLatest() : migrator.migrateTo(upTo));
  if (error !== undefined) throw error;
  return (results ?? []).map((result) => result.migrationName);
}

async function requirePostgresVersion(db: Database): Promise<void> {
  const { rows } = await sql<{ version: number }>`select current_setting('server_version_num')::int as version`.execute(
    db,
  );
  const major = Math.floor((rows[0]?.version ?? 0) / 10_000);
  if (major < OLDEST_POSTGRES) {
    throw new UnusableDatabaseError(
      `This database is PostgreSQL ${major}; PostgreSQL ${OLDEST_POSTGRES} or newer is needed.`,
    );
  }
}

async function refuseNewerSchema(db: Database, known: string[]): Promise<void> {
  const { rows: tables } = await sql<{ present: boolean }>`
    select to_regclass('provisioning.migrations') is not null as present`.execute(db);
  if (tables[0]?.present !== true) return;
  const { rows } = await sql<{ name: string }>`select name from provisioning.migrations order by name`.execute(db);
  const unknown = rows.map((row) => row.name).filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    throw new UnusableDatabaseError(
      `This database was migrated by a newer version of provisioning (it has ${unknown.join(', ')}, which this version does not know). Run that version or a later one.`,
    );
  }
}
