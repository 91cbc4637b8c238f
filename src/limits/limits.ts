import { sql } from 'kysely';
import type { Database, Queryable } from '../database/pool.ts';
import { errors } from '../errors.ts';
import { LIMITS, type LimitName, type LimitSettings } from './catalogue.ts';
import { createPaces } from './pace.ts';
import type { SharedCounts } from './shared-counts.ts';
import { createOperationLimits, type OperationLimits } from './under-way.ts';

const DAY_SECONDS = 86_400;

/** What a user may have open only so often at once. */
const OPEN = {
  streams: { code: 'TOO_MANY_STREAMS', what: 'event streams' },
  long_polls: { code: 'TOO_MANY_REQUESTS', what: 'requests that wait for an operation' },
  whole_lists: { code: 'TOO_MANY_REQUESTS', what: 'lists without paging' },
} as const;
type OpenLimit = keyof typeof OPEN;

/** The limits of this installation, and what is used of them. */
export interface Limits {
  readonly settings: LimitSettings;
  readonly operations: OperationLimits;
  readonly counts: SharedCounts;
  /** Counts one more thing that the user has open. @returns what to call when it is closed. @throws 429. */
  open(limit: OpenLimit, userId: string): Promise<() => void>;
  /**
   * Nobody else adds to the same count until the transaction ends.
   * @param used how many there are. @throws 409 where there is no room for one more.
   */
  requireCount(
    tx: Queryable,
    limit: LimitName,
    workspace: string | null,
    used: (tx: Queryable) => Promise<number>,
  ): Promise<void>;
  /** How much output of operations is kept. */
  readonly output: OutputBudget;
  /** What the user has open, at any replica, and what is kept of today's output of the user and of the workspaces. */
  used(userId: string, workspaces: readonly string[]): Promise<Used>;
  /** Waits for its turn before a check goes out. @throws the signal's reason. */
  turnToCheck(workspace: string, target: string, signal: AbortSignal): Promise<void>;
}

/** How much output of operations is kept, as the engine asks for it (`src/engine/events.ts`). Bytes. */
interface OutputBudget {
  readonly ofOperation: number;
  /** In a day. */
  readonly ofUser: number;
  /** In a day. */
  readonly ofWorkspace: number;
  /** Counts for the user (null: nobody) and the workspace. @returns what they have used today. */
  add(userId: string | null, workspace: string, bytes: number): { user: number; workspace: number };
}

export interface Used {
  open: Map<OpenLimit, number>;
  /** Bytes of today's output. */
  outputOfUser: number;
  outputOf: Map<string, number>;
}

export function createLimits(db: Database, settings: LimitSettings, counts: SharedCounts): Limits {
  const keyOf = (limit: OpenLimit, userId: string) => `open ${limit} ${userId}`;
  const paces = createPaces(db);
  const outputOf = (whose: 'user' | 'workspace', name: string) => `output ${counts.today()} ${whose} ${name}`;
  return {
    settings,
    counts,
    operations: createOperationLimits(db, settings),
    async open(limit, userId) {
      const allowed = settings[limit];
      if (allowed === 0) return () => {};
      const opened = await counts.open(keyOf(limit, userId), allowed);
      if (typeof opened === 'function') return opened;
      const { code, what } = OPEN[limit];
      throw errors.tooManyOpen(code, what, { limit, per: LIMITS[limit].per, used: opened, allowed });
    },
    async requireCount(tx, limit, workspace, used) {
      const allowed = settings[limit];
      if (allowed === 0) return;
      const lock = `limit ${limit} ${workspace ?? ''}`;
      await sql`select pg_advisory_xact_lock(hashtextextended(${lock}, 0))`.execute(tx);
      const count = await used(tx);
      if (count < allowed) return;
      const { per, counts: things, setting } = LIMITS[limit];
      const who = workspace === null ? 'This installation' : `Workspace "${workspace}"`;
      throw errors.limitReached(
        `${who} has ${count} ${things} and may have ${allowed} (limit ${limit}). Delete some, or have PROVISIONING_${setting} raised.`,
        { limit, per, ...(workspace === null ? {} : { workspace }), used: count, allowed },
      );
    },
    output: {
      ofOperation: settings.operation_event_bytes,
      ofUser: settings.user_event_bytes,
      ofWorkspace: settings.workspace_event_bytes,
      add(userId, workspace, bytes) {
        const add = (whose: 'user' | 'workspace', name: string) =>
          counts.add(outputOf(whose, name), bytes, DAY_SECONDS);
        return { user: userId === null ? 0 : add('user', userId), workspace: add('workspace', workspace) };
      },
    },
    async used(userId, workspaces) {
      const open = (Object.keys(OPEN) as OpenLimit[]).map((limit) => [limit, keyOf(limit, userId)] as const);
      const output = workspaces.map((workspace) => [workspace, outputOf('workspace', workspace)] as const);
      const ofUser = outputOf('user', userId);
      const counted = await counts.read([ofUser, ...[...open, ...output].map(([, key]) => key)]);
      const of = <Name>(keys: readonly (readonly [Name, string])[]) =>
        new Map(keys.map(([name, key]) => [name, counted.get(key) ?? 0]));
      return { open: of(open), outputOfUser: counted.get(ofUser) ?? 0, outputOf: of(output) };
    },
    async turnToCheck(workspace, target, signal) {
      const ofWorkspace = { key: `check of workspace ${workspace}`, perSecond: settings.workspace_checks };
      await paces.turn(ofWorkspace, workspace, signal);
      const ofTarget = { key: `check of target ${target.toLowerCase()}`, perSecond: settings.target_checks };
      await paces.turn(ofTarget, workspace, signal);
    },
  };
}
