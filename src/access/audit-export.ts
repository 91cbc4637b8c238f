/** Hands the sealed audit log to whoever keeps it outside, and lets old rows go once they are kept there. */
import type { FastifyBaseLogger } from 'fastify';
import { sql } from 'kysely';
import { tryLock } from '../database/locks.ts';
import type { Database, Queryable } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';
import { auditMac, isGenuine, retentionText } from '../documents/audit-chain.ts';
import { backoff } from '../util/backoff.ts';
import { type Rounds, startRounds } from '../util/rounds.ts';
import { type AuditDestination, destinationId } from './audit-destination.ts';
import { lastRetention, NOW, noteTampering, readAuditLines } from './audit-log.ts';
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
  /** Of the checkpoints: what has been exported and deleted is noted under it as well. */
  key: Buffer;
  /** Days that rows are kept here after they have been exported; 0: for ever. */
  retentionDays: number;
}

/** Exports what is sealed every few seconds, one replica at a time. Each row arrives at least once, in order. */
export function startAuditExport(options: AuditExport & { logger: Pick<FastifyBaseLogger, 'warn' | 'error'> }): Rounds {
  const { destination, logger } = options;
  let failures = 0;
  let nextTry = 0;
  let nextDelete = 0;

  return startRounds(INTERVAL_MS, async (isStopping) => {
    if (performance.now() < nextTry) return;
    try {
      for (let more = true; more && !isStopping(); ) {
        const { rows, broken } = await exportBatch(options);
        if (broken !== null) logger.error(`the audit log has been tampered with: ${broken}`);
        more = rows === BATCH || broken !== null;
      }
      failures = 0;
      if (options.retentionDays === 0 || performance.now() < nextDelete) return;
      while (!isStopping() && (await deleteOld(options)) > 0);
      nextDelete = performance.now() + DELETE_INTERVAL_MS;
    } catch (error) {
      failures += 1;
      const wait = backoff(failures, RETRY);
      nextTry = performance.now() + wait;
      logger.warn(
        { err: error },
        `the audit log could not be exported to ${destination.name}; nothing is lost, the next try is in ${Math.ceil(wait / 1_000)} s`,
      );
    }
  });
}

/**
 * Delivers the next rows and notes that they have arrived.
 * @returns how many; 0 also where another replica is at it. `broken`: what was noted, or exported, is not what is here. That
 * is in the log now, and everything is exported anew from the next time on.
 */
export async function exportBatch(options: AuditExport): Promise<{ rows: number; broken: string | null }> {
  const { db, destination, installation, key } = options;
  const id = destinationId(destination, key);
  return db.transaction().execute(async (tx) => {
    if (!(await tryLock(tx, EXPORT_LOCK))) return { rows: 0, broken: null };
    const { position, broken } = await exportedTo(tx, options);
    if (broken !== null) {
      await tx.deleteFrom('provisioning.audit_exports').where('destination', '=', id).execute();
      await noteTampering(tx, broken);
      return { rows: 0, broken };
    }
    const lines = await readAuditLines(tx, installation, position, BATCH);
    const last = lines.findLast((line) => line.kind === 'row');
    if (last === undefined) return { rows: 0, broken: null };
    await deliverAudit(destination, lines);
    const mac = auditMac(key, exportText({ installation, destination: id, ...last }));
    await sql`
      insert into provisioning.audit_exports (destination, position, hash, exported_at, mac)
      values (${id}, ${last.position}, decode(${last.hash}, 'hex'), now(), decode(${mac}, 'hex'))
      on conflict (destination) do update
        set position = excluded.position, hash = excluded.hash, exported_at = excluded.exported_at, mac = excluded.mac`.execute(
      tx,
    );
    return { rows: lines.filter(({ kind }) => kind === 'row').length, broken: null };
  });
}

/**
 * Deletes rows that are old enough and have been exported, up to a checkpoint, which stays and vouches for what was before
 * the rest, and leaves a record of that under the key. @returns how many rows
 */
