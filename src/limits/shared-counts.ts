/**
 * What all replicas count together. Each keeps its own counts in memory and tells the others of them every second, in
 * one statement; what is opened and closed again, and is rare, is counted exactly (`open`).
 */
import { sql } from 'kysely';
import { readClock } from '../database/clock.ts';
import { type Database, isDatabaseUnavailable, type Queryable } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';

const TELL_MS = 1_000;
/** After something was closed: others may wait for the place. */
const CLOSED_MS = 100;
/** What is open is told of again so often, and counts for so long: a replica that is gone has nothing open. */
const RENEW_MS = 3_000;
const OPEN_SECONDS = 10;
/** Keys told of in one statement, and remembered at most. */
const BATCH = 5_000;
const MAX_KEYS = 50_000;
/** What counts longer than this is not dropped for want of room. */
const SOON_MS = 3_600_000;
const TIDY_MS = 60_000;
const DAY_MS = 86_400_000;

export interface SharedCounts {
  /** What has been counted under each of the keys, by others up to a second ago. */
  read(keys: readonly string[]): Promise<Map<string, number>>;
  /**
   * Counts. Each replica's count begins with its first and ends `seconds` later.
   * @returns the total.
   */
  add(key: string, by: number, seconds: number): number;
  /** Until this replica's count under the key ends. Milliseconds. */
  endsIn(key: string): number;
  /** The day by the database's clock (UTC), as days since 1970. */
  today(): number;
  /**
   * Counts one more thing that is open, exactly over all replicas.
   * @returns what to call when it is closed, or how many are open where that is `allowed` or more.
   */
  open(key: string, allowed: number): Promise<(() => void) | number>;
  stop(): Promise<void>;
}

interface Entry {
  own: number;
  others: number;
  /** By the monotonic clock. */
  expiresAt: number;
  /** The others do not know of it yet. */
  untold: boolean;
  /** Renewed while it is not 0. */
  open: boolean;
  /** Being counted exactly: nothing older may be told meanwhile. */
  opening: number;
  toldAt: number;
}

/** Begins to count. @param warn is told of a failure that passes: the others know a little later then. */
export async function startSharedCounts(
  db: Database,
  warn: (error: unknown, message: string) => void,
): Promise<SharedCounts> {
  const self = uuidv7();
  const entries = new Map<string, Entry>();
  let clock = await sharedClock(db);
  let tidied = performance.now();
  let stopped = false;

  const entryOf = (key: string, seconds: number, open = false): Entry => {
    const known = entries.get(key);
    if (known !== undefined) return known;
    if (entries.size >= MAX_KEYS) dropOldest(entries, key);
    const expiresAt = performance.now() + seconds * 1_000;
    const made = { own: 0, others: 0, expiresAt, untold: false, open, opening: 0, toldAt: 0 };
    entries.set(key, made);
    return made;
  };

  const tell = async () => {
    const now = performance.now();
    const isDue = ({ untold, open, opening, own, toldAt }: Entry) =>
      opening === 0 && (untold || (open && own > 0 && now - toldAt > RENEW_MS));
    const due = [...entries].filter(([, entry]) => isDue(entry)).slice(0, BATCH);
    for (const [, entry] of due) entry.untold = false;
    try {
      if (due.length > 0) {
        const told = await exchange(db, self, due);
        clock = { at: performance.now(), epochMs: told.epochMs };
        for (const [key, entry] of due) Object.assign(entry, { others: told.others.get(key) ?? 0, toldAt: now });
      }
      if (now - tidied < TIDY_MS) return;
      tidied = now;
      await sql`delete from provisioning.shared_counts where expires_at < now()`.execute(db);
      await sql`delete from provisioning.paces where next_at < now() - interval '1 minute'`.execute(db);
      clock = await sharedClock(db);
    } catch (error) {
      for (const [, entry] of due) entry.untold = true;
      if (!isDatabaseUnavailable(error))
        warn(error, 'could not tell the other replicas what was counted; trying again');
    } finally {
      for (const [key, { expiresAt, open, opening, own, untold }] of entries) {
        if (!untold && opening === 0 && (open ? own === 0 : expiresAt < now)) entries.delete(key);
      }
    }
  };

  let telling: Promise<void> | undefined;
  const look = () => {
    telling ??= tell().finally(() => {
      telling = undefined;
    });
  };
  const timer = setInterval(look, TELL_MS);
  timer.unref();
  let closing: NodeJS.Timeout | undefined;

  return {
    async read(keys) {
      const others = await countedByOthers(db, self, keys);
      const own = (key: string) => {
        const entry = entries.get(key);
        return entry === undefined || isOver(entry) ? 0 : entry.own;
      };
      return new Map(keys.map((key) => [key, own(key) + (others.get(key) ?? 0)]));
    },
    add(key, by, seconds) {
      const known = entries.get(key);
      if (known !== undefined && isOver(known)) entries.delete(key);
      const entry = entryOf(key, seconds);
      entry.own += by;
      entry.untold = true;
      return entry.own + entry.others;
    },
    endsIn: (key) => Math.max(0, (entries.get(key)?.expiresAt ?? 0) - performance.now()),
    today: () => Math.floor((clock.epochMs + performance.now() - clock.at) / DAY_MS),
    async open(key, allowed) {
      const entry = entryOf(key, OPEN_SECONDS, true);
      entry.opening += 1;
      let counted = 0;
      try {
        // Counts under way hold the previous value. Outside the transaction, because this needs a connection of its own.
        await telling;
        const before = await db.transaction().execute(async (tx) => {
          await sql`select pg_advisory_xact_lock(hashtextextended(${key}, 0))`.execute(tx);
          const open = entry.own + ((await countedByOthers(tx, self, [key])).get(key) ?? 0);
          if (open >= allowed) return open;
          await exchange(tx, self, [[key, { ...entry, own: entry.own + 1 }]]);
          // Before the lock is given back: the next who asks here counts it.
          entry.own += 1;
          counted = 1;
          return null;
        });
        if (before !== null) return before;
      } catch (error) {
        // Whether it was committed or not, what is told next is right.
        entry.own -= counted;
        entry.untold = true;
        throw error;
      } finally {
        entry.opening -= 1;
      }
      let closed = false;
      return () => {
        if (closed || stopped) return;
        closed = true;
        entry.own -= 1;
        entry.untold = true;
        closing ??= setTimeout(() => {
          closing = undefined;
          look();
        }, CLOSED_MS).unref();
      };
    },
    async stop() {
      if (stopped) return;
      stopped = true;
      clearInterval(timer);
      clearTimeout(closing);
      await telling;
      for (const entry of entries.values()) {
        if (entry.open) Object.assign(entry, { own: 0, untold: true });
      }
      await tell();
    },
  };
}

