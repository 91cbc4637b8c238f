import { createHash } from 'node:crypto';
import type { FastifyBaseLogger } from 'fastify';
import { sql } from 'kysely';
import type { Database, Queryable } from '../database/pool.ts';

const INTERVAL_MS = 2_000;
/** Rows sealed in one transaction. */
const BATCH = 500;
/** Any number, the same in every replica: one of them seals at a time. */
const SEALER_LOCK = 7_201_003;

/** All of a row that must never change, as text that is the same for ever: an array, times in UTC to the microsecond. */
const CANONICAL = sql.raw<string>(`json_build_array(
  id, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), principal, action, workspace, resource, outcome,
  address, request_id, operation_id, details)::text`);

function link(previous: Buffer, canonical: string): Buffer {
  return createHash('sha256').update(previous).update(canonical).digest();
}

/**
 * Chains new rows of the audit log every few seconds, one replica at a time: each gets a position and a hash over
 * itself and the hash before it, so that no row can be changed, put in or taken out between others unseen.
 */
export function startAuditSealer(options: { db: Database; logger: Pick<FastifyBaseLogger, 'warn'> }): {
  stop(): Promise<void>;
} {
  const { db, logger } = options;
  let running: Promise<void> | undefined;
  let stopped = false;

  const round = async () => {
    try {
      while (!stopped && (await sealBatch(db)) === BATCH);
    } catch (error) {
      logger.warn({ err: error }, 'the audit log could not be sealed; the next round tries again');
    } finally {
      running = undefined;
    }
  };
  const timer = setInterval(() => {
    running ??= round();
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

/** Seals the oldest rows that are not yet. @returns how many; 0 also where another replica is at it. */
export async function sealBatch(db: Database): Promise<number> {
  const { rows } = await sql<{ pending: boolean }>`
    select exists (select from provisioning.audit_log where position is null) as pending`.execute(db);
  if (rows[0]?.pending !== true) return 0;
  return db.transaction().execute(async (tx) => {
    const lock = await sql<{ locked: boolean }>`select pg_try_advisory_xact_lock(${SEALER_LOCK}) as locked`.execute(tx);
    if (lock.rows[0]?.locked !== true) return 0;
    return chain(tx);
  });
}

async function chain(tx: Queryable): Promise<number> {
  const head = await sql<{ position: string; hash: Buffer }>`
    select position, hash from provisioning.audit_log where position is not null order by position desc limit 1`.execute(
    tx,
  );
  const { rows } = await sql<{ id: string; canonical: string }>`
    select id, ${CANONICAL} as canonical from provisioning.audit_log
    where position is null order by at, id limit ${BATCH}::int`.execute(tx);
  const start = Number(head.rows[0]?.position ?? 0);
  let hash: Buffer = head.rows[0]?.hash ?? Buffer.alloc(0);
  const hashes = rows.map(({ canonical }) => {
    hash = link(hash, canonical);
    return hash.toString('hex');
  });
  await sql`
    update provisioning.audit_log a set position = ${start}::bigint + v.n, hash = decode(v.hash, 'hex')
    from unnest(${rows.map(({ id }) => id)}::uuid[], ${hashes}::text[]) with ordinality as v (id, hash, n)
    where a.id = v.id`.execute(tx);
  return rows.length;
}

/**
 * Walks the whole chain. Rows cut off its end leave no gap: compare the last position with one noted elsewhere.
 * @returns `position` of the first row that is missing or not what was sealed.
 */
export async function verifyAudit(db: Database): Promise<{ ok: boolean; position?: number }> {
  let position = 0;
  let hash: Buffer = Buffer.alloc(0);
  for (;;) {
    const { rows } = await sql<{ position: string; hash: Buffer; canonical: string }>`
      select position, hash, ${CANONICAL} as canonical from provisioning.audit_log
      where position > ${position}::bigint order by position limit ${BATCH}::int`.execute(db);
    for (const row of rows) {
      position += 1;
      hash = link(hash, row.canonical);
      if (Number(row.position) !== position || !hash.equals(row.hash)) return { ok: false, position };
    }
    if (rows.length < BATCH) return { ok: true };
  }
}
