import { sql } from 'kysely';
import type { Authority } from '../../access/authority.ts';
import type { Database, Queryable } from '../../database/pool.ts';
import type { OperationStatus, WorkflowNodeStatus } from '../../database/tables.ts';
import type { Json, JsonObject } from '../../documents/json.ts';
import type { PlannedNode, PlannedStep } from '../planning/contract.ts';
import type { Edge } from '../planning/graph.ts';
import type { NodeRow } from './scheduler.ts';

/** Rows in one INSERT. */
const BATCH = 5_000;

/** What a run keeps of the workflow it was made from. */
export interface Snapshot {
  type: string | null;
  parameters: JsonObject;
  definition: JsonObject;
  /** Definitions of nested workflows by type. */
  nested: { [type: string]: JsonObject };
  steps: PlannedStep[];
  edges: Edge[];
  outputs: JsonObject;
  settings: RunSettings;
  workspaceSettings: JsonObject;
  authority: Authority;
}

interface RunSettings {
  parallelLimit: number;
  rollback: { enabled: boolean; preserveSuccessful: boolean; maxAttempts: number };
}

/** A node to insert: as planned, or (for a retry) as it ended before. */
export type NewNode = PlannedNode & { status: WorkflowNodeStatus; operationId: string | null };

/** Stores a run whose operation has been stored. */
export async function insertRun(
  tx: Queryable,
  id: string,
  run: Snapshot,
  nodes: readonly NewNode[],
  retryOf: string | null,
): Promise<void> {
  await tx
    .insertInto('provisioning.workflows')
    .values({
      id,
      type: run.type,
      parameters: JSON.stringify(run.parameters),
      definition: JSON.stringify(run.definition),
      nested: JSON.stringify(run.nested),
      steps: JSON.stringify(run.steps),
      settings: JSON.stringify({ ...run.settings, outputs: run.outputs }),
      workspace_settings: JSON.stringify(run.workspaceSettings),
      authority: JSON.stringify(run.authority),
      retry_of: retryOf,
      retried_by: null,
      rollback_operation_id: null,
    })
    .execute();
  for (let start = 0; start < nodes.length; start += BATCH) {
    const batch = nodes.slice(start, start + BATCH);
    await sql`
      insert into provisioning.workflow_nodes
        (workflow_id, position, key, step, item_index, item, fields, status, operation_id, attempt, finished_at)
      select ${id}::uuid, n.position + ${start}::int - 1, n.key, n.step, n.item_index, n.item, n.fields, n.status, n.operation_id,
             case when n.operation_id is null then 0 else 1 end,
             case when n.status in ('skipped', 'completed') then now() end
      from unnest(${batch.map((node) => node.key)}::text[], ${batch.map((node) => node.step)}::text[],
                  ${batch.map((node) => node.index)}::int[], ${batch.map((node) => JSON.stringify(node.item))}::jsonb[],
                  ${batch.map((node) => (node.with === null ? null : JSON.stringify(node.with)))}::jsonb[],
                  ${batch.map((node) => node.status)}::text[], ${batch.map((node) => node.operationId)}::uuid[])
        with ordinality as n (key, step, item_index, item, fields, status, operation_id, position)`.execute(tx);
  }
  const { edges } = run;
  await sql`
    insert into provisioning.workflow_edges (workflow_id, from_step, to_step, type)
    select ${id}::uuid, e.from_step, e.to_step, e.type
    from unnest(${edges.map(({ from }) => from)}::text[], ${edges.map(({ to }) => to)}::text[],
                ${edges.map(({ type }) => type)}::text[]) as e (from_step, to_step, type)`.execute(tx);
}