export async function deleteOld(options: AuditExport): Promise<number> {
  const { db, destination, installation, key, retentionDays } = options;
  return db.transaction().execute(async (tx) => {
    if (!(await tryLock(tx, EXPORT_LOCK))) return 0;
    const { position, broken } = await exportedTo(tx, options);
    // The next export says so.
    if (broken !== null) return 0;
    const end = await deletableThrough(tx, position, retentionDays);
    if (end === null) return 0;
    const record = { installation, ...end, exported_to: destinationId(destination, key) };
    const mac = auditMac(key, retentionText(record));
    await sql`
      insert into provisioning.audit_retention (through, hash, at, exported_to, mac)
      values (${end.through}::bigint, decode(${end.hash}, 'hex'), ${end.at}::timestamptz, ${record.exported_to},
              decode(${mac}, 'hex'))
      on conflict (one) do update set through = excluded.through, hash = excluded.hash, at = excluded.at,
        exported_to = excluded.exported_to, mac = excluded.mac`.execute(tx);
    const { numAffectedRows } =
      await sql`delete from provisioning.audit_log where position <= ${end.through}::bigint`.execute(tx);
    await sql`delete from provisioning.audit_checkpoints where position < ${end.through}::bigint`.execute(tx);
    const rows = Number(numAffectedRows ?? 0);
    await sql`
      insert into provisioning.audit_log (id, principal, action, outcome, details)
      values (${uuidv7()}, 'provisioning', 'audit.retention', 'allowed',
              ${JSON.stringify({ through: end.through, rows, exported_to: record.exported_to })})`.execute(tx);
    return rows;
  });
}

/** What the note of how far the log has been exported is made over. */
function exportText(note: { installation: string; destination: string; position: number; hash: string }): string {
  const { installation, destination, position, hash } = note;
  return `${['provisioning audit export v1', installation, position, hash, destination].join('\n')}\n`;
}

/** @returns position of the last row that has arrived there (0: none has), and why that cannot be believed (null: it can). */
async function exportedTo(
  tx: Queryable,
  { destination, installation, key }: AuditExport,
): Promise<{ position: number; broken: string | null }> {
  const id = destinationId(destination, key);
  const { rows } = await sql<{ position: string; hash: string; mac: string; here: string | null }>`
    select e.position, encode(e.hash, 'hex') as hash, encode(e.mac, 'hex') as mac, encode(coalesce(
        (select a.hash from provisioning.audit_log a where a.position = e.position),
        (select c.hash from provisioning.audit_checkpoints c where c.position = e.position)), 'hex') as here
    from provisioning.audit_exports e where e.destination = ${id}`.execute(tx);
  const [noted] = rows;
  if (noted === undefined) return { position: 0, broken: null };
  const { hash, mac, here } = noted;
  const position = Number(noted.position);
  if (!isGenuine(key, exportText({ installation, destination: id, position, hash }), mac))
    return { position, broken: `how far it has been exported to ${id} was not noted by this installation` };
  if (here === hash) return { position, broken: null };
  // Retention may have deleted it since, after an export to another place.
  const retention = await lastRetention(tx, installation);
  const isDeleted = retention !== null && position < retention.through;
  if (isDeleted && isGenuine(key, retentionText(retention), retention.mac)) return { position, broken: null };
  return { position, broken: `row ${position} is not the one that was exported to ${id}` };
}

/** The checkpoint up to which rows may go, and the time; null: none may. The newest checkpoint's own row always stays. */
async function deletableThrough(
  tx: Queryable,
  exported: number,
  days: number,
): Promise<{ through: number; hash: string; at: string } | null> {
  const { rows } = await sql<{ through: string; hash: string; at: string }>`
    with oldest as (select min(position) as position from provisioning.audit_log),
    deletable as (
      select c.position from provisioning.audit_checkpoints c, oldest
      where c.position <= ${exported}::bigint and c.position >= oldest.position
        and c.at < now() - make_interval(days => ${days}::int)
        and c.position < (select max(position) from provisioning.audit_checkpoints))
    select position as through, encode(hash, 'hex') as hash, ${NOW} as at from provisioning.audit_checkpoints
    where position = coalesce(
      (select max(d.position) from deletable d, oldest where d.position <= oldest.position + ${DELETE_BATCH}::bigint),
      (select min(position) from deletable))`.execute(tx);
  const [end] = rows;
  return end === undefined ? null : { ...end, through: Number(end.through) };
}