/** Writes what this process has counted. @returns what the others have, and the database's time. */
async function exchange(
  db: Queryable,
  self: string,
  counted: readonly (readonly [string, Entry])[],
): Promise<{ others: Map<string, number>; epochMs: number }> {
  const keys = counted.map(([key]) => key);
  const { rows } = await sql<{ key: string | null; count: number; epoch_ms: number }>`
    with told as (
      insert into provisioning.shared_counts (key, process, count, expires_at)
      select key, ${self}::uuid, count, now() + make_interval(secs => seconds)
      from unnest(${keys}::text[], ${counted.map(([, { own }]) => own)}::bigint[],
                  ${counted.map(([, entry]) => secondsLeft(entry))}::float8[]) as c (key, count, seconds)
      on conflict (key, process) do update set count = excluded.count, expires_at = excluded.expires_at)
    select null as key, 0::float8 as count, (extract(epoch from clock_timestamp()) * 1000)::float8 as epoch_ms
    union all
    select key, sum(count)::float8, 0::float8 from provisioning.shared_counts
    where key = any(${keys}::text[]) and process <> ${self}::uuid and expires_at > now() group by key`.execute(db);
  return {
    others: new Map(rows.flatMap(({ key, count }) => (key === null ? [] : [[key, count] as const]))),
    epochMs: rows.find(({ key }) => key === null)?.epoch_ms ?? 0,
  };
}

async function countedByOthers(db: Queryable, self: string, keys: readonly string[]): Promise<Map<string, number>> {
  const { rows } = await sql<{ key: string; count: number }>`
    select key, sum(count)::float8 as count from provisioning.shared_counts
    where key = any(${[...keys]}::text[]) and process <> ${self}::uuid and expires_at > now() group by key`.execute(db);
  return new Map(rows.map(({ key, count }) => [key, count]));
}

/**
 * Makes room for a key, by dropping the oldest that counts the same kind of thing: many addresses must not reset what
 * is counted for users. What is open is kept: it is counted down again; and what counts for long.
 */
function dropOldest(entries: Map<string, Entry>, coming: string): void {
  const kind = kindOf(coming);
  const soon = performance.now() + SOON_MS;
  for (const [key, { open, expiresAt }] of entries) {
    if (open || expiresAt > soon || kindOf(key) !== kind) continue;
    entries.delete(key);
    return;
  }
}

/** Keys name what they count first, and whom it is counted for last. */
function kindOf(key: string): string {
  return key.slice(0, key.lastIndexOf(' '));
}

function isOver({ open, expiresAt }: Entry): boolean {
  return !open && expiresAt <= performance.now();
}

function secondsLeft({ open, expiresAt }: Entry): number {
  return open ? OPEN_SECONDS : Math.max(0, (expiresAt - performance.now()) / 1_000);
}

/** The database's time, and when it was read. */
async function sharedClock(db: Database): Promise<{ at: number; epochMs: number }> {
  const now = await readClock(db);
  return { at: performance.now(), epochMs: now.getTime() };
}
