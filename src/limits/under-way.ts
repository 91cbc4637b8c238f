/** How many operations and runs of workflows are under way, and how many more there may be. */
import { type RawBuilder, sql } from 'kysely';
import type { Database, Queryable } from '../database/pool.ts';
import { errors } from '../errors.ts';
import type { LimitName, LimitSettings } from './catalogue.ts';

/** What is counted apart: a run waits for its nodes, so that it must not take their room. */
type Counted = 'operations' | 'workflows';
/** Runs of workflows, and what undoes one. */
const RUN = 'workflow.run';
const RUNS = [RUN, 'workflow.rollback'];

/** How old the counts may be by which it is judged that a limit is far away. */
const KNOWN_MS = 500;
/**
 * So near to a limit it is counted exactly: more than all replicas together let through while their counts grow old,
 * and in transactions that have not committed yet.
 */
const NEAR = 2_000;

/**
 * What ends things or protects them is not held up: whoever is at a limit must be able to. There is one at a time of
 * each thing at most.
 */
const FREE = /\.(delete|guard)$/;

/** Whether operations of a kind are held against the limits. */
export function takesRoom(kind: string): boolean {
  return !FREE.test(kind);
}

/** On whose behalf, and where. */
interface Place {
  userId: string;
  workspace: string;
}

/** What is left of a limit. */
interface Room {
  left: number;
  /** The limit that leaves no more. */
  limit: { name: LimitName; per: 'user' | 'workspace'; used: number; allowed: number };
}

interface Left {
  left: number;
  reason: string;
}

export interface OperationLimits {
  /**
   * Call it after what else the transaction locks: nobody else counts for the user or the workspace until it ends.
   * @throws 409 where there is no room for one more operation of this kind.
   */
  requireRoom(tx: Queryable, place: Place, kind: string): Promise<void>;
  /**
   * For how many more operations there is room, at most `wanted`, as far as is known without counting. `reason`: what
   * leaves no more.
   */
  room(place: Place, wanted: number): Promise<Left>;
  /**
   * How many of the operations that the transaction has made there is room for: exactly, and nobody else takes that
   * room until it ends. Call it last.
   */
  roomFor(tx: Queryable, place: Place, made: number): Promise<Left>;
  /** What is under way, up to half a second ago. */
  used(place: Place): Promise<Record<`${'user' | 'workspace'}_${Counted}`, number>>;
}

export function createOperationLimits(db: Database, settings: LimitSettings): OperationLimits {
  let known: { at: number; counts: Promise<Map<string, number>> } | undefined;
  /** Let through since then, and in the time before: of what had not been committed by then. */
  let added = new Map<string, number>();
  let addedBefore = added;

  /** @param reader a transaction reads by itself: those that hold all connections must not wait for one more. */
  const lately = (reader: Queryable): Promise<Map<string, number>> => {
    if (known !== undefined && performance.now() - known.at < KNOWN_MS) return known.counts;
    addedBefore = added;
    added = new Map();
    const counts = readAll(reader);
    const reading = { at: performance.now(), counts };
    known = reading;
    counts.catch(() => {
      if (known === reading) known = undefined;
    });
    return counts;
  };

  const letThrough = (key: string) => (added.get(key) ?? 0) + (addedBefore.get(key) ?? 0);

  /** Far from a limit nobody has to wait for anybody else. */
  const far = async (tx: Queryable, place: Place, counted: Counted, wanted: number): Promise<boolean> => {
    const bounded = boundsOf(place, counted);
    if (bounded.length === 0) return true;
    if (bounded.some(({ allowed }) => allowed < NEAR)) return false;
    // Whoever reads them for all may fail: then the count is exact, or fails for a reason of its own.
    const counts = await lately(tx).catch(() => null);
    if (counts === null) return false;
    const near = bounded.some(({ key, allowed }) => (counts.get(key) ?? 0) + letThrough(key) + wanted > allowed - NEAR);
    if (near) return false;
    for (const { key } of bounded) added.set(key, (added.get(key) ?? 0) + wanted);
    return true;
  };

  const boundsOf = (place: Place, counted: Counted) =>
    keysOf(place, counted)
      .map((bound) => ({ ...bound, allowed: settings[bound.name] }))
      .filter(({ allowed }) => allowed > 0);

  /** What the limit leaves that leaves least. */
  const least = (place: Place, counted: Counted, used: (bound: { key: string; per: 'user' | 'workspace' }) => number) =>
    boundsOf(place, counted)
      .map((bound): Room => {
        const { name, per, allowed } = bound;
        const limit = { name, per, used: used(bound), allowed };
        return { left: Math.max(0, allowed - limit.used), limit };
      })
      .sort((a, b) => a.left - b.left)[0] ?? null;

  const leftOf = (place: Place, room: Room | null, wanted: number): Left =>
    room === null || room.left >= wanted
      ? { left: wanted, reason: '' }
      : { left: room.left, reason: full(place, room, 'operations') };

  return {
    async requireRoom(tx, place, kind) {
      if (kind !== RUN && RUNS.includes(kind)) return;
      if (!takesRoom(kind)) return;
      const counted = kind === RUN ? 'workflows' : 'operations';
      if (await far(tx, place, counted, 1)) return;
      const used = await countExactly(tx, place, counted);
      const room = least(place, counted, ({ per }) => used[per]);
      if (room === null || room.left > 0) return;
      const { name, per, allowed } = room.limit;
      const workspace = per === 'workspace' ? { workspace: place.workspace } : {};
      throw errors.limitReached(`${full(place, room, counted)} Wait for some to end, or cancel some.`, {
        ...{ limit: name, per, ...workspace, used: room.limit.used, allowed },
      });
    },
    async room(place, wanted) {
      const counts = await lately(db);
      const room = least(place, 'operations', ({ key }) => (counts.get(key) ?? 0) + letThrough(key));
      return leftOf(place, room, wanted);
    },
    async roomFor(tx, place, made) {
      if (made === 0 || (await far(tx, place, 'operations', made))) return { left: made, reason: '' };
      const used = await countExactly(tx, place, 'operations');
      return leftOf(
        place,
        least(place, 'operations', ({ per }) => used[per] - made),
        made,
      );
    },
    async used(place) {
      const counts = await lately(db);
      const entries = (['operations', 'workflows'] as const).flatMap((counted) =>
        keysOf(place, counted).map(({ name, key }) => [name, counts.get(key) ?? 0] as const),
      );
      return Object.fromEntries(entries) as Awaited<ReturnType<OperationLimits['used']>>;
    },
  };
}

