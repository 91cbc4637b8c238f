/** Databases for tests: each a fresh clone of a migrated template, on a Postgres that the whole run shares. */

import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { pino } from 'pino';
import { migrate, withMigrationLock } from '../../src/database/migrate.ts';
import { type ConnectionSettings, createDatabase, createPool, type Database } from '../../src/database/pool.ts';
import { startTestPostgres, type TestPostgres } from './postgres.ts';

/** Where the shared Postgres is, for the processes of a run: the URL of its template. */
const SHARED = 'PROVISIONING_TEST_DATABASE_URL';
const TEMPLATE = 'provisioning_template';
/** Connections that a test has not given back by then are reported as lost. */
const RELEASE_TIMEOUT_MS = 5_000;

/** A database of one test's or one test file's own, with all tables and no rows but those of the migrations. */
export interface TestDatabase extends AsyncDisposable {
  db: Database;
  /** The pool that `db` draws from. */
  pool: pg.Pool;
  /** For connections and pools of the test's own. */
  settings: Extract<ConnectionSettings, { host: string }>;
  /** The same as a URL, for servers that the test starts (PROVISIONING_DATABASE_URL). */
  url: string;
  /** Closes the pool and drops the database. @throws when connections of the pool were never given back. */
  close(): Promise<void>;
}

/** @param options `poolSize`: connections of `pool` at most (default 10); `empty`: without our tables. */
export async function createTestDatabase(options: { poolSize?: number; empty?: boolean } = {}): Promise<TestDatabase> {
  const server = settingsOf(new URL(process.env[SHARED] ?? (await ownServer())));
  const database = `test_${randomBytes(6).toString('hex')}`;
  const template = options.empty === true ? 'template0' : server.database;
  await administer(server, `create database ${database} template ${template}`);
  const settings = { ...server, database };
  const pool = createPool(settings, { max: options.poolSize ?? 10, applicationName: 'provisioning test' });
  const close = async () => {
    if (pool.ending) return;
    const lost = await Promise.race([pool.end(), delay(RELEASE_TIMEOUT_MS, 'lost', { ref: false })]);
    await administer(server, `drop database if exists ${database} with (force)`);
    if (lost === 'lost') throw new Error('The test did not give back all connections of its pool.');
  };
  return { db: createDatabase(pool), pool, settings, url: urlOf(settings), close, [Symbol.asyncDispose]: close };
}

/**
 * Starts the Postgres that a whole run shares and makes the template on it.
 * @returns what to call when the run is over.
 */
export async function startSharedPostgres(): Promise<() => Promise<void>> {
  const postgres = await startTestPostgres();
  try {
    process.env[SHARED] = await makeTemplate(postgres);
  } catch (error) {
    await postgres.stop();
    throw error;
  }
  return () => {
    delete process.env[SHARED];
    return postgres.stop();
  };
}

let own: Promise<string> | undefined;

/** For a test file that is run by hand. It goes with this process. */
function ownServer(): Promise<string> {
  own ??= startTestPostgres().then(makeTemplate);
  return own;
}

/** @returns the template's URL. */
async function makeTemplate({ host, port, user, password }: TestPostgres): Promise<string> {
  // Not earlier: the engine takes long to load, and the files of a run find a template.
  const { migrateEngine } = await import('../../src/engine/engine.ts');
  const settings = { host, port, user, password, database: TEMPLATE };
  await administer(settings, `create database ${TEMPLATE}`);
  const pool = createPool(settings, { max: 2, applicationName: 'provisioning test template' });
  const db = createDatabase(pool);
  await withMigrationLock(settings, async () => {
    await migrate(db);
    await migrateEngine(settings, pino({ level: 'silent' }));
  });
  await db.destroy();
  // A database that anybody is connected to cannot be cloned.
  await administer(settings, `alter database ${TEMPLATE} with is_template true allow_connections false`);
  return urlOf(settings);
}

async function administer(server: TestDatabase['settings'], statement: string): Promise<void> {
  const client = new pg.Client({ ...server, database: 'postgres' });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/** A socket directory stands in the query: the host part of a URL cannot hold it. */
function urlOf({ host, port, user, password, database }: TestDatabase['settings']): string {
  return `postgres://${user}:${password}@localhost:${port}/${database}?host=${encodeURIComponent(host)}`;
}

function settingsOf(url: URL): TestDatabase['settings'] {
  return {
    host: url.searchParams.get('host') ?? url.hostname,
    port: Number(url.port || 5432),
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    database: url.pathname.slice(1),
  };
}
