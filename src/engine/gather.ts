import type { Queryable } from '../database/pool.ts';
import { type Enqueue, enqueueMany } from './enqueue.ts';
import { insertOperations, type NewOperation } from './operation-record.ts';
import type { Procedure } from './procedure.ts';

/** Operations of one transaction that are stored together, so that many cost little more than one. */
export interface Gathering {
  /** As the engine's own; but there is no text yet (`json` is empty): the operation is stored by `flush`. */
  submit(tx: Queryable, operation: NewOperation): Promise<{ json: string; afterCommit: () => void }>;
  /**
   * Stores what was gathered.
   * @throws on the unique index `operations_one_active` when the resource of any of them is held.
   */
  flush(tx: Queryable): Promise<void>;
}

/** @param submitted what is to be done after the commit. */
export function createGathering(options: {
  enqueue: Enqueue;
  procedures: ReadonlyMap<string, Procedure>;
  submitted: (operation: NewOperation) => void;
}): Gathering {
  const gathered: NewOperation[] = [];
  return {
    async submit(_tx, operation) {
      gathered.push(operation);
      return { json: '', afterCommit: () => options.submitted(operation) };
    },
    async flush(tx) {
      if (gathered.length === 0) return;
      await insertOperations(tx, gathered);
      await enqueueMany(tx, options.enqueue, options.procedures, gathered);
    },
  };
}
