/**
 * Leaves an account alone of which nothing comes: a provider that does not answer, or that refuses the credentials. After
 * some failures in a row nothing is sent for a while; then one call asks whether it is over, and each time that it is not,
 * the wait doubles.
 */

import { type Backoff, backoff } from '../util/backoff.ts';

/** `unreachable`: no answer, or a 5xx. `refused`: the credentials are not accepted. */
type Trouble = 'unreachable' | 'refused';

/** Why calls are held. */
interface Hold {
  trouble: Trouble;
  /** Failures in a row. */
  failures: number;
  /** When the next call may ask; of the monotonic clock, milliseconds. */
  until: number;
}

export interface Breaker {
  /** Null: calls go out. */
  hold(): Hold | null;
  /** Milliseconds until a call may go; 0: now. */
  delay(now: number): number;
  /** A call goes out. */
  sent(): void;
  /** Nobody learned what came of a call. */
  released(): void;
  /** The account works. */
  succeeded(): void;
  failed(trouble: Trouble, now: number): void;
}

const FAILURES_TO_HOLD = 5;
/**
 * The first wait and the longest. A provider that is away comes back by itself; credentials are mended by people, and
 * asking often with wrong ones gets an account locked.
 */
const HOLD_MS: Record<Trouble, Backoff> = {
  unreachable: { first: 1_000, most: 60_000, jitter: 0 },
  refused: { first: 5_000, most: 300_000, jitter: 0 },
};
/** While the one call is under way, the others look again so often. */
const PROBE_PAUSE_MS = 1_000;

export function createBreaker(): Breaker {
  let failures = 0;
  let last: Trouble = 'unreachable';
  /** Since the account last worked. */
  let holds = 0;
  let until = 0;
  let probing = false;
  return {
    hold: () => (holds === 0 ? null : { trouble: last, failures, until }),
    delay(now) {
      if (holds === 0) return 0;
      if (until > now) return until - now;
      return probing ? PROBE_PAUSE_MS : 0;
    },
    sent() {
      if (holds > 0) probing = true;
    },
    released() {
      probing = false;
    },
    succeeded() {
      failures = 0;
      holds = 0;
      probing = false;
    },
    failed(trouble, now) {
      // Sent before the others failed: it tells nothing new.
      if (holds > 0 && until > now) return;
      if (trouble !== last) {
        // The earlier trouble is over.
        failures = 0;
        holds = 0;
      }
      failures += 1;
      last = trouble;
      probing = false;
      if (holds === 0 && failures < FAILURES_TO_HOLD) return;
      holds += 1;
      until = now + backoff(holds, HOLD_MS[trouble]);
    },
  };
}
