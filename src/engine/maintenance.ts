import { sql } from 'kysely';
import { tryLock } from '../database/locks.ts';
import type { Database } from '../database/pool.ts';
import { type Rounds, startRounds } from '../util/rounds.ts';
import { endInTransaction } from './ending.ts';
import type { Procedure } from './procedure.ts';
import type { RunnerDependencies } from './runner.ts';

const INTERVAL_MS = 60_000;
/** How long the engine's own record of an ended procedure is kept: for looking into what just happened. Minutes. */
const ENGINE_RECORD_MINUTES = 60;
/** A procedure's end is stored together with its operation's; one that stays apart this long never comes. Seconds. */
const ABANDONED_SECONDS = 60;
/** Given up in one round. */
const MAX_ABANDONED = 1_000;
/** Rows deleted in one statement. */
const BATCH = 5_000;
/** Any number, the same in every replica: one of them does the work. */
const MAINTENANCE_LOCK = 7_201_002;
const IDEMPOTENCY_HOURS = 24;
/** How long ended deliveries of webhooks are kept, where operations are kept as long. Days. */
const DELIVERY_DAYS = 14;
const ABANDONED_MESSAGE =
  'The operation was interrupted too often and has been given up. Look at the resource, then try again.';

export interface MaintenanceOptions extends Pick<RunnerDependencies, 'db' | 'logger' | 'signals' | 'enqueue'> {
  procedures: ReadonlyMap<string, Procedure>;
  retentionDays: number;
  /** There is something on this queue. */
  look: (queueName: string) => void;
}

/** Deletes what is past its time, and ends what the engine has given up. */
export function startMaintenance(options: MaintenanceOptions): Rounds {
  const { logger } = options;
  return startRounds(INTERVAL_MS, (isStopping) =>
    maintain(options, isStopping).catch((error) =>
      logger.warn({ err: error }, 'maintenance failed; the next round tries again'),
    ),
  );
}

/** One round; nothing where another replica is at it. */
export async function maintain(options: MaintenanceOptions, stopped: () => boolean): Promise<void> {
  const { db, retentionDays } = options;
  const locked = await db.transaction().execute(async (tx) => {
    if (!(await tryLock(tx, MAINTENANCE_LOCK))) return false;
    await sql`delete from provisioning.idempotency_keys where created_at < now() - make_interval(hours => ${IDEMPOTENCY_HOURS}::int)`.execute(
      tx,
    );
    await sql`delete from provisioning.refresh_tokens where expires_at < now()`.execute(tx);
    await sql`delete from provisioning.sessions where expires_at < now()`.execute(tx);
    await sql`delete from provisioning.sso_logins where expires_at < now()`.execute(tx);
    await sql`delete from provisioning.exchange_uses where expires_at < now()`.execute(tx);
    return true;
  });
  if (!locked) return;
  await failAbandoned(options);
  await inBatches(() => deleteEngineRecords(db), stopped);
  await inBatches(() => deleteEnded(db, 'webhook_deliveries', Math.min(retentionDays, DELIVERY_DAYS)), stopped);
  await inBatches(() => deleteEnded(db, 'operations', retentionDays), stopped);
}

async function inBatches(deleteSome: () => Promise<number>, stopped: () => boolean): Promise<void> {
  while (!stopped() && (await deleteSome()) === BATCH);
}

/** No operation may stay unfinished once the engine has stopped trying: it fails, and what tidies up after it starts. */
async function failAbandoned(options: MaintenanceOptions): Promise<void> {
  const { db, logger } = options;
  for (const abandoned of await findAbandoned(db)) {
    const procedure = options.procedures.get(abandoned.kind);
    // A kind of a newer version: a replica that knows it will see to it.
    if (procedure === undefined) continue;
    try {
      await endAbandoned(options, procedure, abandoned);
    } catch (error) {
      logger.error({ err: error, operation_id: abandoned.id }, 'could not end an abandoned operation');
    }
  }
}

async function endAbandoned(
  { db, logger, signals, enqueue, look }: MaintenanceOptions,
  procedure: Procedure,
  { id, kind, input, started }: AbandonedOperation,
): Promise<void> {
  const failure = { code: 'ABANDONED', message: ABANDONED_MESSAGE };
  const end = { operationId: id, procedure, input, failure, started, pending: [] };
  const followUpQueue = await db.transaction().execute((tx) => endInTransaction(tx, end, enqueue));
  logger.error({ operation_id: id, kind }, 'ended an operation that the engine had given up');
  signals.operationsChanged([id]);
  if (followUpQueue === undefined) return;
  look(followUpQueue);
  signals.queueFilled(followUpQueue);
}

interface AbandonedOperation {
  id: string;
  kind: string;
  input: Record<string, unknown>;
  /** Something may have been done. */
  started: boolean;
}

async function findAbandoned(db: Database): Promise<AbandonedOperation[]> {
  const { rows } = await sql<AbandonedOperation>`
    select o.id, o.kind, o.input, o.status = 'running' as started
    from provisioning.operations o left join dbos.workflow_status w on w.workflow_uuid = o.id::text
    where o.status in ('pending', 'running') and o.updated_at < now() - make_interval(secs => ${ABANDONED_SECONDS}::int)
      and (w.workflow_uuid is null or (
        w.status not in ('PENDING', 'ENQUEUED', 'DELAYED')
        and w.updated_at < (extract(epoch from now()) * 1000)::bigint - ${ABANDONED_SECONDS * 1_000}::bigint))
    limit ${MAX_ABANDONED}::int`.execute(db);
  return rows;
}

/**
 * The operation row is the record that lasts; the engine's own rows only serve to go on after a crash. Its large
 * columns lie in tables that do not cascade.
 */
async function deleteEngineRecords(db: Database): Promise<number> {
  const { rows } = await sql<{ deleted: number }>`
    with old as (
      select workflow_uuid from dbos.workflow_status
      where status in ('SUCCESS', 'ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
        and updated_at < (extract(epoch from now()) * 1000)::bigint - ${ENGINE_RECORD_MINUTES * 60_000}::bigint
      limit ${BATCH}::int),
    inputs as (delete from dbos.workflow_input t using old where t.workflow_uuid = old.workflow_uuid),
    outputs as (delete from dbos.workflow_output t using old where t.workflow_uuid = old.workflow_uuid),
    steps as (delete from dbos.operation_outputs t using old where t.workflow_uuid = old.workflow_uuid),
    gone as (delete from dbos.workflow_status w using old where w.workflow_uuid = old.workflow_uuid returning 1)
    select count(*)::int as deleted from gone`.execute(db);
  return rows[0]?.deleted ?? 0;
}

async function deleteEnded(db: Database, table: 'operations' | 'webhook_deliveries', days: number): Promise<number> {
  const endedAt = sql.ref(table === 'operations' ? 'finished_at' : 'ended_at');
  const { rows } = await sql<{ deleted: number }>`
    with old as (
      select id from ${sql.table(`provisioning.${table}`)}
      where ${endedAt} < now() - make_interval(days => ${days}::int) limit ${BATCH}::int),
    gone as (delete from ${sql.table(`provisioning.${table}`)} t using old where t.id = old.id returning 1)
    select count(*)::int as deleted from gone`.execute(db);
  return rows[0]?.deleted ?? 0;
}
