import { sql } from 'kysely';
import { isUniqueViolation, type Queryable } from '../database/pool.ts';
import type { ServerSpec } from '../providers/contract.ts';
import { isServerId } from './names.ts';
import type { StoredSpec } from './stored-spec.ts';

/** A server row as JSON text: the reference's fields first. */
export const SERVER_JSON = sql.raw<string>(`json_build_object(
  'id', id, 'hostname', hostname, 'provider', provider, 'plan', plan, 'zone', zone, 'ip_address', ip_address,
  'status', status, 'created_at', to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
  'updated_at', to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
  'workspace', workspace, 'tags', tags, 'created_by', created_by, 'drift', drift,
  'observed_at', to_char(observed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'protect', protected,
  'expires_at', to_char(expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))::text`);

/** What a request about one server needs to know. */
export interface ServerRecord {
  id: string;
  workspace: string;
  hostname: string;
  provider: string;
  status: string;
  provider_ref: string | null;
  operation_id: string;
  owner_id: string | null;
  plan: string;
  zone: string;
  tags: string[];
  protected: boolean;
  expires_at: Date | null;
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
    .select([
      'id',
      'workspace',
      'hostname',
      'provider',
      'status',
      'provider_ref',
      'operation_id',
      'owner_id',
      'plan',
      'zone',
      'tags',
      'protected',
      'expires_at',
    ])
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst();
  return row ?? null;
}

