import { uuidv7 } from '../../database/uuid.ts';
import type { Answer, Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { isObject, type JsonObject } from '../json.ts';
import { type PreparedWorkflow, prepareNested } from '../prepare.ts';
import { submitWorkflow } from '../service.ts';
import type { KindWork, NodeRequest } from './kind.ts';

/** A workflow inside a workflow: a run of its own, from the definitions that the outer one keeps. */
export const nestedWorkflow: KindWork = {
  prepare: (services, principal, { workspace, fields, run }) =>
    prepareNested(services, principal, {
      workspace,
      type: String(fields.workflow_type),
      parameters: isObject(fields.parameters) ? fields.parameters : {},
      nested: run.nested,
      settings: run.workspaceSettings,
    }),
  submit: (services, mutation, { workspace }, prepared) =>
    submitWorkflow(services, mutation, workspace, prepared as PreparedWorkflow),
  undo: ({ operationId }) => ({ how: 'rollback', workflowId: operationId }),
};

/** Waits for somebody's decision. */
export const approval: KindWork = {
  submit: (services, mutation, node) =>
    submitOwn(services, mutation, node, 'workflow.approval', { message: node.fields.message ?? null }),
};

/** Waits for a time, or for something to answer. */
export const wait: KindWork = {
  submit: (services, mutation, node) => submitOwn(services, mutation, node, 'workflow.wait', { check: node.fields }),
};

/** Submits an operation that changes nothing outside. */
async function submitOwn(
  { engine }: Services,
  { tx, parentId, principal, audit, afterCommit }: Mutation,
  { workflowId, position, key, workspace }: NodeRequest,
  kind: string,
  input: JsonObject,
): Promise<Answer> {
  const id = uuidv7();
  const submitted = await engine.submit(tx, {
    id,
    kind,
    workspace,
    resource: null,
    parentId,
    input: { workflow_id: workflowId, position, ...input },
    createdBy: principal.name,
  });
  audit({ action: kind, workspace, resource: `workflow:${workflowId}`, operationId: id, details: { step: key } });
  afterCommit(submitted.afterCommit);
  return { body: submitted.json };
}
