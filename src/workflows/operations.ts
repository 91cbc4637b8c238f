import type { OperationKind } from '../operations/define.ts';
import { awaitApproval } from './approval/operation.ts';
import { runCommand } from './command/operation.ts';
import { rollbackWorkflow } from './rollback/operation.ts';
import { runWorkflow } from './run/operation.ts';
import type { WorkflowTools } from './tools.ts';
import { wait } from './wait/operation.ts';

/** Every kind of operation of workflows: its endpoints, its procedure and its node follow from this list. */
export const WORKFLOW_OPERATIONS: readonly OperationKind<WorkflowTools>[] = [
  runWorkflow,
  rollbackWorkflow,
  awaitApproval,
  wait,
  runCommand,
];
