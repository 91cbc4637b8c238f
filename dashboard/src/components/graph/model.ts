import type { Schemas } from '../../../../src/sdk/client.ts';

/** A node of a step: one operation, done or to be done. */
interface GraphNode {
  id: string;
  status: string;
}

/** A box of the picture: a step with its nodes, of which there are several with `for_each`. */
export interface GraphStep {
  id: string;
  kind: string;
  nodes: readonly GraphNode[];
}

export interface GraphEdge {
  from: string;
  to: string;
  type: 'hard' | 'soft';
}

export interface Graph {
  steps: readonly GraphStep[];
  edges: readonly GraphEdge[];
}

/** What has been resolved by a check: nothing of it has run. */
export function graphOfCheck({ steps, nodes, edges }: Schemas['WorkflowGraph']): Graph {
  const byStep = new Map(steps.map(({ id }): [string, GraphNode[]] => [id, []]));
  for (const { id, step, skipped } of nodes) byStep.get(step)?.push({ id, status: skipped ? 'skipped' : 'waiting' });
  return { steps: steps.map(({ id, kind }) => ({ id, kind, nodes: byStep.get(id) ?? [] })), edges };
}

/** A run, as its nodes stand. */
export function graphOfRun(nodes: readonly Schemas['WorkflowStep'][]): Graph {
  const steps = new Map<string, GraphStep & { nodes: GraphNode[] }>();
  const edges = new Map<string, GraphEdge>();
  for (const node of nodes) {
    const step = steps.get(node.step) ?? { id: node.step, kind: node.kind, nodes: [] };
    step.nodes.push({ id: node.id, status: node.status });
    steps.set(node.step, step);
    for (const edge of edgesTo(node)) edges.set(`${edge.from} ${edge.to}`, edge);
  }
  return { steps: [...steps.values()], edges: [...edges.values()].filter(({ from }) => steps.has(from)) };
}

/** What its step waits for. */
export function edgesTo({ step, depends_on: on }: Schemas['WorkflowStep']): GraphEdge[] {
  return on.map(({ id, type }) => ({ from: id, to: step, type }));
}

/** How many nodes stand where, the most frequent first. */
export function countsOf({ nodes }: { nodes: readonly { status: string }[] }): [status: string, count: number][] {
  const counts = new Map<string, number>();
  for (const { status } of nodes) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a);
}
