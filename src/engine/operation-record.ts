/**
 * The operation row as the engine writes it: its life from `pending` to one of the three ends. The section
 * `operations` reads it and answers clients.
 */
import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';
import type { OperationStatus } from '../database/tables.ts';
import { harmlessJson, harmlessText } from '../util/harmless.ts';

export type EventType = 'status' | 'progress' | 'log';

/** An event before it has its number. `data` must hold no secret. */
export interface NewEvent {
  type: EventType;
  at: Date;
  data: Record<string, unknown>;
}

/** What an operation is made from. */
export interface NewOperation {
  id: string;
  kind: string;
  /** What it does, in words for people: "Install redis on web-01, web-02". */
  title: string;
  /** It only says what would be done. */
  checkMode: boolean;
  workspace: string;
  /** What it changes, such as `server:srv-…`: one unfinished operation a resource. Null: it locks nothing. */
  resource: string | null;
  parentId: string | null;
  /** Plain data without secrets. */
  input: Record<string, unknown>;
  /** Name of the user who asked for it. */
  createdBy: string;
  /** Their id; null: nobody asked for it. */
  ownerId: string | null;
}

/** The row as clients see it (src/operations/schemas.ts gives it its shape), as JSON text made by Postgres. */
export const OPERATION_JSON_TEXT = `json_build_object(
  'id', id, 'status', status,
  'created_at', to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
  'updated_at', to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
  'result', result, 'error', error, 'kind', kind, 'workspace', workspace, 'progress', progress,
  'title', title, 'check_mode', check_mode,
  'created_by', created_by, 'parent_id', parent_id, 'resource', resource, 'error_code', error_code,
  'cancel_requested_at', to_char(cancel_requested_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))::text`;
/** The same, for a statement of the query builder. */
export const OPERATION_JSON = sql.raw<string>(OPERATION_JSON_TEXT);

/** @returns the new operation as JSON text. @throws on the unique index `operations_one_active` when the resource is held. */
export async function insertOperation(tx: Queryable, operation: NewOperation): Promise<string> {
  const { rows } = await sql<{ json: string }>`
    insert into provisioning.operations as o
      (id, kind, title, check_mode, workspace, resource, parent_id, input, created_by, owner_id)
    values (${operation.id}, ${operation.kind}, ${operation.title}, ${operation.checkMode}, ${operation.workspace}, ${operation.resource}, ${operation.parentId},
            ${JSON.stringify(operation.input)}, ${operation.createdBy}, ${operation.ownerId})
    returning ${OPERATION_JSON} as json`.execute(tx);
  return rows[0]?.json ?? '';
}

/**
 * Stores what needs no carrying out as an operation that is over: it shows in the log and in the feed as any other. It
 * holds no resource. @returns it as JSON text.
 */
export async function insertEndedOperation(
  tx: Queryable,
  operation: NewOperation,
  result: Record<string, unknown>,
  events: NewEvent[],
): Promise<string> {
  const { rows } = await sql<{ json: string }>`
    insert into provisioning.operations
      (id, kind, title, check_mode, status, workspace, resource, parent_id, input, result, progress, created_by,
       owner_id, finished_at)
    values (${operation.id}, ${operation.kind}, ${operation.title}, ${operation.checkMode}, 'completed',
            ${operation.workspace}, ${operation.resource},
            ${operation.parentId}, ${JSON.stringify(operation.input)}, ${harmlessJson(result)}, 100,
            ${operation.createdBy}, ${operation.ownerId}, now())
    returning ${OPERATION_JSON} as json`.execute(tx);
  const end: NewEvent = { type: 'status', at: new Date(), data: { status: 'completed', result } };
  await appendEvents(
    tx,
    [...events, end].map((event) => ({ ...event, operationId: operation.id })),
  );
  return rows[0]?.json ?? '';
}

