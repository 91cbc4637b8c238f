import { backoff } from '../util/backoff.ts';
import { sleep } from '../util/sleep.ts';
import type { Account } from './account.ts';
import { type CallKind, type CallOptions, type MutationOptions, ProviderError } from './contract.ts';

/** What the work comes to, unless the signal fires first: then its reason is thrown, and the work goes on unheard. */
export async function whileWanted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/**
 * Keeps an answer for a while and asks anew afterwards. A failure is not kept; those who ask at once ask together, each
 * for as long as it has patience.
 */
export function remembered<T>(milliseconds: number, ask: () => Promise<T>): (options?: CallOptions) => Promise<T> {
  let kept: { at: number; answer: Promise<T> } | null = null;
  return ({ signal, patience } = {}) => {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (kept === null || performance.now() - kept.at > milliseconds) {
      // Not with one caller's signal: others wait for the same answer.
      const fresh = { at: performance.now(), answer: ask() };
      fresh.answer.catch(() => {
        if (kept === fresh) kept = null;
      });
      kept = fresh;
    }
    const answer = whileWanted(kept.answer, signal);
    return patience === undefined ? answer : within(answer, patience);
  };
}

/** @throws ProviderError UNAVAILABLE when it takes longer; the work goes on unheard. */
async function within<T>(work: Promise<T>, seconds: number): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(
      new ProviderError('UNAVAILABLE', `No answer came within ${seconds} s. Try again in a moment.`, {
        retryable: true,
        retryAfter: Math.ceil(seconds),
      }),
    );
  }, seconds * 1_000);
  return Promise.race([work, late.promise]).finally(() => clearTimeout(timer));
}

/** What came of sending a call: an answer, or (it has had no effect) the seconds for which the account is throttled. */
export type Outcome<T> = { answer: T } | { throttledFor: number };

/** Asks something in the account's turn, again where the answer is lost. @throws ProviderError; the signal's reason. */
export function ask<T>(
  account: Account,
  kind: CallKind,
  options: CallOptions,
  send: () => Promise<Outcome<T>>,
): Promise<T> {
  return lookingAgain(account, options, () =>
    untilNotThrottled(account, kind, options, () => {
      orReleased(account, () => options.signal?.throwIfAborted());
      return send();
    }),
  );
}

/**
 * Changes something in the account's turn, once the guard has let it; it is awaited whatever the signal does.
 * @throws ProviderError; the signal's reason before it is sent; what the guard throws.
 */
export function change<T>(account: Account, options: MutationOptions, send: () => Promise<Outcome<T>>): Promise<T> {
  return untilNotThrottled(account, 'change', options, () => {
    orReleased(account, () => {
      options.signal?.throwIfAborted();
      options.guard();
    });
    return send();
  });
}

/** Gives the account's turn back where the check throws: nothing was sent. */
function orReleased(account: Account, check: () => void): void {
  try {
    check();
  } catch (error) {
    account.released(false);
    throw error;
  }
}

/**
 * Sends again and again while the account is throttled: such a call has had no effect. Waits for the account's turn before
 * each, all together no longer than the caller's patience.
 * @param send answers the seconds to wait where there are too many calls.
 * @throws ProviderError RATE_LIMITED where the provider asks for a longer pause than the caller has patience for.
 */
async function untilNotThrottled<T>(
  account: Account,
  kind: CallKind,
  options: CallOptions,
  send: () => Promise<Outcome<T>>,
): Promise<T> {
  const begun = performance.now();
  for (;;) {
    const spent = (performance.now() - begun) / 1_000;
    const patience = options.patience === undefined ? undefined : Math.max(0, options.patience - spent);
    await account.admit(kind, { ...options, patience });
    const outcome = await send();
    if ('answer' in outcome) return outcome.answer;
    const { throttledFor: seconds } = outcome;
    if (options.patience !== undefined && seconds > options.patience - (performance.now() - begun) / 1_000) {
      const asks = `${account.name} asks for fewer calls. Try again in ${seconds} s.`;
      throw new ProviderError('RATE_LIMITED', asks, { retryable: true, retryAfter: seconds });
    }
  }
}

/** Tries of something that only looks, and the pauses between them. Milliseconds. */
const LOOKS = 4;
const LOOK_PAUSES = { first: 150, most: 600 };

/**
 * Looks again where an answer was lost or unreadable: looking changes nothing. But a caller whose patience is bounded is
 * told at once where the account is held by now: the holds grow, and it would wait through one after the other.
 */
async function lookingAgain<T>(account: Account, options: CallOptions, look: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await look();
    } catch (error) {
      const passing = error instanceof ProviderError && error.retryable && error.retryAfter === undefined;
      const held = options.patience !== undefined && account.state().state !== 'ok';
      if (!passing || held || tried >= LOOKS) throw error;
      await sleep(backoff(tried, LOOK_PAUSES), options.signal);
    }
  }
}
