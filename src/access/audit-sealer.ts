import type { FastifyBaseLogger } from 'fastify';
import { sql } from 'kysely';
import { tryLock } from '../database/locks.ts';
import type { Database, Queryable } from '../database/pool.ts';
import {
  type AuditCheckpoint,
  auditMac,
  checkpointText,
  createVerifier,
  isGenuine,
  linkHash,
  retentionText,
} from '../documents/audit-chain.ts';
import { type Rounds, startRounds } from '../util/rounds.ts';
import { lastCheckpoint, lastRetention, NOW, noteTampering, readAuditLines, SEALED_TEXT } from './audit-log.ts';
import type { Encryption } from './encryption.ts';

const INTERVAL_MS = 2_000;
/** Rows sealed in one transaction. */
const BATCH = 500;
/** Any number, the same in every replica: one of them seals at a time. */
const SEALER_LOCK = 7_201_003;

/** What checkpoints are made with. */
export interface Sealing {
  db: Database;
  /** Id of the installation. */
  installation: string;
  key: Buffer;
  /** The last checkpoint that this process has seen. What it has seen must still be there. */
  seen: AuditCheckpoint | null;
}

/** The key of the checkpoints. It opens nothing else, so that it can be given to whoever verifies exports. */
export function auditKey(encryption: Encryption): Buffer {
  return encryption.digest('v1', 'audit checkpoint key');
}

/**
 * Chains new rows of the audit log every few seconds, one replica at a time: each gets a position and a hash over
 * itself and the hash before it, so that no row can be changed, put in or taken out between others unseen. A checkpoint
 * vouches for each batch, so that nobody who has only the database can make the chain anew either.
 */
export function startAuditSealer(
  options: Omit<Sealing, 'seen'> & { logger: Pick<FastifyBaseLogger, 'warn' | 'error'> },
): Rounds {
  const { logger, ...given } = options;
  const sealing: Sealing = { ...given, seen: null };
  return startRounds(INTERVAL_MS, async (isStopping) => {
    try {
      for (let more = true; more && !isStopping(); ) {
        const { sealed, broken } = await sealBatch(sealing);
        if (broken !== null) logger.error(`the audit log has been tampered with: ${broken}`);
        more = sealed === BATCH;
      }
    } catch (error) {
      logger.warn({ err: error }, 'the audit log could not be sealed; the next round tries again');
    }
  });
}

/**
 * Seals the oldest rows that are not yet, and vouches for rows that a replica of an earlier version has sealed.
 * @returns how many; 0 also where another replica is at it. `broken`: what lay before is not what was vouched for. That is
 * in the log now, and the new checkpoint vouches only for what comes after.
 */
export async function sealBatch(sealing: Sealing): Promise<{ sealed: number; broken: string | null }> {
  const nothing = { sealed: 0, broken: null };
  const { rows } = await sql<{ pending: boolean }>`
    select exists (select from provisioning.audit_log where position is null)
      or coalesce((select max(position) from provisioning.audit_log), 0)
        > coalesce((select max(position) from provisioning.audit_checkpoints), 0) as pending`.execute(sealing.db);
  const newest = await lastCheckpoint(sealing.db, sealing.installation);
  if ((await whyMissing(sealing.db, sealing)) === null) {
    // Also what others have sealed must be there from now on.
    if (newest !== null && isMadeHere(sealing.key, newest)) sealing.seen = newest;
    if (rows[0]?.pending !== true) return nothing;
  }
  const { checkpoint, ...done } = await sealing.db.transaction().execute(async (tx) => {
    const locked = await tryLock(tx, SEALER_LOCK);
    return locked ? sealUnderLock(tx, sealing) : { ...nothing, checkpoint: sealing.seen };
  });
  sealing.seen = checkpoint;
  return done;
}

