import { CompiledQuery, sql } from 'kysely';
import type { Database, Queryable } from '../database/pool.ts';
import type { OperationStatus } from '../database/tables.ts';
import { type EventType, OPERATION_JSON_TEXT } from '../engine/operation-record.ts';
import { type Position, positionBefore } from './cursor.ts';

/** An operation for the client, and what decides whether they may have it. */
export interface OperationRecord {
  json: string;
  status: OperationStatus;
  workspace: string;
  owner_id: string | null;
  resource: string | null;
}

/** As text, since it is asked most of all: building a statement costs a tenth of what the answer does. */
const READ_OPERATION = `select ${OPERATION_JSON_TEXT} as json, status, workspace, owner_id, resource
  from provisioning.operations where id = $1`;

/** Null when there is none. */
export async function readOperation(db: Queryable, id: string): Promise<OperationRecord | null> {
  const { rows } = await db.executeQuery<OperationRecord>(CompiledQuery.raw(READ_OPERATION, [id]));
  return rows[0] ?? null;
}

/** Those of the operations that have neither ended nor been forgotten. */
export async function unfinishedAmong(db: Queryable, ids: string[]): Promise<Set<string>> {
  const { rows } = await sql<{ id: string }>`
    select id from provisioning.operations
    where id = any(${ids}::uuid[]) and status in ('pending', 'running')`.execute(db);
  return new Set(rows.map((row) => row.id));
}

/** Bytes of events in one batch, unless a single one is larger: what one slow client can make the server hold. */
const MAX_BATCH_BYTES = 256 * 1024;

const EVENT_JSON = sql.raw<string>(`data || jsonb_build_object('seq', seq, 'type', type,
  'at', to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))`);

/** Some events of an operation, and how it stood in the same instant. */
export interface EventBatch {
  status: OperationStatus;
  lastSeq: number;
  workspace: string;
  events: { seq: number; type: EventType; json: string }[];
  /** There are further events already. */
  more: boolean;
  /** How many to ask for next time, so that large ones are not read and then left out over and over. */
  nextLimit: number;
}

/** Events read at a time at most. */
export const EVENT_BATCH = 500;

/**
 * Events with a greater number than `after`, in order. Numbers are given out under the lock of the operation's row, so
 * that no smaller one can appear later. Null when there is no such operation.
 */
export async function readEvents(db: Queryable, id: string, after: number, limit: number): Promise<EventBatch | null> {
  const { rows } = await sql<{
    status: OperationStatus;
    last_seq: number;
    workspace: string;
    found: number;
    events: [number, EventType, string][];
  }>`
    with found as (
      select seq, type, (${EVENT_JSON})::text as json from provisioning.operation_events
      where operation_id = ${id} and seq > ${after}::int order by seq limit ${limit}),
    measured as (
      select *, row_number() over w as n, sum(octet_length(json)) over w as bytes from found window w as (order by seq))
    select status, last_seq, workspace, (select count(*)::int from found) as found,
           (select coalesce(json_agg(json_build_array(seq, type, json) order by seq), '[]')
            from measured where n = 1 or bytes <= ${MAX_BATCH_BYTES}::int) as events
    from provisioning.operations where id = ${id}`.execute(db);
  const row = rows[0];
  if (row === undefined) return null;
  return {
    status: row.status,
    lastSeq: row.last_seq,
    workspace: row.workspace,
    events: row.events.map(([seq, type, json]) => ({ seq, type, json })),
    more: row.found === limit || row.events.length < row.found,
    nextLimit: Math.min(EVENT_BATCH, 2 * (row.events.length < row.found ? row.events.length : limit)),
  };
}

/** An event of the feed over all operations. */
export interface FeedRow {
  position: Position;
  workspace: string;
  kind: string;
  /** The operation only says what would be done. */
  checkMode: boolean;
  type: EventType;
  json: string;
}

