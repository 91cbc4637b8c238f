import type { Queryable } from '../../database/pool.ts';
import type { Json, JsonObject } from '../../documents/json.ts';
import { ApplicationError } from '../../errors.ts';
import type { Budget } from '../../evaluation/pool.ts';
import { insertAudit, mutateUnasked, UNASKED } from '../../http/mutation.ts';
import { takesRoom as kindTakesRoom } from '../../limits/under-way.ts';
import { lockWorkspaceRoom } from '../../limits/workspace-room.ts';
import { PROTECTED } from '../../operations/protection.ts';
import { workspaceDirectory } from '../../workspaces/service.ts';
import { renderFields } from '../evaluation.ts';
import type { NodeRequest } from '../kinds/kind.ts';
import type { Kind } from '../kinds/plain-rules.ts';
import { rulesOf } from '../kinds/rules.ts';
import type { PreparedWorkflow } from '../prepare.ts';
import { secretFieldsIn } from '../secrets/fields.ts';
import { type Given, referencedIn, sealFields } from '../secrets/given.ts';
import { insertGiven } from '../secrets/store.ts';
import { type Acting, actingFor, requireStillPermitted } from './authority.ts';
import type { RunContext } from './context.ts';
import { handlerOf, prepareNode, type Runtime } from './runtime.ts';
import type { NodeState } from './scheduler.ts';
import type { StartGuard } from './start-guard.ts';
import { claimNodes, type NodeInput, readInputs, type Snapshot, setOperations } from './store.ts';

/** Nodes submitted in one transaction. */
const BATCH = 25;

/** A node that could not be submitted. */
export interface Refusal {
  node: NodeState;
  message: string;
  /** Of the error that it was refused with. */
  code: string;
  /** A later try may succeed. */
  retryable: boolean;
}

/** Carries one node's refusal out of the transaction that it ends. */
class NodeRefused extends Error {
  override readonly name = 'NodeRefused';
  readonly position: number;
  readonly code: string;
  readonly retryable: boolean;
  /** For want of a permission. */
  readonly denied: boolean;
  constructor(
    position: number,
    { code, message, retryable, denied }: { code: string; message: string; retryable: boolean; denied: boolean },
  ) {
    super(message);
    this.position = position;
    this.code = code;
    this.retryable = retryable;
    this.denied = denied;
  }
}

/** Ends a transaction that has made more operations than there is room for. */
class NoRoom extends Error {
  override readonly name = 'NoRoom';
  /** For how many there is. */
  readonly left: number;
  constructor(left: number, reason: string) {
    super(reason);
    this.left = left;
  }
}

export interface SubmitOptions {
  runtime: Runtime;
  workflowId: string;
  workspace: string;
  run: Snapshot;
  context: RunContext;
  budget: Budget;
  starts: StartGuard;
  /** Throws when nothing may be started any more. */
  guard: () => void;
  /** Called for each operation before it can begin. */
  onOperation: (operationId: string) => void;
}

/**
 * Makes operations of nodes, many in one transaction: the nodes' rows say that they run and with which operation when
 * the operations exist, and not otherwise.
 * @returns the operation of each node that was submitted; the others are refused, held until there is room for them, or
 * taken by nobody yet.
 */
export async function submitNodes(options: SubmitOptions, nodes: readonly NodeState[]): Promise<Submission> {
  const submission: Submission = { submitted: new Map(), refused: [], held: [], full: null };
  for (let start = 0; start < nodes.length; start += BATCH) {
    let batch = nodes.slice(start, start + BATCH);
    if (submission.full !== null) submission.held.push(...batch.filter(takesRoom));
    if (submission.full !== null) batch = batch.filter((node) => !takesRoom(node));
    while (batch.length > 0) {
      options.guard();
      try {
        const { made, held, full } = await submitBatch(options, batch);
        for (const [node, operation] of made) submission.submitted.set(node, operation);
        submission.held.push(...held);
        submission.full ??= full;
        await options.starts.after();
        break;
      } catch (error) {
        if (!(error instanceof NodeRefused)) throw error;
        const { position, message, code, retryable } = error;
        const node = batch.find((candidate) => candidate.position === position);
        if (node === undefined) throw error;
        if (error.denied) await recordDenial(options, node, error);
        submission.refused.push({ node, message, code, retryable });
        batch = batch.filter((candidate) => candidate !== node);
      }
    }
  }
  return submission;
}

