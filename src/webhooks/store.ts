import { sql } from 'kysely';
import type { Authority } from '../access/authority.ts';
import type { Queryable } from '../database/pool.ts';

const TIME = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;

/** A webhook as clients see it, as JSON text: all but its secret. */
export const WEBHOOK_JSON = sql.raw<string>(`json_build_object(
  'id', id, 'url', url, 'events', events, 'workspace', workspace, 'active', active,
  'inactive_reason', inactive_reason, 'failing_since', ${TIME('failing_since')},
  'created_by', created_by, 'created_at', ${TIME('created_at')}, 'updated_at', ${TIME('updated_at')})::text`);

/** A webhook, and what decides who may have it. */
export interface WebhookRecord {
  json: string;
  workspace: string | null;
  active: boolean;
  /** Encrypted. */
  secret: string;
}

/** Null when there is none. @param lock until the transaction ends. */
export async function findWebhook(db: Queryable, id: string, lock = false): Promise<WebhookRecord | null> {
  const { rows } = await sql<WebhookRecord>`
    select ${WEBHOOK_JSON} as json, workspace, active, secret from provisioning.webhooks where id = ${id}
    ${lock ? sql`for update` : sql``}`.execute(db);
  return rows[0] ?? null;
}

/** @param workspace of it alone; null: all. */
export async function countWebhooks(db: Queryable, workspace: string | null = null): Promise<number> {
  const { rows } = await sql<{ total: number }>`
    select count(*)::int as total from provisioning.webhooks
    where ${workspace}::text is null or workspace = ${workspace}::text`.execute(db);
  return rows[0]?.total ?? 0;
}

/** @param webhook `secret` encrypted. @returns the webhook as JSON text. */
export async function insertWebhook(
  tx: Queryable,
  webhook: {
    id: string;
    url: string;
    events: string[];
    workspace: string | null;
    secret: string;
    active: boolean;
    authority: Authority;
  },
): Promise<string> {
  const { authority, ...columns } = webhook;
  const { json } = await tx
    .insertInto('provisioning.webhooks')
    .values({ ...columns, ...onBehalfOf(authority), created_by: authority.name })
    .returning(WEBHOOK_JSON.as('json'))
    .executeTakeFirstOrThrow();
  return json;
}

/** Whose it is, and what they were permitted when they said so. */
function onBehalfOf(authority: Authority) {
  return { owner_id: authority.userId, authority: JSON.stringify(authority) };
}

/** What a change sets; what is absent stays. */
export interface WebhookChange {
  url?: string;
  events?: string[];
  active?: boolean;
  /** Encrypted. The one before goes on signing for `overlapHours`. */
  secret?: { encrypted: string; overlapHours: number };
}

/**
 * Any change gives it a fresh start: what failed before is not held against it; and it is told on behalf of whoever made
 * the change from then on. @returns the webhook as JSON text.
 */
export async function updateWebhook(
  tx: Queryable,
  id: string,
  change: WebhookChange,
  authority: Authority,
): Promise<string> {
  const { secret, active, ...columns } = change;
  const { json } = await tx
    .updateTable('provisioning.webhooks')
    .set({
      ...columns,
      ...onBehalfOf(authority),
      failing_since: null,
      updated_at: sql`now()`,
      ...(active === undefined ? {} : { active, inactive_reason: null }),
      // Not for one that has been active all along: it would miss what happens at this moment.
      ...(active === true ? { born: sql<string>`case when active then born else pg_current_snapshot() end` } : {}),
      ...(secret === undefined
        ? {}
        : {
            secret: secret.encrypted,
            previous_secret: sql<string>`secret`,
            previous_secret_until: sql<Date>`now() + make_interval(hours => ${secret.overlapHours}::int)`,
          }),
    })
    .where('id', '=', id)
    .returning(WEBHOOK_JSON.as('json'))
    .executeTakeFirstOrThrow();
  return json;
}

export async function deleteWebhookRow(tx: Queryable, id: string): Promise<void> {
  await tx.deleteFrom('provisioning.webhooks').where('id', '=', id).execute();
}

/**
 * Skips what happened while nobody was to be told. Call it before a webhook becomes active: what ends after this
 * transaction's snapshot lies behind the place that it sets.
 */
export async function skipWhatNobodyHeard(tx: Queryable): Promise<void> {
  await sql`
    update provisioning.webhook_cursor
    set xid = pg_snapshot_xmin(pg_current_snapshot()), operation_id = '00000000-0000-0000-0000-000000000000', seq = 0
    where not exists (select from provisioning.webhooks where active)
      and xid < pg_snapshot_xmin(pg_current_snapshot())`.execute(tx);
}

/** An active webhook, as the dispatcher needs it. */
export interface ActiveWebhook {
  id: string;
  events: string[];
  workspace: string | null;
  authority: Authority;
}

/** @param only of these ids; null: all. */
export async function activeWebhooks(db: Queryable, only: readonly string[] | null): Promise<ActiveWebhook[]> {
  const { rows } = await sql<ActiveWebhook>`
    select id, events, workspace,
           -- Made by the version before: for all that its owner may read.
           coalesce(authority, jsonb_build_object('userId', owner_id, 'name', created_by, 'tokenId', null,
             'bindings', jsonb_build_array(jsonb_build_object('role', 'admin', 'workspace', null)))) as authority
    from provisioning.webhooks
    where active and (${only === null ? null : [...only]}::uuid[] is null or id = any(${only === null ? null : [...only]}::uuid[]))`.execute(
    db,
  );
  return rows;
}

/** Whether there is anybody to be told anything. */
export async function anyActive(db: Queryable): Promise<boolean> {
  const { rows } = await sql<{ any: boolean }>`
    select exists (select from provisioning.webhooks where active) as any`.execute(db);
  return rows[0]?.any === true;
}

/** @returns false where it has been deactivated or deleted already. */
export async function deactivate(tx: Queryable, id: string, reason: string): Promise<boolean> {
  const { numUpdatedRows } = await tx
    .updateTable('provisioning.webhooks')
    .set({ active: false, inactive_reason: reason, updated_at: sql`now()` })
    .where('id', '=', id)
    .where('active', '=', true)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Notes that a try has failed. @returns whether nothing has arrived for `days`. */
export async function noteFailing(tx: Queryable, id: string, days: number): Promise<boolean> {
  const { rows } = await sql<{ long: boolean }>`
    update provisioning.webhooks set failing_since = coalesce(failing_since, now()) where id = ${id}
    returning failing_since < now() - make_interval(days => ${days}::int) as long`.execute(tx);
  return rows[0]?.long === true;
}

/** Notes that something has arrived. Writes only where that is news. */
export async function noteWorking(tx: Queryable, id: string): Promise<void> {
  await sql`
    update provisioning.webhooks set failing_since = null
    where id = ${id} and failing_since is not null`.execute(tx);
}
