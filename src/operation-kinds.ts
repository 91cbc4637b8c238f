import type { OperationKind } from './operations/define.ts';
import { SERVER_OPERATIONS } from './servers/operations.ts';
import { TASKSERV_OPERATIONS } from './taskservs/operations.ts';
import { WORKFLOW_OPERATIONS } from './workflows/operations.ts';

/** Every kind of operation there is: endpoints, nodes of workflows and docs/operation-kinds.md follow from it. */
export const OPERATION_KINDS: readonly OperationKind[] = [
  ...SERVER_OPERATIONS,
  ...TASKSERV_OPERATIONS,
  ...WORKFLOW_OPERATIONS,
];