/** What became of nodes that were to be submitted. */
export interface Submission {
  submitted: Map<NodeState, { operationId: string; attempt: number }>;
  refused: Refusal[];
  /** There is no room for them among the operations under way. */
  held: NodeState[];
  /** What leaves no room; null: nothing does. */
  full: string | null;
}

/** A nested workflow does nothing itself: where its nodes have no room it waits for them. */
function takesRoom({ step }: NodeState): boolean {
  return step.planned.kind !== 'workflow' && kindTakesRoom(step.planned.kind);
}

/** As a refused request leaves a line in the audit log, so does a refused node. */
async function recordDenial(
  { runtime, workflowId, workspace, run }: SubmitOptions,
  { key, step }: NodeState,
  { code, message }: NodeRefused,
): Promise<void> {
  await insertAudit(runtime.services.db, UNASKED, `${run.authority.name} (workflow ${workflowId})`, 'denied', {
    ...{ action: step.planned.kind, workspace, resource: `workflow:${workflowId}` },
    details: { step: key, code, message },
  });
}

/** A node ready to be submitted. */
interface Ready {
  node: NodeState;
  request: NodeRequest;
  prepared: unknown;
  /** What its row is told of its fields, which were not known before; null: it says so already. */
  rendered: JsonObject | null;
  /** What secrets of the run `rendered` refers to that may be new. */
  given: Given;
}

/** Leaves out the nodes that have no room among the operations under way. */
function fit(
  nodes: readonly NodeState[],
  { left, reason }: { left: number; reason: string },
): { fitting: readonly NodeState[] } & Pick<Submission, 'held' | 'full'> {
  const held = nodes.filter(takesRoom).slice(left);
  if (held.length === 0) return { fitting: nodes, held, full: null };
  return { fitting: nodes.filter((node) => !held.includes(node)), held, full: reason };
}

async function submitBatch(
  options: SubmitOptions,
  all: readonly NodeState[],
): Promise<{ made: Submission['submitted'] } & Pick<Submission, 'held' | 'full'>> {
  const { runtime, workflowId, run, workspace } = options;
  const { config, limits } = runtime.services;
  const place = { userId: run.authority.userId, workspace };
  // Nothing is evaluated for those that are going to wait.
  const { fitting: batch, ...waiting } = fit(all, await limits.operations.room(place, all.filter(takesRoom).length));
  if (batch.length === 0) return { made: new Map(), ...waiting };
  const acting = (db: Queryable) => actingFor({ db, config }, run.authority, `workflow ${workflowId}`);
  const before = await acting(runtime.services.db);
  const inputs = await readInputs(
    runtime.services.db,
    workflowId,
    batch.map(({ position }) => position),
  );
  const ready = new Map<number, Ready>();
  // Nothing is evaluated for those who may no longer have it carried out.
  for (const { position, step } of batch) {
    await refusing(position, async () =>
      requireStillPermitted(before, neededFor(step.planned.kind), options.workspace),
    );
  }
  await options.starts.before();
  const rendered = await renderBatch(options, batch, inputs);
  for (const node of batch) {
    const input = inputs.get(node.position);
    if (input === undefined) continue;
    const fields = input.fields ?? rendered.get(node.position);
    if (fields === undefined) throw new Error(`${node.key} of workflow ${workflowId} was not rendered`);
    ready.set(node.position, await makeReady(options, before, node, fields, input.fields === null));
  }
  const commit = (nodes: readonly NodeState[]) =>
    mutateUnasked(runtime.services.db, before.principal, workflowId, async (transaction) => {
      // Before any server: in this order requests lock them as well.
      if (nodes.some(({ step }) => step.planned.kind.startsWith('server.'))) {
        await lockWorkspaceRoom(transaction.tx, workspace);
      }
      // Asked again: what a node prepares may take a while.
      const now = await acting(transaction.tx);
      const mutation = { ...transaction, principal: now.principal };
      const made = new Map<NodeState, { operationId: string; attempt: number }>();
      const rows: Parameters<typeof setOperations>[2][number][] = [];
      const claimed = await claimNodes(mutation.tx, workflowId, nodes);
      const gathering = runtime.services.engine.gather();
      const engine = { ...runtime.services.engine, submit: gathering.submit };
      const gathered = { ...runtime.services, engine };
      for (const { position, attempt } of claimed.sort((a, b) => a.position - b.position)) {
        const one = ready.get(position);
        if (one === undefined) throw new Error(`node ${position} of workflow ${workflowId} is gone`);
        const handler = handlerOf(runtime, one.request.kind);
        const { id: operationId } = await refusing(position, async () => {
          requireStillPermitted(now, neededFor(one.request.kind), options.workspace);
          const services = handler.gathers === true ? gathered : runtime.services;
          return handler.accept(services, mutation, one.request, one.prepared);
        });
        rows.push({ position, operationId, fields: one.rendered });
        await insertGiven(mutation.tx, runtime.services.encryption, workflowId, one.given);
        made.set(one.node, { operationId, attempt });
        options.onOperation(operationId);
      }
      await gathering.flush(mutation.tx);
      await setOperations(mutation.tx, workflowId, rows);
      const takers = [...made.keys()].filter(takesRoom).length;
      const { left, reason } = await limits.operations.roomFor(mutation.tx, place, takers);
      if (left < takers) throw new NoRoom(left, reason);
      return made;
    });
  for (let nodes: readonly NodeState[] = batch; ; ) {
    try {
      return { made: nodes.length === 0 ? new Map() : await commit(nodes), ...waiting };
    } catch (error) {
      if (!(error instanceof NoRoom)) throw error;
      const { fitting, held } = fit(nodes, { left: error.left, reason: error.message });
      nodes = fitting;
      waiting.held = [...waiting.held, ...held];
      waiting.full ??= error.message;
    }
  }
}

