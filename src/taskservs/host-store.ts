import { sql } from 'kysely';
import type { ReachedServer } from '../access/reach.ts';
import type { Queryable } from '../database/pool.ts';
import type { TaskservHostStatus } from '../database/tables.ts';
import type { Member, Place } from './cluster/members.ts';

/** A server as this section needs it. */
export interface HostRecord extends ReachedServer {
  hostname: string;
  status: string;
  ip_address: string | null;
}

const HOST = ['id', 'workspace', 'owner_id', 'hostname', 'status', 'ip_address'] as const;

/** Servers, locked in the order of their ids. */
export async function lockServers(tx: Queryable, ids: readonly string[]): Promise<HostRecord[]> {
  if (ids.length === 0) return [];
  return tx
    .selectFrom('provisioning.servers')
    .select(HOST)
    .where('id', 'in', [...ids])
    .orderBy('id')
    .forUpdate()
    .execute();
}

/** The servers that a taskserv is on, unlocked. */
export async function serversOf(db: Queryable, taskservId: string): Promise<HostRecord[]> {
  return db
    .selectFrom('provisioning.servers')
    .select(HOST)
    .where('id', 'in', (hosts) =>
      hosts.selectFrom('provisioning.taskserv_hosts').select('server_id').where('taskserv_id', '=', taskservId),
    )
    .orderBy('id')
    .execute();
}

/** Hostnames of a workspace to choose from, a thousand at most. */
export async function hostnamesOf(db: Queryable, workspace: string): Promise<string[]> {
  const { rows } = await sql<{ hostname: string }>`
    select hostname from provisioning.servers where workspace = ${workspace} order by hostname limit 1000`.execute(db);
  return rows.map(({ hostname }) => hostname);
}

/** The server now; null when it is gone. */
export async function readHost(db: Queryable, serverId: string): Promise<HostRecord | null> {
  const row = await db.selectFrom('provisioning.servers').select(HOST).where('id', '=', serverId).executeTakeFirst();
  return row ?? null;
}

/** Something that stands on a host, or should. `taskserv_id` null: it came along as a requirement. */
export interface CarriedRecord {
  server_id: string;
  hostname: string;
  name: string;
  taskserv_id: string | null;
  status: TaskservHostStatus;
  version: string | null;
  revision: number | null;
  operation_id: string | null;
}

/** All that stands on these hosts. */
export async function carriedOn(db: Queryable, serverIds: readonly string[]): Promise<CarriedRecord[]> {
  const { rows } = await sql<CarriedRecord>`
    select h.server_id, s.hostname, h.name, h.taskserv_id, h.status, h.version, h.revision, h.operation_id
    from provisioning.taskserv_hosts h join provisioning.servers s on s.id = h.server_id
    where h.server_id = any(${[...serverIds]}::text[]) order by s.hostname, h.name`.execute(db);
  return rows;
}

/** A taskserv's hosts, in the order of the servers' ids. */
export interface TaskservHost {
  server_id: string;
  hostname: string;
  status: TaskservHostStatus;
  version: string | null;
  revision: number | null;
  message: string | null;
  /** Of the server: what runs on a simulated one is simulated, too. */
  provider: string;
  /** Both null where the servers know nothing of each other. */
  role: string | null;
  position: number | null;
}

export async function hostsOf(db: Queryable, taskservId: string): Promise<TaskservHost[]> {
  const { rows } = await sql<TaskservHost>`
    select h.server_id, s.hostname, s.provider, h.status, h.version, h.revision, h.message, h.role, h.position
    from provisioning.taskserv_hosts h join provisioning.servers s on s.id = h.server_id
    where h.taskserv_id = ${taskservId} order by h.server_id`.execute(db);
  return rows;
}

/** The members of a service across servers, in the order in which they were named; none where it is not one. */
export async function membersOf(db: Queryable, taskservId: string): Promise<Member[]> {
  const { rows } = await sql<Member>`
    select h.server_id, h.role, h.position, s.hostname, s.ip_address as address, h.status, h.version
    from provisioning.taskserv_hosts h join provisioning.servers s on s.id = h.server_id
    where h.taskserv_id = ${taskservId} and h.role is not null order by h.position`.execute(db);
  return rows;
}

/** Notes which part each server has in a taskserv. */
export async function assignPlaces(tx: Queryable, taskservId: string, places: readonly Place[]): Promise<void> {
  await sql`
    update provisioning.taskserv_hosts h set role = p.role, position = p.position
    from jsonb_to_recordset(${JSON.stringify(places)}::jsonb) as p (server_id text, role text, position integer)
    where h.taskserv_id = ${taskservId} and h.server_id = p.server_id`.execute(tx);
}

