import { sql } from 'kysely';
import type { Queryable } from '../../database/pool.ts';
import type { OperationStatus, WorkflowNodeStatus, WorkflowUndoStatus } from '../../database/tables.ts';
import type { JsonObject } from '../../documents/json.ts';

/** A node that has been begun, and how far undoing it is. */
export interface BegunNode {
  position: number;
  key: string;
  step: string;
  status: WorkflowNodeStatus;
  fields: JsonObject | null;
  operationId: string;
  operationStatus: OperationStatus | null;
  input: JsonObject | null;
  result: JsonObject | null;
  /** How the operation that tidied up after it stands; null: there is none. */
  cleanupId: string | null;
  cleanupStatus: OperationStatus | null;
  cleanupError: string | null;
  undo: WorkflowUndoStatus | null;
  undoAttempt: number;
  undoOperationId: string | null;
  undoError: string | null;
}

/** Every node of a run that became an operation. */
export async function readBegun(db: Queryable, workflowId: string): Promise<BegunNode[]> {
  const { rows } = await sql<BegunNode>`
    select n.position, n.key, n.step, n.status, n.fields, n.operation_id as "operationId", o.status as "operationStatus",
           o.input, o.result, c.id as "cleanupId", c.status as "cleanupStatus", c.error as "cleanupError",
           n.undo, n.undo_attempt as "undoAttempt", n.undo_operation_id as "undoOperationId", n.undo_error as "undoError"
    from provisioning.workflow_nodes n
    left join provisioning.operations o on o.id = n.operation_id
    left join provisioning.operations c on c.id = coalesce((o.result ->> 'cleanup_operation_id')::uuid, n.cleanup_operation_id)
    where n.workflow_id = ${workflowId} and n.operation_id is not null
    order by n.position`.execute(db);
  return rows;
}

/** How undoing a node goes on. */
export interface UndoMove {
  position: number;
  undo: WorkflowUndoStatus;
  attempt: number;
  operationId: string | null;
  error: string | null;
}

export async function moveUndo(db: Queryable, workflowId: string, moves: readonly UndoMove[]): Promise<void> {
  if (moves.length === 0) return;
  await sql`
    update provisioning.workflow_nodes n
    set undo = m.undo, undo_attempt = m.attempt, undo_operation_id = coalesce(m.operation_id, n.undo_operation_id), undo_error = m.error
    from unnest(${moves.map(({ position }) => position)}::int[], ${moves.map(({ undo }) => undo)}::text[],
                ${moves.map(({ attempt }) => attempt)}::int[], ${moves.map(({ operationId }) => operationId)}::uuid[],
                ${moves.map(({ error }) => error)}::text[]) as m (position, undo, attempt, operation_id, error)
    where n.workflow_id = ${workflowId} and n.position = m.position`.execute(db);
}

/** Takes nodes for their next try of undoing: whoever else tries the same finds them taken. @returns positions. */
export async function claimUndo(
  tx: Queryable,
  workflowId: string,
  nodes: readonly { position: number; attempt: number }[],
): Promise<number[]> {
  const { rows } = await sql<{ position: number }>`
    update provisioning.workflow_nodes n set undo = 'running', undo_attempt = n.undo_attempt + 1, undo_error = null
    from unnest(${nodes.map(({ position }) => position)}::int[], ${nodes.map(({ attempt }) => attempt)}::int[]) as c (position, attempt)
    where n.workflow_id = ${workflowId} and n.position = c.position and n.undo_attempt = c.attempt
      and (n.undo is null or n.undo = 'retrying')
    returning n.position`.execute(tx);
  return rows.map(({ position }) => position);
}

/** Lets what could not be undone be tried again. */
export async function reopenUndo(tx: Queryable, workflowId: string): Promise<void> {
  await sql`
    update provisioning.workflow_nodes set undo = null, undo_attempt = 0, undo_operation_id = null, undo_error = null
    where workflow_id = ${workflowId} and undo in ('failed', 'retrying', 'running')`.execute(tx);
}

/** Those of the servers that there still are. */
export async function serversLeft(db: Queryable, ids: readonly string[]): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select id from provisioning.servers where id = any(${[...ids]}::text[]) order by id`.execute(db);
  return rows.map(({ id }) => id);
}

/** Notes which operation undoes a run. */
export async function setRollback(db: Queryable, workflowId: string, operationId: string): Promise<void> {
  await db
    .updateTable('provisioning.workflows')
    .set({ rollback_operation_id: operationId })
    .where('id', '=', workflowId)
    .execute();
}

/** What a rollback did. Keys of nodes. */
export interface RollbackReport {
  [name: string]: unknown;
  workflow_id: string;
  undone: number;
  failed: { node: string; error: string }[];
  kept: { node: string; reason: string }[];
}

/** Nodes that a report names at most. */
const MAX_NAMED = 1_000;

export async function reportOf(db: Queryable, workflowId: string): Promise<RollbackReport> {
  const { rows } = await sql<{ key: string; undo: WorkflowUndoStatus; error: string | null }>`
    select key, undo, undo_error as error from provisioning.workflow_nodes
    where workflow_id = ${workflowId} and undo in ('failed', 'kept') order by position limit ${MAX_NAMED}::int`.execute(
    db,
  );
  const { rows: counts } = await sql<{ undone: number }>`
    select count(*)::int as undone from provisioning.workflow_nodes
    where workflow_id = ${workflowId} and undo = 'undone'`.execute(db);
  const named = (undo: WorkflowUndoStatus) => rows.filter((row) => row.undo === undo);
  return {
    workflow_id: workflowId,
    undone: counts[0]?.undone ?? 0,
    failed: named('failed').map(({ key, error }) => ({ node: key, error: error ?? '' })),
    kept: named('kept').map(({ key, error }) => ({ node: key, reason: error ?? '' })),
  };
}

/** An operation that looks how things stand after one that failed. */
interface FollowUp {
  id: string;
  ended: boolean;
  /** It has found that what was to be deleted is gone. */
  gone: boolean;
}

/** How these stand, by id. */
export async function readFollowUps(db: Queryable, ids: readonly string[]): Promise<Map<string, FollowUp>> {
  if (ids.length === 0) return new Map();
  const { rows } = await sql<FollowUp>`
    select id, status not in ('pending', 'running') as ended,
           coalesce(kind = 'server.reconcile' and result ->> 'status' = 'deleted', false) as gone
    from provisioning.operations where id = any(${[...ids]}::uuid[])`.execute(db);
  return new Map(rows.map((row) => [row.id, row]));
}
