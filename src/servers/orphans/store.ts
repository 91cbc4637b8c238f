import { sql } from 'kysely';
import type { Queryable } from '../../database/pool.ts';
import type { Price, ProviderServer } from '../../providers/contract.ts';

/** A row as JSON text. */
export const ORPHAN_JSON = sql.raw<string>(`json_build_object(
  'id', id, 'provider', provider, 'provider_id', ref, 'hostname', hostname, 'workspace', workspace,
  'operation_id', operation_id, 'account', account, 'plan', plan, 'zone', zone, 'ip_address', ip_address,
  'status', status, 'tags', tags, 'price', price,
  'first_seen', to_char(first_seen_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
  'last_seen', to_char(last_seen_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
  'deletion_operation_id', deletion_id, 'protect', protected)::text`);

/** An account at a provider: the workspace's that is named, or (null) the installation's. */
export interface AccountName {
  provider: string;
  workspace: string | null;
}

/** What a request about one orphan needs to know. */
export interface OrphanRecord {
  id: string;
  provider: string;
  ref: string;
  account: string | null;
  operation_id: string | null;
  workspace: string;
  hostname: string;
  protected: boolean;
}

/** A server may go on being listed for so long after it was seen to be gone. Seconds. */
const DEPARTURE_SECONDS = 10;
/** How long departures are kept: longer than any list takes. Minutes. */
const KEEP_DEPARTURES_MINUTES = 60;

/**
 * Which of these servers nobody here knows. Known is what a server's row stands for, what an unfinished operation makes
 * or has made, and what was known until after `listedAt`. A server's row is there before anything is made for it, and as
 * long as anything of it may be left.
 * @param lagMs how far behind the provider's lists may be.
 */
export async function unknownAmong(
  db: Queryable,
  provider: string,
  servers: readonly Pick<ProviderServer, 'ref' | 'operation_id'>[],
  { listedAt, lagMs }: { listedAt: Date; lagMs: number },
): Promise<Set<string>> {
  const since = new Date(listedAt.getTime() - lagMs - DEPARTURE_SECONDS * 1_000);
  const { rows } = await sql<{ ref: string }>`
    select seen.ref
    from unnest(${servers.map(({ ref }) => ref)}::text[],
                ${servers.map(({ operation_id: id }) => uuidOrNull(id))}::uuid[]) as seen (ref, operation_id)
    where not exists (
        select from provisioning.servers s where s.provider = ${provider} and s.provider_ref = seen.ref)
      and not exists (
        select from provisioning.operations o where o.id = seen.operation_id and o.status in ('pending', 'running'))
      and not exists (
        select from provisioning.servers s
        where s.operation_id = seen.operation_id
          and (s.provider_ref is null or s.updated_at > ${since}
               or exists (select from provisioning.operations o
                          where o.resource = 'server:' || s.id and o.status in ('pending', 'running'))))
      and not exists (
        select from provisioning.departed_servers d
        where d.departed_at > ${since} and d.provider = ${provider}
          and (d.provider_ref = seen.ref or d.operation_id = seen.operation_id))`.execute(db);
  return new Set(rows.map(({ ref }) => ref));
}

function uuidOrNull(label: string | null): string | null {
  return label !== null && /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(label) ? label : null;
}

/** Which of these ids are operations of this installation. */
export async function operationsOfOurs(db: Queryable, ids: readonly (string | null)[]): Promise<Set<string>> {
  const asked = ids.flatMap((id) => uuidOrNull(id) ?? []);
  if (asked.length === 0) return new Set();
  const { rows } = await sql<{ id: string }>`
    select id from provisioning.operations where id = any(${asked}::uuid[])`.execute(db);
  return new Set(rows.map(({ id }) => id));
}

/** The provider's ids of the orphans that an account has shown. */
export async function reportedOrphans(
  db: Queryable,
  { provider, workspace: account }: AccountName,
): Promise<Set<string>> {
  const rows = await db
    .selectFrom('provisioning.orphans')
    .select('ref')
    .where('provider', '=', provider)
    .where('account', 'is not distinct from', account)
    .execute();
  return new Set(rows.map(({ ref }) => ref));
}

/** Enters what is unknown, or that it is still there. @returns those that are new. */
export async function keepOrphans(
  tx: Queryable,
  { provider, workspace: account }: AccountName,
  orphans: readonly (ProviderServer & { id: string; workspace: string; price: Price | null })[],
): Promise<OrphanRecord[]> {
  const known: OrphanRecord[] = [];
  for (const orphan of orphans) {
    const { rows } = await sql<OrphanRecord & { inserted: boolean }>`
      insert into provisioning.orphans as o
        (id, provider, ref, account, operation_id, workspace, hostname, plan, zone, status, ip_address, tags, price)
      values (${orphan.id}, ${provider}, ${orphan.ref}, ${account}, ${orphan.operation_id}, ${orphan.workspace},
              ${orphan.hostname}, ${orphan.plan}, ${orphan.zone}, ${orphan.status}, ${orphan.ip_address},
              ${orphan.tags ?? []}::text[], ${orphan.price === null ? null : JSON.stringify(orphan.price)}::jsonb)
      on conflict (provider, ref) do update
        set account = excluded.account, operation_id = excluded.operation_id, workspace = excluded.workspace,
            hostname = excluded.hostname, plan = excluded.plan, zone = excluded.zone, status = excluded.status,
            ip_address = excluded.ip_address, tags = excluded.tags, last_seen_at = now(),
            price = coalesce(excluded.price, o.price)
      returning id, provider, ref, account, operation_id, workspace, hostname, protected, xmax = 0 as inserted`.execute(
      tx,
    );
    const [row] = rows;
    if (row?.inserted === true) known.push(row);
  }
  return known;
}