/** The run as it was submitted, and where each node stands. Null when it is gone. */
export async function readRun(db: Queryable, id: string): Promise<{ run: Snapshot; nodes: NodeRow[] } | null> {
  const row = await db.selectFrom('provisioning.workflows').selectAll().where('id', '=', id).executeTakeFirst();
  if (row === undefined) return null;
  const edges = await db
    .selectFrom('provisioning.workflow_edges')
    .select(['from_step as from', 'to_step as to', 'type'])
    .where('workflow_id', '=', id)
    .execute();
  const nodes = await db
    .selectFrom('provisioning.workflow_nodes')
    .select([
      'position',
      'key',
      'step',
      'status',
      'attempt',
      'operation_id as operationId',
      'cleanup_operation_id as cleanupId',
      'started_at as startedAt',
      'next_attempt_at as nextAttemptAt',
      'timed_out as timedOut',
      'error',
    ])
    .where('workflow_id', '=', id)
    .orderBy('position')
    .execute();
  const { outputs, ...settings } = row.settings as unknown as RunSettings & { outputs: JsonObject };
  const run: Snapshot = {
    type: row.type,
    parameters: row.parameters as JsonObject,
    definition: row.definition as JsonObject,
    nested: row.nested as { [type: string]: JsonObject },
    steps: row.steps as PlannedStep[],
    edges,
    outputs,
    settings,
    workspaceSettings: row.workspace_settings as JsonObject,
    authority: row.authority as unknown as Authority,
  };
  return { run, nodes };
}

/**
 * Notes that a run is begun again. @returns how often that has happened in a row without `noteProgress` after it: so many
 * processes have ended in the middle of its first steps.
 */
export async function noteStart(db: Queryable, workflowId: string): Promise<number> {
  const { rows } = await sql<{ starts: number }>`
    update provisioning.workflows set unfinished_starts = unfinished_starts + 1
    where id = ${workflowId} returning unfinished_starts as starts`.execute(db);
  return rows[0]?.starts ?? 0;
}

/** Notes that a run that was begun again has got somewhere. */
export async function noteProgress(db: Queryable, workflowId: string): Promise<void> {
  await sql`
    update provisioning.workflows set unfinished_starts = 0
    where id = ${workflowId} and unfinished_starts > 0`.execute(db);
}

/** What a node's operation is made from. */
export interface NodeInput {
  position: number;
  index: number;
  item: Json;
  /** Null where they have to be rendered now. */
  fields: JsonObject | null;
}

/** What nodes were planned with. */
export async function readInputs(
  db: Queryable,
  workflowId: string,
  positions: readonly number[],
): Promise<Map<number, NodeInput>> {
  const { rows } = await sql<NodeInput>`
    select position, item_index as index, item, fields from provisioning.workflow_nodes
    where workflow_id = ${workflowId} and position = any(${[...positions]}::int[])`.execute(db);
  return new Map(rows.map((row) => [row.position, row]));
}

/**
 * Makes nodes run, each for its next try: whoever else tries the same finds them taken. Left out are those whose last
 * try is still being tidied up after.
 */
export async function claimNodes(
  tx: Queryable,
  workflowId: string,
  nodes: readonly { position: number; attempt: number }[],
): Promise<{ position: number; attempt: number }[]> {
  const { rows } = await sql<{ position: number; attempt: number }>`
    update provisioning.workflow_nodes n
    set status = 'running', attempt = n.attempt + 1, operation_id = null, timed_out = false, error = null, error_code = null,
        decision = null,
        started_at = clock_timestamp(), next_attempt_at = null
    from unnest(${nodes.map(({ position }) => position)}::int[], ${nodes.map(({ attempt }) => attempt)}::int[]) as c (position, attempt)
    where n.workflow_id = ${workflowId} and n.position = c.position and n.attempt = c.attempt
      and n.status in ('waiting', 'retrying')
      and not exists (select from provisioning.operations o
                      where o.id = n.cleanup_operation_id and o.status in ('pending', 'running'))
    returning n.position, n.attempt`.execute(tx);
  return rows;
}

/** Ties claimed nodes to their operations; `fields`: what they were rendered to, where that was not known before. */
export async function setOperations(
  tx: Queryable,
  workflowId: string,
  nodes: readonly { position: number; operationId: string; fields: JsonObject | null }[],
): Promise<void> {
  await sql`
    update provisioning.workflow_nodes n set operation_id = c.operation_id, fields = coalesce(c.fields, n.fields)
    from unnest(${nodes.map(({ position }) => position)}::int[], ${nodes.map(({ operationId }) => operationId)}::uuid[],
                ${nodes.map(({ fields }) => (fields === null ? null : JSON.stringify(fields)))}::jsonb[]) as c (position, operation_id, fields)
    where n.workflow_id = ${workflowId} and n.position = c.position`.execute(tx);
}

