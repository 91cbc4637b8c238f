import { defineInternalOperation } from '../../operations/define.ts';
import type { HostTools } from '../procedures/input.ts';
import { reconcileProcedure } from './procedure.ts';

/** Records what an interrupted change has left on hosts. */
export const reconcileTaskserv = defineInternalOperation({
  kind: 'taskserv.reconcile',
  startedBy: 'a change of a taskserv that failed or was cancelled',
  procedure: (tools: HostTools) => reconcileProcedure(tools),
});
