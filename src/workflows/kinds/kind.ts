import type { Principal } from '../../auth/permissions.ts';
import type { OperationStatus } from '../../database/tables.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import type { Accepted } from '../../operations/accept.ts';
import type { JsonObject } from '../json.ts';
import type { Snapshot } from '../running/store.ts';
import type { Kind } from './rules.ts';

/** A node that is to become an operation. */
export interface NodeRequest {
  workflowId: string;
  position: number;
  key: string;
  workspace: string;
  kind: Kind;
  fields: JsonObject;
  run: Pick<Snapshot, 'nested' | 'workspaceSettings' | 'authority'>;
}

/** A node's operation that has ended, as undoing it sees it. */
export interface Deed {
  operationId: string;
  status: Extract<OperationStatus, 'completed' | 'failed' | 'cancelled'>;
  /** What the operation was given, and what it brought about. */
  input: JsonObject;
  result: JsonObject;
  /** The node's own fields. */
  fields: JsonObject;
  /** It did not complete, and the operation that was to tidy up after it failed as well. */
  leftover: boolean;
}

/** How a deed is undone. */
export type Undo =
  /** Nothing is left of it. */
  | { how: 'nothing' }
  /** It cannot be undone. */
  | { how: 'keep'; why: string }
  /** By the operation of another node. */
  | { how: 'node'; kind: Kind; fields: JsonObject }
  /** By the rollback of the workflow that it was. */
  | { how: 'rollback'; workflowId: string };

/** What makes a kind of node: how it becomes an operation, and how what it did is undone. */
export interface KindWork {
  /**
   * What has to be asked or read before the transaction, because it leaves the database.
   * @throws ApplicationError where the node cannot be submitted.
   */
  prepare?(services: Services, principal: Principal, node: NodeRequest): Promise<unknown>;
  /** Submits the operation in the caller's transaction. @throws ApplicationError. */
  submit(services: Services, mutation: Mutation, node: NodeRequest, prepared: unknown): Promise<Accepted>;
  /**
   * Nothing that `submit` writes refers to the operation's row, and no other operation can hold what it changes: it may be
   * stored later in the same transaction, with others.
   */
  gathers?: true;
  /** Absent: there is nothing to undo. Not asked where an operation of its own has tidied up after a failure. */
  undo?(deed: Deed): Undo;
}
