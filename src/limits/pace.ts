import { sql } from 'kysely';
import type { Database } from '../database/pool.ts';

/** So often a second may something be done under a key, over all replicas. */
export interface Pace {
  key: string;
  perSecond: number;
}

/**
 * Takes a turn under each of the keys: turns of one key lie evenly apart, whoever takes them.
 * @returns milliseconds until the turn; 0 where it is now.
 */
export async function takeTurn(db: Database, paces: readonly Pace[]): Promise<number> {
  const limited = paces.filter(({ perSecond }) => perSecond > 0).sort((a, b) => (a.key < b.key ? -1 : 1));
  if (limited.length === 0) return 0;
  const { rows } = await sql<{ wait_ms: number }>`
    with taken as (
      insert into provisioning.paces as p (key, next_at)
      select key, now() + make_interval(secs => apart)
      from unnest(${limited.map(({ key }) => key)}::text[], ${limited.map(({ perSecond }) => 1 / perSecond)}::float8[])
        as c (key, apart)
      on conflict (key) do update
      set next_at = greatest(p.next_at, now()) + (excluded.next_at - now())
      returning key, next_at)
    select greatest(0, max(extract(epoch from t.next_at - now()) - c.apart) * 1000)::float8 as wait_ms
    from taken t
    join unnest(${limited.map(({ key }) => key)}::text[], ${limited.map(({ perSecond }) => 1 / perSecond)}::float8[])
      as c (key, apart) using (key)`.execute(db);
  return rows[0]?.wait_ms ?? 0;
}
