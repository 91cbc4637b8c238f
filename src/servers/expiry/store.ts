import { sql } from 'kysely';
import type { Queryable } from '../../database/pool.ts';
import type { GuardedTable } from '../guards/store.ts';

/** Something whose expiry is to be looked at, locked. */
export interface DueExpiry {
  id: string;
  name: string;
  workspace: string;
  owner_id: string | null;
  protected: boolean;
  expires_at: Date;
  /** When it was last announced; null: not yet. */
  warned_at: Date | null;
  /** Code of the refusal of its deletion that was told last. */
  refusal: string | null;
  /** The database's clock. */
  now: Date;
}

const NAMES: Record<GuardedTable, string> = { servers: 'hostname', taskservs: 'name' };

/** Ids of what is to be looked at, the longest due first, but for those that are under way. */
export async function dueExpiries(
  db: Queryable,
  table: GuardedTable,
  underWay: readonly string[],
  limit: number,
): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select id from ${sql.table(`provisioning.${table}`)}
    where expiry_due_at <= now() and id <> all(${[...underWay]}::text[])
    order by expiry_due_at limit ${limit}::int`.execute(db);
  return rows.map(({ id }) => id);
}

/** Has what is to be announced before its next look looked at now: the setting may have changed since. */
export async function bringForward(db: Queryable, table: GuardedTable, warnings: readonly number[]): Promise<void> {
  await sql`
    update ${sql.table(`provisioning.${table}`)} set expiry_due_at = now()
    where expires_at > now() and expiry_due_at > now() and exists (
      select from unnest(${[...warnings]}::float8[]) as w (seconds),
                  lateral (select expires_at - make_interval(secs => seconds) as moment) as m
      where moment < expiry_due_at and (expiry_warned_at is null or expiry_warned_at < moment))`.execute(db);
}

/** Locks it where it is still to be looked at; null where it is not, or another process has it. */
export async function lockDueExpiry(tx: Queryable, table: GuardedTable, id: string): Promise<DueExpiry | null> {
  const { rows } = await sql<DueExpiry>`
    select id, ${sql.ref(NAMES[table])} as name, workspace, owner_id, protected, expires_at,
           expiry_warned_at as warned_at, expiry_refusal as refusal, now() as now
    from ${sql.table(`provisioning.${table}`)}
    where id = ${id} and expiry_due_at <= now() for update skip locked`.execute(tx);
  return rows[0] ?? null;
}

/** Notes what came of a look, and when the next one is due. */
export async function noteExpiry(
  tx: Queryable,
  table: GuardedTable,
  id: string,
  { due, warned, refusal }: { due: Date; warned?: true; refusal?: string | null },
): Promise<void> {
  await tx
    .updateTable(`provisioning.${table}`)
    .set({
      expiry_due_at: due,
      ...(warned === undefined ? {} : { expiry_warned_at: sql<Date>`now()` }),
      ...(refusal === undefined ? {} : { expiry_refusal: refusal }),
    })
    .where('id', '=', id)
    .execute();
}

/** What expired while it lay in a backup is announced before it is deleted. */
export async function announceExpiriesAgain(tx: Queryable): Promise<void> {
  for (const table of ['servers', 'taskservs'] as const) {
    await sql`
      update ${sql.table(`provisioning.${table}`)} set expiry_due_at = now(), expiry_warned_at = null
      where expires_at is not null`.execute(tx);
  }
}