async function makeReady(
  options: SubmitOptions,
  acting: Acting,
  node: NodeState,
  fields: JsonObject,
  rendered: boolean,
): Promise<Ready> {
  const { runtime, workflowId, workspace, run, budget } = options;
  const { kind } = node.step.planned;
  const { key, position } = node;
  const request = { workflowId, position, key, workspace, kind, fields, secretNames: [], run, budget };
  const prepared = await refusing(position, async () => prepareNode(runtime, acting.principal, request));
  if (!rendered) return { node, request, prepared, rendered: null, given: new Map() };
  const stored = await withoutSecrets(runtime.services, workspace, kind, fields, prepared);
  return { node, request, prepared, rendered: stored.fields, given: stored.given };
}

/** A node's fields as they are stored: with references in the place of secrets that became known when they were rendered. */
async function withoutSecrets(
  { db }: Runtime['services'],
  workspace: string,
  kind: Kind,
  fields: JsonObject,
  prepared: unknown,
): Promise<{ fields: JsonObject; given: Given }> {
  if (kind === 'workflow' && fields.parameters !== undefined) {
    const { parameters, given } = prepared as PreparedWorkflow;
    return { fields: { ...fields, parameters }, given: referencedIn(parameters, given) };
  }
  if (rulesOf(kind).secrets !== 'config') return { fields, given: new Map() };
  const directory = await workspaceDirectory(db, workspace);
  const given = new Map<string, Json>();
  const secretFields = await secretFieldsIn(db, { name: workspace, directory }, [fields]);
  return { fields: sealFields(fields, secretFields, given), given };
}

/** Whoever may no longer submit workflows has no node of one carried out. */
function neededFor(kind: Kind) {
  return ['workflow_submit', rulesOf(kind).permission] as const;
}

/** By position the fields of nodes that were not known when they were planned, now that all they read is. */
async function renderBatch(
  options: SubmitOptions,
  batch: readonly NodeState[],
  inputs: ReadonlyMap<number, NodeInput>,
): Promise<Map<number, JsonObject>> {
  const found = new Map<number, JsonObject>();
  const unknown = batch.filter(({ position }) => inputs.get(position)?.fields === null);
  for (const [{ planned }, nodes] of Map.groupBy(unknown, ({ step }) => step)) {
    const { run, context, budget } = options;
    const [first] = nodes;
    const made = await refusing(first?.position ?? 0, async () =>
      renderFields(
        {
          ...planned,
          context: await context.for(planned.with),
          defaults: run.workspaceSettings,
          nodes: nodes.map(({ key, position }) => {
            const { item = null, index = 0 } = inputs.get(position) ?? {};
            return { key, item, index };
          }),
        },
        budget,
      ),
    );
    for (const [n, node] of nodes.entries()) {
      const one = made[n];
      if (one !== undefined && 'value' in one) found.set(node.position, one.value);
      else {
        const message = one?.problem ?? 'it was not rendered';
        throw new NodeRefused(node.position, { code: 'VALIDATION_ERROR', message, retryable: false, denied: false });
      }
    }
  }
  return found;
}

/** What speaks against one node is that node's failure, not the workflow's. */
async function refusing<T>(position: number, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ApplicationError)) throw error;
    const { code, message, denied, status } = error;
    const retryable = error.retryable || (status === 409 && code !== PROTECTED);
    throw new NodeRefused(position, { code, message, denied, retryable });
  }
}
