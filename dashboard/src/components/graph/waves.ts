import type { Graph, GraphEdge, GraphStep } from './model.ts';

/** Steps that are drawn as a box each. Of more nobody reads the arrows, and finding a place for each takes seconds. */
export const MAX_BOXES = 250;
/** Boxes of waves: what still fits on a screen beside each other. */
const MAX_WAVES = 24;

/**
 * A graph that can be drawn. One of very many steps is told by its waves: a box for all the steps that can run at the
 * same time, or for several waves on end, with the nodes of all of them.
 */
export function drawable(graph: Graph): Graph {
  if (graph.steps.length <= MAX_BOXES) return graph;
  const depths = depthsOf(graph);
  const waves = Math.max(0, ...depths.values()) + 1;
  const inBox = Math.ceil(waves / MAX_WAVES);
  const boxes: GraphStep[] = [];
  for (let first = 0; first < waves; first += inBox) {
    const last = Math.min(first + inBox, waves) - 1;
    const steps = graph.steps.filter(({ id }) => {
      const depth = depths.get(id) ?? 0;
      return depth >= first && depth <= last;
    });
    const count = `${steps.length.toLocaleString('en')} ${steps.length === 1 ? 'step' : 'steps'}`;
    boxes.push({
      id: first === last ? `Wave ${first + 1}` : `Waves ${first + 1} to ${last + 1}`,
      kind: count,
      nodes: steps.flatMap(({ nodes }) => nodes),
    });
  }
  const edges = boxes.slice(1).map(({ id }, n): GraphEdge => ({ from: boxes[n]?.id ?? '', to: id, type: 'hard' }));
  return { steps: boxes, edges };
}

/** How many steps each has to wait for, one after the other, at the most. */
function depthsOf({ steps, edges }: Graph): Map<string, number> {
  const next = new Map(steps.map(({ id }): [string, string[]] => [id, []]));
  const open = new Map(steps.map(({ id }) => [id, 0]));
  for (const { from, to } of edges) {
    next.get(from)?.push(to);
    open.set(to, (open.get(to) ?? 0) + 1);
  }
  const depths = new Map(steps.map(({ id }) => [id, 0]));
  const ready = steps.map(({ id }) => id).filter((id) => open.get(id) === 0);
  // It grows while it is walked.
  for (const id of ready) {
    for (const to of next.get(id) ?? []) {
      depths.set(to, Math.max(depths.get(to) ?? 0, (depths.get(id) ?? 0) + 1));
      const left = (open.get(to) ?? 0) - 1;
      open.set(to, left);
      if (left === 0) ready.push(to);
    }
  }
  return depths;
}
