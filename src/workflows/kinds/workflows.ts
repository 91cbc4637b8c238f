import { isObject, type JsonObject } from '../../documents/json.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { type Accepted, accept } from '../../operations/accept.ts';
import { type PreparedWorkflow, prepareNested } from '../prepare.ts';
import { submitWorkflow } from '../service.ts';
import type { NodeHandler, NodeRequest } from './kind.ts';

/** A workflow inside a workflow: a run of its own, from the definitions that the outer one keeps. */
export const nestedWorkflow: NodeHandler = {
  prepare: (services, principal, { workspace, fields, run }) =>
    prepareNested(services, principal, {
      workspace,
      type: String(fields.workflow_type),
      parameters: isObject(fields.parameters) ? fields.parameters : {},
      nested: run.nested,
      settings: run.workspaceSettings,
    }),
  accept: (services, mutation, { workspace }, prepared) =>
    submitWorkflow(services, mutation, workspace, prepared as PreparedWorkflow),
  undo: ({ operationId }) => ({ how: 'rollback', workflowId: operationId }),
};

/** Waits for somebody's decision. */
export const approval: NodeHandler = {
  accept: (services, mutation, node) =>
    acceptOwn(services, mutation, node, 'workflow.approval', `Wait for an approval of ${node.key}`, {
      message: node.fields.message ?? null,
    }),
};

/** Waits for a time, or for something to answer. */
export const wait: NodeHandler = {
  accept: (services, mutation, node) =>
    acceptOwn(services, mutation, node, 'workflow.wait', waitTitle(node.fields), { check: node.fields }),
};

function waitTitle({ seconds, http, tcp }: JsonObject): string {
  return seconds === undefined ? `Wait until ${String(http ?? tcp)} answers` : `Wait for ${String(seconds)} s`;
}

/** Accepts an operation that changes nothing outside. */
function acceptOwn(
  services: Services,
  mutation: Mutation,
  { workflowId, position, key, workspace }: NodeRequest,
  kind: string,
  title: string,
  input: JsonObject,
): Promise<Accepted> {
  return accept(services, mutation, {
    ...{ kind, title, workspace, resource: null, input: { workflow_id: workflowId, position, ...input } },
    audit: { resource: `workflow:${workflowId}`, details: { step: key } },
    plan: {},
  });
}
