/**
 * One account at a cloud: all calls made with the same credentials pass here. It keeps them below the provider's rate
 * limit, lets changes go before observations, holds everything while the provider asks for a pause, and stops asking a
 * provider that does not answer. Waiting is the normal case, not an error: an operation is told why it waits.
 */
import { backoff } from '../util/backoff.ts';
import { createBreaker } from './breaker.ts';
import { type AccountState, type CallKind, type CallOptions, ProviderError } from './contract.ts';

/** So many calls in so many seconds. */
export interface RateLimit {
  calls: number;
  perSeconds: number;
}

/** What an answer told about the provider's own limit. */
export interface RateFacts {
  /** Calls that the provider allows in its window. */
  limit: number | null;
  /** Of these, how many are left. */
  remaining: number | null;
  /** The answer was a 429. */
  refused?: boolean;
  /** The answer was that the credentials are not accepted. */
  denied?: boolean;
}

export interface Account {
  /** What the messages call it: the provider's name. */
  readonly name: string;
  /**
   * Waits for the account's turn.
   * @throws the signal's reason; RATE_LIMITED or UNAVAILABLE (retryable) when the caller's patience is over;
   * AUTHENTICATION_FAILED at once while the account is left alone because its credentials were refused: waiting mends
   * nothing, and would keep places that others need.
   */
  admit(kind: CallKind, options?: CallOptions): Promise<void>;
  /** Gives a turn back of which nothing came: nothing was sent, or nobody waited for the answer. */
  released(sent: boolean): void;
  /** An answer came, whatever it said. */
  answered(facts: RateFacts): void;
  /**
   * The provider asked for fewer calls, in an answer that has been told as well. Nothing is sent for so many seconds;
   * null: it did not say how many, so the pause grows from one refusal to the next.
   * @returns the seconds.
   */
  throttled(retryAfter: number | null): number;
  /** No answer came, or a 5xx. Several in a row hold all calls for a while; so do credentials that are not accepted. */
  failed(): void;
  /** Least pause between two observations, so that these take a minor share of the budget. Milliseconds. */
  observationIntervalMs(callsEach: number): number;
  state(): AccountState;
  close(): void;
}

/** Part of the provider's limit that is used: others (a console, another tool) have the rest. */
const SHARE = 0.8;
/** How it is used: evenly, and saved up for a burst. Together no window of the provider's sees more than the share. */
const EVENLY = 0.6;
const SAVED = SHARE - EVENLY;
/** Observations leave to changes what comes in in this time. Seconds. */
const RESERVE_SECONDS = 2;
/** Part of the rate that observations may take when nothing else is done. */
const OBSERVATION_SHARE = 0.4;
/** A bucket starts with what comes in in this time: a process that is restarted often must not begin full each time. */
const INITIAL_SECONDS = 5;
/** A wait shorter than this is not worth telling. */
const ANNOUNCE_AFTER_MS = 500;
/** How often a long wait is told. */
const TELL_WAITED_MS = 20_000;
/** Pauses that the provider did not measure itself. Seconds. */
const PAUSES = { first: 1, most: 60, jitter: 0 };
/** At least, whatever the provider asks for. Seconds. */
const SHORTEST_PAUSE = 0.05;
const RANK: Record<CallKind, number> = { change: 0, look: 1, observe: 2 };

/** An observation that has waited for so long goes first: without any, what has been changed would never be seen done. */
const OVERDUE_MS = 2_000;
/** But only each so manyth call. */
const OVERDUE_SHARE = 5;

interface Waiter {
  kind: CallKind;
  since: number;
  admit: () => void;
  reject: (error: ProviderError) => void;
}

function isOverdue({ kind, since }: Waiter, now: number): boolean {
  return kind === 'observe' && now - since >= OVERDUE_MS;
}

