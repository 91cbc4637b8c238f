import type { Procedure } from './engine/procedure.ts';
import type { OperationKind } from './operations/define.ts';
import { SERVER_OPERATIONS } from './servers/operations.ts';
import type { ServerTools } from './servers/tools.ts';
import { TASKSERV_OPERATIONS } from './taskservs/operations.ts';
import { WORKFLOW_OPERATIONS } from './workflows/operations.ts';
import type { WorkflowTools } from './workflows/tools.ts';

/** The procedure of every kind of operation there is. Their kinds are a persisted contract: one is never renamed. */
export function allProcedures(servers: ServerTools, workflows: WorkflowTools): Procedure[] {
  return [
    ...proceduresOf(SERVER_OPERATIONS, servers),
    ...proceduresOf(TASKSERV_OPERATIONS, workflows.hosts),
    ...proceduresOf(WORKFLOW_OPERATIONS, workflows),
  ];
}

function proceduresOf<Tools>(operations: readonly OperationKind<Tools>[], tools: Tools): Procedure[] {
  return operations.flatMap(({ procedure }) => procedure?.(tools) ?? []);
}
