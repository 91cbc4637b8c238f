/** Denials in the audit log. Those of callers whom nobody knows are summed: whoever sends many must not fill it. */
import type { FastifyBaseLogger, FastifyRequest } from 'fastify';
import type { Database } from '../database/pool.ts';
import type { ApplicationError } from '../errors.ts';
import { maybePrincipalOf } from './context.ts';
import { insertAudit } from './mutation.ts';
import { addressOf } from './rate-limit.ts';

const MINUTE_MS = 60_000;
/** Addresses that are summed apart from one another; further ones are summed together. */
const MAX_ADDRESSES = 1_000;
/** Requests that a sum names. */
const MAX_ACTIONS = 10;
/** Stands for those past `MAX_ADDRESSES`. */
const OTHERS = null;

export interface Denials {
  /** Writes down that the request was denied, at once or in the sum of its minute. */
  note(request: FastifyRequest, error: ApplicationError): void;
  /** Writes the sums so far. */
  stop(): Promise<void>;
}

interface Sum {
  since: Date;
  denied: number;
  actions: Map<string, number>;
}

/**
 * Of each address without a known caller the first denial of a minute is a row of its own, and all others of that minute
 * are one row.
 */
export function createDenials(db: Database, logger: Pick<FastifyBaseLogger, 'error'>): Denials {
  let sums = new Map<string | null, Sum>();

  const failed = (error: unknown) => logger.error({ err: error }, 'a denial could not be written to the audit log');
  const writeSums = async () => {
    const written = sums;
    sums = new Map();
    for (const [address, { since, denied, actions }] of written) {
      if (denied === 0) continue;
      const details = {
        denied,
        since: since.toISOString(),
        until: new Date().toISOString(),
        requests: Object.fromEntries(actions),
      };
      await insertAudit(db, { ip: address, id: null }, 'anonymous', 'denied', { action: 'denials', details }).catch(
        failed,
      );
    }
  };
  let writing: Promise<void> = Promise.resolve();
  const timer = setInterval(() => {
    writing = writing.then(writeSums);
  }, MINUTE_MS);
  timer.unref();

  /** @returns whether it is the first of its address in this minute. */
  const addToSum = (request: FastifyRequest, action: string): boolean => {
    const address = addressOf(request);
    const known = sums.get(address);
    const sum = known ?? { since: new Date(), denied: 0, actions: new Map() };
    const place = known !== undefined || sums.size < MAX_ADDRESSES ? address : OTHERS;
    const counted = place === OTHERS ? (sums.get(OTHERS) ?? sum) : sum;
    sums.set(place, counted);
    if (place === address && known === undefined) return true;
    counted.denied += 1;
    const named = counted.actions.has(action) || counted.actions.size < MAX_ACTIONS ? action : 'others';
    counted.actions.set(named, (counted.actions.get(named) ?? 0) + 1);
    return false;
  };

  return {
    note(request, error) {
      if (request.method === 'GET' && error.status === 401) return;
      const action = `${request.method} ${request.routeOptions.url ?? 'an unknown path'}`;
      const who = maybePrincipalOf(request)?.label;
      if (who === undefined && !addToSum(request, action)) return;
      const details = { code: error.code, message: error.message };
      insertAudit(db, request, who ?? 'anonymous', 'denied', { action, details }).catch(failed);
    },
    async stop() {
      clearInterval(timer);
      await writing;
      await writeSums();
    },
  };
}