function full({ workspace }: Place, { limit: { name, per, used, allowed } }: Room, counted: Counted): string {
  const who = per === 'workspace' ? `Workspace "${workspace}"` : 'The caller';
  return `${who} has ${used} ${counted} under way and may have ${allowed} (limit ${name}).`;
}

function keysOf({ userId, workspace }: Place, counted: Counted) {
  return [
    { name: `workspace_${counted}`, per: 'workspace', key: `workspace ${counted} ${workspace}` },
    { name: `user_${counted}`, per: 'user', key: `user ${counted} ${userId}` },
  ] as const;
}

/** Everything that is under way, by user and by workspace. The index over the status leads past what has ended. */
async function readAll(db: Queryable): Promise<Map<string, number>> {
  const { rows } = await sql<{ owner_id: string | null; workspace: string; counted: Counted; count: number }>`
    select owner_id, workspace, case when kind = ${RUN} then 'workflows' else 'operations' end as counted,
           count(*)::int as count
    from provisioning.operations
    where status in ('pending', 'running')
      and (kind <> all(${RUNS}::text[]) or (kind = ${RUN} and parent_id is null))
    group by 1, 2, 3`.execute(db);
  const counts = new Map<string, number>();
  const add = (key: string, count: number) => counts.set(key, (counts.get(key) ?? 0) + count);
  for (const { owner_id: userId, workspace, counted, count } of rows) {
    for (const { key } of keysOf({ userId: userId ?? '', workspace }, counted)) add(key, count);
  }
  return counts;
}

/** Nobody else counts for this workspace or user until the transaction ends. */
async function countExactly(
  tx: Queryable,
  { userId, workspace }: Place,
  counted: Counted,
): Promise<{ user: number; workspace: number }> {
  for (const whose of [`workspace ${workspace}`, `user ${userId}`]) {
    await sql`select pg_advisory_xact_lock(hashtextextended(${`limits of ${whose}`}, 0))`.execute(tx);
  }
  const what = counted === 'workflows' ? sql`kind = ${RUN} and parent_id is null` : sql`kind <> all(${RUNS}::text[])`;
  const count = (whose: RawBuilder<boolean>) =>
    sql`(select count(*)::int from provisioning.operations where status in ('pending', 'running') and ${whose} and ${what})`;
  const { rows } = await sql<{ user: number; workspace: number }>`
    select ${count(sql`owner_id = ${userId}::uuid`)} as user, ${count(sql`workspace = ${workspace}`)} as workspace`.execute(
    tx,
  );
  return rows[0] ?? { user: 0, workspace: 0 };
}
