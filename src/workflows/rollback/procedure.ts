import type { Authority } from '../../access/authority.ts';
import { defineProcedure, OperationError, type Procedure } from '../../engine/procedure.ts';
import { WORKFLOW_QUEUE } from '../queue.ts';
import { stopEverything, undoEverything } from '../running/rollback.ts';
import type { Runtime } from '../running/runtime.ts';
import { type RollbackReport, reportOf, setRollback } from '../running/undo-store.ts';

interface RollbackInput {
  workflow_id: string;
  /** False: only stop what is still running. */
  undo: boolean;
  /** Who asked for it. Absent: it follows from a failure. */
  asked_by?: Authority;
}

/** Nodes that an error names at most. */
const MAX_NAMED = 20;

/** Undoes what a workflow did. Fails, with its report as result, where something could not be undone. */
export function rollbackProcedure(runtime: Runtime): Procedure {
  return defineProcedure<RollbackInput>({
    kind: 'workflow.rollback',
    queue: () => WORKFLOW_QUEUE,
    async run(
      { workflow_id: workflowId, undo, asked_by: askedBy },
      { step, finish, progress, workspace, operationId },
    ) {
      await step(
        'stop what is running',
        async (call) => {
          const ready = runtime;
          await setRollback(ready.services.db, workflowId, operationId);
          await stopEverything({ runtime: ready, workflowId, call });
        },
        { deadline: Number.POSITIVE_INFINITY },
      );
      if (undo) {
        await step(
          'undo what was done',
          async (call) => undoEverything({ runtime, workflowId, workspace, call, progress, askedBy: askedBy ?? null }),
          { deadline: Number.POSITIVE_INFINITY, outlivesCancel: true },
        );
      }
      const report = await step('look what is left', async () => reportOf(runtime.services.db, workflowId));
      if (report.failed.length > 0) throw new OperationError('ROLLBACK_INCOMPLETE', incomplete(report));
      return finish(async () => report);
    },
    async compensate(tx, { workflow_id: workflowId }, { result }) {
      Object.assign(result, await reportOf(tx, workflowId));
      return null;
    },
  });
}

function incomplete({ failed }: RollbackReport): string {
  const named = failed.slice(0, MAX_NAMED).map(({ node, error }) => `${node}: ${error}`);
  return `${failed.length} could not be undone: ${named.join(' ')}${failed.length > MAX_NAMED ? ' …' : ''}`;
}
