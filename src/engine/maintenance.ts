import { sql } from 'kysely';
import type { Logger } from 'pino';
import type { Database } from '../database/pool.ts';
import type { Signals } from './signals.ts';

const INTERVAL_MS = 60_000;
/** How long the engine's own record of an ended procedure is kept: for looking into what just happened. Minutes. */
const ENGINE_RECORD_MINUTES = 60;
/** Rows deleted in one statement. */
const BATCH = 5_000;
/** Any number, the same in every replica: one of them does the work. */
const MAINTENANCE_LOCK = 7_201_002;
const IDEMPOTENCY_HOURS = 24;

/** Deletes what is past its time, and ends what the engine has given up. */
export function startMaintenance(options: { db: Database; logger: Logger; signals: Signals; retentionDays: number }): {
  stop(): Promise<void>;
} {
  const { db, logger, signals, retentionDays } = options;
  let stopped = false;
  let running: Promise<void> = Promise.resolve();

  const round = async () => {
    const locked = await db.transaction().execute(async (tx) => {
      const { rows } = await sql<{
        locked: boolean;
      }>`select pg_try_advisory_xact_lock(${MAINTENANCE_LOCK}) as locked`.execute(tx);
      if (rows[0]?.locked !== true) return false;
      signals.operationsChanged(await failAbandoned(tx));
      await sql`delete from provisioning.idempotency_keys where created_at < now() - make_interval(hours => ${IDEMPOTENCY_HOURS}::int)`.execute(
        tx,
      );
      await sql`delete from provisioning.refresh_tokens where expires_at < now()`.execute(tx);
      return true;
    });
    if (!locked) return;
    await inBatches(
      () => deleteEngineRecords(db),
      () => stopped,
    );
    await inBatches(
      () => deleteOperations(db, retentionDays),
      () => stopped,
    );
  };

  const timer = setInterval(() => {
    running = round().catch((error) => logger.warn({ err: error }, 'maintenance failed; the next round tries again'));
  }, INTERVAL_MS);
  return {
    async stop() {
      stopped = true;
      clearInterval(timer);
      await running;
    },
  };
}

async function inBatches(deleteSome: () => Promise<number>, stopped: () => boolean): Promise<void> {
  while (!stopped() && (await deleteSome()) === BATCH);
}

/** No operation may stay unfinished once the engine has stopped trying. */
async function failAbandoned(tx: Database): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    update provisioning.operations o
    set status = 'failed', error_code = 'ABANDONED', updated_at = now(), finished_at = now(),
        error = 'The operation was interrupted too often and has been given up. Look at the resource, then try again.'
    from dbos.workflow_status w
    where o.status in ('pending', 'running') and w.workflow_uuid = o.id::text
      and w.status not in ('PENDING', 'ENQUEUED', 'DELAYED', 'SUCCESS')
    returning o.id`.execute(tx);
  return rows.map((row) => row.id);
}

/** The operation row is the record that lasts; the engine's own rows only serve to go on after a crash. */
async function deleteEngineRecords(db: Database): Promise<number> {
  const { rows } = await sql<{ deleted: number }>`
    with old as (
      select workflow_uuid from dbos.workflow_status
      where status in ('SUCCESS', 'ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
        and updated_at < (extract(epoch from now()) * 1000)::bigint - ${ENGINE_RECORD_MINUTES * 60_000}::bigint
      limit ${BATCH}::int),
    gone as (delete from dbos.workflow_status w using old where w.workflow_uuid = old.workflow_uuid returning 1)
    select count(*)::int as deleted from gone`.execute(db);
  return rows[0]?.deleted ?? 0;
}

async function deleteOperations(db: Database, days: number): Promise<number> {
  const { rows } = await sql<{ deleted: number }>`
    with old as (
      select id from provisioning.operations
      where finished_at < now() - make_interval(days => ${days}::int) limit ${BATCH}::int),
    gone as (delete from provisioning.operations o using old where o.id = old.id returning 1)
    select count(*)::int as deleted from gone`.execute(db);
  return rows[0]?.deleted ?? 0;
}
