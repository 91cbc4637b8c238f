import { type RawBuilder, sql } from 'kysely';
import { USERS_CHANNEL } from '../access/authenticate.ts';
import type { Queryable } from '../database/pool.ts';
import type { ProtectedThing } from '../operations/protection.ts';
import { WORKSPACE_JSON } from './schemas.ts';

/** A workspace as JSON text, and whether it is the active one. */
export interface WorkspaceRow {
  json: string;
  active: boolean;
}

/**
 * Makes changes of workspaces queue up, over all replicas, until the caller's transaction ends: there is one active
 * workspace, and a path belongs to one. They are rare enough.
 */
export async function lockWorkspaces(tx: Queryable): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended('provisioning.workspaces', 0))`.execute(tx);
}

export async function findWorkspace(db: Queryable, name: string): Promise<WorkspaceRow | null> {
  return db
    .selectFrom('provisioning.workspaces')
    .select([WORKSPACE_JSON.as('json'), 'active'])
    .where('name', '=', name)
    .executeTakeFirst()
    .then((row) => row ?? null);
}

/** Where its files lie; null: there is no such workspace. */
export async function workspaceDirectory(db: Queryable, name: string): Promise<string | null> {
  const row = await db.selectFrom('provisioning.workspaces').select('path').where('name', '=', name).executeTakeFirst();
  return row?.path ?? null;
}

/** Whether it exists; inside a transaction it then goes on existing until that ends. */
export async function holdWorkspace(db: Queryable, name: string): Promise<boolean> {
  const found = db.selectFrom('provisioning.workspaces').select('name').where('name', '=', name);
  // A lock that ends with its own statement holds nothing, and its commit waits for the disk.
  const row = await (db.isTransaction ? found.forKeyShare() : found).executeTakeFirst();
  return row !== undefined;
}

/** Keeps others from putting anything into the workspace until the transaction ends. Null where there is none. */
export async function lockWorkspace(tx: Queryable, name: string): Promise<WorkspaceRow | null> {
  const { rows } = await sql<WorkspaceRow>`
    select ${WORKSPACE_JSON} as json, active from provisioning.workspaces where name = ${name} for update`.execute(tx);
  return rows[0] ?? null;
}

/** @param only the names to choose from; null: all. */
export async function workspaceNames(db: Queryable, only: readonly string[] | null): Promise<string[]> {
  if (only !== null && only.length === 0) return [];
  let query = db.selectFrom('provisioning.workspaces').select('name').orderBy('name');
  if (only !== null) query = query.where('name', 'in', [...only]);
  return (await query.execute()).map(({ name }) => name);
}

/** A workspace whose directory is this one, lies inside it or holds it: files of one would be files of the other. */
export async function workspaceSharing(db: Queryable, path: string): Promise<{ name: string; path: string } | null> {
  const { rows } = await sql<{ name: string; path: string }>`
    select name, path from provisioning.workspaces
    where path = ${path}::text or starts_with(path, ${path}::text || '/') or starts_with(${path}::text, path || '/')
    order by path = ${path}::text desc limit 1`.execute(db);
  return rows[0] ?? null;
}

export async function anyWorkspace(db: Queryable): Promise<boolean> {
  return (await db.selectFrom('provisioning.workspaces').select('name').limit(1).executeTakeFirst()) !== undefined;
}

/** Call it under `lockWorkspaces`. */
export async function insertWorkspace(tx: Queryable, name: string, path: string): Promise<void> {
  await tx.insertInto('provisioning.workspaces').values({ name, path }).execute();
}

/** Makes it the one active workspace. Call it under `lockWorkspaces`. */
export async function setActiveWorkspace(tx: Queryable, name: string): Promise<void> {
  await sql`update provisioning.workspaces set active = false where active and name <> ${name}`.execute(tx);
  await sql`update provisioning.workspaces set active = true where name = ${name} and not active`.execute(tx);
}

/** Sets some limits; null takes one off. @returns the workspace as JSON text; null: there is none. */
export async function setLimits(
  tx: Queryable,
  name: string,
  change: Partial<Record<string, number | null>>,
): Promise<string | null> {
  const { rows } = await sql<{ json: string }>`
    update provisioning.workspaces set limits = jsonb_strip_nulls(limits || ${JSON.stringify(change)}::jsonb)
    where name = ${name} returning ${WORKSPACE_JSON} as json`.execute(tx);
  return rows[0]?.json ?? null;
}

/** The active workspace; null: there is none at all. */
export async function activeWorkspace(db: Queryable): Promise<string | null> {
  const row = await db
    .selectFrom('provisioning.workspaces')
    .select('name')
    .where('active', '=', true)
    .executeTakeFirst();
  return row?.name ?? null;
}

/** The workspace that becomes active when the active one is deleted: `default`, else the oldest. Null: none is left. */
export async function nextActiveWorkspace(tx: Queryable): Promise<string | null> {
  const { rows } = await sql<{ name: string }>`
    select name from provisioning.workspaces order by name <> 'default', created_at, name limit 1`.execute(tx);
  return rows[0]?.name ?? null;
}

/**
 * Also takes away the roles bound to it, of users and of API tokens, and its service accounts, on every replica: a later one
 * starts without them.
 */
export async function deleteWorkspaceRow(tx: Queryable, name: string): Promise<void> {
  const bound = JSON.stringify([{ workspace: name }]);
  const others = (column: string) => sql`
    (select coalesce(jsonb_agg(binding), '[]') from jsonb_array_elements(${sql.raw(column)}) binding
     where binding ->> 'workspace' is distinct from ${name})`;
  await sql`
    with unbound as (delete from provisioning.role_bindings where workspace = ${name} returning user_id),
      unbound_tokens as (
        update provisioning.api_tokens
        set roles = ${others('roles')}, narrowed = case when narrowed is not null then ${others('narrowed')} end
        where roles @> ${bound}::jsonb or narrowed @> ${bound}::jsonb
        returning user_id)
    select pg_notify(${USERS_CHANNEL}, id::text) from (
      select user_id as id from unbound
      union select user_id from unbound_tokens
      union select id from provisioning.users where service_workspace = ${name}) as affected`.execute(tx);
  await tx.deleteFrom('provisioning.workspaces').where('name', '=', name).execute();
}

/** What keeps a workspace from being deleted: counted to a thousand. */
export async function countContents(tx: Queryable, name: string): Promise<{ servers: number; operations: number }> {
  const { rows } = await sql<{ servers: number; operations: number }>`
    select (select count(*) from (select from provisioning.servers where workspace = ${name} limit 1000) s)::int as servers,
           (select count(*) from (select from provisioning.operations
            where workspace = ${name} and status in ('pending', 'running') limit 1000) o)::int as operations`.execute(
    tx,
  );
  return rows[0] ?? { servers: 0, operations: 0 };
}

/** What of a workspace is protected from deletion: twenty of it at most. */
export async function protectedIn(tx: Queryable, name: string): Promise<ProtectedThing[]> {
  const { rows } = await sql<ProtectedThing>`
    select 'server' as type, id, hostname as name from provisioning.servers where workspace = ${name} and protected
    union all
    select 'taskserv', id, name from provisioning.taskservs where workspace = ${name} and protected
    union all
    select 'orphan', id, hostname from provisioning.orphans where workspace = ${name} and protected
    order by name limit 20`.execute(tx);
  return rows;
}

/** The workspaces of this list only; null: all. A condition for lists. */
export function withinNames(names: readonly string[] | null): RawBuilder<boolean>[] {
  return names === null ? [] : [sql<boolean>`name = any(${[...names]}::text[])`];
}
