import type { CallOptions, Provider, ProviderServer } from './contract.ts';

/** Looks are no closer together than this. Milliseconds. */
const MIN_INTERVAL_MS = 100;
/** The first look waits so long for others that begin to wait at the same time. */
const GATHER_MS = 5;
/** A server that takes long is looked at no more often than this. */
const MAX_INTERVAL_MS = 5_000;
/** The pause between looks is the time waited so far divided by this: soon for the quick, rarely for the slow. */
const AGE_DIVISOR = 4;

interface Waiter {
  ref: string;
  tell: Pick<CallOptions, 'onWait' | 'onWaited'>;
  since: number;
  /** What it was told last, without the numbers in it. */
  told?: string;
  accept: (server: ProviderServer | null) => boolean;
  resolve: (server: ProviderServer | null) => void;
  reject: (error: unknown) => void;
}

interface Round {
  waiters: Set<Waiter>;
  timer: NodeJS.Timeout | undefined;
  /** When the timer fires, and when the last look began; of the monotonic clock. */
  dueAt: number;
  lookedAt: number;
  looking: boolean;
}

const rounds = new WeakMap<Provider, Round>();

/**
 * Waits until `accept` says yes to a server's state (null: it does not exist). All waits on one provider share one
 * call a tick, so a thousand servers in flight cost what one costs.
 * @param tell is told why an answer takes long: the account's turn, a provider that is away.
 * @throws the signal's reason; a provider error that a later try cannot mend.
 */
export function untilObserved(
  provider: Provider,
  ref: string,
  accept: (server: ProviderServer | null) => boolean,
  signal: AbortSignal,
  tell: Pick<CallOptions, 'onWait' | 'onWaited'> = {},
): Promise<ProviderServer | null> {
  if (signal.aborted) return Promise.reject(signal.reason);
  const round = rounds.get(provider) ?? newRound();
  rounds.set(provider, round);
  const { promise, resolve, reject } = Promise.withResolvers<ProviderServer | null>();
  const waiter: Waiter = { ref, tell, since: performance.now(), accept, resolve, reject };
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  round.waiters.add(waiter);
  schedule(provider, round, Math.max(GATHER_MS, round.lookedAt + leastInterval(provider) - performance.now()));
  return promise.finally(() => {
    round.waiters.delete(waiter);
    signal.removeEventListener('abort', abort);
  });
}

/** Looks are no closer together than this. What a budget asks for wins over quickness. */
function leastInterval(provider: Provider): number {
  return Math.max(MIN_INTERVAL_MS, provider.observationIntervalMs?.() ?? 0);
}

function newRound(): Round {
  return { waiters: new Set(), timer: undefined, dueAt: 0, lookedAt: Number.NEGATIVE_INFINITY, looking: false };
}

/** At that time, or sooner where a look is due sooner. */
function schedule(provider: Provider, round: Round, delayMs: number): void {
  const dueAt = performance.now() + delayMs;
  if (round.looking || (round.timer !== undefined && round.dueAt <= dueAt)) return;
  clearTimeout(round.timer);
  round.dueAt = dueAt;
  round.timer = setTimeout(() => {
    round.timer = undefined;
    round.looking = true;
    round.lookedAt = performance.now();
    void look(provider, round).then((pauseMs) => {
      round.looking = false;
      if (round.waiters.size > 0) schedule(provider, round, pauseMs);
    });
  }, delayMs);
}

/** Tells everyone who waits, but nobody the same thing twice in a row. */
function tellAll(waiters: readonly Waiter[], reason: string): void {
  for (const waiter of waiters) {
    const kind = reason.replace(/\d+/g, '');
    if (waiter.told === kind) continue;
    waiter.told = kind;
    waiter.tell.onWait?.(reason);
  }
}

/** @returns milliseconds until the next look. */
async function look(provider: Provider, round: Round): Promise<number> {
  const asked = [...round.waiters];
  const least = leastInterval(provider);
  if (asked.length === 0) return least;
  try {
    const servers = await provider.observeServers([...new Set(asked.map((waiter) => waiter.ref))], {
      onWait: (reason) => tellAll(asked, reason),
      onWaited: (milliseconds) => {
        for (const { tell } of asked) tell.onWaited?.(milliseconds);
      },
    });
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
    if (error instanceof Error) tellAll(asked, error.message);
    const asks =
      error instanceof Error && 'retryAfter' in error && typeof error.retryAfter === 'number' ? error.retryAfter : 0;
    return Math.max(asks * 1_000, MAX_INTERVAL_MS / 10);
  }
  // Those who came during the look count as well.
  let youngest = 0;
  for (const { since } of round.waiters) youngest = Math.max(youngest, since);
  return Math.max(least, Math.min(MAX_INTERVAL_MS, (performance.now() - youngest) / AGE_DIVISOR));
}
