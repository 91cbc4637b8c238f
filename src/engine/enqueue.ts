import type pg from 'pg';
import { asPgClient, type Queryable } from '../database/pool.ts';
import { APPLICATION_VERSION, type DBOSClient } from './dbos.ts';
import type { Procedure } from './procedure.ts';

/** Puts a procedure on its queue in the caller's transaction. @returns the queue's name. */
export type Enqueue = (
  tx: Queryable,
  operationId: string,
  kind: string,
  input: Record<string, unknown>,
) => Promise<string>;

export function createEnqueue(client: DBOSClient, procedures: ReadonlyMap<string, Procedure>): Enqueue {
  return async (tx, operationId, kind, input) => {
    const queueName = procedureOf(procedures, kind).queue(input);
    await client.enqueueInTransaction(
      asPgClient(tx) as pg.ClientBase,
      { workflowName: kind, queueName, workflowID: operationId, appVersion: APPLICATION_VERSION },
      operationId,
    );
    return queueName;
  };
}

/** @throws when this version does not know the kind. */
export function procedureOf(procedures: ReadonlyMap<string, Procedure>, kind: string): Procedure {
  const procedure = procedures.get(kind);
  if (procedure === undefined) throw new Error(`There is no procedure for operations of kind "${kind}".`);
  return procedure;
}
