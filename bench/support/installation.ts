/** A real server with its embedded database, and a way to that database. */
import { chmod, mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import { embeddedPostgres } from '../../test/recovery/support.ts';
import { SHARED_MASTER_KEY, startTestServer, type TestServer } from '../../test/support/server.ts';

/** Where the embedded database is. */
export interface DatabasePlace {
  host: string;
  port: number;
  user: string;
  password: string;
  database: string;
}

export interface Installation extends AsyncDisposable {
  server: TestServer;
  place: DatabasePlace;
  /** The same as a URL, for further processes. */
  url: string;
  pool: pg.Pool;
  /** Another server on the same database. The caller disposes of it first. */
  replica(settings: Record<string, string>): Promise<TestServer>;
}

/**
 * BENCH_DATA_DIR names a directory whose installation is used and kept: what takes long to insert is then inserted once.
 *
 * @param settings PROVISIONING_… without the prefix; what is not given is as in production.
 */
export async function startInstallation(settings: Record<string, string> = {}): Promise<Installation> {
  const kept = process.env.BENCH_DATA_DIR;
  // Postgres runs as another user where we are root, and has to pass through.
  if (kept !== undefined) await mkdir(kept, { recursive: true }).then(() => chmod(kept, 0o711));
  const server = await startTestServer({
    ...(kept === undefined ? {} : { dataDir: kept }),
    // As its replicas have it.
    settings: { SIMULATED_LATENCY_MS: '0', MASTER_KEY: SHARED_MASTER_KEY, ...settings },
  });
  const { socketDir } = await embeddedPostgres(server.dataDir);
  const password = (await readFile(path.join(server.dataDir, 'postgres-password'), 'utf8')).trim();
  const place = { host: socketDir, port: 5432, user: 'postgres', password, database: 'provisioning' };
  const url = `postgres://postgres:${password}@localhost:5432/provisioning?host=${encodeURIComponent(socketDir)}`;
  const pool = new pg.Pool({ ...place, max: 4, application_name: 'bench' });
  // Stopping the server ends the database under it.
  pool.on('error', () => 'it is over');
  return {
    server,
    place,
    url,
    pool,
    replica: (own) => startTestServer({ databaseUrl: url, settings: { SIMULATED_LATENCY_MS: '0', ...own } }),
    async [Symbol.asyncDispose]() {
      await pool.end();
      await server[Symbol.asyncDispose]();
    },
  };
}
