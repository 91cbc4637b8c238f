import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { startInstallation } from './support/installation.ts';
import { processorSeconds } from './support/kernel.ts';
import { type Benchmark, plain } from './support/stats.ts';

const SETTLE_MS = 10_000;
const WINDOW_MS = 20_000;
const ROUNDS = 3;

/** A statement outside a transaction counts as one. What this connection asks is among them, once for each reading. */
const BOOKS = `select (xact_commit + xact_rollback)::float8 as transactions, active_time as milliseconds
  from pg_stat_database where datname = current_database()`;

export const idle: Benchmark = {
  name: 'idle',
  about: 'what a server costs that has nothing to do: by the books of Postgres, and by the kernel',
  async run() {
    await using installation = await startInstallation();
    const pid = installation.server.process.pid ?? 0;
    await delay(SETTLE_MS);
    const figures = { transactions: [] as number[], database: [] as number[], process: [] as number[] };
    for (let round = 0; round < ROUNDS; round += 1) {
      const [before, processorBefore] = [await books(installation.pool), await processorSeconds(pid)];
      const begun = performance.now();
      await delay(WINDOW_MS);
      const [after, processorAfter] = [await books(installation.pool), await processorSeconds(pid)];
      const seconds = (performance.now() - begun) / 1_000;
      figures.transactions.push((after.transactions - before.transactions - 1) / seconds);
      figures.database.push((after.milliseconds - before.milliseconds) / seconds);
      figures.process.push(((processorAfter - processorBefore) * 1_000) / seconds);
    }
    return [
      plain('transactions', figures.transactions, '/s'),
      plain('time in which the database executes', figures.database, 'ms/s'),
      plain('processor time of the server', figures.process, 'ms/s'),
    ];
  },
};

async function books(pool: pg.Pool): Promise<{ transactions: number; milliseconds: number }> {
  return (await pool.query(BOOKS)).rows[0];
}