/** A piece of the feed. */
export interface FeedBatch {
  rows: FeedRow[];
  /** How far the feed is settled: everything before this place can be read by now. */
  horizon: Position;
  /** Behind the horizon there are events, to be read as soon as the transactions before them have ended. */
  unsettled: boolean;
  /** There are further events before the horizon. */
  more: boolean;
}

interface FeedColumns {
  xid: string;
  operation_id: string;
  seq: number;
  workspace: string;
  kind: string;
  check_mode: boolean;
  type: EventType;
  json: string;
}

const FEED_COLUMNS = sql.raw(`e.xid::text as xid, e.operation_id, e.seq, o.workspace, o.kind, o.check_mode, e.type,
  (e.data || jsonb_build_object('seq', e.seq, 'type', e.type,
    'at', to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'id', concat_ws('.', e.xid, e.operation_id, e.seq),
    'operation_id', e.operation_id, 'kind', o.kind, 'workspace', o.workspace))::text as json`);
const HORIZON = sql.raw('pg_snapshot_xmin(pg_current_snapshot())');

function feedRow({ xid, operation_id: operationId, seq, check_mode: checkMode, ...row }: FeedColumns): FeedRow {
  return { ...row, position: { xid: BigInt(xid), operationId, seq }, checkMode };
}

/** Where the feed stands now. */
export async function feedHorizon(db: Queryable): Promise<Position> {
  const { rows } = await sql<{ xid: string }>`select ${HORIZON}::text as xid`.execute(db);
  return positionBefore(BigInt(rows[0]?.xid ?? 0));
}

/** Status and progress events of all operations behind `after`, in the order of the feed. */
export async function readFeed(db: Queryable, after: Position, limit: number): Promise<FeedBatch> {
  const { rows } = await sql<{ horizon: string; unsettled: boolean; events: FeedColumns[] }>`
    with found as (
      select ${FEED_COLUMNS}
      from provisioning.operation_events e join provisioning.operations o on o.id = e.operation_id
      where e.type <> 'log'
        and (e.xid, e.operation_id, e.seq) > (${after.xid.toString()}::xid8, ${after.operationId}::uuid, ${after.seq}::int)
        and e.xid < ${HORIZON}
      order by e.xid, e.operation_id, e.seq limit ${limit})
    select ${HORIZON}::text as horizon,
           exists (select from provisioning.operation_events where type <> 'log' and xid >= ${HORIZON}) as unsettled,
           (select coalesce(json_agg(found order by found.xid::xid8, operation_id, seq), '[]') from found) as events`.execute(
    db,
  );
  const row = rows[0];
  const events = (row?.events ?? []).map(feedRow);
  return {
    rows: events,
    horizon: positionBefore(BigInt(row?.horizon ?? 0)),
    unsettled: row?.unsettled ?? false,
    more: events.length === limit,
  };
}

/** Which events of the feed a caller wants and may see. `workspaces` null: all. */
export interface FeedScope {
  workspaces: string[] | null;
  kind: string | null;
  /** Of checks alone, of the others alone; null: of both. */
  checkMode: boolean | null;
}

/** Events looked through for the newest of a scope: what matches few events must not read a million. */
const MAX_LOOK_BACK = 20_000;

/** The newest events of a scope, in the order of the feed. */
export async function newestInFeed(db: Database, scope: FeedScope, limit: number): Promise<FeedRow[]> {
  const { rows } = await sql<FeedColumns>`
    select ${FEED_COLUMNS}
    from (select * from provisioning.operation_events where type <> 'log' and xid < ${HORIZON}
          order by xid desc, operation_id desc, seq desc limit ${MAX_LOOK_BACK}) e
      join provisioning.operations o on o.id = e.operation_id
    where (${scope.workspaces}::text[] is null or o.workspace = any(${scope.workspaces}::text[]))
      and (${scope.kind}::text is null or o.kind = ${scope.kind})
      and (${scope.checkMode}::boolean is null or o.check_mode = ${scope.checkMode})
    order by e.xid desc, e.operation_id desc, e.seq desc limit ${limit}`.execute(db);
  return rows.map(feedRow).reverse();
}
