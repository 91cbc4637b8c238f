import type { FastifyReply } from 'fastify';
import { isPermitted, type Principal, requirePermission } from '../auth/permissions.ts';
import { uuidv7 } from '../database/uuid.ts';
import { errors } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import type { Services } from '../http/section.ts';
import { isFinal } from '../operations/events.ts';
import { isUuid } from '../operations/schemas.ts';
import { type OperationServices, untilEnded } from '../operations/service.ts';
import { readOperation } from '../operations/store.ts';
import { requireWorkspace, touchWorkspace } from '../workspaces/service.ts';
import type { JsonObject } from './json.ts';
import type { PreparedWorkflow } from './prepare.ts';
import { authorityOf } from './running/authority.ts';
import { insertRun, type NewNode, type Snapshot } from './running/store.ts';
import { findWorkflow, type WorkflowRecord } from './store.ts';

/** How long the answer to a cancel waits for the end. */
const CANCEL_WAIT_MS = 5_000;

/** Accepts a workflow: its operation, its graph and the start of its procedure commit together. */
export async function submitWorkflow(
  services: Pick<Services, 'engine'>,
  mutation: Mutation,
  workspace: string,
  prepared: PreparedWorkflow,
): Promise<Answer> {
  await requireWorkspace(mutation.tx, mutation.principal, 'workflow_submit', workspace);
  const { plan } = prepared;
  const nodes = plan.nodes.map(
    (node) => ({ ...node, status: node.skipped ? 'skipped' : 'waiting', operationId: null }) as NewNode,
  );
  return startRun(services, mutation, workspace, snapshotOf(prepared, mutation.principal), nodes, null);
}

/** What a run keeps of a workflow. */
function snapshotOf({ type, definition, plan, settings }: PreparedWorkflow, principal: Principal): Snapshot {
  return {
    type,
    parameters: plan.parameters,
    definition: definition.fields as unknown as JsonObject,
    nested: Object.fromEntries([...plan.nested].map(([name, { fields }]) => [name, fields as unknown as JsonObject])),
    steps: plan.steps,
    edges: plan.edges,
    outputs: plan.outputs,
    settings: plan.settings,
    workspaceSettings: settings as JsonObject,
    authority: authorityOf(principal),
  };
}

async function startRun(
  services: Pick<Services, 'engine'>,
  mutation: Mutation,
  workspace: string,
  run: Snapshot,
  nodes: NewNode[],
  retryOf: string | null,
): Promise<Answer> {
  const { tx, principal } = mutation;
  const id = uuidv7();
  const { json, afterCommit } = await services.engine.submit(tx, {
    id,
    kind: 'workflow.run',
    workspace,
    resource: `workflow:${id}`,
    parentId: mutation.parentId,
    input: { workflow_id: id, workflow_type: run.type },
    createdBy: principal.name,
  });
  await insertRun(tx, id, run, nodes, retryOf);
  await touchWorkspace(tx, workspace);
  mutation.audit({
    action: 'workflow.submit',
    workspace,
    resource: `workflow:${id}`,
    operationId: id,
    details: { workflow_type: run.type, nodes: nodes.length, ...(retryOf === null ? {} : { retry_of: retryOf }) },
  });
  mutation.afterCommit(afterCommit);
  return { body: json, location: `/v1/operations/${id}` };
}

/** The workflow, if the caller may know of it. @throws 404 otherwise. */
export async function getWorkflow(
  services: Pick<Services, 'db'>,
  principal: Principal,
  id: string,
): Promise<WorkflowRecord> {
  const workflow = isUuid(id) ? await findWorkflow(services.db, id) : null;
  if (workflow === null || !isPermitted(principal, 'workflow_read', workflow.workspace))
    throw errors.notFound('workflow', id);
  return workflow;
}

/**
 * Asks a workflow to stop: its children stop first, then it ends. The answer waits a little for that and tells how it
 * stands then. @throws 404, 403, or 409 when it has already ended.
 */
export async function cancelWorkflow(
  services: OperationServices,
  { tx, principal, audit, afterCommit }: Mutation,
  reply: FastifyReply,
  id: string,
): Promise<Answer> {
  const workflow = await getWorkflow(services, principal, id);
  requirePermission(principal, 'workflow_cancel', {
    what: 'workflow',
    id,
    workspace: workflow.workspace,
    createdBy: workflow.createdBy,
    read: 'workflow_read',
  });
  const cancel = await services.engine.requestCancel(tx, workflow.id, principal.name);
  const now = await readOperation(tx, workflow.id);
  if (now === null) throw errors.notFound('workflow', id);
  if (!cancel.accepted) throw errors.operationEnded(workflow.id, now.status);
  audit({
    action: 'workflow.cancel',
    workspace: workflow.workspace,
    resource: `workflow:${workflow.id}`,
    operationId: workflow.id,
  });
  afterCommit(cancel.afterCommit);
  if (isFinal(now.status)) return { body: now.json };
  return {
    body: now.json,
    afterCommitAnswer: async () => {
      await untilEnded(services, reply, workflow.id, CANCEL_WAIT_MS);
      return (await readOperation(services.db, workflow.id))?.json ?? now.json;
    },
  };
}