/** How a node goes on. */
export interface NodeMove {
  position: number;
  status: Exclude<WorkflowNodeStatus, 'running' | 'waiting'>;
  attempt: number;
  error: string | null;
  /** The code of that error, where it has one. */
  errorCode: string | null;
  cleanupId: string | null;
  nextAttemptAt: Date | null;
}

/** Writes how nodes go on. One that has ended already stays as it is. */
export async function moveNodes(db: Queryable, workflowId: string, moves: readonly NodeMove[]): Promise<void> {
  if (moves.length === 0) return;
  await sql`
    update provisioning.workflow_nodes n
    set status = m.status, attempt = m.attempt, error = m.error, error_code = m.error_code,
        cleanup_operation_id = m.cleanup_id,
        next_attempt_at = m.next_attempt_at,
        finished_at = case when m.status = 'retrying' then null else clock_timestamp() end
    from unnest(${moves.map(({ position }) => position)}::int[], ${moves.map(({ status }) => status)}::text[],
                ${moves.map(({ attempt }) => attempt)}::int[], ${moves.map(({ error }) => error)}::text[],
                ${moves.map(({ errorCode }) => errorCode)}::text[],
                ${moves.map(({ cleanupId }) => cleanupId)}::uuid[],
                ${moves.map(({ nextAttemptAt }) => nextAttemptAt?.toISOString() ?? null)}::timestamptz[])
      as m (position, status, attempt, error, error_code, cleanup_id, next_attempt_at)
    where n.workflow_id = ${workflowId} and n.position = m.position and n.status in ('waiting', 'running', 'retrying')`.execute(
    db,
  );
}

/** Notes that a node is being stopped because its time is over. */
export async function markTimedOut(tx: Queryable, workflowId: string, position: number): Promise<void> {
  await tx
    .updateTable('provisioning.workflow_nodes')
    .set({ timed_out: true })
    .where('workflow_id', '=', workflowId)
    .where('position', '=', position)
    .execute();
}

/** How an operation ended. */
export interface EndedOperation {
  id: string;
  status: Extract<OperationStatus, 'completed' | 'failed' | 'cancelled'>;
  error: string | null;
  errorCode: string | null;
  cleanupId: string | null;
  /** Of a rollback: what it has kept, and why; null: nothing. */
  kept: string | null;
}

/** Those of the operations that have ended. One that is gone counts as failed. */
export async function endedAmong(db: Database, ids: readonly string[]): Promise<EndedOperation[]> {
  if (ids.length === 0) return [];
  const { rows } = await sql<EndedOperation>`
    select i.id, coalesce(o.status, 'failed') as status,
           case when o.id is null then 'its operation has been forgotten' else o.error end as error,
           o.error_code as "errorCode",
           (o.result ->> 'cleanup_operation_id')::uuid as "cleanupId",
           case when o.kind = 'workflow.rollback' and o.status = 'completed' then
             (select left(string_agg(k ->> 'node' || ': ' || (k ->> 'reason'), ' '), 2000)
              from jsonb_array_elements(o.result -> 'kept') as k) end as kept
    from unnest(${ids}::uuid[]) as i (id) left join provisioning.operations o on o.id = i.id
    where o.id is null or o.status in ('completed', 'failed', 'cancelled')`.execute(db);
  return rows;
}

/** The nodes of a step with their results, as expressions see them. */
export async function readResults(db: Queryable, workflowId: string, step: string): Promise<JsonObject[]> {
  const { rows } = await sql<JsonObject>`
    select n.key as id, n.status, n.item, n.item_index as index, n.error,
           case when n.status = 'completed' then o.result end as result
    from provisioning.workflow_nodes n left join provisioning.operations o on o.id = n.operation_id
    where n.workflow_id = ${workflowId} and n.step = ${step}
    order by n.item_index`.execute(db);
  return rows;
}

/** Ends what has not begun: nothing goes forward any more. */
export async function closeNodes(tx: Queryable, workflowId: string): Promise<void> {
  await sql`
    update provisioning.workflow_nodes
    set status = case when attempt = 0 then 'not_run' else 'failed' end, finished_at = clock_timestamp(), next_attempt_at = null
    where workflow_id = ${workflowId} and status in ('waiting', 'retrying')`.execute(tx);
}

