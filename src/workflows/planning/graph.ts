/** A dependency: `to` waits for `from`. */
export interface Edge {
  from: string;
  to: string;
  /** hard: `from` must have succeeded. soft: it must have ended. */
  type: 'hard' | 'soft';
}

/** What the shape of a graph says. Ids of steps. */
export interface Shape {
  /** Steps that may run at the same time, one wave after the other. */
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

/** Of a graph without cycles. */
export function shapeOf(ids: readonly string[], edges: readonly Edge[]): Shape {
  const next = successors(ids, edges);
  const waiting = new Map(ids.map((id) => [id, 0]));
  for (const { to } of edges) waiting.set(to, (waiting.get(to) ?? 0) + 1);
  const longest = new Map<string, { length: number; before: string | null }>();
  const waves: string[][] = [];
  let wave = ids.filter((id) => waiting.get(id) === 0);
  for (const id of wave) longest.set(id, { length: 1, before: null });
  while (wave.length > 0) {
    waves.push(wave);
    const following: string[] = [];
    for (const id of wave) {
      for (const to of next.get(id) ?? []) {
        const left = (waiting.get(to) ?? 0) - 1;
        waiting.set(to, left);
        longest.set(to, { length: waves.length + 1, before: id });
        if (left === 0) following.push(to);
      }
    }
    wave = following;
  }
  let end: string | null = null;
  for (const id of ids) {
    if ((longest.get(id)?.length ?? 0) > (end === null ? 0 : (longest.get(end)?.length ?? 0))) end = id;
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
