import type { FastifyReply } from 'fastify';
import { isPermitted, type Principal, requirePermission } from '../access/permissions.ts';
import type { Database, Queryable } from '../database/pool.ts';
import type { Engine } from '../engine/engine.ts';
import { errors } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import type { Limits } from '../limits/limits.ts';
import { isFinal } from './events.ts';
import type { Follower } from './follow.ts';
import { isUuid } from './schemas.ts';
import type { OpenRequests } from './sse.ts';
import { type OperationRecord, readOperation } from './store.ts';

/** How long the answer to a cancel waits for the end. A provider's call that is under way may take longer. */
const CANCEL_WAIT_MS = 5_000;

/** What these functions need. */
export interface OperationServices {
  db: Database;
  engine: Engine;
  follower: Follower;
  openRequests: OpenRequests;
}

/** The operation, if the caller may know of it. @throws 404 otherwise. */
export async function findOperation(db: Queryable, principal: Principal, id: string): Promise<OperationRecord> {
  const operation = isUuid(id) ? await readOperation(db, id) : null;
  if (operation === null) throw errors.notFound('operation', id);
  if (!isPermitted(principal, 'operation_read', operation.workspace)) throw errors.hidden('operation', id);
  return operation;
}

/**
 * Asks an operation to stop; the answer waits a little for its end and tells how it stands then.
 * @throws 404, 403, or 409 when it has already ended.
 */
export async function cancelOperation(
  services: OperationServices,
  { tx, principal, audit, afterCommit }: Mutation,
  reply: FastifyReply,
  id: string,
): Promise<Answer> {
  const operation = await findOperation(tx, principal, id);
  requirePermission(principal, 'operation_cancel', {
    what: 'operation',
    id,
    workspace: operation.workspace,
    ownerId: operation.owner_id,
    read: 'operation_read',
  });
  const operationId = id.toLowerCase();
  const cancel = await services.engine.requestCancel(tx, operationId, principal.name);
  const now = await findOperation(tx, principal, operationId);
  if (!cancel.accepted) throw errors.operationEnded(operationId, now.status);
  audit({ action: 'operation.cancel', workspace: operation.workspace, resource: operation.resource, operationId });
  afterCommit(cancel.afterCommit);
  if (isFinal(now.status)) return { body: now.json };
  return {
    body: now.json,
    afterCommitAnswer: async () => {
      await untilEnded(services, reply, operationId, CANCEL_WAIT_MS);
      return (await readOperation(services.db, operationId))?.json ?? now.json;
    },
  };
}

/**
 * The operation once it has ended, or as it stands after `timeoutMs`. @param again who the caller is by then.
 * @throws 429 where the caller has too many open, 401 where their token has ended meanwhile.
 */
export async function waitForOperation(
  services: OperationServices & { limits: Pick<Limits, 'open'> },
  principal: Principal,
  reply: FastifyReply,
  id: string,
  { timeoutMs, again }: { timeoutMs: number; again: () => Promise<Principal> },
): Promise<string> {
  const operation = await findOperation(services.db, principal, id);
  if (isFinal(operation.status) || timeoutMs === 0) return operation.json;
  const close = await services.limits.open('long_polls', principal.userId);
  await untilEnded(services, reply, id.toLowerCase(), timeoutMs).finally(close);
  return (await findOperation(services.db, await again(), id)).json;
}

/** Waits until the operation has ended, at most `timeoutMs` and while the caller does. */
export async function untilEnded(
  services: OperationServices,
  reply: FastifyReply,
  id: string,
  timeoutMs: number,
): Promise<void> {
  const { signal, release } = services.openRequests.open(reply, timeoutMs);
  try {
    await services.follower.untilEnded(id, signal);
  } finally {
    release();
  }
}
