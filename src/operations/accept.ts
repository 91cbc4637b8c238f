import { uuidv7 } from '../database/uuid.ts';
import type { Engine } from '../engine/engine.ts';
import { type Answer, CheckedOnly, type Mutation } from '../http/mutation.ts';
import type { Limits } from '../limits/limits.ts';
import { noteUse } from './last-used.ts';

/** What a change would make, change and delete, in the shape of every check's `result.plan`. */
export interface ChangePlan {
  create?: object[];
  change?: object[];
  delete?: object[];
  /** What would be done, in order, in words. */
  order?: string[];
}

/** An operation that a request asks for, once nothing speaks against it. */
export interface Acceptance {
  /** Default: a new one. */
  id?: string;
  /** A persisted contract: never renamed. */
  kind: string;
  /** What it does, in words for people: "Install redis on web-01, web-02". */
  title: string;
  workspace: string;
  /** What it changes, such as `server:srv-…`: one unfinished operation a resource. Null: it locks nothing. */
  resource: string | null;
  /** Plain data without secrets. */
  input: object;
  /** The operation only looks and says what would be done: its kind has a check of its own. */
  checkMode?: boolean;
  /** Default: the workflow on whose behalf the change is made. */
  parentId?: string | null;
  /** Its result, where the transaction does all of it: it is completed with the answer. Absent: a procedure does it. */
  done?: Record<string, unknown>;
  /** The line of the audit log, where it says more than kind, resource and operation. */
  audit?: { action?: string; resource?: string | null; details?: Record<string, unknown> };
  /** What the answer to a check says would happen. */
  plan: ChangePlan;
}

/** The answer to a request whose operation was accepted. */
export interface Accepted extends Answer {
  /** Of the operation. */
  id: string;
}

/**
 * Accepts an operation: its row, its place on the queue and its line of the audit log commit with the caller's
 * transaction, or not at all. What a caller asks for is held against the limits of operations; nodes of a workflow wait
 * for room before (`running/submit.ts`), and undoing is never held up. Call it when all that can be said against the
 * request has been said: in a request that is only to be checked it does not return, and what the transaction has
 * written is rolled back.
 */
export async function accept(
  { engine, limits }: { engine: Engine; limits: Limits },
  { tx, principal, parentId, audit, afterCommit, checkMode }: Mutation,
  acceptance: Acceptance,
): Promise<Accepted> {
  const { id = uuidv7(), kind, title, workspace, resource, plan } = acceptance;
  const operation = {
    ...{ id, kind, title, workspace, resource, createdBy: principal.name, ownerId: principal.userId },
    checkMode: checkMode || acceptance.checkMode === true,
    parentId: acceptance.parentId === undefined ? parentId : acceptance.parentId,
    input: { ...acceptance.input },
  };
  const location = `/v1/operations/${id}`;
  if (parentId === null) await limits.operations.requireRoom(tx, { userId: principal.userId, workspace }, kind);
  const { action = kind, resource: of = resource, details } = acceptance.audit ?? {};
  if (checkMode) {
    throw new CheckedOnly(async (again) => {
      const { create = [], change = [], delete: deleted = [], order = [title] } = plan;
      const result = { check_mode: true, plan: { create, change, delete: deleted, order, problems: [] } };
      const checked = await engine.recordEnded(again.tx, operation, result);
      again.audit({ action, workspace, resource: of, operationId: id, details: { ...details, check_mode: true } });
      again.afterCommit(checked.afterCommit);
      return { body: checked.json, location };
    });
  }
  const { done } = acceptance;
  const submitted =
    done === undefined ? await engine.submit(tx, operation) : await engine.recordEnded(tx, operation, done);
  if (!operation.checkMode) await noteUse(engine, { tx, afterCommit }, workspace);
  audit({ action, workspace, resource: of, operationId: id, ...(details === undefined ? {} : { details }) });
  afterCommit(submitted.afterCommit);
  return { id, body: submitted.json, location };
}
