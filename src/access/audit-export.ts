/** Hands the sealed audit log to whoever keeps it outside, and lets old rows go once they are kept there. */
import type { FastifyBaseLogger } from 'fastify';
import { sql } from 'kysely';
import type { Database, Queryable } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';
import { backoff } from '../util/backoff.ts';
import type { AuditDestination } from './audit-destination.ts';
import { readAuditLines } from './audit-log.ts';
import { deliverAudit } from './audit-sinks.ts';

const INTERVAL_MS = 2_000;
/** Rows delivered at once. */
const BATCH = 500;
/** Rows deleted in one transaction, where checkpoints lie as close together as they are made now. */
const DELETE_BATCH = 5_000;
/** Each deletion leaves a row itself. */
const DELETE_INTERVAL_MS = 3_600_000;
/** Any number, the same in every replica: one of them exports at a time. */
const EXPORT_LOCK = 7_201_085;
/** After a delivery that failed. Milliseconds. */
const RETRY = { first: 2_000, most: 60_000 };

export interface AuditExport {
  db: Database;
  destination: AuditDestination;
  /** Id of the installation. */
  installation: string;
  /** Days that rows are kept here after they have been exported; 0: for ever. */
  retentionDays: number;
}

/** Exports what is sealed every few seconds, one replica at a time. Each row arrives at least once, in order. */
export function startAuditExport(options: AuditExport & { logger: Pick<FastifyBaseLogger, 'warn'> }): {
  stop(): Promise<void>;
} {
  const { destination, logger } = options;
  let failures = 0;
  let nextTry = 0;
  let nextDelete = 0;
  let running: Promise<void> | undefined;
  let stopped = false;

  const round = async () => {
    try {
      while (!stopped && (await exportBatch(options)) === BATCH);
      failures = 0;
      if (options.retentionDays === 0 || performance.now() < nextDelete) return;
      while (!stopped && (await deleteOld(options)) > 0);
      nextDelete = performance.now() + DELETE_INTERVAL_MS;
    } catch (error) {
      failures += 1;
      const wait = backoff(failures, RETRY);
      nextTry = performance.now() + wait;
      logger.warn(
        { err: error },
        `the audit log could not be exported to ${destination.name}; nothing is lost, the next try is in ${Math.ceil(wait / 1_000)} s`,
      );
    } finally {
      running = undefined;
    }
  };
  const timer = setInterval(() => {
    if (performance.now() >= nextTry) running ??= round();
  }, INTERVAL_MS);
  timer.unref();
  return {
    async stop() {
      stopped = true;
      clearInterval(timer);
      await running;
    },
  };
}

/** Delivers the next rows and notes that they have arrived. @returns how many; 0 also where another replica is at it. */
export async function exportBatch({ db, destination, installation }: AuditExport): Promise<number> {
  return db.transaction().execute(async (tx) => {
    if (!(await lockExport(tx))) return 0;
    const lines = await readAuditLines(tx, installation, await exportedTo(tx, destination.name), BATCH);
    const last = lines.at(-1);
    if (last === undefined) return 0;
    await deliverAudit(destination, lines);
    await sql`
      insert into provisioning.audit_exports (destination, position, exported_at)
      values (${destination.name}, ${last.position}, now())
      on conflict (destination) do update set position = excluded.position, exported_at = excluded.exported_at`.execute(
      tx,
    );
    return lines.filter(({ kind }) => kind === 'row').length;
  });
}

/**
 * Deletes rows that are old enough and have been exported, up to a checkpoint, which stays and vouches for what was before
 * the rest. @returns how many rows
 */
export async function deleteOld({ db, destination, retentionDays }: AuditExport): Promise<number> {
  return db.transaction().execute(async (tx) => {
    if (!(await lockExport(tx))) return 0;
    const through = await deletableThrough(tx, await exportedTo(tx, destination.name), retentionDays);
    if (through === null) return 0;
    await sql`select set_config('provisioning.audit_retention', 'on', true)`.execute(tx);
    const { numAffectedRows } =
      await sql`delete from provisioning.audit_log where position <= ${through}::bigint`.execute(tx);
    await sql`delete from provisioning.audit_checkpoints where position < ${through}::bigint`.execute(tx);
    const rows = Number(numAffectedRows ?? 0);
    await sql`
      insert into provisioning.audit_log (id, principal, action, outcome, details)
      values (${uuidv7()}, 'provisioning', 'audit.retention', 'allowed',
              ${JSON.stringify({ through: Number(through), rows, exported_to: destination.name })})`.execute(tx);
    return rows;
  });
}

async function lockExport(tx: Queryable): Promise<boolean> {
  const { rows } = await sql<{ locked: boolean }>`select pg_try_advisory_xact_lock(${EXPORT_LOCK}) as locked`.execute(
    tx,
  );
  return rows[0]?.locked === true;
}

/** Position of the last row that has arrived there; 0: none has. */
async function exportedTo(tx: Queryable, destination: string): Promise<number> {
  const { rows } = await sql<{ position: string }>`
    select position from provisioning.audit_exports where destination = ${destination}`.execute(tx);
  return Number(rows[0]?.position ?? 0);
}

/** Position of the checkpoint up to which rows may go; null: none may. The newest checkpoint's own row always stays. */
async function deletableThrough(tx: Queryable, exported: number, days: number): Promise<string | null> {
  const { rows } = await sql<{ through: string | null }>`
    with oldest as (select min(position) as position from provisioning.audit_log),
    deletable as (
      select c.position from provisioning.audit_checkpoints c, oldest
      where c.position <= ${exported}::bigint and c.position >= oldest.position
        and c.at < now() - make_interval(days => ${days}::int)
        and c.position < (select max(position) from provisioning.audit_checkpoints))
    select coalesce(
      (select max(d.position) from deletable d, oldest where d.position <= oldest.position + ${DELETE_BATCH}::bigint),
      (select min(position) from deletable)) as through`.execute(tx);
  return rows[0]?.through ?? null;
}
