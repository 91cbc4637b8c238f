/** How often a second something may be done under a key, over all replicas. */
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import type { Database } from '../database/pool.ts';

interface Pace {
  key: string;
  /** 0: as often as one likes. */
  perSecond: number;
}

interface Paces {
  /**
   * Waits for a turn under the key. Those who ask for different parties get turns by rotation, so that nobody is held
   * up by how often somebody else asks.
   * @throws the signal's reason.
   */
  turn(pace: Pace, party: string, signal: AbortSignal): Promise<void>;
}

interface Asker {
  go: () => void;
  fail: (error: unknown) => void;
}

/** Turns further ahead than this are left from a time before the database's clock was set back. */
const FURTHEST_SECONDS = 60;

export function createPaces(db: Database): Paces {
  /** By key and party those who wait, in the order in which they asked. */
  const queues = new Map<string, Map<string, Set<Asker>>>();

  /** One turn of a key is booked at a time, and goes to whoever is still there when it comes. */
  const serve = async (pace: Pace, queue: Map<string, Set<Asker>>): Promise<void> => {
    try {
      while (queue.size > 0) {
        await delay(await bookTurn(db, pace));
        takeNext(queue)?.go();
      }
    } catch (error) {
      for (const askers of queue.values()) for (const { fail } of askers) fail(error);
    } finally {
      queues.delete(pace.key);
    }
  };

  return {
    async turn(pace, party, signal) {
      signal.throwIfAborted();
      if (pace.perSecond === 0) return;
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const asker = { go: resolve, fail: reject };
      const known = queues.get(pace.key);
      const queue = known ?? new Map<string, Set<Asker>>();
      queue.set(party, (queue.get(party) ?? new Set()).add(asker));
      if (known === undefined) {
        queues.set(pace.key, queue);
        void serve(pace, queue);
      }
      const leave = () => {
        remove(queue, party, asker);
        reject(signal.reason);
      };
      signal.addEventListener('abort', leave, { once: true });
      try {
        await promise;
      } finally {
        signal.removeEventListener('abort', leave);
      }
    },
  };
}

/** The first who waits of the party that has not had a turn for longest. */
function takeNext(queue: Map<string, Set<Asker>>): Asker | undefined {
  for (const [party, askers] of queue) {
    for (const asker of askers) {
      remove(queue, party, asker);
      if (queue.delete(party)) queue.set(party, askers);
      return asker;
    }
  }
  return undefined;
}

function remove(queue: Map<string, Set<Asker>>, party: string, asker: Asker): void {
  const askers = queue.get(party);
  askers?.delete(asker);
  if (askers?.size === 0) queue.delete(party);
}

/** @returns milliseconds until the turn. Turns of one key lie evenly apart, whichever replica takes them. */
async function bookTurn(db: Database, { key, perSecond }: Pace): Promise<number> {
  const apart = sql`make_interval(secs => ${1 / perSecond}::float8)`;
  const { rows } = await sql<{ wait_ms: number }>`
    insert into provisioning.paces as p (key, next_at) values (${key}, now() + ${apart})
    on conflict (key) do update set next_at = ${apart} + case
      when p.next_at between now() and now() + make_interval(secs => ${FURTHEST_SECONDS}) then p.next_at else now() end
    returning (extract(epoch from next_at - ${apart} - now()) * 1000)::float8 as wait_ms`.execute(db);
  return rows[0]?.wait_ms ?? 0;
}
