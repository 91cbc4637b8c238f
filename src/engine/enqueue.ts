import { sql } from 'kysely';
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

/**
 * Puts many on their queues, in two statements more than one costs: the library's own rows for the first are copied
 * for the others.
 */
export async function enqueueMany(
  tx: Queryable,
  enqueue: Enqueue,
  procedures: ReadonlyMap<string, Procedure>,
  operations: readonly { id: string; kind: string; input: Record<string, unknown> }[],
): Promise<void> {
  const [first, ...others] = operations;
  if (first === undefined) return;
  await enqueue(tx, first.id, first.kind, first.input);
  if (others.length === 0) return;
  const ids = others.map(({ id }) => id);
  await sql`
    insert into dbos.workflow_status
    select copy.* from dbos.workflow_status made
    cross join unnest(${ids}::text[], ${others.map(({ kind }) => kind)}::text[],
                      ${others.map(({ kind, input }) => procedureOf(procedures, kind).queue(input))}::text[])
      as other (id, kind, queue)
    cross join jsonb_populate_record(made, jsonb_build_object(
      'workflow_uuid', other.id, 'name', other.kind, 'queue_name', other.queue, 'creator_xid', gen_random_uuid())) as copy
    where made.workflow_uuid = ${first.id}`.execute(tx);
  await sql`
    insert into dbos.workflow_input
    select copy.* from dbos.workflow_input made
    cross join unnest(${ids}::text[]) as other (id)
    cross join jsonb_populate_record(made, jsonb_build_object(
      'workflow_uuid', other.id, 'inputs', replace(made.inputs, ${first.id}, other.id))) as copy
    where made.workflow_uuid = ${first.id}`.execute(tx);
}

/** @throws when this version does not know the kind. */
export function procedureOf(procedures: ReadonlyMap<string, Procedure>, kind: string): Procedure {
  const procedure = procedures.get(kind);
  if (procedure === undefined) throw new Error(`There is no procedure for operations of kind "${kind}".`);
  return procedure;
}