async function sealUnderLock(tx: Queryable, sealing: Sealing) {
  const before = await lastCheckpoint(tx, sealing.installation);
  const broken = await whyBroken(tx, sealing, before);
  if (broken !== null) await noteTampering(tx, broken);
  const head = await chain(tx);
  const now = await sql<{ at: string }>`select ${NOW} as at`.execute(tx);
  const at = now.rows[0]?.at ?? '';
  const next = {
    ...{
      installation: sealing.installation,
      number: (before?.number ?? 0) + 1,
      position: head.position,
      hash: head.hash,
      at,
    },
    // The first of an installation that was there before checkpoints vouches for what comes from now on.
    since: before === null || broken !== null ? Math.min(head.first, head.position) : before.since,
    previous: before?.mac ?? null,
  };
  const checkpoint: AuditCheckpoint = { ...next, mac: auditMac(sealing.key, checkpointText(next)) };
  await sql`
    insert into provisioning.audit_checkpoints (number, since, position, hash, at, previous, mac)
    values (${next.number}, ${next.since}, ${next.position}, decode(${next.hash}, 'hex'), ${at}::timestamptz,
            decode(${next.previous}::text, 'hex'), decode(${checkpoint.mac}, 'hex'))`.execute(tx);
  return { sealed: head.sealed, broken, checkpoint };
}

const isMadeHere = (key: Buffer, checkpoint: AuditCheckpoint) =>
  isGenuine(key, checkpointText(checkpoint), checkpoint.mac);

/** Looks whether the checkpoint is still there that this process has seen last. @returns what became of it; null: it is. */
async function whyMissing(db: Queryable, { installation, key, seen }: Omit<Sealing, 'db'>): Promise<string | null> {
  if (seen === null) return null;
  const { rows } = await sql<{ mac: string }>`
    select encode(mac, 'hex') as mac from provisioning.audit_checkpoints where number = ${seen.number}::bigint`.execute(
    db,
  );
  if (rows[0] !== undefined) return rows[0].mac === seen.mac ? null : `checkpoint ${seen.number} was exchanged`;
  const retention = await lastRetention(db, installation);
  const isDeleted =
    retention !== null && seen.position < retention.through && isGenuine(key, retentionText(retention), retention.mac);
  return isDeleted ? null : `checkpoint ${seen.number} is gone`;
}

/** Compares what the last checkpoint vouches for with what is there. @returns what differs; null: nothing. */
async function whyBroken(tx: Queryable, sealing: Sealing, last: AuditCheckpoint | null): Promise<string | null> {
  const { installation, key } = sealing;
  const missing = await whyMissing(tx, sealing);
  if (missing !== null || last === null) return missing;
  if (!isMadeHere(key, last)) return `checkpoint ${last.number} was not made with the key of this installation`;
  // From there to the end of the chain, which replicas of the version before may have continued without checkpoints.
  const verifier = createVerifier({ key, noted: null, from: last });
  const { rows } = await sql<{ hash: string }>`
    select encode(hash, 'hex') as hash from provisioning.audit_log where position = ${last.position}`.execute(tx);
  if (rows[0]?.hash !== last.hash) return `row ${last.position} is not the one of checkpoint ${last.number}`;
  for (let after = last.position; ; ) {
    const page = await readAuditLines(tx, installation, after, BATCH);
    for (const line of page) if (line.kind === 'row' && !verifier.take(line)) return verifier.end().problem;
    const end = page.findLast((line) => line.kind === 'row');
    if (end === undefined) return null;
    after = end.position;
  }
}

/** Gives unsealed rows their positions and hashes. @returns the end of the chain, and the first position given now. */
async function chain(tx: Queryable): Promise<{ sealed: number; first: number; position: number; hash: string }> {
  const head = await sql<{ position: string; hash: Buffer }>`
    select position, hash from provisioning.audit_log where position is not null order by position desc limit 1`.execute(
    tx,
  );
  const { rows } = await sql<{ id: string; sealed: string }>`
    select id, ${SEALED_TEXT} as sealed from provisioning.audit_log
    where position is null order by at, id limit ${BATCH}::int`.execute(tx);
  const start = Number(head.rows[0]?.position ?? 0);
  let hash: Buffer = head.rows[0]?.hash ?? Buffer.alloc(0);
  const hashes = rows.map(({ sealed }) => {
    hash = linkHash(hash, sealed);
    return hash.toString('hex');
  });
  await sql`
    update provisioning.audit_log a set position = ${start}::bigint + v.n, hash = decode(v.hash, 'hex')
    from unnest(${rows.map(({ id }) => id)}::uuid[], ${hashes}::text[]) with ordinality as v (id, hash, n)
    where a.id = v.id`.execute(tx);
  return { sealed: rows.length, first: start + 1, position: start + rows.length, hash: hash.toString('hex') };
}
