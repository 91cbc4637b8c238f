import { defineInternalOperation } from '../../operations/define.ts';
import type { ServerTools } from '../tools.ts';
import { reconcileProcedure } from './procedure.ts';

/** Records the state of a server after an interrupted change. */
export const reconcileServer = defineInternalOperation({
  kind: 'server.reconcile',
  startedBy: 'a change of a server that failed or was cancelled',
  procedure: ({ providers }: ServerTools) => reconcileProcedure(providers),
});
