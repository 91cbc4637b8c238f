/** A dependency: `to` waits for `from`. */
export interface Edge {
  from: string;
  to: string;
  /** hard: `from` must have succeeded. soft: it must have ended. */
  type: 'hard' | 'soft';
}

/** What the shape of a graph says. Ids of steps. */
export interface Shape {
  /** Steps that may run at the same time, one wave after the other; none of those that are left out. */
  waves: string[][];
  /** The longest chain of steps. */
  criticalPath: string[];
}

/** One cycle, in full: the first id again at the end. Null: there is none. */
export function findCycle(ids: readonly string[], edges: readonly Edge[]): string[] | null {
  const next = successors(ids, edges);
  const state = new Map<string, 'open' | 'done'>();
  for (const start of ids) {
    if (state.has(start)) continue;
    // Depth first without recursion: a chain may be thousands of steps long.
    const path: { id: string; rest: string[] }[] = [];
    const enter = (id: string) => {
      state.set(id, 'open');
      path.push({ id, rest: [...(next.get(id) ?? [])] });
    };
    enter(start);
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const id = top.rest.pop();
      if (id === undefined) {
        state.set(top.id, 'done');
        path.pop();
      } else if (state.get(id) === 'open') {
        const names = path.map((entry) => entry.id);
        return [...names.slice(names.indexOf(id)), id];
      } else if (!state.has(id)) enter(id);
    }
  }
  return null;
}

/**
 * Of a graph without cycles. @param runs whether a step will run at all: one that will not takes no wave and no place in
 * the longest chain, but what waits for it waits for what it waits for.
 */
export function shapeOf(ids: readonly string[], edges: readonly Edge[], runs: (id: string) => boolean): Shape {
  const next = successors(ids, edges);
  const waiting = new Map(ids.map((id) => [id, 0]));
  for (const { to } of edges) waiting.set(to, (waiting.get(to) ?? 0) + 1);
  // By id: steps that run in the longest chain up to and with it, and the last of them before it.
  const longest = new Map<string, { length: number; before: string | null }>();
  const reach = (id: string, length: number, before: string | null) => {
    const known = longest.get(id);
    const own = length + (runs(id) ? 1 : 0);
    if (known === undefined || own > known.length) longest.set(id, { length: own, before });
  };
  const ready = ids.filter((id) => waiting.get(id) === 0);
  for (const id of ready) reach(id, 0, null);
  // Grows while it is walked: every step stands in it behind all that it waits for.
  for (const id of ready) {
    const { length, before } = longest.get(id) ?? { length: 0, before: null };
    for (const to of next.get(id) ?? []) {
      reach(to, length, runs(id) ? id : before);
      const left = (waiting.get(to) ?? 0) - 1;
      waiting.set(to, left);
      if (left === 0) ready.push(to);
    }
  }
  const waves: string[][] = [];
  let end: string | null = null;
  for (const id of ready) {
    const length = longest.get(id)?.length ?? 0;
    if (!runs(id)) continue;
    const wave = waves[length - 1];
    if (wave !== undefined) wave.push(id);
    else waves[length - 1] = [id];
    if (length > (end === null ? 0 : (longest.get(end)?.length ?? 0))) end = id;
  }
  const criticalPath: string[] = [];
  for (let id: string | null = end; id !== null; id = longest.get(id)?.before ?? null) criticalPath.unshift(id);
  return { waves, criticalPath };
}

function successors(ids: readonly string[], edges: readonly Edge[]): Map<string, string[]> {
  const next = new Map<string, string[]>(ids.map((id) => [id, []]));
  for (const { from, to } of edges) next.get(from)?.push(to);
  return next;
}
