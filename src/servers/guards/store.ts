import { sql } from 'kysely';
import type { Queryable } from '../../database/pool.ts';
import { OperationError } from '../../engine/procedure.ts';
import { type ProtectedThing, protectionRefusal } from '../../operations/protection.ts';

/** Tables of what can be protected and can expire. */
export type GuardedTable = 'servers' | 'taskservs';

/** How something is guarded. Absent: as it is. */
export interface Guards {
  protect?: boolean;
  /** Null: it does not expire. */
  expiresAt?: Date | null;
}

/** Writes how it is guarded. A new expiry is announced anew. */
export async function writeGuards(
  tx: Queryable,
  table: GuardedTable,
  id: string,
  { protect, expiresAt }: Guards,
): Promise<void> {
  await tx
    .updateTable(`provisioning.${table}`)
    .set({
      updated_at: sql`now()`,
      ...(protect === undefined ? {} : { protected: protect }),
      ...(expiresAt === undefined
        ? {}
        : {
            expires_at: expiresAt,
            expiry_due_at: expiresAt === null ? null : sql<Date>`now()`,
            expiry_warned_at: null,
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
 * Begins to delete a server on behalf of an operation: from then on protection cannot be set, until the operation and
 * what tidies up after it have ended. Once begun it stays so, also for a step that runs again.
 * @throws OperationError PROTECTED.
 */
export async function beginServerRemoval(tx: Queryable, serverId: string, operationId: string): Promise<void> {
  if (!(await lockForRemoval(tx, 'servers', serverId, operationId))) return;
  requireUnprotected(await protectedOn(tx, serverId));
  await noteRemoval(tx, 'servers', serverId, operationId);
}

/** The same for a taskserv that is removed from servers. */
export async function beginTaskservRemoval(tx: Queryable, id: string, operationId: string): Promise<void> {
  if (!(await lockForRemoval(tx, 'taskservs', id, operationId))) return;
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

function requireUnprotected(things: readonly ProtectedThing[]): void {
  if (things.length > 0) throw new OperationError('PROTECTED', protectionRefusal(things).message);
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

/** Takes back what an operation has set, where it still stands. @param set what it was set to; @param before what it was. */
export async function takeBackGuards(
  tx: Queryable,
  table: GuardedTable,
  id: string,
  set: Guards,
  before: Required<Guards>,
): Promise<void> {
  const row = await tx
    .selectFrom(`provisioning.${table}`)
    .select(['protected', 'expires_at'])
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst();
  if (row === undefined) return;
  await writeGuards(tx, table, id, {
    ...(set.protect === row.protected ? { protect: before.protect } : {}),
    ...(set.expiresAt !== undefined && set.expiresAt?.getTime() === row.expires_at?.getTime()
      ? { expiresAt: before.expiresAt }
      : {}),
  });
}
