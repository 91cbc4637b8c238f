import { defineInternalOperation } from '../../operations/define.ts';
import { acceptOwn } from '../own-node.ts';
import type { WorkflowTools } from '../tools.ts';
import { approvalNode } from './node.ts';
import { approvalProcedure } from './procedure.ts';

/** Waits for somebody's decision. */
export const awaitApproval = defineInternalOperation({
  kind: 'workflow.approval',
  startedBy: 'a node of a workflow',
  procedure: ({ runtime }: WorkflowTools) => approvalProcedure(runtime),
  node: {
    ...approvalNode,
    accept: (services, mutation, node) =>
      acceptOwn(services, mutation, node, 'workflow.approval', `Wait for an approval of ${node.key}`, {
        message: node.fields.message ?? null,
      }),
    undo: () => ({ how: 'nothing' }),
  },
});
