/** How many requests a caller may make: all replicas count together, each hears of the others a second later. */
import rateLimit, { type FastifyRateLimitStore, normalizeIP, type RateLimitOptions } from '@fastify/rate-limit';
import type { FastifyRequest } from 'fastify';
import { errors } from '../errors.ts';
import type { SharedCounts } from '../limits/shared-counts.ts';
import { maybePrincipalOf } from './context.ts';
import type { App } from './section.ts';

const WINDOW_MS = 60_000;
const WINDOW_SECONDS = WINDOW_MS / 1_000;
/** Callers remembered at most for each limit on tries. */
const MAX_CALLERS = 20_000;
/** What sets off work at a provider may be called this part of the general rate. */
const EXPENSIVE_SHARE = 5;

/**
 * Limits each user, and each address where there is none, on all routes but public ones.
 * @param limit requests a minute; 0: as many as they like
 */
export async function installRateLimit(app: App, counts: SharedCounts, limit: number): Promise<void> {
  await app.register(rateLimit, {
    global: limit > 0,
    max: (request) =>
      request.routeOptions.config.expensive === true ? Math.max(1, Math.floor(limit / EXPENSIVE_SHARE)) : limit,
    timeWindow: WINDOW_MS,
    store: storeOf(counts, 'requests'),
    enableDraftSpec: true,
    skipOnError: true,
    allowList: (request) => request.routeOptions.config.access === 'public',
    keyGenerator: (request) =>
      request.routeOptions.config.expensive === true ? `expensive ${callerOf(request)}` : callerOf(request),
    errorResponseBuilder: (request, { ttl, max }) => {
      const per = maybePrincipalOf(request) === undefined ? 'address' : 'user';
      const own = request.routeOptions.config.rateLimit === undefined ? 'requests' : 'tries';
      return errors.rateLimited(secondsOf(ttl), { limit: own, per, used: max, allowed: max });
    },
  });
}

/** How many requests a caller has made in the present minute, over all replicas. */
export async function requestsOf(counts: SharedCounts, userId: string): Promise<number> {
  const key = `requests ${userId}`;
  return (await counts.read([key])).get(key) ?? 0;
}

/**
 * Limits each address before anybody is authenticated: who sends nothing valid is held up as well.
 * @param limit requests a minute; 0: as many as they like
 * @returns what throws 429.
 */
export function createAddressLimit(counts: SharedCounts, limit: number): (request: FastifyRequest) => void {
  if (limit === 0) return () => {};
  return (request) => {
    const key = `address ${addressOf(request)}`;
    const used = counts.add(key, 1, WINDOW_SECONDS);
    if (used <= limit) return;
    throw errors.rateLimited(secondsOf(counts.endsIn(key)), {
      limit: 'address_requests',
      per: 'address',
      used,
      allowed: limit,
    });
  };
}

function secondsOf(milliseconds: number): number {
  return Math.max(1, Math.ceil(milliseconds / 1_000));
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

/** The library's own store counts in this process alone, and goes by a clock that may be set. */
function storeOf(counts: SharedCounts, name: string): new () => FastifyRateLimitStore {
  return class RateStore implements FastifyRateLimitStore {
    incr(caller: string, callback: (error: Error | null, result?: { current: number; ttl: number }) => void): void {
      const key = `${name} ${caller}`;
      const current = counts.add(key, 1, WINDOW_SECONDS);
      callback(null, { current, ttl: counts.endsIn(key) });
    }

    /** For a route with a limit of its own: the same name in all replicas. */
    child(route: object): FastifyRateLimitStore {
      const { routeInfo } = route as { routeInfo?: { method?: unknown; url?: unknown } };
      return new (storeOf(counts, `${routeInfo?.method} ${routeInfo?.url}`))();
    }
  };
}
