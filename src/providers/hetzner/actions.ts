import { sleep } from '../../util/sleep.ts';
import type { CloudHttp } from '../cloud-http.ts';
import { type CallOptions, ProviderError } from '../contract.ts';
import { fields, items, numeric, text } from '../wire.ts';
import { actionError } from './errors.ts';

/** Switching a server on takes seconds. What takes longer is left to the server's own state. Milliseconds. */
const WAIT_MS = 30_000;
/** So many ids fit into one request: the most that one page holds. */
const BATCH = 50;
/** Looks are no closer together than this, and no further apart unless the account's budget wants it. Milliseconds. */
const INTERVALS = { least: 250, most: 5_000 };

interface Waiter {
  id: number;
  settle: (action: Record<string, unknown>) => void;
  reject: (error: unknown) => void;
}

export interface Actions {
  /**
   * Waits until what Hetzner has accepted is done, for half a minute at most. All who wait share one call a look.
   * @param answer the body that an action came in. @param what the change, for messages.
   * @returns false when it takes longer. @throws ProviderError when it failed after it was accepted; the signal's reason.
   */
  done(answer: unknown, what: string, options: CallOptions): Promise<boolean>;
}

/** @param intervalMs how far apart the account's budget wants looks to be. */
export function createActions(http: CloudHttp, secrets: readonly string[], intervalMs: () => number): Actions {
  const waiters = new Set<Waiter>();
  let looking = false;

  const look = async (): Promise<void> => {
    looking = true;
    const begun = performance.now();
    try {
      while (waiters.size > 0) {
        await sleep(
          Math.max(INTERVALS.least, intervalMs(), Math.min(INTERVALS.most, (performance.now() - begun) / 8)),
          undefined,
        );
        for (const batch of batches([...waiters])) await ask(batch);
      }
    } finally {
      looking = false;
    }
  };
  const ask = async (batch: readonly Waiter[]): Promise<void> => {
    const query = batch.map(({ id }) => `id=${id}`).join('&');
    try {
      const body = await http.read('look at the actions', `/v1/actions?per_page=${BATCH}&${query}`, {}, 'observe');
      const found = new Map((items(fields(body).actions) ?? []).map((action) => [numeric(action.id), action]));
      for (const waiter of batch) {
        const action = found.get(waiter.id);
        if (action !== undefined && text(action.status) !== 'running') waiter.settle(action);
      }
    } catch (error) {
      // The next look asks again.
      if (error instanceof ProviderError && error.retryable) return;
      for (const waiter of batch) waiter.reject(error);
    }
  };

  return {
    async done(answer, what, { signal }) {
      const action = fields(fields(answer).action);
      const id = numeric(action.id);
      if (id === undefined) return false;
      const settled = text(action.status) === 'running' ? await waitFor(id, signal) : action;
      if (settled === null) return false;
      if (text(settled.status) !== 'error') return true;
      throw actionError(what, settled.error, secrets);
    },
  };

  async function waitFor(id: number, signal: AbortSignal | undefined): Promise<Record<string, unknown> | null> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Record<string, unknown> | null>();
    const waiter: Waiter = { id, settle: resolve, reject };
    const timer = setTimeout(() => resolve(null), WAIT_MS);
    const abort = () => reject(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    waiters.add(waiter);
    if (!looking) void look();
    try {
      return await promise;
    } finally {
      waiters.delete(waiter);
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    }
  }
}

function batches<T>(all: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(all.length / BATCH) }, (_, place) =>
    all.slice(place * BATCH, (place + 1) * BATCH),
  );
}
