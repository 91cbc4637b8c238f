import { sql } from 'kysely';
import type { Logger } from 'pino';
import { type Database, isDatabaseUnavailable } from '../database/pool.ts';
import { type Rounds, startRounds } from '../util/rounds.ts';
import { APPLICATION_VERSION } from './dbos.ts';

const INTERVAL_MS = 5_000;
/** A procedure taken from its queue begins within milliseconds; one that has not begun by then never will. */
const LOST_AFTER_MS = 5_000;

/**
 * Puts back on their queues the procedures that the engine's library gave to this replica and then lost: it claims them
 * in one transaction and starts them after it, and what comes between (the database going away) it only logs.
 * @param options `running`: what is being carried out here. `onFound`: called with the queues that have work again.
 */
export function startStraySweep(options: {
  db: Database;
  logger: Logger;
  replica: { id: string; alive(): boolean };
  running: () => Iterable<string>;
  onFound: (queueNames: string[]) => void;
}): Rounds {
  const { db, logger, replica, running, onFound } = options;
  const sweep = async () => {
    if (!replica.alive()) return;
    const found = await putBack(db, replica.id, [...running()]);
    if (found.length === 0) return;
    logger.warn(
      { operations: found.map((row) => row.id) },
      'restarted operations that this replica had taken but not begun',
    );
    onFound([...new Set(found.map((row) => row.queueName))]);
  };

  return startRounds(INTERVAL_MS, () =>
    sweep().catch((error) => {
      if (!isDatabaseUnavailable(error)) logger.error({ err: error }, 'could not look for lost operations');
    }),
  );
}

/**
 * As the library's own recovery does it (`reenqueueWorkflowsForRecovery`), for those that are not in `running`. One whose
 * operation has just ended is not in it any more and is not lost: the library is about to record its end.
 */
async function putBack(
  db: Database,
  executorId: string,
  running: string[],
): Promise<{ id: string; queueName: string }[]> {
  const { rows } = await sql<{ id: string; queueName: string }>`
    update dbos.workflow_status
    set status = 'ENQUEUED', owner_xid = null, started_at_epoch_ms = null,
        updated_at = (extract(epoch from now()) * 1000)::bigint
    where status = 'PENDING' and executor_id = ${executorId} and application_version = ${APPLICATION_VERSION}
      and queue_name is not null
      and started_at_epoch_ms < (extract(epoch from now()) * 1000)::bigint - ${LOST_AFTER_MS}::bigint
      and workflow_uuid <> all (${running}::text[])
      and not exists (
        select from provisioning.operations o
        where o.id = workflow_uuid::uuid and o.finished_at > now() - make_interval(secs => ${LOST_AFTER_MS / 1_000}::float8))
    returning workflow_uuid as id, queue_name as "queueName"`.execute(db);
  return rows;
}
