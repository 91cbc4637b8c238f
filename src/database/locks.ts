import { sql } from 'kysely';
import type { Queryable } from './pool.ts';

/**
 * Takes a lock until the transaction ends, unless another process has it.
 * @param lock any number, the same in every replica.
 */
export async function tryLock(tx: Queryable, lock: number): Promise<boolean> {
  const { rows } = await sql<{ locked: boolean }>`select pg_try_advisory_xact_lock(${lock}) as locked`.execute(tx);
  return rows[0]?.locked === true;
}
