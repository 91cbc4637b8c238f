import { defineOperation } from '../../operations/define.ts';
import { WorkflowId } from '../schemas.ts';
import { rollbackWorkflow as acceptRollback } from '../service-rollback.ts';
import type { WorkflowTools } from '../tools.ts';
import { rollbackProcedure } from './procedure.ts';

export const rollbackWorkflow = defineOperation({
  kind: 'workflow.rollback',
  permission: 'workflow_cancel',
  route: {
    method: 'POST',
    path: '/v1/workflows/:id/rollback',
    tag: 'Workflows',
    summary: 'Roll back a workflow',
    description:
      'Undoes what an ended workflow did, in reverse order. The result lists what was undone and what was not.',
    params: WorkflowId,
    refusals: [400, 404, 409],
    accept: (services, mutation, { params }) => acceptRollback(services, mutation, params.id),
  },
  procedure: ({ runtime }: WorkflowTools) => rollbackProcedure(runtime),
});
