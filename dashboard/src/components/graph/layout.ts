import { Graph as Dagre, layout } from '@dagrejs/dagre';
import type { Graph, GraphStep } from './model.ts';

/** Nodes of one step that are drawn as cells; where there are more, they are counted. */
export const MAX_CELLS = 200;
const CELLS_IN_ROW = 10;
const CELL = 18;
const WIDTH = 208;
const HEADER = 50;
const PADDING = 10;

export interface Placed {
  step: GraphStep;
  x: number;
  y: number;
  width: number;
  height: number;
}

function heightOf({ nodes }: GraphStep): number {
  if (nodes.length === 1) return HEADER;
  const rows = nodes.length > MAX_CELLS ? 2 : Math.max(1, Math.ceil(nodes.length / CELLS_IN_ROW));
  return HEADER + rows * CELL + PADDING;
}

/** A place for every step: those that wait for others further on, `right` or `down`. */
export function place({ steps, edges }: Graph, direction: 'right' | 'down'): Placed[] {
  const graph = new Dagre();
  graph.setGraph({
    rankdir: direction === 'right' ? 'LR' : 'TB',
    nodesep: 18,
    ranksep: 48,
    marginx: 12,
    marginy: 12,
  });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const step of steps) graph.setNode(step.id, { width: WIDTH, height: heightOf(step) });
  for (const { from, to } of edges) graph.setEdge(from, to);
  layout(graph);
  return steps.map((step) => {
    const { x, y, width, height } = graph.node(step.id);
    return { step, x: x - width / 2, y: y - height / 2, width, height };
  });
}