/**
 * Strikes out what an account no longer shows, or what is known by now. What is protected stays, as `missing`: a list may
 * have come from other credentials, and what comes back is to be found protected. @returns what was struck out.
 */
export async function dropOrphans(
  tx: Queryable,
  { provider, workspace: account }: AccountName,
  still: readonly string[],
): Promise<OrphanRecord[]> {
  const absent = sql`provider = ${provider} and account is not distinct from ${account}
      and not (ref = any(${[...still]}::text[]))`;
  await sql`
    update provisioning.orphans o set status = 'missing'
    where ${absent} and protected and status <> 'missing' and not exists (
      select from provisioning.servers s where s.provider = o.provider and s.provider_ref = o.ref)`.execute(tx);
  const { rows } = await sql<OrphanRecord>`
    delete from provisioning.orphans o
    where ${absent} and not protected
      and not exists (select from provisioning.operations p
                      where p.resource = 'orphan:' || o.id and p.status in ('pending', 'running'))
    returning id, provider, ref, account, operation_id, workspace, hostname, protected`.execute(tx);
  return rows;
}

/** Strikes out one, whoever saw it: `operationId` has deleted it or taken it over. A list on its way may still show it. */
export async function dropOrphan(
  tx: Queryable,
  provider: string,
  ref: string,
  operationId: string,
): Promise<{ wasProtected: boolean }> {
  const { rows } = await sql<{ protected: boolean }>`
    with departed as (
      insert into provisioning.departed_servers (provider, provider_ref, operation_id)
      values (${provider}, ${ref}, ${operationId}))
    delete from provisioning.orphans where provider = ${provider} and ref = ${ref} returning protected`.execute(tx);
  return { wasProtected: rows[0]?.protected === true };
}

const RECORD = ['id', 'provider', 'ref', 'account', 'operation_id', 'workspace', 'hostname', 'protected'] as const;

/** The row, locked until the caller's transaction ends. */
export async function lockOrphan(tx: Queryable, id: string): Promise<OrphanRecord | null> {
  const row = await tx
    .selectFrom('provisioning.orphans')
    .select(RECORD)
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst();
  return row === undefined ? null : { ...row, workspace: row.workspace ?? '' };
}

/** The row as JSON text with the workspace it counts to; null when there is none. */
export async function readOrphan(db: Queryable, id: string): Promise<{ json: string; workspace: string } | null> {
  const { rows } = await sql<{ json: string; workspace: string }>`
    select ${ORPHAN_JSON} as json, workspace from provisioning.orphans where id = ${id}`.execute(db);
  return rows[0] ?? null;
}

/** Notes which operation deletes it. */
export async function noteDeletion(tx: Queryable, id: string, operationId: string): Promise<void> {
  await tx.updateTable('provisioning.orphans').set({ deletion_id: operationId }).where('id', '=', id).execute();
}

/** Those of an account that nobody has asked to delete or protected and that have been there for so long. Locked. */
export async function lockOverdue(
  tx: Queryable,
  { provider, workspace: account }: AccountName,
  seconds: number,
): Promise<OrphanRecord[]> {
  const { rows } = await sql<OrphanRecord>`
    select ${sql.raw(RECORD.join(', '))} from provisioning.orphans
    where provider = ${provider} and account is not distinct from ${account} and deletion_id is null and not protected
      and first_seen_at <= now() - make_interval(secs => ${seconds}::float8)
    order by first_seen_at for update skip locked`.execute(tx);
  return rows;
}

/** Sets whether deleting it is refused. */
export async function protectOrphan(tx: Queryable, id: string, protect: boolean): Promise<void> {
  await tx.updateTable('provisioning.orphans').set({ protected: protect }).where('id', '=', id).execute();
}

/** Whether what the provider calls so is protected as an orphan. */
export async function isProtectedOrphan(db: Queryable, provider: string, ref: string): Promise<boolean> {
  const row = await db
    .selectFrom('provisioning.orphans')
    .select('protected')
    .where('provider', '=', provider)
    .where('ref', '=', ref)
    .executeTakeFirst();
  return row?.protected === true;
}

/** The unfinished operation that deletes the orphan; null: none. */
export async function deletionUnderWay(db: Queryable, orphanId: string): Promise<{ id: string; kind: string } | null> {
  const { rows } = await sql<{ id: string; kind: string }>`
    select id, kind from provisioning.operations
    where resource = ${`orphan:${orphanId}`} and status in ('pending', 'running')`.execute(db);
  return rows[0] ?? null;
}

/** Keeps others from taking this server of a provider over, or deleting it as nobody's, until the transaction ends. */
export async function lockRef(tx: Queryable, provider: string, ref: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`server ${provider} ${ref}`}, 0))`.execute(tx);
}

/** Forgets departures of long ago. */
export async function forgetDepartures(db: Queryable): Promise<void> {
  await sql`
    delete from provisioning.departed_servers
    where departed_at < now() - make_interval(mins => ${KEEP_DEPARTURES_MINUTES}::int)`.execute(db);
}

/** The unfinished operation that deletes this server of a provider as nobody's; null: none. */
export async function deletionOf(db: Queryable, provider: string, ref: string): Promise<string | null> {
  const { rows } = await sql<{ id: string }>`
    select p.id from provisioning.orphans o
      join provisioning.operations p on p.resource = 'orphan:' || o.id and p.status in ('pending', 'running')
    where o.provider = ${provider} and o.ref = ${ref}`.execute(db);
  return rows[0]?.id ?? null;
}
