import { setTimeout as delay } from 'node:timers/promises';
import { type CallOptions, ProviderError } from './contract.ts';

/** Waits. @throws the signal's reason as soon as it fires. */
export async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await delay(milliseconds, undefined, { signal });
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  }
}

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

/** Keeps an answer for a while and asks anew afterwards. A failure is not kept; those who ask at once ask together. */
export function remembered<T>(
  milliseconds: number,
  ask: () => Promise<T>,
): (signal: AbortSignal | undefined) => Promise<T> {
  let kept: { at: number; answer: Promise<T> } | null = null;
  return (signal) => {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (kept === null || performance.now() - kept.at > milliseconds) {
      // Not with one caller's signal: others wait for the same answer.
      const fresh = { at: performance.now(), answer: ask() };
      fresh.answer.catch(() => {
        if (kept === fresh) kept = null;
      });
      kept = fresh;
    }
    return whileWanted(kept.answer, signal);
  };
}

/** Tries of something that only looks, and the pause before the second: doubled each time, with jitter. */
const LOOKS = 4;
const LOOK_PAUSE_MS = 100;

/**
 * Looks again where an answer was lost or unreadable: looking changes nothing. A caller with bounded patience is told at
 * once.
 */
export async function lookingAgain<T>(options: CallOptions, look: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await look();
    } catch (error) {
      const passing = error instanceof ProviderError && error.retryable && error.retryAfter === undefined;
      if (!passing || tried >= LOOKS || options.patience !== undefined) throw error;
      await pause(LOOK_PAUSE_MS * 2 ** (tried - 1) * (0.5 + Math.random()), options.signal);
    }
  }
}
