import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';

const time = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;

/** A taskserv row as JSON text: the reference's fields first. Secret values are not in it, only their names. */
export const TASKSERV_JSON = sql.raw<string>(`json_build_object(
  'id', taskservs.id, 'name', taskservs.name, 'version', taskservs.version,
  'servers', (select coalesce(json_agg(s.hostname order by h.position, s.hostname), '[]')
              from provisioning.taskserv_hosts h join provisioning.servers s on s.id = h.server_id
              where h.taskserv_id = taskservs.id),
  'status', taskservs.status, 'created_at', ${time('taskservs.created_at')},
  'updated_at', ${time('taskservs.updated_at')}, 'workspace', taskservs.workspace,
  'config', (select r.config from provisioning.taskserv_revisions r
             where r.taskserv_id = taskservs.id and r.revision = taskservs.revision),
  'secrets', (select r.secret_names from provisioning.taskserv_revisions r
              where r.taskserv_id = taskservs.id and r.revision = taskservs.revision),
  'hosts', (select coalesce(json_agg(json_build_object('server', s.hostname, 'server_id', s.id, 'role', h.role, 'status', h.status,
              'version', h.version, 'message', h.message, 'checked_at', ${time('h.checked_at')}) order by h.position, s.hostname), '[]')
            from provisioning.taskserv_hosts h join provisioning.servers s on s.id = h.server_id
            where h.taskserv_id = taskservs.id),
  'created_by', taskservs.created_by, 'protect', taskservs.protected, 'expires_at', ${time('taskservs.expires_at')})::text`);

/** What a request about one taskserv needs to know. */
export interface TaskservRecord {
  id: string;
  workspace: string;
  name: string;
  version: string;
  revision: number;
  status: string;
  owner_id: string | null;
  protected: boolean;
  expires_at: Date | null;
}

/** The row as JSON text with the workspace it belongs to; null when there is none. */
export async function readTaskserv(db: Queryable, id: string): Promise<{ json: string; workspace: string } | null> {
  const { rows } = await sql<{ json: string; workspace: string }>`
    select ${TASKSERV_JSON} as json, workspace from provisioning.taskservs where id = ${id}`.execute(db);
  return rows[0] ?? null;
}

/** The row, locked until the caller's transaction ends. */
export async function lockTaskserv(tx: Queryable, id: string): Promise<TaskservRecord | null> {
  const row = await tx
    .selectFrom('provisioning.taskservs')
    .select(['id', 'workspace', 'name', 'version', 'revision', 'status', 'owner_id', 'protected', 'expires_at'])
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst();
  return row ?? null;
}

/** Makes a taskserv that stands nowhere yet. */
export async function insertTaskserv(
  tx: Queryable,
  taskserv: { id: string; workspace: string; name: string; version: string; createdBy: string; ownerId: string },
): Promise<void> {
  await tx
    .insertInto('provisioning.taskservs')
    .values({
      id: taskserv.id,
      workspace: taskserv.workspace,
      name: taskserv.name,
      version: taskserv.version,
      status: 'installing',
      created_by: taskserv.createdBy,
      owner_id: taskserv.ownerId,
    })
    .execute();
}

/** Changes how it stands and, where they are given, what is wanted. */
export async function updateTaskserv(
  tx: Queryable,
  id: string,
  change: { status: string; version?: string; revision?: number },
): Promise<void> {
  await tx
    .updateTable('provisioning.taskservs')
    .set({ ...change, updated_at: sql`now()` })
    .where('id', '=', id)
    .execute();
}

/** Forgets a taskserv with all that is known of its hosts. */
export async function removeTaskserv(tx: Queryable, id: string): Promise<void> {
  await tx.deleteFrom('provisioning.taskservs').where('id', '=', id).execute();
}

/** Sets the status to what its hosts make it: `running`, `degraded` or `failed`. @returns it; null: it is gone. */
export async function settleTaskserv(tx: Queryable, id: string): Promise<string | null> {
  const { rows } = await sql<{ status: string }>`
    update provisioning.taskservs set status = provisioning.settled_taskserv_status(id), updated_at = now()
    where id = ${id} returning status`.execute(tx);
  return rows[0]?.status ?? null;
}

/** What a taskserv is asked to be. `secrets` is encrypted. */
export interface Revision {
  revision: number;
  version: string;
  config: Record<string, unknown>;
  secret_names: string[];
  secrets: string | null;
}

