import type { FastifyReply } from 'fastify';
import { authorityOfRun } from '../access/authority.ts';
import { isPermitted, isPermittedOverOthers, type Principal } from '../access/permissions.ts';
import { uuidv7 } from '../database/uuid.ts';
import { isObject, type JsonObject } from '../documents/json.ts';
import { errors } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import type { Services } from '../http/section.ts';
import { type Accepted, accept, type ChangePlan } from '../operations/accept.ts';
import { isFinal } from '../operations/events.ts';
import { isUuid } from '../operations/schemas.ts';
import { type OperationServices, untilEnded } from '../operations/service.ts';
import { readOperation } from '../operations/store.ts';
import { generateSecret } from '../util/secret-pattern.ts';
import { requireWorkspace, workspaceDirectory } from '../workspaces/service.ts';
import { readWorkspaceSettings } from '../workspaces/settings.ts';
import { patternOf } from './definition/secrets.ts';
import { rulesOf } from './kinds/rules.ts';
import { nodeCount, type PreparedWorkflow, requireNodes } from './prepare.ts';
import {
  decide,
  insertRun,
  type NewNode,
  readForRetry,
  readNode,
  readRun,
  type Snapshot,
  setRetriedBy,
} from './running/store.ts';
import { insertGiven, insertSecrets, readSecrets } from './secrets/store.ts';
import { lockPermitted, requireVisible } from './service-rollback.ts';
import { countNodesAround, findWorkflow, holderOfWorkflow, type WorkflowRecord } from './store.ts';

/** How long the answer to a cancel waits for the end. */
const CANCEL_WAIT_MS = 5_000;

/** Accepts a workflow: its operation, its graph and the start of its procedure commit together. */
export async function submitWorkflow(
  services: Pick<Services, 'engine' | 'encryption' | 'limits'>,
  mutation: Mutation,
  workspace: string,
  prepared: PreparedWorkflow,
): Promise<Accepted> {
  await requireWorkspace(mutation.tx, mutation.principal, 'workflow_submit', workspace);
  const { plan } = prepared;
  if (mutation.parentId !== null) {
    // Its plan may hold more than was known when the outermost one was submitted.
    requireNodes(services, (await countNodesAround(mutation.tx, mutation.parentId)) + nodeCount(prepared));
  }
  const nodes = plan.nodes.map(
    (node) => ({ ...node, status: node.skipped ? 'skipped' : 'waiting', operationId: null }) as NewNode,
  );
  const answer = await startRun(services, mutation, workspace, snapshotOf(prepared, mutation.principal), nodes, null);
  const { fields } = prepared.definition;
  const secrets = Object.keys(fields.secrets ?? {}).map(
    (name) => [name, generateSecret(patternOf(fields, name))] as const,
  );
  await insertSecrets(mutation.tx, services.encryption, answer.id, new Map(secrets));
  await insertGiven(mutation.tx, services.encryption, answer.id, prepared.given);
  return answer;
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
    authority: authorityOfRun(principal),
  };
}

async function startRun(
  services: Pick<Services, 'engine' | 'limits'>,
  mutation: Mutation,
  workspace: string,
  run: Snapshot,
  nodes: NewNode[],
  retryOf: string | null,
): Promise<Accepted> {
  const id = uuidv7();
  const workflowType = run.type ?? 'workflow';
  const accepted = await accept(services, mutation, {
    id,
    kind: 'workflow.run',
    title: retryOf === null ? `Run ${workflowType}` : `Run ${workflowType} again`,
    workspace,
    resource: `workflow:${id}`,
    input: { workflow_id: id, workflow_type: run.type },
    audit: {
      action: 'workflow.submit',
      details: { workflow_type: run.type, nodes: nodes.length, ...(retryOf === null ? {} : { retry_of: retryOf }) },
    },
    plan: planOf(run, nodes),
  });
  await insertRun(mutation.tx, id, run, nodes, retryOf);
  return accepted;
}

/** For a check: what each node that has not been done would do. */
function planOf({ steps }: Snapshot, nodes: readonly NewNode[]): ChangePlan {
  const kinds = new Map(steps.map(({ id, kind }) => [id, kind]));
  const coming = nodes.filter(({ status }) => status === 'waiting');
  return {
    create: coming.map(({ key, step }) => ({ type: 'node', node: key, kind: kinds.get(step) ?? null })),
    order: coming.map(({ key, step }) => `${kinds.get(step)} ${key}`),
  };
}

/** The workflow, if the caller may know of it. @throws 404 otherwise. */
export async function getWorkflow(
  services: Pick<Services, 'db'>,
  principal: Principal,
  id: string,
): Promise<WorkflowRecord> {
  return requireVisible(principal, isUuid(id) ? await findWorkflow(services.db, id) : null, id);
}

/**
 * Asks a workflow to stop: its children stop first, then it ends. The answer waits a little for that and tells how it
 * stands then. @throws 404, 403, or 409 when it has already ended.
 */
