import { defineProcedure, OperationError, type Procedure } from '../../engine/procedure.ts';
import { WORKFLOW_QUEUE } from '../queue.ts';
import { coordinate, type Outcome } from '../running/coordinator.ts';
import { renderOutputs } from '../running/result.ts';
import type { Runtime } from '../running/runtime.ts';
import { asksForRollback, closeNodes, countNodes } from '../running/store.ts';

interface RunInput {
  workflow_id: string;
}

/** Carries out a submitted graph. Its own operation ends when all of its nodes have. */
export function workflowProcedure(runtime: Runtime): Procedure {
  return defineProcedure<RunInput>({
    kind: 'workflow.run',
    queue: () => WORKFLOW_QUEUE,
    async run({ workflow_id: workflowId }, { step, finish, progress, workspace }) {
      const outcome = await step<Outcome>(
        'carry out the graph',
        async (call) => coordinate({ runtime, workflowId, workspace, call, progress }),
        { deadline: Number.POSITIVE_INFINITY, outlivesCancel: true },
      );
      if (outcome.status === 'cancelled') throw new OperationError('CANCELLED', 'The workflow was cancelled.');
      if (outcome.status === 'failed') {
        throw new OperationError(outcome.code ?? 'WORKFLOW_FAILED', `${outcome.node} failed: ${outcome.error}`);
      }
      const outputs = await renderOutputs(runtime.services.db, workflowId, workspace);
      return finish(async (tx) => ({ ...outputs, nodes_by_status: await countNodes(tx, workflowId) }));
    },
    async compensate(tx, { workflow_id: workflowId }, { result, outcome }) {
      await closeNodes(tx, workflowId);
      const counts = await countNodes(tx, workflowId);
      result.nodes_by_status = counts;
      const undo = outcome === 'failed' && (await asksForRollback(tx, workflowId));
      // Nodes that still run belong to a coordinator that failed: they are stopped in any case.
      if (!undo && (counts.running ?? 0) === 0) return null;
      return {
        kind: 'workflow.rollback',
        title: undo ? 'Undo the failed workflow' : 'Stop what the workflow left running',
        resource: `workflow:${workflowId}`,
        input: { workflow_id: workflowId, undo },
      };
    },
  });
}