export async function insertRevision(
  tx: Queryable,
  taskservId: string,
  operationId: string,
  revision: Revision,
): Promise<void> {
  await tx
    .insertInto('provisioning.taskserv_revisions')
    .values({
      taskserv_id: taskservId,
      operation_id: operationId,
      revision: revision.revision,
      version: revision.version,
      config: JSON.stringify(revision.config),
      secret_names: revision.secret_names,
      secrets: revision.secrets,
    })
    .execute();
}

/** The revision that is wanted now; null when the taskserv is gone. */
export async function readRevision(db: Queryable, taskservId: string): Promise<Revision | null> {
  const { rows } = await sql<Revision>`
    select r.revision, r.version, r.config, r.secret_names, r.secrets
    from provisioning.taskserv_revisions r
      join provisioning.taskservs t on t.id = r.taskserv_id and t.revision = r.revision
    where t.id = ${taskservId}`.execute(db);
  return rows[0] ?? null;
}

/** Servers that the last change of a taskserv was to take out and that still have it. */
export async function stillLeaving(tx: Queryable, taskservId: string): Promise<{ hostname: string }[]> {
  const { rows } = await sql<{ hostname: string }>`
    select s.hostname from provisioning.taskservs t
      join provisioning.taskserv_revisions r on r.taskserv_id = t.id and r.revision = t.revision
      join provisioning.operations o on o.id = r.operation_id
      join provisioning.taskserv_hosts h on h.taskserv_id = t.id
        and coalesce(o.input -> 'leaving', '[]') @> to_jsonb(h.server_id)
      join provisioning.servers s on s.id = h.server_id
    where t.id = ${taskservId} order by s.hostname`.execute(tx);
  return rows;
}

/** Forgets the revisions before the wanted one, with their secrets. */
export async function removeOldRevisions(tx: Queryable, taskservId: string): Promise<void> {
  await sql`
    delete from provisioning.taskserv_revisions r using provisioning.taskservs t
    where t.id = r.taskserv_id and t.id = ${taskservId} and r.revision < t.revision`.execute(tx);
}

/** Goes back to an earlier revision, as if the later ones had never been asked for. */
export async function returnToRevision(
  tx: Queryable,
  taskservId: string,
  to: { revision: number; version: string; status: string },
): Promise<void> {
  await updateTaskserv(tx, taskservId, to);
  await sql`
    delete from provisioning.taskserv_revisions
    where taskserv_id = ${taskservId} and revision > ${to.revision}::int`.execute(tx);
}

/** As `settleTaskserv`, but only while nobody is changing it. @returns its status now; null: it is gone. */
export async function settleIdle(tx: Queryable, id: string): Promise<string | null> {
  const { rows } = await sql<{ status: string }>`
    with settled as (
      update provisioning.taskservs set status = provisioning.settled_taskserv_status(id), updated_at = now()
      where id = ${id} and status in ('running', 'degraded', 'failed')
        and status <> provisioning.settled_taskserv_status(id)
      returning status)
    select status from settled
    union all select status from provisioning.taskservs where id = ${id} limit 1`.execute(tx);
  return rows[0]?.status ?? null;
}

/** Which workspace a taskserv belongs to; null: there is none. */
export async function readTaskservPlace(
  db: Queryable,
  id: string,
): Promise<{ name: string; workspace: string; ownerId: string | null } | null> {
  const row = await db
    .selectFrom('provisioning.taskservs')
    .select(['name', 'workspace', 'owner_id as ownerId'])
    .where('id', '=', id)
    .executeTakeFirst();
  return row ?? null;
}

/** The form of ids, as `shortId` makes them: such a text is only ever an id. */
const ID = /^tsk-[a-z0-9]{12}$/;

export function isTaskservId(text: string): boolean {
  return ID.test(text);
}

/** Ids of the workspace's taskservs that have this id or name. */
export async function taskservIdsOf(db: Queryable, workspace: string, idOrName: string): Promise<string[]> {
  const column = sql.ref(isTaskservId(idOrName) ? 'id' : 'name');
  const { rows } = await sql<{ id: string }>`
    select id from provisioning.taskservs
    where workspace = ${workspace} and ${column} = ${idOrName} order by created_at limit 10`.execute(db);
  return rows.map(({ id }) => id);
}
