import type { Follower } from '../../operations/follow.ts';
import { sleep } from '../../util/sleep.ts';

/** Hints come in swarms: what arrives within this is looked at together. Milliseconds. */
const GATHER_MS = 10;

/** Waits for changes of many operations at once. */
export interface Wake {
  /** Looks out for changes of this operation from now on. */
  watch(operationId: string): void;
  unwatch(operationId: string): void;
  /** Operations that may have changed since the last call. */
  takeChanged(): string[];
  /** Wakes the waiter for another reason. */
  now(): void;
  /** Resolves on a change, at `until`, or when the signal fires. */
  wait(until: Date, signal: AbortSignal): Promise<void>;
  close(): void;
}

export function createWake(follower: Follower): Wake {
  const watched = new Map<string, () => void>();
  let changed = new Set<string>();
  let resolve: (() => void) | null = null;
  let woken = false;
  const now = () => {
    woken = true;
    resolve?.();
  };
  return {
    watch(operationId) {
      if (watched.has(operationId)) return;
      const note = () => {
        changed.add(operationId);
        now();
      };
      watched.set(operationId, follower.onChange(operationId, note));
    },
    unwatch(operationId) {
      watched.get(operationId)?.();
      watched.delete(operationId);
      changed.delete(operationId);
    },
    takeChanged() {
      const taken = [...changed];
      changed = new Set();
      return taken;
    },
    now,
    async wait(until, signal) {
      if (!woken && !signal.aborted) {
        const { promise, resolve: done } = Promise.withResolvers<void>();
        const wakeUp = () => done();
        resolve = wakeUp;
        const timer = setTimeout(wakeUp, Math.max(0, until.getTime() - Date.now()));
        signal.addEventListener('abort', wakeUp, { once: true });
        await promise;
        clearTimeout(timer);
        signal.removeEventListener('abort', wakeUp);
        resolve = null;
      }
      if (woken) await sleep(GATHER_MS);
      woken = false;
    },
    close() {
      for (const stop of watched.values()) stop();
      watched.clear();
    },
  };
}
