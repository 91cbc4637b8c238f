import { sql } from 'kysely';
import type { Database } from '../database/pool.ts';

/** How long the database may take to answer before it counts as away. */
const DATABASE_ANSWER_MS = 1_000;
/** A probe that has not come back for this long is given up and another one sent. */
const PROBE_GIVEN_UP_MS = 5_000;
/** A replica that has been silent for longer is about to be given up by the others (src/engine/replica.ts). Seconds. */
const SILENT_SECONDS = 8;

/** What a probe found. */
interface ProbeResult {
  database: boolean;
  /** The engine keeps its lease; true where this process has no worker. */
  engine: boolean;
}

/** Asks the database; many callers at once share one question. Never throws. */
type Probe = () => Promise<ProbeResult>;

/** @param engine whose `replicaId` is this process among the workers; null where it carries nothing out. */
export function createProbe(db: Database, engine: { readonly replicaId: string | null }): Probe {
  let current: { since: number; result: Promise<ProbeResult> } | null = null;
  const ask = async (): Promise<ProbeResult> => {
    const { replicaId } = engine;
    const { rows } = await sql<{ alive: boolean }>`
      select exists (select from provisioning.replicas where id = ${replicaId}
        and heartbeat_at > clock_timestamp() - make_interval(secs => ${SILENT_SECONDS})) as alive`.execute(db);
    return { database: true, engine: replicaId === null || rows[0]?.alive === true };
  };
  const start = () => {
    const result = ask()
      .catch(() => ({ database: false, engine: true }))
      .finally(() => {
        if (current === mine) current = null;
      });
    const mine = { since: performance.now(), result };
    current = mine;
    return mine;
  };
  return async () => {
    const running = current !== null && performance.now() - current.since < PROBE_GIVEN_UP_MS ? current : start();
    return (await within(DATABASE_ANSWER_MS, running.result)) ?? { database: false, engine: true };
  };
}

/** What the promise gives, or null when it takes longer. The promise itself goes on. */
export async function within<T>(milliseconds: number, promise: Promise<T>): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
