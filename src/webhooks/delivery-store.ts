import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';
import { OPERATION_JSON } from '../engine/operation-record.ts';
import type { Position } from '../operations/cursor.ts';

const TIME = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;

/** A delivery as clients see it, as JSON text: all but the payload. */
export const DELIVERY_JSON = sql.raw<string>(`json_build_object(
  'id', id, 'webhook_id', webhook_id, 'event', event, 'operation_id', operation_id, 'status', status,
  'attempts', attempts, 'response_status', response_status, 'response_excerpt', response_excerpt, 'error', error,
  'next_attempt_at', case when status = 'pending' then ${TIME('next_attempt_at')} end,
  'last_attempt_at', ${TIME('last_attempt_at')}, 'created_at', ${TIME('created_at')},
  'ended_at', ${TIME('ended_at')})::text`);

/** The place behind which nothing has been turned into deliveries yet, locked. Null: another process has it. */
export async function lockCursor(tx: Queryable): Promise<Position | null> {
  const { rows } = await sql<{ xid: string; operation_id: string; seq: number }>`
    select xid::text as xid, operation_id, seq from provisioning.webhook_cursor for update skip locked`.execute(tx);
  const row = rows[0];
  return row === undefined ? null : { xid: BigInt(row.xid), operationId: row.operation_id, seq: row.seq };
}

export async function moveCursor(tx: Queryable, { xid, operationId, seq }: Position): Promise<void> {
  await sql`
    update provisioning.webhook_cursor
    set xid = ${xid.toString()}::xid8, operation_id = ${operationId}, seq = ${seq}`.execute(tx);
}

/** Operations as JSON text by id. */
export async function operationsById(db: Queryable, ids: readonly string[]): Promise<Map<string, string>> {
  const { rows } = await sql<{ id: string; json: string }>`
    select id, ${OPERATION_JSON} as json from provisioning.operations where id = any(${ids}::uuid[])`.execute(db);
  return new Map(rows.map(({ id, json }) => [id, json]));
}

/** A delivery before its first try. */
export interface NewDelivery {
  id: string;
  webhookId: string;
  event: string;
  payload: string;
  /** What it tells of. */
  position: Position;
}

/** Stores deliveries, but for events from before their webhook became active. @returns how many. */
export async function insertDeliveries(tx: Queryable, deliveries: readonly NewDelivery[]): Promise<number> {
  const { rows } = await sql<{ stored: number }>`
    with stored as (
      insert into provisioning.webhook_deliveries (id, webhook_id, event, operation_id, seq, payload)
      select n.id, n.webhook_id, n.event, n.operation_id, n.seq, n.payload
      from unnest(${deliveries.map(({ id }) => id)}::uuid[], ${deliveries.map(({ webhookId }) => webhookId)}::uuid[],
                  ${deliveries.map(({ event }) => event)}::text[],
                  ${deliveries.map(({ position }) => position.operationId)}::uuid[],
                  ${deliveries.map(({ position }) => position.seq)}::int[],
                  ${deliveries.map(({ position }) => position.xid.toString())}::text[],
                  ${deliveries.map(({ payload }) => payload)}::text[])
        as n (id, webhook_id, event, operation_id, seq, xid, payload)
        join provisioning.webhooks w on w.id = n.webhook_id
      where not pg_visible_in_snapshot(n.xid::xid8, w.born)
      on conflict do nothing returning 1)
    select count(*)::int as stored from stored`.execute(tx);
  return rows[0]?.stored ?? 0;
}

/** Stores a delivery that tells of no operation. @returns it as JSON text. */
export async function insertTest(
  tx: Queryable,
  { id, webhookId, event, payload }: Omit<NewDelivery, 'position'>,
): Promise<string> {
  const { json } = await tx
    .insertInto('provisioning.webhook_deliveries')
    .values({
      id,
      webhook_id: webhookId,
      event,
      payload,
      claim: null,
      operation_id: null,
      seq: null,
      response_status: null,
      response_excerpt: null,
      error: null,
    })
    .returning(DELIVERY_JSON.as('json'))
    .executeTakeFirstOrThrow();
  return json;
}

