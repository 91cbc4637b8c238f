/**
 * Loaded into a server (`--import`): each step that has done its work loses its outcome once, as by a crash between the work
 * and its checkpoint, and its procedure stops there. Whoever reads the server's output puts it back on its queue.
 */
import { writeSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { DBOS, Error as engineErrors } from '@dbos-inc/dbos-sdk';

/** Begins each line that tells of a lost outcome: the operation's id and the step's name follow. */
export const LOST = 'lost the outcome of';

if (isMainThread) {
  const lost = new Set<string>();
  const runStep = DBOS.runStep.bind(DBOS);
  DBOS.runStep = async (work, config) => {
    const operationId = DBOS.workflowID ?? '';
    return runStep(async () => {
      const outcome = await work();
      const step = `${operationId} ${config?.name}`;
      if (lost.has(step)) return outcome;
      lost.add(step);
      writeSync(2, `${LOST} ${step}\n`);
      throw new engineErrors.DBOSWorkflowConflictError(operationId);
    }, config);
  };
}