export function createAccount(settings: { name: string; limit: RateLimit }): Account {
  const { name } = settings;
  const rate = (settings.limit.calls / settings.limit.perSeconds) * EVENLY;
  const saved = Math.max(2, settings.limit.calls * SAVED);
  let tokens = Math.min(saved, Math.max(1, rate * INITIAL_SECONDS));
  let capacity = saved;
  let filledAt = performance.now();
  let pausedUntil = 0;
  // Sent, and not answered yet: what the provider counts does not hold them.
  let underWay = 0;
  // Calls that were no observations.
  let othersInARow = 0;
  // Of the kind "too many calls", in a row.
  let refusals = 0;
  const breaker = createBreaker();
  const waiters: Waiter[] = [];
  let timer: NodeJS.Timeout | undefined;
  const figures = { calls: { change: 0, look: 0, observe: 0 }, throttled: 0 };

  const fill = (now: number) => {
    tokens = Math.min(capacity, tokens + ((now - filledAt) / 1_000) * rate);
    filledAt = now;
  };

  /** Milliseconds until a call of this kind may go, as far as one can tell now; 0: now. */
  const delayOf = (kind: CallKind, now: number): number => {
    if (pausedUntil > now) return pausedUntil - now;
    const held = breaker.delay(now);
    if (held > 0) return held;
    const needed = kind === 'observe' ? Math.max(1, Math.min(saved / 2, rate * RESERVE_SECONDS)) : 1;
    return tokens >= needed ? 0 : Math.ceil(((needed - tokens) / rate) * 1_000);
  };

  const pump = () => {
    clearTimeout(timer);
    timer = undefined;
    for (;;) {
      const now = performance.now();
      if (isRefused(now)) return refuseAll();
      const overdue = othersInARow < OVERDUE_SHARE - 1 ? undefined : waiters.find((waiter) => isOverdue(waiter, now));
      const next = overdue ?? waiters[0];
      if (next === undefined) return;
      fill(now);
      const delay = delayOf(overdue === undefined ? next.kind : 'look', now);
      if (delay > 0) {
        timer = setTimeout(pump, delay);
        return;
      }
      tokens -= 1;
      underWay += 1;
      breaker.sent();
      figures.calls[next.kind] += 1;
      othersInARow = next.kind === 'observe' ? 0 : othersInARow + 1;
      waiters.splice(waiters.indexOf(next), 1);
      next.admit();
    }
  };

  const enqueue = (waiter: Waiter) => {
    const place = waiters.findIndex((other) => RANK[other.kind] > RANK[waiter.kind]);
    waiters.splice(place === -1 ? waiters.length : place, 0, waiter);
    pump();
  };

  /** When calls go on, as far as one can tell. */
  const heldUntil = () => Math.max(pausedUntil, breaker.hold()?.until ?? 0);

  /** The credentials were refused, and it is not time yet to try them again. */
  const isRefused = (now: number): boolean =>
    breaker.hold()?.trouble === 'refused' && (breaker.hold()?.until ?? 0) > now;

  const refuseAll = () => {
    for (const waiter of waiters.splice(0)) waiter.reject(refusedError());
  };

  const refusedError = () => new ProviderError('AUTHENTICATION_FAILED', reason(), { retryable: false });

  const state = (): AccountState['state'] => {
    const trouble = breaker.hold()?.trouble;
    return trouble !== 'refused' && pausedUntil > performance.now() ? 'paused' : (trouble ?? 'ok');
  };

  const reason = (): string => {
    const seconds = `${Math.max(1, Math.ceil((heldUntil() - performance.now()) / 1_000))} s`;
    const inARow = `${breaker.hold()?.failures ?? 0} calls in a row`;
    switch (state()) {
      case 'paused':
        return `${name} asked for fewer calls; going on in ${seconds}.`;
      case 'unreachable':
        return `${name} did not answer ${inARow}; asking again in ${seconds}.`;
      case 'refused':
        return `${name} refused the credentials of this account for ${inARow}; it is asked again in ${seconds} at the earliest. Set credentials that are valid, for the workspace or in the settings of this server.`;
      case 'ok':
        return `Waiting for a turn: calls to ${name} are kept below ${Math.round(rate * 60)} a minute, ${waiters.length} are waiting.`;
    }
  };

  return {
    name,
    admit(kind, { signal, onWait, onWaited, patience } = {}) {
      if (signal?.aborted) return Promise.reject(signal.reason);
      if (isRefused(performance.now())) return Promise.reject(refusedError());
      return new Promise<void>((resolve, reject) => {
        const timers: NodeJS.Timeout[] = [];
        let toldAt = performance.now();
        const tellWaited = () => {
          const now = performance.now();
          onWaited?.(now - toldAt);
          toldAt = now;
        };
        const end = (settle: () => void) => {
          for (const each of timers) clearTimeout(each);
          signal?.removeEventListener('abort', abort);
          const place = waiters.indexOf(waiter);
          if (place !== -1) {
            waiters.splice(place, 1);
            pump();
          }
          settle();
        };
        const waiter: Waiter = {
          kind,
          since: performance.now(),
          admit: () => end(resolve),
          reject: (error) => end(() => reject(error)),
        };
        const abort = () => end(() => reject(signal?.reason));
        signal?.addEventListener('abort', abort, { once: true });
        enqueue(waiter);
        if (!waiters.includes(waiter)) return;
        waiter.admit = () =>
          end(() => {
            tellWaited();
            resolve();
          });
        if (onWait !== undefined) timers.push(setTimeout(() => onWait(reason()), ANNOUNCE_AFTER_MS));
        if (onWaited !== undefined) timers.push(setInterval(tellWaited, TELL_WAITED_MS));
        if (patience !== undefined) {
          timers.push(setTimeout(() => end(() => reject(outOfPatience())), patience * 1_000));
        }
      });
    },
    released(sent) {
      underWay -= 1;
      if (!sent) tokens = Math.min(capacity, tokens + 1);
      breaker.released();
      pump();
    },
    answered({ limit, remaining, refused = false, denied = false }) {
      underWay -= 1;
      if (!refused) refusals = 0;
      if (denied) breaker.failed('refused', performance.now());
      else breaker.succeeded();
      if (limit !== null && limit > 0 && remaining !== null) {
        fill(performance.now());
        capacity = Math.max(saved, limit * SHARE);
        // What the provider counts is true for all replicas and tools together.
        tokens = Math.min(capacity, Math.max(0, remaining - underWay - limit * (1 - SHARE)));
      }
      pump();
    },
    throttled(retryAfter) {
      figures.throttled += 1;
      // Calls that were under way together are refused together: that is one refusal.
      if (pausedUntil <= performance.now()) refusals += 1;
      const seconds = Math.max(SHORTEST_PAUSE, retryAfter ?? backoff(refusals, PAUSES));
      pausedUntil = Math.max(pausedUntil, performance.now() + seconds * 1_000);
      pump();
      return seconds;
    },
    failed() {
      underWay -= 1;
      breaker.failed('unreachable', performance.now());
      pump();
    },
    observationIntervalMs: (callsEach) => Math.ceil((callsEach / (rate * OBSERVATION_SHARE)) * 1_000),
    state: () => ({
      state: state(),
      reason: state() === 'ok' ? null : reason(),
      retry_after: Math.max(0, Math.ceil((heldUntil() - performance.now()) / 1_000)),
      calls: { ...figures.calls },
      waiting: waiters.length,
      throttled: figures.throttled,
    }),
    close() {
      clearTimeout(timer);
      timer = undefined;
    },
  };

  function outOfPatience(): ProviderError {
    return new ProviderError(state() === 'unreachable' ? 'UNAVAILABLE' : 'RATE_LIMITED', reason(), {
      retryable: true,
      retryAfter: Math.ceil(Math.max(1, (heldUntil() - performance.now()) / 1_000)),
    });
  }
}
