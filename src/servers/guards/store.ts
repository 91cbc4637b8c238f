import { sql } from 'kysely';
import type { Queryable } from '../../database/pool.ts';
import { OperationError } from '../../engine/procedure.ts';
import { PROTECTED, type ProtectedThing, protectionRefusal } from '../../operations/protection.ts';

/** Tables of what can be protected and can expire. */
export type GuardedTable = 'servers' | 'taskservs';

/** How something is guarded. Absent: as it is. */
export interface Guards {
  protect?: boolean;
  /** Null: it does not expire. */
  expiresAt?: Date | null;
}

/**
 * Writes how it is guarded. A new expiry is announced anew; a later one only at moments that are still to come, where it
 * was announced before. @param operationId the operation that does nothing else; null: it comes with another change.
 */
export async function writeGuards(
  tx: Queryable,
  table: GuardedTable,
  id: string,
  { protect, expiresAt }: Guards,
  operationId: string | null = null,
): Promise<void> {
  await tx
    .updateTable(`provisioning.${table}`)
    .set({
      updated_at: sql`now()`,
      guards_set_by: operationId,
      ...(protect === undefined ? {} : { protected: protect }),
      ...(expiresAt === undefined
        ? {}
        : {
            expires_at: expiresAt,
            expiry_due_at: expiresAt === null ? null : sql<Date>`now()`,
            expiry_warned_at: sql<Date | null>`case
              when expiry_warned_at is not null and expires_at < ${expiresAt} then now()
              when expires_at = ${expiresAt} then expiry_warned_at end`,
            expiry_refusal: null,
          }),
    })
    .where('id', '=', id)
    .execute();
}

/** What would be lost with a server and is protected: itself, and the taskservs on it. */
export async function protectedOn(db: Queryable, serverId: string): Promise<ProtectedThing[]> {
  const { rows } = await sql<ProtectedThing>`
    select 'server' as type, id, hostname as name from provisioning.servers where id = ${serverId} and protected
    union all
    select 'taskserv', t.id, t.name
    from provisioning.taskserv_hosts h join provisioning.taskservs t on t.id = h.taskserv_id
    where h.server_id = ${serverId} and t.protected`.execute(db);
  return rows;
}

/**
 * Begins to delete a server on behalf of an operation: from then on it can be neither protected nor given more time, until
 * the operation and what tidies up after it have ended. Once begun it stays so, also for a step that runs again.
 * @param expiredAt the expiry for which it is deleted; absent: somebody asked for it.
 * @throws OperationError PROTECTED, EXTENDED.
 */
export async function beginServerRemoval(
  tx: Queryable,
  serverId: string,
  operationId: string,
  expiredAt?: string,
): Promise<void> {
  if (!(await lockForRemoval(tx, 'servers', serverId, operationId))) return;
  await requireStillExpired(tx, 'servers', serverId, expiredAt);
  requireUnprotected(await protectedOn(tx, serverId));
  await noteRemoval(tx, 'servers', serverId, operationId);
}

/** The same for a taskserv that is removed from servers. */
export async function beginTaskservRemoval(
  tx: Queryable,
  id: string,
  operationId: string,
  expiredAt?: string,
): Promise<void> {
  if (!(await lockForRemoval(tx, 'taskservs', id, operationId))) return;
  await requireStillExpired(tx, 'taskservs', id, expiredAt);
  const rows = await tx
    .selectFrom('provisioning.taskservs')
    .select(['id', 'name'])
    .where('id', '=', id)
    .where('protected', '=', true)
    .execute();
  requireUnprotected(rows.map((row) => ({ type: 'taskserv', ...row })));
  await noteRemoval(tx, 'taskservs', id, operationId);
}

/** The same for an orphan. */
export async function beginOrphanRemoval(tx: Queryable, id: string, operationId: string): Promise<void> {
  if (!(await lockForRemoval(tx, 'orphans', id, operationId))) return;
  const rows = await tx
    .selectFrom('provisioning.orphans')
    .select(['id', 'hostname as name'])
    .where('id', '=', id)
    .where('protected', '=', true)
    .execute();
  requireUnprotected(rows.map((row) => ({ type: 'orphan', ...row })));
  await noteRemoval(tx, 'orphans', id, operationId);
}

