import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';
import type { ServerSpec } from '../providers/contract.ts';

/** A server row as JSON text: the reference's fields first. */
export const SERVER_JSON = sql.raw<string>(`json_build_object(
  'id', id, 'hostname', hostname, 'provider', provider, 'plan', plan, 'zone', zone, 'ip_address', ip_address,
  'status', status, 'created_at', to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
  'updated_at', to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
  'workspace', workspace, 'tags', tags, 'created_by', created_by)::text`);

/** What a request about one server needs to know. */
export interface ServerRecord {
  id: string;
  workspace: string;
  hostname: string;
  provider: string;
  status: string;
  provider_ref: string | null;
  operation_id: string;
  created_by: string;
}

/** The row as JSON text with the workspace it belongs to; null when there is none. */
export async function readServer(db: Queryable, id: string): Promise<{ json: string; workspace: string } | null> {
  const { rows } = await sql<{ json: string; workspace: string }>`
    select ${SERVER_JSON} as json, workspace from provisioning.servers where id = ${id}`.execute(db);
  return rows[0] ?? null;
}

/** The row, locked until the caller's transaction ends. */
export async function lockServer(tx: Queryable, id: string): Promise<ServerRecord | null> {
  const row = await tx
    .selectFrom('provisioning.servers')
    .select(['id', 'workspace', 'hostname', 'provider', 'status', 'provider_ref', 'operation_id', 'created_by'])
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst();
  return row ?? null;
}

/** @throws on the unique constraint `servers_workspace_hostname_key` when the hostname is taken. */
export async function insertServer(
  tx: Queryable,
  server: ServerSpec & { id: string; provider: string; operationId: string; createdBy: string },
): Promise<void> {
  await tx
    .insertInto('provisioning.servers')
    .values({
      id: server.id,
      workspace: server.workspace,
      hostname: server.hostname,
      provider: server.provider,
      plan: server.plan,
      zone: server.zone,
      ip_address: null,
      status: 'creating',
      tags: server.tags,
      provider_ref: null,
      operation_id: server.operationId,
      created_by: server.createdBy,
    })
    .execute();
}

/** Writes what is known of a server now. */
export async function updateServer(
  tx: Queryable,
  id: string,
  change: { status: string; ipAddress?: string | null; providerRef?: string },
): Promise<void> {
  await tx
    .updateTable('provisioning.servers')
    .set({
      status: change.status,
      updated_at: sql`now()`,
      ...(change.ipAddress === undefined ? {} : { ip_address: change.ipAddress }),
      ...(change.providerRef === undefined ? {} : { provider_ref: change.providerRef }),
    })
    .where('id', '=', id)
    .execute();
}

/** Forgets a server that no longer exists at its provider. */
export async function removeServer(tx: Queryable, id: string): Promise<void> {
  await tx.deleteFrom('provisioning.servers').where('id', '=', id).execute();
}

/** Whether the hostname is free in the workspace. */
export async function hostnameTaken(db: Queryable, workspace: string, hostname: string): Promise<boolean> {
  const row = await db
    .selectFrom('provisioning.servers')
    .select('id')
    .where('workspace', '=', workspace)
    .where('hostname', '=', hostname)
    .executeTakeFirst();
  return row !== undefined;
}

/** The unfinished operation that changes a server or has a turn on it, for telling who is in the way. */
export async function holderOf(db: Queryable, serverId: string): Promise<{ id: string; kind: string } | null> {
  const { rows } = await sql<{ id: string; kind: string }>`
    select o.id, o.kind from provisioning.operations o
    where o.resource = ${`server:${serverId}`} and o.status in ('pending', 'running')
    union all
    (select o.id, o.kind from provisioning.host_turns t join provisioning.operations o on o.id = t.operation_id
     where t.server_id = ${serverId} and o.status in ('pending', 'running') order by t.turn)
    limit 1`.execute(db);
  return rows[0] ?? null;
}

/** Names and ids of the taskservs that a server carries, without those that came along as requirements. */
export async function taskservsOn(db: Queryable, serverId: string): Promise<{ id: string; name: string }[]> {
  const { rows } = await sql<{ id: string; name: string }>`
    select taskserv_id as id, name from provisioning.taskserv_hosts
    where server_id = ${serverId} and taskserv_id is not null order by name`.execute(db);
  return rows;
}

/** The id of the workspace's server that has this id or hostname; null: there is none. */
export async function serverIdOf(db: Queryable, workspace: string, idOrHostname: string): Promise<string | null> {
  const { rows } = await sql<{ id: string }>`
    select id from provisioning.servers
    where workspace = ${workspace} and (id = ${idOrHostname} or hostname = ${idOrHostname})
    order by id = ${idOrHostname} desc limit 1`.execute(db);
  return rows[0]?.id ?? null;
}
