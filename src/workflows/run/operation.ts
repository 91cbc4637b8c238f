import { isObject } from '../../documents/json.ts';
import { defineEndpoint, defineOperation } from '../../operations/define.ts';
import type { NodeRequest } from '../kinds/kind.ts';
import { type PreparedWorkflow, prepareNested, prepareWorkflow } from '../prepare.ts';
import { SubmitWorkflow, WorkflowId } from '../schemas.ts';
import { readGiven } from '../secrets/store.ts';
import { retryWorkflow, submitWorkflow } from '../service.ts';
import type { WorkflowTools } from '../tools.ts';
import { workflowNode } from './node.ts';
import { workflowProcedure } from './procedure.ts';

export const runWorkflow = defineOperation({
  kind: 'workflow.run',
  permission: 'workflow_submit',
  route: {
    method: 'POST',
    path: '/v1/workflows/submit',
    operationId: 'submitWorkflow',
    tag: 'Workflows',
    summary: 'Submit a workflow',
    body: SubmitWorkflow,
    refusals: [400, 409],
    prepare: (services, principal, { body }) => prepareWorkflow(services, principal, body),
    accept: (services, mutation, { body }, prepared: PreparedWorkflow) =>
      submitWorkflow(services, mutation, body.workspace, prepared),
  },
  furtherEndpoints: [
    defineEndpoint('workflow_submit', {
      method: 'POST',
      path: '/v1/workflows/:id/retry',
      operationId: 'retryWorkflow',
      tag: 'Workflows',
      summary: 'Retry a workflow',
      description: 'Starts a new run that keeps the completed nodes and runs what failed or never ran.',
      params: WorkflowId,
      refusals: [400, 404, 409],
      accept: (services, mutation, { params }) => retryWorkflow(services, mutation, params.id),
    }),
  ],
  procedure: ({ runtime }: WorkflowTools) => workflowProcedure(runtime),
  // From the definitions that the outer run keeps.
  node: {
    ...workflowNode,
    prepare: async (services, principal, { workflowId, workspace, fields, run, budget }: NodeRequest) =>
      prepareNested(
        services,
        principal,
        {
          workspace,
          type: String(fields.workflow_type),
          parameters: isObject(fields.parameters) ? fields.parameters : {},
          nested: run.nested,
          settings: run.workspaceSettings,
          given: await readGiven(services.db, services.encryption, workflowId),
        },
        budget,
      ),
    accept: (services, mutation, { workspace }, prepared) =>
      submitWorkflow(services, mutation, workspace, prepared as PreparedWorkflow),
    undo: ({ operationId }) => ({ how: 'rollback', workflowId: operationId }),
  },
});
