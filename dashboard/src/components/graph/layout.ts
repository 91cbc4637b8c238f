import { Graph as Dagre, layout } from '@dagrejs/dagre';
import type { GraphEdge } from './model.ts';

/** Nodes of one step that are drawn as cells; where there are more, they are counted. */
export const MAX_CELLS = 200;
const CELLS_IN_ROW = 10;
const CELL = 18;
const WIDTH = 208;
const HEADER = 50;
const PADDING = 10;

export type Direction = 'right' | 'down';

/** What a picture's places depend on: not on how its nodes stand. */
export interface Shape {
  steps: readonly { id: string; nodes: number }[];
  edges: readonly GraphEdge[];
  direction: Direction;
}

export interface Placed {
  id: string;
  x: number;
  y: number;
  width: number;
  height: number;
}

function heightOf(nodes: number): number {
  if (nodes === 1) return HEADER;
  const rows = nodes > MAX_CELLS ? 0 : Math.max(1, Math.ceil(nodes / CELLS_IN_ROW));
  return HEADER + rows * CELL + PADDING;
}

/** A place for every step: those that wait for others further on, `right` or `down`. Seconds for hundreds of steps. */
export function place({ steps, edges, direction }: Shape): Placed[] {
  const graph = new Dagre();
  graph.setGraph({
    rankdir: direction === 'right' ? 'LR' : 'TB',
    nodesep: 18,
    ranksep: 48,
    marginx: 12,
    marginy: 12,
  });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { id, nodes } of steps) graph.setNode(id, { width: WIDTH, height: heightOf(nodes) });
  for (const { from, to } of edges) graph.setEdge(from, to);
  // The better order is the slower one by far, and with many steps not better.
  layout(graph, { disableOptimalOrderHeuristic: steps.length > 60 });
  return steps.map(({ id }) => {
    const { x, y, width, height } = graph.node(id);
    return { id, x: x - width / 2, y: y - height / 2, width, height };
  });
}