/** Makes a delivery as good as new and due now. Null where the webhook has none of that id. */
export async function renewDelivery(tx: Queryable, webhookId: string, id: string): Promise<string | null> {
  const row = await tx
    .updateTable('provisioning.webhook_deliveries')
    .set({ status: 'pending', attempts: 0, claim: null, next_attempt_at: sql`now()`, ended_at: null })
    .where('id', '=', id)
    .where('webhook_id', '=', webhookId)
    .returning(DELIVERY_JSON.as('json'))
    .executeTakeFirst();
  return row?.json ?? null;
}

/** A delivery that this process is to send, and nobody else until the lease is over. */
export interface Claimed {
  id: string;
  webhook_id: string;
  url: string;
  /** Null: a webhook of all. */
  workspace: string | null;
  payload: string;
  /** Encrypted. */
  secret: string;
  /** Encrypted; null where it signs no longer. */
  previous_secret: string | null;
  /** With this try. */
  attempts: number;
  /** Names this claim. */
  claim: string;
}

/**
 * Takes deliveries that are due, in turn from every active webhook, so that one with many does not keep the others
 * waiting.
 * @param sending how many of which webhook are being sent here already.
 */
export async function claimDue(
  db: Queryable,
  options: { limit: number; perWebhook: number; leaseSeconds: number; sending: ReadonlyMap<string, number> },
): Promise<Claimed[]> {
  const { rows } = await sql<Claimed>`
    with due as (
      select d.id
      from provisioning.webhooks w
      left join unnest(${[...options.sending.keys()]}::uuid[], ${[...options.sending.values()]}::int[]) s (id, sending) using (id)
      cross join lateral (
        select id from provisioning.webhook_deliveries
        where webhook_id = w.id and status = 'pending' and next_attempt_at <= now()
        order by next_attempt_at limit greatest(0, ${options.perWebhook}::int - coalesce(s.sending, 0))
        for update skip locked) d
      where w.active
      limit ${options.limit}::int)
    update provisioning.webhook_deliveries d
    set attempts = d.attempts + 1, claim = gen_random_uuid(), last_attempt_at = now(),
        next_attempt_at = now() + make_interval(secs => ${options.leaseSeconds}::int)
    from due, provisioning.webhooks w
    where d.id = due.id and w.id = d.webhook_id
    returning d.id, d.webhook_id, w.url, w.workspace, d.payload, w.secret, d.attempts, d.claim,
              case when w.previous_secret_until > now() then w.previous_secret end as previous_secret`.execute(db);
  return rows;
}

/** How a try went. `retrySeconds` null: it is the last. */
export interface Result {
  delivered: boolean;
  status: number | null;
  excerpt: string | null;
  error: string | null;
  retrySeconds: number | null;
}

/** Writes down how a try went. @returns false where the claim is no longer this process's: then nothing is changed. */
export async function noteResult(tx: Queryable, { id, claim }: Claimed, result: Result): Promise<boolean> {
  const ended = result.delivered || result.retrySeconds === null;
  const { numUpdatedRows } = await tx
    .updateTable('provisioning.webhook_deliveries')
    .set({
      status: result.delivered ? 'delivered' : ended ? 'failed' : 'pending',
      claim: null,
      response_status: result.status,
      response_excerpt: result.excerpt,
      error: result.error,
      ended_at: ended ? sql<Date>`now()` : null,
      ...(result.retrySeconds === null
        ? {}
        : { next_attempt_at: sql<Date>`now() + make_interval(secs => ${result.retrySeconds}::float8)` }),
    })
    .where('id', '=', id)
    .where('claim', '=', claim)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Gives up what still waits to be sent to a webhook. */
export async function giveUpPending(tx: Queryable, webhookId: string, reason: string): Promise<void> {
  await tx
    .updateTable('provisioning.webhook_deliveries')
    .set({ status: 'failed', claim: null, error: reason, ended_at: sql`now()` })
    .where('webhook_id', '=', webhookId)
    .where('status', '=', 'pending')
    .execute();
}
