import type { CallOptions, Provider, ProviderServer } from './contract.ts';

/** Looks are no closer together than this. Milliseconds. */
const MIN_INTERVAL_MS = 100;
/** The first look waits so long for others that begin to wait at the same time. */
const GATHER_MS = 5;
/** A server that takes long is looked at no more often than this. */
const MAX_INTERVAL_MS = 5_000;
/** A server that a list lacks is asked for by itself so long afterwards, if the lists still lack it. Milliseconds. */
export const ABSENCE_MS = 1_000;
/** The pause between looks is the time waited so far divided by this: soon for the quick, rarely for the slow. */
const AGE_DIVISOR = 8;

interface Waiter {
  ref: string;
  tell: Pick<CallOptions, 'onWait' | 'onWaited'>;
  since: number;
  /** When a list lacked the server first, or it was asked for by itself last. */
  absentAt?: number;
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
 * call a tick, so a thousand servers in flight cost what one costs. Where lists lag, a server counts as absent when two
 * lists lack it, some time apart, and the provider then says so of the server itself.
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

/** One server now, asked for by itself where lists lag; null when it does not exist. */
export async function readServer(
  provider: Provider,
  ref: string,
  options: CallOptions,
): Promise<ProviderServer | null> {
  if (provider.readServer !== undefined) return provider.readServer(ref, options);
  return (await provider.observeServers([ref], options)).get(ref) ?? null;
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
    await Promise.all(asked.map((waiter) => answer(provider, waiter, servers.get(waiter.ref))));
  } catch (error) {
    if (!isRetryable(error)) {
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
  let longest = MAX_INTERVAL_MS;
  for (const { since, absentAt } of round.waiters) {
    youngest = Math.max(youngest, since);
    if (absentAt !== undefined) longest = ABSENCE_MS;
  }
  return Math.max(least, Math.min(longest, (performance.now() - youngest) / AGE_DIVISOR));
}

/** @param listed what a list shows of the server. */
async function answer(provider: Provider, waiter: Waiter, listed: ProviderServer | undefined): Promise<void> {
  try {
    const server = listed ?? (await readAbsent(provider, waiter));
    if (listed !== undefined) waiter.absentAt = undefined;
    if (server === undefined || !waiter.accept(server)) return;
    const whole =
      server !== null && provider.readServer !== undefined && isWithoutAddress(server)
        ? await provider.readServer(waiter.ref, waiter.tell)
        : server;
    if (waiter.accept(whole)) waiter.resolve(whole);
  } catch (error) {
    // The next look asks again.
    if (!isRetryable(error)) waiter.reject(error);
  }
}

/** A list may show a server without its address: what is recorded of it must not lose the address by that. */
function isWithoutAddress({ status, ip_address: address }: ProviderServer): boolean {
  return address === null && (status === 'running' || status === 'stopped');
}

/** @returns what is true of a server that a list lacks; undefined: that is not known yet. */
async function readAbsent(provider: Provider, waiter: Waiter): Promise<ProviderServer | null | undefined> {
  if (provider.readServer === undefined) return null;
  const now = performance.now();
  waiter.absentAt ??= now;
  if (now - waiter.absentAt < ABSENCE_MS) return undefined;
  waiter.absentAt = now;
  return provider.readServer(waiter.ref, waiter.tell);
}

function isRetryable(error: unknown): boolean {
  return error instanceof Error && 'retryable' in error && error.retryable === true;
}
