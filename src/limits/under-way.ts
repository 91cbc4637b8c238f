/** How many operations and runs of workflows are under way, and how many more there may be. */
import { sql } from 'kysely';
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
/** A limit below this is always counted exactly. */
const SMALL = 400;
/** This part of a limit is far from it. */
const FAR_SHARE = 1 / 2;
/**
 * This part of a limit may a replica let through by one count: with what is being committed, five of them do not come
 * from far away past the limit by that.
 */
const BLIND_SHARE = 1 / 20;

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

/** What was under way at a time, by key. */
interface Reading {
  at: number;
  counts: Promise<Map<string, number>>;
  /** What this replica has let through by it. */
  added: Map<string, number>;
}

export interface OperationLimits {
  /** @throws 409 where there is no room for one more operation of this kind. */
  requireRoom(tx: Queryable, place: Place, kind: string): Promise<void>;
  /**
   * For how many more operations there is room, at most `wanted`. In a transaction exactly, and nobody else takes that
   * room until it ends. `reason`: what leaves no more.
   */
  room(db: Queryable, place: Place, wanted: number): Promise<{ left: number; reason: string }>;
  /** What is under way, up to half a second ago. */
  used(place: Place): Promise<Record<`${'user' | 'workspace'}_${Counted}`, number>>;
}

export function createOperationLimits(db: Database, settings: LimitSettings): OperationLimits {
  let known: Reading | undefined;

  /** @param reader a transaction reads by itself: those that hold all connections must not wait for one more. */
  const lately = (reader: Queryable, spent?: Reading): Reading => {
    if (known !== undefined && known !== spent && performance.now() - known.at < KNOWN_MS) return known;
    const reading: Reading = { at: performance.now(), counts: readAll(reader), added: new Map() };
    known = reading;
    reading.counts.catch(() => {
      if (known === reading) known = undefined;
    });
    return reading;
  };

  /** Far from a limit nobody has to wait for anybody else. */
  const far = async (tx: Queryable, place: Place, counted: Counted, wanted: number): Promise<boolean> => {
    const bounded = keysOf(place, counted).filter(({ name }) => settings[name] > 0);
    if (bounded.length === 0) return true;
    if (bounded.some(({ name }) => settings[name] < SMALL)) return false;
    const isSpent = ({ added }: Reading) =>
      bounded.some(({ name, key }) => (added.get(key) ?? 0) + wanted > settings[name] * BLIND_SHARE);
    let reading = lately(tx);
    if (isSpent(reading)) reading = lately(tx, reading);
    // Whoever reads them for all may fail: then the count is exact, or fails for a reason of its own.
    const counts = await reading.counts.catch(() => null);
    if (counts === null || isSpent(reading)) return false;
    if (bounded.some(({ name, key }) => (counts.get(key) ?? 0) + wanted > settings[name] * FAR_SHARE)) return false;
    if (!tx.isTransaction) return true;
    for (const { key } of bounded) reading.added.set(key, (reading.added.get(key) ?? 0) + wanted);
    return true;
  };

  const roomOf = async (tx: Queryable, place: Place, counted: Counted, wanted: number): Promise<Room | null> => {
    if (await far(tx, place, counted, wanted)) return null;
    const used = await countExactly(tx, place, counted);
    const rooms = keysOf(place, counted)
      .filter(({ name }) => settings[name] > 0)
      .map(({ name, per }): Room => {
        const limit = { name, per, used: used[per], allowed: settings[name] };
        return { left: Math.max(0, limit.allowed - limit.used), limit };
      });
    return rooms.sort((a, b) => a.left - b.left)[0] ?? null;
  };

  return {
    async requireRoom(tx, place, kind) {
      if (kind !== RUN && RUNS.includes(kind)) return;
      const counted = kind === RUN ? 'workflows' : 'operations';
      const room = await roomOf(tx, place, counted, 1);
      if (room === null || room.left > 0) return;
      const { name, per, used, allowed } = room.limit;
      const workspace = per === 'workspace' ? { workspace: place.workspace } : {};
      throw errors.limitReached(`${full(place, room, counted)} Wait for some to end, or cancel some.`, {
        ...{ limit: name, per, ...workspace, used, allowed },
      });
    },
    async room(tx, place, wanted) {
      const room = await roomOf(tx, place, 'operations', wanted);
      if (room === null || room.left >= wanted) return { left: wanted, reason: '' };
      return { left: room.left, reason: full(place, room, 'operations') };
    },
    async used(place) {
      const counts = await lately(db).counts;
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

/** In a transaction nobody else counts for this workspace or user until it ends. */
async function countExactly(
  tx: Queryable,
  { userId, workspace }: Place,
  counted: Counted,
): Promise<{ user: number; workspace: number }> {
  if (tx.isTransaction) {
    await sql`select from provisioning.workspaces where name = ${workspace} for no key update`.execute(tx);
    await sql`select pg_advisory_xact_lock(hashtextextended(${`limits of user ${userId}`}, 0))`.execute(tx);
  }
  const what = counted === 'workflows' ? sql`kind = ${RUN} and parent_id is null` : sql`kind <> all(${RUNS}::text[])`;
  const { rows } = await sql<{ user: number; workspace: number }>`
    select count(*) filter (where owner_id = ${userId}::uuid)::int as user,
           count(*) filter (where workspace = ${workspace})::int as workspace
    from provisioning.operations
    where status in ('pending', 'running') and (owner_id = ${userId}::uuid or workspace = ${workspace}) and ${what}`.execute(
    tx,
  );
  return rows[0] ?? { user: 0, workspace: 0 };
}
