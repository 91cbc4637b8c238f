import type { Logger } from 'pino';
import type { Database } from '../database/pool.ts';
import type { Signals } from '../engine/signals.ts';
import { unfinishedAmong } from './store.ts';

/** Hints may be lost; so often everybody looks without one. */
const FALLBACK_MS = 5_000;
/** Hints are gathered this long before one query asks which operations have ended. */
const GATHER_MS = 10;
/** After a query that failed. */
const RETRY_MS = 500;

/** Tells many who wait for operations of changes to them: one subscription and one query for all. */
export interface Follower {
  /** Calls back when the operation may have changed (`*`: when any may have), at the latest every 5 s. */
  onChange(operationId: string, callback: () => void): () => void;
  /** Resolves when the operation has ended or is gone, or the signal aborts. Never rejects. `operationId`: lower case. */
  untilEnded(operationId: string, signal: AbortSignal): Promise<void>;
  close(): void;
}

export function createFollower(
  db: Database,
  signals: Pick<Signals, 'onOperationsChanged'>,
  logger: Pick<Logger, 'warn'>,
): Follower {
  const callbacks = new Map<string, Set<() => void>>();
  const waiting = new Map<string, Set<() => void>>();
  let unchecked = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  let checking = false;
  let closed = false;

  const check = async () => {
    timer = undefined;
    const ids = [...unchecked].filter((id) => waiting.has(id));
    unchecked = new Set();
    if (ids.length === 0) return;
    checking = true;
    let pause = GATHER_MS;
    try {
      const unfinished = await unfinishedAmong(db, ids);
      for (const id of ids) {
        if (unfinished.has(id)) continue;
        for (const resolve of waiting.get(id) ?? []) resolve();
      }
    } catch (error) {
      logger.warn({ err: error }, 'could not check which operations have ended; trying again');
      for (const id of ids) unchecked.add(id);
      pause = RETRY_MS;
    } finally {
      checking = false;
    }
    if (unchecked.size > 0) schedule(pause);
  };
  const schedule = (pause = GATHER_MS) => {
    if (timer !== undefined || checking || closed) return;
    timer = setTimeout(() => void check(), pause);
  };

  const changed = (ids: ReadonlySet<string> | '*') => {
    const all = ids === '*';
    for (const id of all ? waiting.keys() : ids) if (waiting.has(id)) unchecked.add(id);
    if (unchecked.size > 0) schedule();
    for (const id of all ? callbacks.keys() : [...ids, '*']) for (const callback of callbacks.get(id) ?? []) callback();
  };
  const unlisten = signals.onOperationsChanged(changed);
  const fallback = setInterval(() => changed('*'), FALLBACK_MS);
  fallback.unref();

  return {
    onChange: (operationId, callback) => register(callbacks, operationId, callback),
    async untilEnded(operationId, signal) {
      if (signal.aborted || closed) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      const unregister = register(waiting, operationId, resolve);
      signal.addEventListener('abort', () => resolve(), { once: true });
      unchecked.add(operationId);
      schedule();
      await promise;
      unregister();
    },
    close() {
      closed = true;
      unlisten();
      clearInterval(fallback);
      clearTimeout(timer);
      for (const resolves of waiting.values()) for (const resolve of resolves) resolve();
    },
  };
}

function register(map: Map<string, Set<() => void>>, key: string, callback: () => void): () => void {
  const set = map.get(key) ?? new Set();
  map.set(key, set);
  // Wrapped, so that the same function may be registered twice.
  const entry = () => callback();
  set.add(entry);
  return () => {
    set.delete(entry);
    if (set.size === 0 && map.get(key) === set) map.delete(key);
  };
}