/** Notes that a taskserv is to stand on these hosts. What stands there by that name already becomes its own. */
export async function placeOnHosts(
  tx: Queryable,
  taskserv: { id: string; name: string; operationId: string },
  serverIds: readonly string[],
): Promise<void> {
  await sql`
    insert into provisioning.taskserv_hosts as h (server_id, name, taskserv_id, status, operation_id)
    select s.id, ${taskserv.name}, ${taskserv.id}, 'pending', ${taskserv.operationId}::uuid
    from unnest(${[...serverIds]}::text[]) as s (id)
    on conflict (server_id, name) do update set taskserv_id = excluded.taskserv_id, updated_at = now()`.execute(tx);
}

/** Gives hosts back to what they were before `placeOnHosts`: those it made go, those it took over came along again. */
export async function displaceFromHosts(
  tx: Queryable,
  taskservId: string,
  adopted: readonly string[],
  made: readonly string[],
) {
  await sql`
    update provisioning.taskserv_hosts set taskserv_id = null
    where taskserv_id = ${taskservId} and server_id = any(${[...adopted]}::text[])`.execute(tx);
  await sql`
    delete from provisioning.taskserv_hosts
    where taskserv_id = ${taskservId} and server_id = any(${[...made]}::text[])`.execute(tx);
}

/** What is known now of one name on one host. Makes the row where something came along as a requirement. */
export async function noteOnHost(
  tx: Queryable,
  where: { serverId: string; name: string; operationId: string },
  now: { status: TaskservHostStatus; message: string | null; version?: string | null; revision?: number | null },
): Promise<void> {
  const { serverId, name, operationId } = where;
  const known = now.version !== undefined;
  await sql`
    insert into provisioning.taskserv_hosts as h (server_id, name, status, message, version, revision, operation_id)
    select ${serverId}, ${name}, ${now.status}, ${now.message}, ${now.version ?? null}, ${now.revision ?? null}::int,
           ${operationId}::uuid
    where exists (select from provisioning.servers where id = ${serverId})
    on conflict (server_id, name) do update
    set status = excluded.status, message = excluded.message, operation_id = excluded.operation_id, updated_at = now(),
        checked_at = case when excluded.status in ('running', 'failed') then now() else h.checked_at end,
        version = case when ${known} then excluded.version else h.version end,
        revision = case when ${known} then excluded.revision else h.revision end`.execute(tx);
}

/** Forgets these names on one host, at once. */
export async function forgetOnHost(tx: Queryable, serverId: string, names: readonly string[]): Promise<void> {
  await sql`
    delete from provisioning.taskserv_hosts
    where server_id = ${serverId} and name = any(${[...names]}::text[])`.execute(tx);
}

/** Records why the work on a host failed, where the taskserv still is to stand there. */
export async function failOnHost(
  tx: Queryable,
  where: { serverId: string; taskservId: string; operationId: string },
  message: string,
): Promise<void> {
  await sql`
    update provisioning.taskserv_hosts
    set status = 'failed', message = ${message}, operation_id = ${where.operationId}::uuid, updated_at = now()
    where server_id = ${where.serverId} and taskserv_id = ${where.taskservId}`.execute(tx);
}

/** Records that nothing was done on a host: what stands there is as it was. */
export async function leaveOnHost(
  tx: Queryable,
  where: { serverId: string; taskservId: string },
  message: string,
): Promise<void> {
  await sql`
    update provisioning.taskserv_hosts set status = 'absent', message = ${message}, updated_at = now()
    where server_id = ${where.serverId} and taskserv_id = ${where.taskservId} and status = 'pending'`.execute(tx);
}

/**
 * What an operation that ended early leaves: what it had not begun is absent, what it was at is unknown.
 * @returns the hosts that have to be looked at.
 */
export async function abandonHosts(tx: Queryable, operationId: string): Promise<string[]> {
  await sql`
    update provisioning.taskserv_hosts
    set status = 'absent', message = 'The operation ended before anything was done here.', updated_at = now()
    where operation_id = ${operationId}::uuid and status = 'pending'`.execute(tx);
  const { rows } = await sql<{ server_id: string }>`
    update provisioning.taskserv_hosts
    set status = 'unknown', message = 'The operation was interrupted in the middle of its work here.', updated_at = now()
    where operation_id = ${operationId}::uuid and status in ('installing', 'removing')
    returning server_id`.execute(tx);
  return [...new Set(rows.map(({ server_id }) => server_id))].sort();
}

/** The number of the last line of a script's output that is in the operation's events; 0: none. */
export async function lastLineOf(
  db: Queryable,
  operationId: string,
  script: { host: string; job: string },
): Promise<number> {
  const { rows } = await sql<{ n: number | null }>`
    select max((data ->> 'n')::int) as n from provisioning.operation_events
    where operation_id = ${operationId}::uuid and type = 'log'
      and data ->> 'host' = ${script.host} and data ->> 'job' = ${script.job}`.execute(db);
  return rows[0]?.n ?? 0;
}

