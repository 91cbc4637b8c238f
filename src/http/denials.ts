/**
 * Denials in the audit log. Nobody can fill the log by sending many: those of unknown callers are summed up, and so are those
 * of others once they are many.
 */
import type { FastifyBaseLogger, FastifyRequest } from 'fastify';
import type { Database } from '../database/pool.ts';
import type { ApplicationError } from '../errors.ts';
import { startRounds } from '../util/rounds.ts';
import { maybePrincipalOf } from './context.ts';
import { type AuditEntry, type AuditOrigin, insertAudit, UNASKED } from './mutation.ts';
import { addressOf, createTryLimit } from './rate-limit.ts';

const MINUTE_MS = 60_000;
/** Addresses that are summed apart from one another; further ones are summed together. */
const MAX_ADDRESSES = 1_000;
/** Denials of one known caller that are rows of their own in a minute. */
const MAX_OF_KNOWN = 60;
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
  /** The label of who it was; null: nobody knows. */
  who: string | null;
  address: string | null;
  since: Date;
  /** Of each of these the first was a row of its own. */
  codes: Set<string>;
  denied: number;
  actions: Map<string, number>;
}

/**
 * Of each address without a known caller the first denial of each kind in a minute is a row of its own, and all others
 * of that minute are one row. Of a known caller all but the first sixty are.
 */
export function createDenials(db: Database, logger: Pick<FastifyBaseLogger, 'error'>): Denials {
  let sums = new Map<string | null, Sum>();
  let sumsOfKnown = new Map<string, Sum>();
  const toldOfKnown = createTryLimit(1, MINUTE_MS);
  const rowsOfKnown = createTryLimit(MAX_OF_KNOWN, MINUTE_MS);

  const write = (origin: AuditOrigin, who: string, entry: AuditEntry): Promise<void> =>
    insertAudit(db, origin, who, 'denied', entry).catch((error: unknown) =>
      logger.error({ err: error }, 'could not write a denial to the audit log'),
    );
  const writeSums = async () => {
    const written = [...sums.values(), ...sumsOfKnown.values()];
    sums = new Map();
    sumsOfKnown = new Map();
    for (const { who, address, since, denied, actions } of written) {
      if (denied === 0) continue;
      const details = {
        denied,
        since: since.toISOString(),
        until: new Date().toISOString(),
        requests: Object.fromEntries(actions),
      };
      await write({ ...UNASKED, ip: address }, who ?? 'anonymous', { action: 'denials', details });
    }
  };
  const rounds = startRounds(MINUTE_MS, writeSums);

  /** @returns whether it is the first of its address and kind in this minute. */
  const addToSum = (request: FastifyRequest, action: string, code: string): boolean => {
    const address = addressOf(request);
    const place = sums.has(address) || sums.size < MAX_ADDRESSES ? address : OTHERS;
    const sum = sums.get(place) ?? newSum(null, place);
    sums.set(place, sum);
    if (place !== OTHERS && !sum.codes.has(code)) {
      sum.codes.add(code);
      return true;
    }
    count(sum, action);
    return false;
  };

  /** @returns whether it is one of the first of this caller in this minute. */
  const isOneOfFew = (request: FastifyRequest, action: string, who: string): boolean => {
    if (rowsOfKnown.begin(who) === null) return true;
    const sum = sumsOfKnown.get(who) ?? newSum(who, addressOf(request));
    sumsOfKnown.set(who, sum);
    count(sum, action);
    return false;
  };

  /** Whoever is known tells the same again and again where it looks for hidden things or tries too many passwords. */
  const isToldAgain = (request: FastifyRequest, { status }: ApplicationError, action: string, who: string): boolean =>
    (status === 429 || (status === 404 && request.method === 'GET')) &&
    toldOfKnown.begin(`${action} ${JSON.stringify(request.params)} ${who}`) !== null;

  return {
    note(request, error) {
      if (request.method === 'GET' && error.status === 401) return;
      // Other requests that are too many are no denials.
      if (error.status === 429 && !request.url.startsWith('/v1/auth/')) return;
      const action = `${request.method} ${request.routeOptions.url ?? 'an unknown path'}`;
      const who = maybePrincipalOf(request)?.label;
      if (who === undefined) {
        if (!addToSum(request, action, error.code)) return;
      } else if (isToldAgain(request, error, action, who) || !isOneOfFew(request, action, who)) return;
      const hidden = error.status === 404 ? { hidden: true } : {};
      const details = { code: error.code, message: error.message, ...hidden };
      void write(request, who ?? 'anonymous', { action, details });
    },
    async stop() {
      await rounds.stop();
      await writeSums();
    },
  };
}

function newSum(who: string | null, address: string | null): Sum {
  return { who, address, since: new Date(), codes: new Set(), denied: 0, actions: new Map() };
}

function count(sum: Sum, action: string): void {
  sum.denied += 1;
  const named = sum.actions.has(action) || sum.actions.size < MAX_ACTIONS ? action : 'others';
  sum.actions.set(named, (sum.actions.get(named) ?? 0) + 1);
}
