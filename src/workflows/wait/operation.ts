import type { JsonObject } from '../../documents/json.ts';
import { defineInternalOperation } from '../../operations/define.ts';
import { acceptOwn } from '../own-node.ts';
import type { WorkflowTools } from '../tools.ts';
import { createChecks } from './checks.ts';
import { waitNode } from './node.ts';
import { waitProcedure } from './procedure.ts';

/** Waits for a time, or for something to answer. */
export const wait = defineInternalOperation({
  kind: 'workflow.wait',
  startedBy: 'a node of a workflow',
  procedure: ({ egress, limits }: WorkflowTools) => waitProcedure(createChecks(egress, limits)),
  node: {
    ...waitNode,
    accept: (services, mutation, node) =>
      acceptOwn(services, mutation, node, 'workflow.wait', titleOf(node.fields), { check: node.fields }),
    undo: () => ({ how: 'nothing' }),
  },
});

function titleOf({ seconds, http, tcp }: JsonObject): string {
  return seconds === undefined ? `Wait until ${String(http ?? tcp)} answers` : `Wait for ${String(seconds)} s`;
}