/**
 * Records what was found where an operation left something unknown; what another one has changed since stays as it is.
 * @returns whose it is; null where there was nothing unknown any more.
 */
export async function settleUnknown(
  tx: Queryable,
  where: { serverId: string; name: string; operationId: string },
  found: { status: 'running' | 'failed' | 'absent'; message: string | null },
): Promise<{ taskserv_id: string | null } | null> {
  const { rows } = await sql<{ taskserv_id: string | null }>`
    update provisioning.taskserv_hosts h
    set status = ${found.status}, message = ${found.message}, checked_at = now(), updated_at = now(),
        version = case when ${found.status} = 'running' then coalesce(t.version, h.version) else h.version end,
        revision = case when ${found.status} = 'running' then coalesce(t.revision, h.revision) else h.revision end
    from (select) as one left join provisioning.taskservs t on t.id = (
      select taskserv_id from provisioning.taskserv_hosts where server_id = ${where.serverId} and name = ${where.name})
    where h.server_id = ${where.serverId} and h.name = ${where.name} and h.status = 'unknown'
      and h.operation_id = ${where.operationId}::uuid
    returning h.taskserv_id`.execute(tx);
  return rows[0] ?? null;
}

/** What a check has found. `since`: the operation that had changed the host last when it was asked. */
export interface Health {
  ok: boolean;
  message: string;
  since: string | null;
}

/** The operation that last changed a taskserv on a host. */
export async function lastChangeOn(db: Queryable, serverId: string, name: string): Promise<string | null> {
  const row = await db
    .selectFrom('provisioning.taskserv_hosts')
    .select('operation_id')
    .where('server_id', '=', serverId)
    .where('name', '=', name)
    .executeTakeFirst();
  return row?.operation_id ?? null;
}

/**
 * Records the answer of a taskserv's check on a host, unless somebody is changing it there, or has since it was asked. A healthy service of
 * another version than the wanted one does not count as running.
 * @returns its status now, and whether that is news; null where nothing was recorded.
 */
export async function noteHealth(
  tx: Queryable,
  where: { serverId: string; taskservId: string },
  health: Health,
): Promise<{ status: TaskservHostStatus; news: boolean } | null> {
  const { rows } = await sql<{ status: TaskservHostStatus; news: boolean }>`
    with before as (
      select h.server_id, h.name, h.status, h.message, h.revision = t.revision as applied
      from provisioning.taskserv_hosts h join provisioning.taskservs t on t.id = h.taskserv_id
      where h.server_id = ${where.serverId} and h.taskserv_id = ${where.taskservId}
        and h.operation_id is not distinct from ${health.since}::uuid
        and h.status in ('running', 'failed', 'unknown', 'absent') and t.status in ('running', 'degraded', 'failed')
      for update of h)
    update provisioning.taskserv_hosts h
    set status = case when ${health.ok} and before.applied then 'running'
                      when ${health.ok} then h.status else 'failed' end,
        message = case when ${health.ok} and before.applied then null
                       when ${health.ok} then h.message else ${health.message} end,
        checked_at = now(), updated_at = now()
    from before where h.server_id = before.server_id and h.name = before.name
    returning h.status, h.status <> before.status as news`.execute(tx);
  return rows[0] ?? null;
}

/** A host's share of a taskserv whose health is to be looked at. */
export interface DueCheck {
  taskserv_id: string;
  workspace: string;
  name: string;
  server_id: string;
  hostname: string;
  operation_id: string | null;
}

/**
 * Takes checks that are due and puts their next one `seconds` later, so that no two replicas take the same. Hosts that
 * somebody is changing are left out.
 */
export async function takeDueChecks(db: Queryable, seconds: number, limit: number): Promise<DueCheck[]> {
  const { rows } = await sql<DueCheck>`
    with due as (
      select h.server_id, h.name from provisioning.taskserv_hosts h
      where h.check_due_at <= now() and h.taskserv_id is not null and h.status in ('running', 'failed')
      order by h.check_due_at limit ${limit}::int for update skip locked),
    taken as (
      update provisioning.taskserv_hosts h set check_due_at = now() + make_interval(secs => ${seconds}::float8)
      from due where h.server_id = due.server_id and h.name = due.name
      returning h.server_id, h.name, h.taskserv_id, h.operation_id)
    select t.id as taskserv_id, t.workspace, t.name, s.id as server_id, s.hostname, taken.operation_id
    from taken join provisioning.taskservs t on t.id = taken.taskserv_id
      join provisioning.servers s on s.id = taken.server_id
    where t.status in ('running', 'degraded', 'failed') and s.status = 'running'
      and not exists (select from provisioning.host_turns turn join provisioning.operations o on o.id = turn.operation_id
                      where turn.server_id = s.id and o.status in ('pending', 'running'))`.execute(db);
  return rows;
}