/** Many in one statement. @throws as `insertOperation` does, for any of them. */
export async function insertOperations(tx: Queryable, operations: readonly NewOperation[]): Promise<void> {
  const column = (name: Exclude<keyof NewOperation, 'input'>) => operations.map((operation) => operation[name]);
  await sql`
    insert into provisioning.operations
      (id, kind, title, check_mode, workspace, resource, parent_id, input, created_by, owner_id)
    select * from unnest(${column('id')}::uuid[], ${column('kind')}::text[], ${column('title')}::text[],
                         ${column('checkMode')}::boolean[], ${column('workspace')}::text[],
                         ${column('resource')}::text[], ${column('parentId')}::uuid[],
                         ${operations.map(({ input }) => JSON.stringify(input))}::jsonb[], ${column('createdBy')}::text[],
                         ${column('ownerId')}::uuid[])`.execute(tx);
}

/** How the operation stands when its procedure begins or begins again. */
export interface BegunOperation {
  status: OperationStatus;
  input: Record<string, unknown>;
  cancelRequested: boolean;
  workspace: string;
  createdBy: string;
  ownerId: string | null;
  /** What is kept of its output. */
  eventBytes: number;
  /** Whether this call is the one that moved it from `pending` to `running`. */
  first: boolean;
}

/** Moves `pending` to `running`, with the event that says so; otherwise only reads. Null when the row is gone. */
export async function beginOperation(db: Queryable, id: string): Promise<BegunOperation | null> {
  const { rows } = await sql<{
    status: OperationStatus;
    input: Record<string, unknown>;
    cancel_requested: boolean;
    workspace: string;
    created_by: string;
    owner_id: string | null;
    event_bytes: number;
    first: boolean;
  }>`
    with begun as (
      update provisioning.operations set status = 'running', updated_at = now(), last_seq = last_seq + 1
      where id = ${id} and status = 'pending'
      returning last_seq, input, cancel_requested_at is not null as cancel_requested, workspace, created_by,
                owner_id, event_bytes),
    logged as (
      insert into provisioning.operation_events (operation_id, seq, type, data)
      select ${id}::uuid, last_seq, 'status', jsonb_build_object('status', 'running') from begun)
    select 'running' as status, input, cancel_requested, workspace, created_by, owner_id,
           event_bytes::float8 as event_bytes, true as first from begun
    union all
    select status, input, cancel_requested_at is not null, workspace, created_by, owner_id, event_bytes::float8, false
    from provisioning.operations where id = ${id} and not exists (select from begun)`.execute(db);
  const row = rows[0];
  if (row === undefined) return null;
  return {
    status: row.status,
    input: row.input,
    cancelRequested: row.cancel_requested,
    workspace: row.workspace,
    createdBy: row.created_by,
    ownerId: row.owner_id,
    eventBytes: row.event_bytes,
    first: row.first,
  };
}

/** What an event takes besides its line. Bytes. */
const EVENT_BYTES = 100;

/** What an event counts towards its operation's output. */
export function bytesOf({ data: { line } }: NewEvent): number {
  return EVENT_BYTES + (typeof line === 'string' ? Buffer.byteLength(line) : 0);
}

function sumOf(amounts: readonly number[]): number {
  return amounts.reduce((sum, amount) => sum + amount, 0);
}

/** Events as the columns that `unnest` takes. */
function columns(events: NewEvent[]) {
  return {
    types: events.map((event) => event.type),
    times: events.map((event) => event.at.toISOString()),
    data: events.map((event) => harmlessJson(event.data)),
    bytes: events.map(bytesOf),
  };
}

/**
 * The last write of a procedure: `completed`, its result and its remaining events, unless a cancel came first.
 * @returns whether it is completed now.
 */