/** Whether a node failed whose failure means that everything is undone. */
export async function asksForRollback(db: Queryable, workflowId: string): Promise<boolean> {
  const { rows } = await sql<{ asks: boolean }>`
    select (w.settings -> 'rollback' ->> 'enabled')::boolean
           and not (w.settings -> 'rollback' ->> 'preserveSuccessful')::boolean
           and exists (
             select from provisioning.workflow_nodes n, jsonb_array_elements(w.steps) s
             where n.workflow_id = w.id and n.status in ('failed', 'cancelled') and s.value ->> 'id' = n.step
               and s.value -> 'settings' ->> 'onFailure' = 'rollback') as asks
    from provisioning.workflows w where w.id = ${workflowId}`.execute(db);
  return rows[0]?.asks === true;
}

/** How many nodes stand where. */
export async function countNodes(db: Queryable, workflowId: string): Promise<Record<string, number>> {
  const { rows } = await sql<{ status: string; count: number }>`
    select status, count(*)::int as count from provisioning.workflow_nodes
    where workflow_id = ${workflowId} group by status`.execute(db);
  return Object.fromEntries(rows.map(({ status, count }) => [status, count]));
}

/** What somebody decided about an approval. */
export interface Decision {
  approved: boolean;
  by: string;
  at: string;
  comment: string | null;
}

export async function readDecision(db: Queryable, workflowId: string, position: number): Promise<Decision | null> {
  const row = await db
    .selectFrom('provisioning.workflow_nodes')
    .select('decision')
    .where('workflow_id', '=', workflowId)
    .where('position', '=', position)
    .executeTakeFirst();
  return (row?.decision as Decision | null | undefined) ?? null;
}

/** The nodes of a run as a further run takes them over: what completed and still stands is not done again. */
export async function readForRetry(db: Queryable, workflowId: string): Promise<NewNode[]> {
  const { rows } = await sql<NewNode>`
    select key, step, item_index as index, item, fields as "with",
           case when status = 'skipped' then 'skipped'
                when status = 'completed' and undo is null then 'completed' else 'waiting' end as status,
           case when status = 'completed' and undo is null then operation_id end as "operationId"
    from provisioning.workflow_nodes where workflow_id = ${workflowId} order by position`.execute(db);
  return rows;
}

/** Notes that another run goes on with what this one did. */
export async function setRetriedBy(tx: Queryable, workflowId: string, by: string): Promise<void> {
  await tx.updateTable('provisioning.workflows').set({ retried_by: by }).where('id', '=', workflowId).execute();
}

/** Stores what somebody decided about an approval that waits. @returns its operation; null: there is none that waits. */
export async function decide(
  tx: Queryable,
  workflowId: string,
  key: string,
  decision: Decision,
): Promise<string | null> {
  const { rows } = await sql<{ id: string }>`
    update provisioning.workflow_nodes n set decision = ${JSON.stringify(decision)}::jsonb
    from provisioning.operations o
    where n.workflow_id = ${workflowId} and n.key = ${key} and n.status = 'running' and n.decision is null
      and o.id = n.operation_id and o.kind = 'workflow.approval' and o.status in ('pending', 'running')
      and o.cancel_requested_at is null
    returning o.id`.execute(tx);
  return rows[0]?.id ?? null;
}

/** How a node stands, and its kind. Null: there is none of this key. */
export async function readNode(
  db: Queryable,
  workflowId: string,
  key: string,
): Promise<{ status: WorkflowNodeStatus; kind: string; decision: Decision | null } | null> {
  const { rows } = await sql<{ status: WorkflowNodeStatus; kind: string; decision: Decision | null }>`
    select n.status, n.decision, s.value ->> 'kind' as kind
    from provisioning.workflow_nodes n
    join provisioning.workflows w on w.id = n.workflow_id
    cross join jsonb_array_elements(w.steps) s
    where n.workflow_id = ${workflowId} and n.key = ${key} and s.value ->> 'id' = n.step`.execute(db);
  return rows[0] ?? null;
}
