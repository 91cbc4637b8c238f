import { authorityOfRun } from '../access/authority.ts';
import { isPermitted, type Principal, requirePermission } from '../access/permissions.ts';
import { errors } from '../errors.ts';
import type { Mutation } from '../http/mutation.ts';
import type { Services } from '../http/section.ts';
import { type Accepted, accept } from '../operations/accept.ts';
import { isFinal } from '../operations/events.ts';
import { isUuid } from '../operations/schemas.ts';
import { reopenUndo, setRollback } from './running/undo-store.ts';
import { findWorkflow, holderOfWorkflow, lockWorkflow, type WorkflowRecord } from './store.ts';

/** The workflow, locked, if the caller may do this to it. @throws 404, 403, 409 where its workspace is another one by now. */
export async function lockPermitted(
  { tx, principal }: Mutation,
  id: string,
  permission: 'workflow_cancel' | 'workflow_submit',
): Promise<WorkflowRecord> {
  if (isUuid(id)) await lockWorkflow(tx, id);
  const workflow = isUuid(id) ? await findWorkflow(tx, id) : null;
  if (workflow === null) throw errors.notFound('workflow', id);
  requirePermission(principal, permission, {
    what: 'workflow',
    id,
    workspace: workflow.workspace,
    ownerId: workflow.ownerId,
    read: 'workflow_read',
  });
  if (workflow.ofFormerWorkspace) {
    throw errors.conflict(
      `Workflow ${id} ran in an earlier workspace "${workflow.workspace}", which has been deleted: it cannot be run again or undone.`,
    );
  }
  return workflow;
}

/** The caller may see the workflow. @throws 404. */
export function requireVisible(principal: Principal, workflow: WorkflowRecord | null, id: string): WorkflowRecord {
  if (workflow === null) throw errors.notFound('workflow', id);
  if (!isPermitted(principal, 'workflow_read', workflow.workspace)) throw errors.hidden('workflow', id);
  return workflow;
}

/**
 * Accepts that everything a workflow did is undone. Again after one that failed: what is left.
 * @throws 404, 403, 409 while it runs or is being undone, after it has been undone, and where another run goes on with it.
 */
export async function rollbackWorkflow(services: Services, mutation: Mutation, id: string): Promise<Accepted> {
  const workflow = await lockPermitted(mutation, id, 'workflow_cancel');
  const made = await submitRollbackOf(services, mutation, workflow);
  if (made === null)
    throw errors.conflict(`Workflow ${id} has already been undone.`, { rollback_operation_id: workflow.rollbackId });
  return made;
}

/** As a part of another rollback. @returns the operation's id; null: it has been undone already. @throws 404, 409. */
export async function submitRollback(services: Services, mutation: Mutation, id: string): Promise<string | null> {
  await lockWorkflow(mutation.tx, id);
  const workflow = await findWorkflow(mutation.tx, id);
  if (workflow === null) throw errors.notFound('workflow', id);
  return (await submitRollbackOf(services, mutation, workflow))?.id ?? null;
}

async function submitRollbackOf(
  services: Services,
  mutation: Mutation,
  workflow: WorkflowRecord,
): Promise<Accepted | null> {
  const { id, workspace, status, rollbackStatus, retriedBy } = workflow;
  const holder = await holderOfWorkflow(mutation.tx, id);
  if (holder !== null) throw errors.resourceBusy(`Workflow ${id}`, holder.id, holder.kind);
  if (!isFinal(status)) throw errors.conflict(`Workflow ${id} is still ${status}. Cancel it first.`, { status });
  if (retriedBy !== null) {
    throw errors.conflict(`Workflow ${id} was retried as ${retriedBy}. Roll back that workflow instead.`, {
      retried_by: retriedBy,
    });
  }
  if (rollbackStatus === 'completed') return null;
  const accepted = await accept(services, mutation, {
    kind: 'workflow.rollback',
    title: `Undo ${workflow.type ?? 'the workflow'}`,
    workspace,
    resource: `workflow:${id}`,
    parentId: mutation.parentId ?? id,
    input: { workflow_id: id, undo: true, asked_by: authorityOfRun(mutation.principal) },
    plan: { change: [{ type: 'workflow', id, status }] },
  });
  await reopenUndo(mutation.tx, id);
  await setRollback(mutation.tx, id, accepted.id);
  return accepted;
}
