import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { startInstallation } from './support/installation.ts';
import { type Benchmark, plain } from './support/stats.ts';

const SETTLE_MS = 10_000;
const WINDOW_MS = 20_000;
const ROUNDS = 3;

/** Each statement outside a transaction is one; those of this connection are counted, and taken off again. */
const TRANSACTIONS = `select xact_commit + xact_rollback as n from pg_stat_database where datname = current_database()`;

export const idle: Benchmark = {
  name: 'idle',
  about: 'transactions a second of a server that has nothing to do, by the books of Postgres',
  async run() {
    await using installation = await startInstallation();
    await delay(SETTLE_MS);
    const rates: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const before = await transactions(installation.pool);
      const begun = performance.now();
      await delay(WINDOW_MS);
      const after = await transactions(installation.pool);
      rates.push((after - before - 1) / ((performance.now() - begun) / 1_000));
    }
    return [plain('transactions when idle', rates, '/s')];
  },
};

async function transactions(pool: pg.Pool): Promise<number> {
  return Number((await pool.query(TRANSACTIONS)).rows[0].n);
}
