import { sql } from 'kysely';
import type pg from 'pg';
import { asPgClient, type Queryable } from '../database/pool.ts';
import { APPLICATION_VERSION, type DBOSClient } from './dbos.ts';
import type { Procedure } from './procedure.ts';

/** Puts a procedure on its queue in the caller's transaction. @param ownerId whose it is. @returns the queue's name. */
export type Enqueue = (
  tx: Queryable,
  operationId: string,
  kind: string,
  input: Record<string, unknown>,
  ownerId?: string | null,
) => Promise<string>;

/** Stands for whoever is gone, or was nobody, where owners share a queue. */
const NOBODY = 'nobody';

/** @param shared names of the queues of which each owner has a part. */
export function createEnqueue(
  client: DBOSClient,
  procedures: ReadonlyMap<string, Procedure>,
  shared: ReadonlySet<string> = new Set(),
): Enqueue {
  return async (tx, operationId, kind, input, ownerId = null) => {
    const queueName = procedureOf(procedures, kind).queue(input);
    const part = shared.has(queueName) ? { queuePartitionKey: ownerId ?? NOBODY } : {};
    await client.enqueueInTransaction(
      asPgClient(tx) as pg.ClientBase,
      { workflowName: kind, queueName, workflowID: operationId, appVersion: APPLICATION_VERSION, ...part },
      operationId,
    );
    return queueName;
  };
}

/** As it is put on a queue. */
interface Queued {
  id: string;
  kind: string;
  input: Record<string, unknown>;
  ownerId?: string | null;
}

/**
 * Puts many operations of one owner on their queues, in two statements a queue more than one costs: the library's own rows
 * for the first are copied for the others.
 */
export async function enqueueMany(
  tx: Queryable,
  enqueue: Enqueue,
  procedures: ReadonlyMap<string, Procedure>,
  operations: readonly Queued[],
): Promise<void> {
  const byQueue = Map.groupBy(operations, ({ kind, input }) => procedureOf(procedures, kind).queue(input));
  for (const ofQueue of byQueue.values()) await enqueueOnOne(tx, enqueue, ofQueue);
}

async function enqueueOnOne(tx: Queryable, enqueue: Enqueue, operations: readonly Queued[]): Promise<void> {
  const [first, ...others] = operations;
  if (first === undefined) return;
  await enqueue(tx, first.id, first.kind, first.input, first.ownerId);
  if (others.length === 0) return;
  const ids = others.map(({ id }) => id);
  await sql`
    insert into dbos.workflow_status
    select copy.* from dbos.workflow_status made
    cross join unnest(${ids}::text[], ${others.map(({ kind }) => kind)}::text[]) as other (id, kind)
    cross join jsonb_populate_record(made, jsonb_build_object(
      'workflow_uuid', other.id, 'name', other.kind, 'creator_xid', gen_random_uuid())) as copy
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
