import { ApplicationError } from '../../errors.ts';
import { render, TemplateError } from '../expressions/template.ts';
import type { JsonObject } from '../json.ts';
import { pathText } from '../json.ts';
import { checkWith } from '../kinds/check.ts';
import { submitNode } from '../kinds/registry.ts';
import { withDefaults } from '../kinds/rules.ts';
import { createProblems } from '../problems.ts';
import { principalFor } from './authority.ts';
import type { RunContext } from './context.ts';
import { type Runtime, submitTogether } from './runtime.ts';
import type { NodeState } from './scheduler.ts';
import { type ClaimedNode, claimNodes, type Snapshot, setOperations } from './store.ts';

/** Nodes submitted in one transaction. */
const BATCH = 25;

/** A node that could not be submitted. */
export interface Refusal {
  node: NodeState;
  message: string;
  /** A later try may succeed. */
  retryable: boolean;
}

/** Carries one node's refusal out of the transaction that it ends. */
class NodeRefused extends Error {
  override readonly name = 'NodeRefused';
  readonly position: number;
  readonly retryable: boolean;
  constructor(position: number, message: string, retryable: boolean) {
    super(message);
    this.position = position;
    this.retryable = retryable;
  }
}

export interface SubmitOptions {
  runtime: Runtime;
  workflowId: string;
  workspace: string;
  run: Snapshot;
  context: RunContext;
  /** Throws when nothing may be started any more. */
  guard: () => void;
  /** Called for each operation before it can begin. */
  onOperation: (operationId: string) => void;
}

/**
 * Makes operations of nodes, many in one transaction: the nodes' rows say that they run and with which operation when
 * the operations exist, and not otherwise.
 * @returns the operation of each node that was submitted; the others are refused, or taken by nobody yet.
 */
export async function submitNodes(
  options: SubmitOptions,
  nodes: readonly NodeState[],
): Promise<{ submitted: Map<NodeState, { operationId: string; attempt: number }>; refused: Refusal[] }> {
  const submitted = new Map<NodeState, { operationId: string; attempt: number }>();
  const refused: Refusal[] = [];
  for (let start = 0; start < nodes.length; start += BATCH) {
    let batch = nodes.slice(start, start + BATCH);
    while (batch.length > 0) {
      options.guard();
      try {
        for (const [node, made] of await submitBatch(options, batch)) submitted.set(node, made);
        break;
      } catch (error) {
        if (!(error instanceof NodeRefused)) throw error;
        const { position, message, retryable } = error;
        const node = batch.find((candidate) => candidate.position === position);
        if (node === undefined) throw error;
        refused.push({ node, message, retryable });
        batch = batch.filter((candidate) => candidate !== node);
      }
    }
  }
  return { submitted, refused };
}

async function submitBatch(options: SubmitOptions, batch: readonly NodeState[]) {
  const { runtime, workflowId, run, workspace } = options;
  const byPosition = new Map(batch.map((node) => [node.position, node]));
  return submitTogether(runtime, principalFor(run.authority, workflowId), workflowId, async (mutation) => {
    const made = new Map<NodeState, { operationId: string; attempt: number }>();
    const rows: Parameters<typeof setOperations>[2][number][] = [];
    const claimed = await claimNodes(mutation.tx, workflowId, batch);
    for (const claim of claimed.sort((a, b) => a.position - b.position)) {
      const node = byPosition.get(claim.position);
      if (node === undefined) continue;
      const fields = claim.fields ?? (await renderFields(options, node, claim));
      const { kind } = node.step.planned;
      const { key, position } = node;
      const operationId = await refusing(position, () =>
        submitNode(runtime.services, mutation, { workflowId, position, key, workspace, kind, fields, run }),
      );
      rows.push({ position, operationId, fields: claim.fields === null ? fields : null });
      made.set(node, { operationId, attempt: claim.attempt });
      options.onOperation(operationId);
    }
    await setOperations(mutation.tx, workflowId, rows);
    return made;
  });
}

/** A node's fields, now that everything they read is known. */
async function renderFields({ context, run }: SubmitOptions, node: NodeState, claim: ClaimedNode): Promise<JsonObject> {
  const { planned } = node.step;
  const known = await context.for(planned.with);
  return refusing(node.position, async () => {
    const rendered = render(planned.with, planned.many ? { ...known, item: claim.item, index: claim.index } : known);
    const fields = withDefaults(planned.kind, rendered as JsonObject, run.workspaceSettings);
    const problems = createProblems();
    checkWith(planned.kind, fields, new Set(), ['with'], problems);
    const [problem] = problems.list;
    if (problem !== undefined) throw new NodeRefused(node.position, `${problem.field} ${problem.message}`, false);
    return fields;
  });
}

/** What speaks against one node is that node's failure, not the workflow's. */
async function refusing<T>(position: number, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof TemplateError)
      throw new NodeRefused(position, `${pathText(['with', ...error.path])}: ${error.message}`, false);
    if (!(error instanceof ApplicationError)) throw error;
    throw new NodeRefused(position, error.message, error.retryable || error.status === 409);
  }
}