/** @returns whether it is there and this operation has not begun yet. */
async function lockForRemoval(
  tx: Queryable,
  table: GuardedTable | 'orphans',
  id: string,
  operationId: string,
): Promise<boolean> {
  const row = await tx
    .selectFrom(`provisioning.${table}`)
    .select('removal_id')
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst();
  return row !== undefined && row.removal_id !== operationId;
}

async function noteRemoval(
  tx: Queryable,
  table: GuardedTable | 'orphans',
  id: string,
  operationId: string,
): Promise<void> {
  await tx.updateTable(`provisioning.${table}`).set({ removal_id: operationId }).where('id', '=', id).execute();
}

async function requireStillExpired(
  tx: Queryable,
  table: GuardedTable,
  id: string,
  expiredAt: string | undefined,
): Promise<void> {
  if (expiredAt === undefined || (await expiresAtStill(tx, table, id, expiredAt))) return;
  throw new OperationError('EXTENDED', 'Nothing was deleted: its expiry was changed or removed meanwhile.');
}

/** Whether this, as `DueExpiry` had it, is still its expiry. */
export async function expiresAtStill(
  db: Queryable,
  table: GuardedTable,
  id: string,
  expiredAt: string,
): Promise<boolean> {
  const row = await db.selectFrom(`provisioning.${table}`).select('expires_at').where('id', '=', id).executeTakeFirst();
  return row?.expires_at?.toISOString() === expiredAt;
}

/**
 * The unfinished operation that is to delete it for its expiry, locked; null: there is none, or it is just ending. It has
 * not begun where `removalUnderWay` finds none.
 */
export async function lockExpiryDeletion(
  tx: Queryable,
  type: 'server' | 'taskserv',
  id: string,
): Promise<string | null> {
  const { rows } = await sql<{ id: string }>`
    select id from provisioning.operations
    where resource = ${`${type}:${id}`} and kind = ${`${type}.delete`} and status in ('pending', 'running')
      and input ? 'expired_at'
    for update skip locked`.execute(tx);
  return rows[0]?.id ?? null;
}

function requireUnprotected(things: readonly ProtectedThing[]): void {
  if (things.length > 0) throw new OperationError(PROTECTED, protectionRefusal(things).message);
}

/** The unfinished operation that has begun to delete one of these servers, or taskservs, or tidies up after that. */
export async function removalUnderWay(
  db: Queryable,
  table: GuardedTable | 'orphans',
  ids: readonly string[],
): Promise<{ id: string; kind: string } | null> {
  const { rows } = await sql<{ id: string; kind: string }>`
    select o.id, o.kind from ${sql.table(`provisioning.${table}`)} t
      join provisioning.operations o on o.id = t.removal_id or o.parent_id = t.removal_id
    where t.id = any(${[...ids]}::text[]) and o.status in ('pending', 'running') limit 1`.execute(db);
  return rows[0] ?? null;
}

/**
 * Whether it is still guarded as an operation of a run has set it, and nobody but that run and its rollbacks has set
 * anything since. Locked. Null: it is gone.
 */
export async function stillAsSet(
  tx: Queryable,
  table: GuardedTable,
  id: string,
  operationId: string,
  { protect, expiresAt }: Guards,
): Promise<boolean | null> {
  const { rows } = await sql<{ protected: boolean; expires_at: Date | null; own: boolean }>`
    select t.protected, t.expires_at,
           exists (
             select from provisioning.operations setting
               join provisioning.operations last on last.id = t.guards_set_by
               left join provisioning.operations rollback
                 on rollback.id = last.parent_id and rollback.kind = 'workflow.rollback'
             where setting.id = ${operationId}
               and (last.parent_id = setting.parent_id
                    or rollback.input ->> 'workflow_id' = setting.parent_id::text)) as own
    from ${sql.table(`provisioning.${table}`)} t where t.id = ${id} for update of t`.execute(tx);
  const [row] = rows;
  if (row === undefined) return null;
  return (
    row.own &&
    (protect === undefined || protect === row.protected) &&
    (expiresAt === undefined || expiresAt?.getTime() === row.expires_at?.getTime())
  );
}
