import { sql } from 'kysely';
import type { Queryable } from './pool.ts';

/** The database's clock, which all replicas share: what is asked for afterwards is newer than what was committed before. */
export async function readClock(db: Queryable): Promise<Date> {
  const { rows } = await sql<{ now: Date }>`select clock_timestamp() as now`.execute(db);
  return rows[0]?.now ?? new Date();
}
