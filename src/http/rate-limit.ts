/** How many requests a caller may make. Each replica counts by itself. */
import rateLimit, { type FastifyRateLimitStore, normalizeIP, type RateLimitOptions } from '@fastify/rate-limit';
import type { FastifyRequest } from 'fastify';
import { errors } from '../errors.ts';
import { maybePrincipalOf } from './context.ts';
import type { App } from './section.ts';

const WINDOW_MS = 60_000;
/** Callers remembered at most for each limit. */
const MAX_CALLERS = 20_000;
/** What sets off work at a provider may be called this part of the general rate. */
const EXPENSIVE_SHARE = 5;

/**
 * Limits each user, and each address where there is none, on all routes but public ones.
 * @param limit requests a minute; 0: as many as they like
 */
export async function installRateLimit(app: App, limit: number): Promise<void> {
  await app.register(rateLimit, {
    global: limit > 0,
    max: (request) =>
      request.routeOptions.config.expensive === true ? Math.max(1, Math.floor(limit / EXPENSIVE_SHARE)) : limit,
    timeWindow: WINDOW_MS,
    store: RateStore,
    enableDraftSpec: true,
    skipOnError: true,
    allowList: (request) => request.routeOptions.config.access === 'public',
    keyGenerator: (request) =>
      request.routeOptions.config.expensive === true ? `expensive ${callerOf(request)}` : callerOf(request),
    errorResponseBuilder: (_request, { ttl }) => errors.rateLimited(Math.max(1, Math.ceil(ttl / 1_000))),
  });
}

/**
 * The part of a route's `config` that gives it a limit of its own, also where it is public.
 * @param limit requests a minute of each user or address; 0: none of its own
 */
export function ownLimit(limit: number): { rateLimit?: RateLimitOptions } {
  return limit === 0 ? {} : { rateLimit: { max: limit, keyGenerator: callerOf, allowList: () => false } };
}

/** A bound on tries that fail. */
export interface TryLimit {
  /** Counts a try. @returns null, or that there were too many: seconds to wait, and whether this is the first too many. */
  begin(key: string): { wait: number; first: boolean } | null;
  /** Takes a try back: it did not fail. */
  succeeded(key: string): void;
}

/** @param limit failures in a window for each key; 0: as many as they like */
export function createTryLimit(limit: number, windowMs: number): TryLimit {
  const windows = new Windows(windowMs);
  return {
    begin(key) {
      if (limit === 0) return null;
      const { current, ttl } = windows.count(key);
      return current > limit ? { wait: Math.max(1, Math.ceil(ttl / 1_000)), first: current === limit + 1 } : null;
    },
    succeeded: (key) => windows.takeBack(key),
  };
}

/** What one client cannot change at will: its user, its IPv4 address, or the /64 that a network gives one IPv6 customer. */
function callerOf(request: FastifyRequest): string {
  return maybePrincipalOf(request)?.userId ?? addressOf(request);
}

/** The IPv4 address of a caller, or the /64 that a network gives one IPv6 customer. */
export function addressOf(request: FastifyRequest): string {
  return normalizeIP(request.ip);
}

/** Counts by the monotonic clock. A key's window begins with its first count; the next begins when that has ended. */
class Windows {
  readonly #windows = new Map<string, { endsAt: number; counted: number }>();
  readonly #lengthMs: number;

  constructor(lengthMs: number) {
    this.#lengthMs = lengthMs;
  }

  count(key: string): { current: number; ttl: number } {
    const now = performance.now();
    let window = this.#windows.get(key);
    if (window === undefined || window.endsAt <= now) {
      // At the end of the map, so that the oldest window is the first.
      this.#windows.delete(key);
      window = { endsAt: now + this.#lengthMs, counted: 0 };
      this.#windows.set(key, window);
      const oldest = this.#windows.keys().next().value;
      if (this.#windows.size > MAX_CALLERS && oldest !== undefined) this.#windows.delete(oldest);
    }
    window.counted += 1;
    return { current: window.counted, ttl: window.endsAt - now };
  }

  takeBack(key: string): void {
    const window = this.#windows.get(key);
    if (window !== undefined) window.counted -= 1;
  }
}

/** The library's own store goes by the wall clock, and keeps callers out for as long as that is set back. */
class RateStore implements FastifyRateLimitStore {
  readonly #windows = new Windows(WINDOW_MS);

  incr(key: string, callback: (error: Error | null, result?: { current: number; ttl: number }) => void): void {
    callback(null, this.#windows.count(key));
  }

  child(): FastifyRateLimitStore {
    return new RateStore();
  }
}
