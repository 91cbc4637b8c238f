import type { Provider, ProviderServer } from './contract.ts';

/** First look at a server after this. Milliseconds. */
const MIN_INTERVAL_MS = 100;
/** A server that takes long is looked at no more often than this. */
const MAX_INTERVAL_MS = 5_000;
/** The pause between looks is the time waited so far divided by this: soon for the quick, rarely for the slow. */
const AGE_DIVISOR = 4;

interface Waiter {
  ref: string;
  since: number;
  accept: (server: ProviderServer | null) => boolean;
  resolve: (server: ProviderServer | null) => void;
  reject: (error: unknown) => void;
}

interface Round {
  waiters: Set<Waiter>;
  timer: NodeJS.Timeout | undefined;
  looking: boolean;
}

const rounds = new WeakMap<Provider, Round>();

/**
 * Waits until `accept` says yes to a server's state (null: it does not exist). All waits on one provider share one
 * call a tick, so a thousand servers in flight cost what one costs.
 * @throws the signal's reason; a provider error that a later try cannot mend.
 */
export function untilObserved(
  provider: Provider,
  ref: string,
  accept: (server: ProviderServer | null) => boolean,
  signal: AbortSignal,
): Promise<ProviderServer | null> {
  if (signal.aborted) return Promise.reject(signal.reason);
  const round = rounds.get(provider) ?? { waiters: new Set(), timer: undefined, looking: false };
  rounds.set(provider, round);
  const { promise, resolve, reject } = Promise.withResolvers<ProviderServer | null>();
  const waiter: Waiter = { ref, since: Date.now(), accept, resolve, reject };
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  round.waiters.add(waiter);
  schedule(provider, round, leastInterval(provider));
  return promise.finally(() => {
    round.waiters.delete(waiter);
    signal.removeEventListener('abort', abort);
  });
}

/** Looks are no closer together than this. What a budget asks for wins over quickness. */
function leastInterval(provider: Provider): number {
  return Math.max(MIN_INTERVAL_MS, provider.observationIntervalMs?.() ?? 0);
}

function schedule(provider: Provider, round: Round, delayMs: number): void {
  if (round.timer !== undefined || round.looking) return;
  round.timer = setTimeout(() => {
    round.timer = undefined;
    round.looking = true;
    void look(provider, round).then((pauseMs) => {
      round.looking = false;
      if (round.waiters.size > 0) schedule(provider, round, pauseMs);
    });
  }, delayMs);
}

/** @returns milliseconds until the next look. */
async function look(provider: Provider, round: Round): Promise<number> {
  const asked = [...round.waiters];
  const least = leastInterval(provider);
  if (asked.length === 0) return least;
  try {
    const servers = await provider.observeServers([...new Set(asked.map((waiter) => waiter.ref))]);
    for (const waiter of asked) {
      const server = servers.get(waiter.ref) ?? null;
      if (waiter.accept(server)) waiter.resolve(server);
    }
  } catch (error) {
    const retryable = error instanceof Error && 'retryable' in error && error.retryable === true;
    if (!retryable) {
      for (const waiter of asked) waiter.reject(error);
      return least;
    }
    const asks =
      error instanceof Error && 'retryAfter' in error && typeof error.retryAfter === 'number' ? error.retryAfter : 0;
    return Math.max(asks * 1_000, MAX_INTERVAL_MS / 10);
  }
  const youngest = Math.max(...asked.map((waiter) => waiter.since));
  return Math.max(least, Math.min(MAX_INTERVAL_MS, (Date.now() - youngest) / AGE_DIVISOR));
}
