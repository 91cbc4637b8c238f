import { defineInternalOperation, type OperationKind } from '../operations/define.ts';
import type { Reach } from '../outbound/reach.ts';
import type { HostTools } from '../taskservs/procedures/input.ts';
import { approvalProcedure } from './procedures/approval.ts';
import { commandProcedure } from './procedures/command.ts';
import { rollbackProcedure } from './procedures/rollback.ts';
import { workflowProcedure } from './procedures/run.ts';
import { waitProcedure } from './procedures/wait.ts';
import type { Runtime } from './running/runtime.ts';

/** What the procedures of workflows work with. */
export interface WorkflowTools {
  runtime: Runtime;
  hosts: HostTools;
  /** Where wait nodes may look. */
  reach: Reach;
}

/** Every kind of operation of workflows. Their endpoints are in routes.ts, their nodes in kinds/registry.ts. */
export const WORKFLOW_OPERATIONS: readonly OperationKind<WorkflowTools>[] = [
  defineInternalOperation({ kind: 'workflow.run', procedure: ({ runtime }) => workflowProcedure(runtime) }),
  defineInternalOperation({ kind: 'workflow.rollback', procedure: ({ runtime }) => rollbackProcedure(runtime) }),
  defineInternalOperation({ kind: 'workflow.approval', procedure: ({ runtime }) => approvalProcedure(runtime) }),
  defineInternalOperation({ kind: 'workflow.wait', procedure: ({ reach }) => waitProcedure(reach) }),
  defineInternalOperation({ kind: 'workflow.command', procedure: ({ hosts }) => commandProcedure(hosts) }),
];
