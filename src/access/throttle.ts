import type { FastifyReply } from 'fastify';
import { errors } from '../errors.ts';
import { createWindows } from '../util/windows.ts';

const WINDOW_MS = 60_000;
/** Keys remembered at most; the oldest window is forgotten first. */
const MAX_KEYS = 20_000;

/** Counts one more try. @throws 429 with `Retry-After` past the limit. The reply gets the RateLimit headers. */
export type Throttle = (key: string, reply: FastifyReply) => void;

/** So many tries a minute for each key, in this replica. @param limit 0: no limit. */
export function createThrottle(limit: number): Throttle {
  if (limit === 0) return () => {};
  const count = createWindows(WINDOW_MS, MAX_KEYS);
  return (key, reply) => {
    const { tries, left } = count(key);
    const seconds = Math.max(1, Math.ceil(left / 1_000));
    reply.header('ratelimit-limit', String(limit));
    reply.header('ratelimit-remaining', String(Math.max(0, limit - tries)));
    reply.header('ratelimit-reset', String(seconds));
    if (tries > limit) throw errors.rateLimited(seconds);
  };
}

/** What one client cannot change at will: an IPv4 address, or the /64 that a network gives to one IPv6 customer. */
export function addressKey(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped?.[1] !== undefined) return mapped[1];
  if (!address.includes(':')) return address;
  const [head = '', tail] = address.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length;
  return [...left, ...Array.from({ length: Math.max(0, zeros) }, () => '0'), ...right].slice(0, 4).join(':');
}
