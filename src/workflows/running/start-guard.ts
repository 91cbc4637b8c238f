import type { Queryable } from '../../database/pool.ts';
import { OperationError } from '../../engine/procedure.ts';
import { noteProgress, noteStart } from './store.ts';

/** Processes that may end in the middle of a run's first evaluation before the run is given up. */
const MAX_STARTS = 3;

/**
 * Keeps a run that ends the process which carries it out from ending every process that takes it over. Counted is only
 * what happens between the first evaluation of an execution and its answer; a run that waits, or that gets somewhere, may
 * be taken over as often as processes end.
 */
export interface StartGuard {
  /** Call it before something is evaluated. @throws RUN_ABANDONED. */
  before(): Promise<void>;
  /** Call it when the run has got somewhere, or ends in order. */
  after(): Promise<void>;
}

/** @param repeated an execution before this one may have been cut off: a first one writes nothing. */
export function createStartGuard(db: Queryable, workflowId: string, repeated: boolean): StartGuard {
  let state: 'fresh' | 'noted' | 'over' = repeated ? 'fresh' : 'over';
  return {
    async before() {
      if (state !== 'fresh') return;
      const starts = await noteStart(db, workflowId);
      state = starts < MAX_STARTS ? 'noted' : 'over';
      if (state === 'noted') return;
      throw new OperationError(
        'RUN_ABANDONED',
        `The server ended ${MAX_STARTS} times while it evaluated this workflow, so it is not tried again. Make its expressions simpler and submit it anew.`,
      );
    },
    async after() {
      if (state !== 'noted') return;
      await noteProgress(db, workflowId);
      state = 'over';
    },
  };
}
