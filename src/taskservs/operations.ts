import type { OperationKind } from '../operations/define.ts';
import { checkTaskserv } from './check/operation.ts';
import { createTaskserv } from './create/operation.ts';
import { deleteTaskserv } from './delete/operation.ts';
import { guardTaskserv } from './guard/operation.ts';
import type { HostTools } from './procedures/input.ts';
import { reconcileTaskserv } from './reconcile/operation.ts';
import { retryTaskserv } from './retry/operation.ts';
import { updateTaskservOperation } from './update/operation.ts';

/** Every kind of operation on taskservs: its endpoint, its procedure and its node follow from this list. */
export const TASKSERV_OPERATIONS: readonly OperationKind<HostTools>[] = [
  createTaskserv,
  updateTaskservOperation,
  deleteTaskserv,
  checkTaskserv,
  retryTaskserv,
  guardTaskserv,
  reconcileTaskserv,
];