export async function cancelWorkflow(
  services: OperationServices,
  mutation: Mutation,
  reply: FastifyReply,
  id: string,
): Promise<Answer> {
  const { tx, principal, audit, afterCommit } = mutation;
  const workflow = await lockPermitted(mutation, id, 'workflow_cancel');
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

/**
 * Runs again what failed or never ran, as a further run from the same snapshot: what completed is taken over.
 * @throws 404, 403, 409 while it runs or is being undone, where it completed, and where it has been retried already.
 */
export async function retryWorkflow(services: Services, mutation: Mutation, id: string): Promise<Accepted> {
  const { tx, principal } = mutation;
  const workflow = await lockPermitted(mutation, id, 'workflow_submit');
  const holder = await holderOfWorkflow(tx, workflow.id);
  if (holder !== null) throw errors.resourceBusy(`Workflow ${id}`, holder.id, holder.kind);
  if (!isFinal(workflow.status))
    throw errors.conflict(`Workflow ${id} is still ${workflow.status}. Wait until it ends, or cancel it first.`, {
      status: workflow.status,
    });
  if (workflow.retriedBy !== null) {
    throw errors.conflict(`Workflow ${id} was already retried as ${workflow.retriedBy}.`, {
      retried_by: workflow.retriedBy,
    });
  }
  const read = await readRun(tx, workflow.id);
  if (read === null) throw errors.notFound('workflow', id);
  const nodes = await readForRetry(tx, workflow.id);
  const again = nodes.filter(({ status }) => status === 'waiting').length;
  if (again === 0) throw errors.conflict(`All nodes of workflow ${id} have completed. There is nothing to retry.`);
  for (const kind of new Set(read.run.steps.map((step) => step.kind))) {
    const { permission } = rulesOf(kind);
    if (permission === null || isPermitted(principal, permission, workflow.workspace)) continue;
    throw errors.forbidden(permission, workflow.workspace);
  }
  const secrets = await readSecrets(tx, services.encryption, workflow.id);
  // They would go to whatever bears those names now, which may be the caller's own.
  const mayUse =
    workflow.ownerId === principal.userId || isPermittedOverOthers(principal, 'secret_read', workflow.workspace);
  if (secrets.size > 0 && !mayUse) throw errors.notYours(`workflow ${id}, which has secrets,`);
  const run = { ...read.run, authority: authorityOfRun(principal) };
  const answer = await startRun(services, mutation, workflow.workspace, run, nodes, workflow.id);
  await insertSecrets(tx, services.encryption, answer.id, secrets);
  await setRetriedBy(tx, workflow.id, answer.id);
  return answer;
}

/**
 * Approves a node that waits for it, or rejects it: then it fails.
 * @throws 404, 409 where it does not wait, 403 for the submitter where the workspace does not let them approve themselves.
 */
export async function approveStep(
  services: Services,
  { tx, principal, audit, afterCommit }: Mutation,
  id: string,
  key: string,
  { approve = true, comment = null }: { approve?: boolean; comment?: string | null },
): Promise<Answer> {
  const workflow = requireVisible(principal, isUuid(id) ? await findWorkflow(tx, id) : null, id);
  if (!isPermitted(principal, 'workflow_approve', workflow.workspace))
    throw errors.forbidden('workflow_approve', workflow.workspace);
  const node = await readNode(tx, workflow.id, key);
  if (node === null || node.kind !== 'approval') throw errors.notFound(`approval in workflow ${id}`, key);
  if (workflow.ownerId === principal.userId && !(await maySelfApprove(tx, workflow.workspace)))
    throw errors.ownApproval(workflow.workspace);
  const decision = { approved: approve, by: principal.name, at: new Date().toISOString(), comment };
  const operationId = await decide(tx, workflow.id, key, decision);
  if (operationId === null) {
    const how =
      node.decision === null
        ? node.status
        : `${node.decision.approved ? 'approved' : 'rejected'} by ${node.decision.by}`;
    throw errors.conflict(`"${key}" is not waiting for approval: it is ${how}.`, { status: node.status });
  }
  audit({
    action: approve ? 'workflow.approve' : 'workflow.reject',
    workspace: workflow.workspace,
    resource: `workflow:${workflow.id}`,
    operationId,
    details: { step: key, comment },
  });
  afterCommit(() => services.engine.signals.operationsChanged([operationId]));
  return { body: (await readOperation(tx, operationId))?.json ?? '{}' };
}

/** `approvals: { by_submitter: false }` in workspace.yaml means: never by the one who submitted it. */
async function maySelfApprove(tx: Mutation['tx'], workspace: string): Promise<boolean> {
  const directory = await workspaceDirectory(tx, workspace);
  const { approvals } = directory === null ? {} : await readWorkspaceSettings(directory);
  return !(isObject(approvals) && approvals.by_submitter === false);
}
