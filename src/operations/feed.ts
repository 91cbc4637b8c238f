import type { Logger } from 'pino';
import type { Database } from '../database/pool.ts';
import { comparePositions, type Position } from './cursor.ts';
import type { Follower } from './follow.ts';
import { type FeedRow, feedHorizon, readFeed } from './store.ts';

/** Events read at a time. */
const BATCH = 500;
/** Events kept in memory for the clients that keep up. Who falls behind them reads the database. */
const MAX_KEPT = 2_000;
/** Hints are gathered so long between two looks. */
const MIN_INTERVAL_MS = 25;
/** An event shows only once every transaction that began before it has ended: when to look again without a hint. */
const RECHECKS_MS = [50, 200, 1_000] as const;

/** The next piece of the feed for one client. */
interface FeedPiece {
  rows: FeedRow[];
  /** Where to go on. */
  position: Position;
  more: boolean;
}

/** The feed over all operations: read from the database once for all clients of this process that keep up. */
export interface Feed {
  read(after: Position): Promise<FeedPiece>;
  /** Calls back when there is something new. While nobody does, nothing is read. Returns the unsubscribe. */
  onChange(callback: () => void): () => void;
  close(): void;
}

export function createFeed(db: Database, follower: Follower, logger: Pick<Logger, 'warn'>): Feed {
  const callbacks = new Set<() => void>();
  /** The settled events behind `from` up to `to`. */
  let kept: { rows: FeedRow[]; from: Position; to: Position } | undefined;
  let unfollow: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  let due = 0;
  let reading = false;
  let hinted = false;
  let rechecks = 0;

  const schedule = (ms: number) => {
    const at = performance.now() + ms;
    if (reading || callbacks.size === 0 || (timer !== undefined && due <= at)) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(() => void advance(), ms);
  };
  const hint = () => {
    hinted = true;
    rechecks = 0;
    schedule(MIN_INTERVAL_MS);
  };

  const advance = async () => {
    timer = undefined;
    reading = true;
    hinted = false;
    let again: number | undefined;
    try {
      const found = await extend();
      if (found.news) for (const callback of callbacks) callback();
      if (found.more) again = 0;
      else if (found.unsettled) again = RECHECKS_MS[rechecks++];
    } catch (error) {
      logger.warn({ err: error }, 'could not read the feed of events; trying again');
      again = RECHECKS_MS[2];
    } finally {
      reading = false;
    }
    if (hinted) schedule(MIN_INTERVAL_MS);
    else if (again !== undefined) schedule(again);
  };

  const extend = async () => {
    if (kept === undefined) {
      const now = await feedHorizon(db);
      if (callbacks.size > 0) kept = { rows: [], from: now, to: now };
      return { news: true, more: true, unsettled: false };
    }
    const current = kept;
    const batch = await readFeed(db, current.to, BATCH);
    current.rows.push(...batch.rows);
    const surplus = current.rows.length - MAX_KEPT;
    if (surplus > 0) current.from = current.rows.splice(0, surplus).at(-1)?.position ?? current.from;
    const end = batch.more ? batch.rows.at(-1)?.position : batch.horizon;
    if (end !== undefined && comparePositions(end, current.to) > 0) current.to = end;
    return { news: batch.rows.length > 0, more: batch.more, unsettled: batch.unsettled };
  };

  return {
    async read(after) {
      if (kept !== undefined && comparePositions(after, kept.from) >= 0) {
        if (comparePositions(after, kept.to) >= 0) return { rows: [], position: after, more: false };
        const start = firstBehind(kept.rows, after);
        const rows = kept.rows.slice(start, start + BATCH);
        const more = start + BATCH < kept.rows.length;
        return { rows, position: more ? (rows.at(-1)?.position ?? after) : kept.to, more };
      }
      const { rows, horizon, more } = await readFeed(db, after, BATCH);
      const end = more ? (rows.at(-1)?.position ?? after) : horizon;
      return { rows, position: comparePositions(end, after) > 0 ? end : after, more };
    },
    onChange(callback) {
      callbacks.add(callback);
      unfollow ??= follower.onChange('*', hint);
      hint();
      return () => {
        callbacks.delete(callback);
        if (callbacks.size > 0) return;
        unfollow?.();
        unfollow = undefined;
        kept = undefined;
        clearTimeout(timer);
        timer = undefined;
      };
    },
    close() {
      callbacks.clear();
      unfollow?.();
      clearTimeout(timer);
    },
  };
}

/** Index of the first row behind the position: a binary search. */
function firstBehind(rows: FeedRow[], after: Position): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const row = rows[middle];
    if (row !== undefined && comparePositions(row.position, after) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
