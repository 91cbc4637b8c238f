import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { acceptCreates, untilCarriedOut } from './support/backlog.ts';
import { type Installation, startInstallation } from './support/installation.ts';
import { alternate, type Benchmark, compare } from './support/stats.ts';

const COUNT = 2_000;
const ROUNDS = 5;
/** As many as the server carries out at once (WORKER_CONCURRENCY). */
const AT_ONCE = 100;
const TIMEOUT_MS = 300_000;
const BARE = fileURLToPath(new URL('./bare-engine.ts', import.meta.url));
const run = promisify(execFile);

/** From the first that was taken from the queue to the last that ended, by the engine's own books. */
const RATE = `select count(*) / ((max(updated_at) - min(started_at_epoch_ms)) / 1000.0) as rate
  from dbos.workflow_status where status = 'SUCCESS'`;

export const carryOut: Benchmark = {
  name: 'carry-out',
  about: 'creates at the simulated provider without latency, against bare procedures of two steps that do nothing',
  async run(log) {
    await using installation = await startInstallation({ ROLE: 'api', LOG_LEVEL: 'warn' });
    const pairs = await alternate(
      ROUNDS,
      async () => {
        const rate = await carriedOut(installation);
        log(`carried out: ${Math.round(rate)} /s`);
        return rate;
      },
      async () => {
        const rate = await bare(installation);
        log(`bare: ${Math.round(rate)} /s`);
        return rate;
      },
    );
    return [compare('operations carried out', pairs, '/s', { atLeast: 0.7 })];
  },
};

/** Accepts them while nobody carries anything out, and then starts a worker. */
async function carriedOut(installation: Installation): Promise<number> {
  await acceptCreates(installation, COUNT);
  const settings = { ROLE: 'worker', LOG_LEVEL: 'info', WORKER_CONCURRENCY: String(AT_ONCE) };
  await using _worker = await installation.replica(settings);
  await untilCarriedOut(installation);
  return rateOf(installation.pool);
}

/** In a database of its own on the same Postgres. */
async function bare({ pool, url, place }: Installation): Promise<number> {
  await pool.query('drop database if exists bare with (force)');
  await pool.query('create database bare');
  const database = url.replace('/provisioning?', '/bare?');
  await run(process.execPath, [BARE, database, String(COUNT), String(AT_ONCE)], { timeout: TIMEOUT_MS });
  const books = new pg.Pool({ ...place, database: 'bare', max: 1 });
  // A connection that is still being closed meets the next round's drop.
  books.on('error', () => 'it is over');
  try {
    return await rateOf(books);
  } finally {
    await books.end();
  }
}

async function rateOf(pool: pg.Pool): Promise<number> {
  return Number((await pool.query(RATE)).rows[0].rate);
}
