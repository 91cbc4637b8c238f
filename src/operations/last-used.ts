/** When a workspace was used last: `last_used`, kept to the minute. */
import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';
import type { Engine } from '../engine/engine.ts';
import type { Mutation } from '../http/mutation.ts';

const INTERVAL_MS = 60_000;
/** Workspaces remembered as touched, at most. */
const MAX_TOUCHED = 10_000;
/** When this replica has noted the use of each workspace. */
const touches = new WeakMap<Engine, Map<string, number>>();

/** Notes the use of a workspace by an operation, once a minute for each replica: most operations then pay nothing for it. */
export async function noteUse(
  engine: Engine,
  { tx, afterCommit }: Pick<Mutation, 'tx' | 'afterCommit'>,
  workspace: string,
): Promise<void> {
  const known = touches.get(engine) ?? new Map<string, number>();
  touches.set(engine, known);
  if (performance.now() - (known.get(workspace) ?? Number.NEGATIVE_INFINITY) < INTERVAL_MS) return;
  await touchWorkspace(tx, workspace);
  afterCommit(() => {
    if (known.size >= MAX_TOUCHED) known.clear();
    known.set(workspace, performance.now());
  });
}

/** What each transaction has noted. */
const touched = new WeakMap<Queryable, Set<string>>();

/**
 * Notes that the workspace was used, to the minute. Never waits: where another transaction is about to note it, that
 * is enough.
 */
export async function touchWorkspace(tx: Queryable, name: string): Promise<void> {
  if (tx.isTransaction) {
    const noted = touched.get(tx) ?? new Set();
    touched.set(tx, noted);
    if (noted.has(name)) return;
    noted.add(name);
  }
  await sql`
    update provisioning.workspaces set last_used = now() where name in (
      select name from provisioning.workspaces
      where name = ${name} and (last_used is null or last_used < now() - interval '1 minute')
      for no key update skip locked)`.execute(tx);
}