/** @throws on the unique constraint `servers_workspace_hostname_key` when the hostname is taken. */
export async function insertServer(
  tx: Queryable,
  server: ServerSpec & { id: string; provider: string; operationId: string; createdBy: string; ownerId: string | null },
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
      owner_id: server.ownerId,
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

/**
 * Notes what the provider calls a server that is being made, so that it is found where lists do not show it yet. A provider
 * that uses its ids again has given it what another one was called: it is taken from one that the provider has no more.
 * @returns the other one that still has it; null: it is noted.
 */
export async function noteRef(
  db: Queryable,
  id: string,
  ref: string,
): Promise<{ id: string; hostname: string; status: string } | null> {
  await sql`
    update provisioning.servers gone set provider_ref = null
    from provisioning.servers made
    where made.id = ${id} and gone.provider = made.provider and gone.provider_ref = ${ref}
      and gone.id <> made.id and gone.status = 'missing'`.execute(db);
  try {
    await db
      .updateTable('provisioning.servers')
      .set({ provider_ref: ref })
      .where('id', '=', id)
      .where('status', '=', 'creating')
      .execute();
    return null;
  } catch (error) {
    if (!isUniqueViolation(error, 'servers_provider_ref_key')) throw error;
  }
  const holder = await db
    .selectFrom('provisioning.servers as other')
    .innerJoin('provisioning.servers as made', 'made.provider', 'other.provider')
    .select(['other.id', 'other.hostname', 'other.status'])
    .where('made.id', '=', id)
    .where('other.provider_ref', '=', ref)
    .executeTakeFirst();
  return holder ?? noteRef(db, id, ref);
}

/** Writes what a server is wished to be. Null: as it is. */
export async function setPlanAndTags(
  tx: Queryable,
  id: string,
  { plan, tags }: { plan: string | null; tags: readonly string[] | null },
): Promise<void> {
  await tx
    .updateTable('provisioning.servers')
    .set({ updated_at: sql`now()`, ...(plan === null ? {} : { plan }), ...(tags === null ? {} : { tags: [...tags] }) })
    .where('id', '=', id)
    .execute();
}

/** How a server stood before it was to be made anew. */
export interface RecreatedServer {
  /** The operation whose label it carries. */
  operationId: string;
  /** Absent: it stays as it is now. */
  status?: string;
}

/** Notes which operation's label the server is going to carry. */
export async function setOperation(tx: Queryable, id: string, operationId: string): Promise<void> {
  await tx.updateTable('provisioning.servers').set({ operation_id: operationId }).where('id', '=', id).execute();
}

/** Undoes `setOperation`, where it was not made anew. */
export async function restoreAfterRecreation(
  tx: Queryable,
  id: string,
  { operationId, status }: RecreatedServer,
): Promise<void> {
  await setOperation(tx, id, operationId);
  if (status !== undefined) await updateServer(tx, id, { status });
}

/** Has what was found otherwise forgotten, for fields that have just been made as they were wished for. */
export async function forgetDrift(tx: Queryable, id: string, fields: readonly string[]): Promise<void> {
  await sql`
    update provisioning.servers
    set drift = coalesce((select jsonb_agg(entry) from jsonb_array_elements(drift) as entry
                          where not (entry ->> 'field' = any(${[...fields]}::text[]))), '[]')
    where id = ${id} and drift <> '[]'`.execute(tx);
}

/** Forgets a server that no longer exists at its provider. */
export async function removeServer(tx: Queryable, id: string): Promise<void> {
  await tx.deleteFrom('provisioning.servers').where('id', '=', id).execute();
}

/** Null where there is no such server any more. */
export async function hostnameOf(db: Queryable, id: string): Promise<string | null> {
  const row = await db.selectFrom('provisioning.servers').select('hostname').where('id', '=', id).executeTakeFirst();
  return row?.hostname ?? null;
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

/** The ids of a workspace's servers by the ids and hostnames given; one that names no server is not in it. */
export async function serverIdsOf(
  db: Queryable,
  workspace: string,
  names: readonly string[],
): Promise<Map<string, string>> {
  const { rows } = await sql<{ id: string; hostname: string }>`
    select id, hostname from provisioning.servers
    where workspace = ${workspace} and (id = any(${[...names]}::text[]) or hostname = any(${[...names]}::text[]))`.execute(
    db,
  );
  const ids = new Set(rows.map(({ id }) => id));
  const byHostname = new Map(rows.map(({ id, hostname }) => [hostname, id]));
  return new Map(
    names.flatMap((name): [string, string][] => {
      const id = ids.has(name) ? name : isServerId(name) ? undefined : byHostname.get(name);
      return id === undefined ? [] : [[name, id]];
    }),
  );
}

/** The id of the workspace's server that has this id or hostname; null: there is none. */
export async function serverIdOf(db: Queryable, workspace: string, name: string): Promise<string | null> {
  return (await serverIdsOf(db, workspace, [name])).get(name) ?? null;
}

/** Servers of a workspace that have come so far that a provider knows them. @param only their ids; null: all. */
export async function serversToRefresh(
  db: Queryable,
  workspace: string,
  only: readonly string[] | null,
): Promise<{ id: string; hostname: string; provider: string }[]> {
  const chosen = only === null ? sql`` : sql`and id = any(${[...only]}::text[])`;
  const { rows } = await sql<{ id: string; hostname: string; provider: string }>`
    select id, hostname, provider from provisioning.servers where workspace = ${workspace} ${chosen} order by id`.execute(
    db,
  );
  return rows;
}

/** What an operation made a server from; null where it is none that made one, or is no longer kept. */
export async function readCreateSpec(db: Queryable, operationId: string): Promise<Partial<StoredSpec> | null> {
  const { rows } = await sql<{ spec: Partial<StoredSpec> | null }>`
    select coalesce(input -> 'spec', input -> 'recreate') as spec from provisioning.operations
    where id = ${operationId} and kind in ('server.create', 'server.repair')`.execute(db);
  return rows[0]?.spec ?? null;
}

/** The server that stands for what the provider calls so; null: none does. */
export async function serverAtRef(
  db: Queryable,
  provider: string,
  ref: string,
): Promise<{ id: string; status: string } | null> {
  const row = await db
    .selectFrom('provisioning.servers')
    .select(['id', 'status'])
    .where('provider', '=', provider)
    .where('provider_ref', '=', ref)
    .executeTakeFirst();
  return row ?? null;
}

/**
 * What was being taken over when it was given up: whether its labels are set is not known, so it is kept in sight. It is in
 * the making and has the provider's id, and no operation of its own makes it.
 */
export async function compensateAdoptions(tx: Queryable, provider: string, operationId: string): Promise<void> {
  await sql`
    update provisioning.servers s set status = 'unknown', updated_at = now()
    from provisioning.operations o
    where o.id = ${operationId} and s.workspace = o.workspace and s.provider = ${provider}
      and s.status = 'creating' and s.provider_ref is not null
      and not exists (select from provisioning.operations c
                      where c.resource = 'server:' || s.id and c.status in ('pending', 'running'))`.execute(tx);
}
