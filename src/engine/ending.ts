import type { Queryable } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';
import type { Enqueue } from './enqueue.ts';
import { endOperation, insertOperation, lockUnfinished, type NewEvent } from './operation-record.ts';
import type { Procedure } from './procedure.ts';

/** What went wrong: a code to decide by, and words for the user. */
export interface Failure {
  code: string;
  message: string;
}

export interface EndOptions {
  operationId: string;
  procedure: Procedure;
  input: Record<string, unknown>;
  failure: Failure;
  /** False: cancelled while still pending. */
  started: boolean;
  /** Events that are stored with the end, before it. */
  pending: NewEvent[];
}

/**
 * Ends an unfinished operation as failed, or as cancelled where that was asked for, and starts what tidies up after
 * it. Does nothing when it has ended already.
 * @returns the queue of the follow-up operation, if there is one.
 */
export async function endInTransaction(
  tx: Queryable,
  { operationId, procedure, input, failure, started, pending }: EndOptions,
  enqueue: Enqueue,
): Promise<string | undefined> {
  const row = await lockUnfinished(tx, operationId);
  if (row === null) return undefined;
  const outcome = row.cancel_requested_at === null ? 'failed' : 'cancelled';
  const error = outcome === 'cancelled' ? null : failure.message;
  const result: Record<string, unknown> = {};
  const followUp = (await procedure.compensate?.(tx, input, { operationId, outcome, started, error, result })) ?? null;
  const followUpId = followUp === null ? null : uuidv7();
  // Clients may still read the field by its former name.
  if (followUpId !== null)
    Object.assign(result, { cleanup_operation_id: followUpId, follow_up_operation_id: followUpId });
  await endOperation(
    tx,
    operationId,
    {
      status: outcome,
      error,
      errorCode: outcome === 'cancelled' ? null : failure.code,
      result: Object.keys(result).length === 0 ? null : result,
    },
    pending,
  );
  if (followUp === null || followUpId === null) return undefined;
  await insertOperation(tx, {
    id: followUpId,
    kind: followUp.kind,
    title: followUp.title,
    checkMode: false,
    workspace: row.workspace,
    resource: followUp.resource,
    parentId: operationId,
    input: followUp.input,
    createdBy: row.created_by,
    ownerId: row.owner_id,
  });
  return enqueue(tx, followUpId, followUp.kind, followUp.input, row.owner_id);
}
