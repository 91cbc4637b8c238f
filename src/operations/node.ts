/** What a kind of operation is in a workflow's graph. */
import type { TSchema } from 'typebox';
import type { Permission, Principal } from '../access/permissions.ts';
import type { Queryable } from '../database/pool.ts';
import type { OperationStatus } from '../database/tables.ts';
import type { JsonObject } from '../documents/json.ts';
import type { FieldProblem } from '../errors.ts';
import type { Budget } from '../evaluation/pool.ts';
import type { Mutation } from '../http/mutation.ts';
import type { Services } from '../http/section.ts';
import type { Accepted } from './accept.ts';

/** A node that is to become an operation. */
export interface NodeRequest {
  workflowId: string;
  position: number;
  key: string;
  workspace: string;
  fields: JsonObject;
  /** Names of the fields within `secrets` that held a reference to a secret, which `fields` has opened. */
  secretNames: readonly string[];
  /** What evaluating may still cost: of the run that the node belongs to. */
  budget: Budget;
}

/** A node's operation that has ended, as undoing it sees it. */
export interface NodeOutcome {
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

/** How a node is undone. */
export type NodeUndo =
  /** Nothing is left of it. */
  | { how: 'nothing' }
  /** It cannot be undone. */
  | { how: 'keep'; why: string }
  /** By the operation of another node. `keep`, asked in its transaction: why it is kept all the same; null: it is not. */
  | { how: 'node'; kind: string; fields: JsonObject; keep?(tx: Queryable): Promise<string | null> }
  /** By the rollback of the workflow that it was. */
  | { how: 'rollback'; workflowId: string };

/** What a kind changes that is there already: whether the submitter may is asked before the workflow is accepted. */
export interface NodeTarget {
  what: 'server' | 'taskserv';
  permission: Permission;
  /** Field of `with` that names it: by id or by name, one or a list. */
  field: string;
}

/** What a question has besides the fields of the node. */
export interface QuestionContext {
  principal: Principal;
  budget: Budget;
  /** What `read` answered the first time that any question of this request asked under this name. */
  once<T>(name: string, read: () => Promise<T>): Promise<T>;
  /**
   * Texts of the right form in the place of secrets, which do not exist yet or are not to be opened now.
   * @throws ApplicationError where a secret is not the caller's to use.
   */
  withSamples(fields: JsonObject): Promise<SampledFields>;
}

export interface SampledFields {
  fields: JsonObject;
  /** Names of the fields that refer to a secret. */
  secretNames: string[];
  /** References to what there is not. */
  unknown: { name: string; message: string }[];
  /** Whether the value of that field is known only when it is opened, so that nothing can be said against it now. */
  opensLater(name: string): boolean;
}

/** What a provider or the catalog is asked before a workflow is accepted. */
interface NodeQuestion {
  /** Fields that the answer depends on: not asked where one of them is still to come. */
  from: readonly string[];
  /** Null: nobody can tell now, which does not stop the workflow from being accepted. */
  ask(
    services: Services,
    workspace: string,
    fields: JsonObject,
    asking: QuestionContext,
  ): Promise<FieldProblem[] | null>;
  /** Of whom it is asked: who could not answer one question is asked no further one. */
  askedOf?(fields: JsonObject): string;
}

/** What is known of a kind of node before anything runs. */
export interface NodeRules {
  /** What definitions of workflows call it. Default: the operation's kind. */
  name?: string;
  /** Schema of `with`. */
  with: TSchema;
  /** What the submitter must be permitted to do in the workspace; null: nothing beyond submitting workflows. */
  permission: Permission | null;
  /** Fields that the workspace's defaults fill in. */
  defaults?: readonly ('provider' | 'plan' | 'zone')[];
  /** Two nodes of one workflow must not have the same value here. */
  unique?: string;
  target?: NodeTarget;
  question?: NodeQuestion;
  /** For a kind that makes a server: which one, to tell what it costs. */
  price?(fields: JsonObject): { provider: string; plan: string; zone: string };
  /** The field whose values may be references to secrets: `prepare` gets them opened, and must not store them open. */
  secrets?: string;
}

/** How a kind of node is carried out and undone. */
export interface NodeKind<Request extends NodeRequest = NodeRequest> extends NodeRules {
  /**
   * What has to be asked or read before the transaction, because it leaves the database.
   * @throws ApplicationError where the node cannot be submitted.
   */
  prepare?(services: Services, principal: Principal, node: Request): Promise<unknown>;
  /** Accepts the operation in the caller's transaction. @throws ApplicationError. */
  accept(services: Services, mutation: Mutation, node: Request, prepared: unknown): Promise<Accepted>;
  /**
   * Nothing that `accept` writes refers to the operation's row, and no other operation can hold what it changes: it may be
   * stored later in the same transaction, with others.
   */
  gathers?: true;
  /** Absent: there is nothing to undo. Not asked where an operation of its own has tidied up after a failure. */
  undo?(outcome: NodeOutcome): NodeUndo;
}