export async function completeOperation(
  tx: Queryable,
  id: string,
  result: Record<string, unknown>,
  events: NewEvent[],
): Promise<boolean> {
  const { types, times, data, bytes } = columns(events);
  const json = harmlessJson(result);
  const { rows } = await sql`
    with done as (
      update provisioning.operations
      set status = 'completed', result = ${json}::jsonb, progress = 100, updated_at = now(), finished_at = now(),
          last_seq = last_seq + ${events.length + 1}::int, event_bytes = event_bytes + ${sumOf(bytes)}::bigint
      where id = ${id} and status = 'running' and cancel_requested_at is null
      returning last_seq),
    logged as (
      insert into provisioning.operation_events (operation_id, seq, at, type, data)
      select ${id}::uuid, last_seq - ${events.length + 1}::int + e.n, e.at, e.type, e.data
      from done, unnest(${times}::timestamptz[], ${types}::text[], ${data}::jsonb[]) with ordinality as e (at, type, data, n)
      union all
      select ${id}::uuid, last_seq, clock_timestamp(), 'status',
             jsonb_build_object('status', 'completed', 'result', ${json}::jsonb) from done)
    select last_seq from done`.execute(tx);
  return rows.length > 0;
}

/** Locks the row of an operation that has not ended. Null when it has. */
export async function lockUnfinished(tx: Queryable, id: string) {
  const { rows } = await sql<{
    kind: string;
    status: OperationStatus;
    input: Record<string, unknown>;
    workspace: string;
    created_by: string;
    owner_id: string | null;
    cancel_requested_at: Date | null;
  }>`
    select kind, status, input, workspace, created_by, owner_id, cancel_requested_at from provisioning.operations
    where id = ${id} and status in ('pending', 'running') for update`.execute(tx);
  return rows[0] ?? null;
}

/** Ends an operation that `lockUnfinished` holds as `failed` or `cancelled`. */
export async function endOperation(
  tx: Queryable,
  id: string,
  end: {
    status: 'failed' | 'cancelled';
    error: string | null;
    errorCode: string | null;
    result: Record<string, unknown> | null;
  },
  events: NewEvent[],
): Promise<void> {
  await tx
    .updateTable('provisioning.operations')
    .set({
      status: end.status,
      error: end.error === null ? null : harmlessText(end.error),
      error_code: end.errorCode,
      result: end.result === null ? null : harmlessJson(end.result),
      updated_at: sql`now()`,
      finished_at: sql`now()`,
    })
    .where('id', '=', id)
    .execute();
  const data: Record<string, unknown> = { status: end.status };
  if (end.error !== null) data.error = end.error;
  if (end.result !== null) data.result = end.result;
  await appendEvents(
    tx,
    [...events, { type: 'status' as const, at: new Date(), data }].map((event) => ({ ...event, operationId: id })),
  );
}

/**
 * Numbers and stores events of any number of operations in one statement. With `replicaId`, only while that replica
 * is still alive in the eyes of the others: one that stalled writes nothing.
 * @returns how many were stored.
 */
export async function appendEvents(
  db: Queryable,
  events: (NewEvent & { operationId: string })[],
  replicaId?: string,
): Promise<number> {
  const { types, times, data, bytes } = columns(events);
  const operationIds = events.map((event) => event.operationId);
  const { rows } = await sql<{ stored: number }>`
    with incoming as (
      select operation_id, at, type, data, bytes, n, row_number() over (partition by operation_id order by n) as k
      from unnest(${operationIds}::uuid[], ${times}::timestamptz[], ${types}::text[], ${data}::jsonb[], ${bytes}::int[])
        with ordinality as e (operation_id, at, type, data, bytes, n)),
    bumped as (
      update provisioning.operations o
      set last_seq = o.last_seq + c.events, progress = greatest(o.progress, c.progress), updated_at = now(),
          event_bytes = o.event_bytes + c.bytes
      from (select operation_id, count(*)::int as events, sum(bytes) as bytes,
                   coalesce(max((data ->> 'progress')::int) filter (where type = 'progress'), 0) as progress
            from incoming group by operation_id) c
      where o.id = c.operation_id
        and (${replicaId ?? null}::text is null or exists (select from provisioning.replicas where id = ${replicaId ?? null}))
      returning o.id, o.last_seq - c.events as base),
    logged as (
      insert into provisioning.operation_events (operation_id, seq, at, type, data)
      select i.operation_id, b.base + i.k, i.at, i.type, i.data from incoming i join bumped b on b.id = i.operation_id
      returning 1)
    select count(*)::int as stored from logged`.execute(db);
  return rows[0]?.stored ?? 0;
}
