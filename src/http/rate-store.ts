import type { FastifyRateLimitStore } from '@fastify/rate-limit';
import { createWindows } from '../util/windows.ts';

/** Callers remembered at most. */
const MAX_CALLERS = 20_000;

/** Counts requests by the monotonic clock; the library's own store keeps callers out for as long as a clock is set back. */
export class RateStore implements FastifyRateLimitStore {
  readonly #windows = new Map<number, ReturnType<typeof createWindows>>();

  incr(
    key: string,
    callback: (error: Error | null, result?: { current: number; ttl: number }) => void,
    timeWindow: number,
  ): void {
    const count = this.#windows.get(timeWindow) ?? createWindows(timeWindow, MAX_CALLERS);
    this.#windows.set(timeWindow, count);
    const { tries, left } = count(key);
    callback(null, { current: tries, ttl: left });
  }

  child(): FastifyRateLimitStore {
    return new RateStore();
  }
}
