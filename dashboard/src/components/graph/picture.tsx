import '@xyflow/react/dist/base.css';
import './picture.css';
import { useMantineColorScheme } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import {
  Background,
  Controls,
  type Edge,
  Handle,
  MarkerType,
  type Node,
  type NodeProps,
  Position,
  ReactFlow,
  ReactFlowProvider,
  useReactFlow,
} from '@xyflow/react';
import { createContext, type KeyboardEvent, useContext, useEffect, useMemo } from 'react';
import { colorOf } from '../states.tsx';
import { MAX_CELLS, type Placed, place } from './layout.ts';
import { countsOf, type Graph, type GraphStep } from './model.ts';

interface PictureProps {
  graph: Graph;
  /** Of the node that is looked at. */
  selected?: string | undefined;
  /** Absent: nodes are not to be chosen. */
  onSelect?: (node: string) => void;
}

/**
 * A workflow as a picture: a box a step, in it a cell a node where there are several. It is moved by dragging and by the
 * wheel, and the arrow keys go from step to step along the arrows and across them.
 */
export function Picture(props: PictureProps) {
  return (
    <ReactFlowProvider>
      <Canvas {...props} />
    </ReactFlowProvider>
  );
}

type StepNode = Node<{ step: GraphStep; direction: 'right' | 'down' }, 'step'>;

const Choice = createContext<Pick<PictureProps, 'selected' | 'onSelect'>>({});
const NODE_TYPES = { step: StepBox };

function Canvas({ graph, selected, onSelect }: PictureProps) {
  const { colorScheme } = useMantineColorScheme();
  const direction = useMediaQuery('(max-width: 48em)') ? 'down' : 'right';
  // The places depend on how many nodes a step has, not on how they stand.
  const shape = JSON.stringify([graph.steps.map(({ id, nodes }) => [id, nodes.length]), graph.edges, direction]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the shape stands for the graph
  const placed = useMemo(() => place(graph, direction), [shape]);
  const nodes = useMemo(() => nodesOf(placed, graph, direction), [placed, graph, direction]);
  const edges = useMemo(() => edgesOf(graph), [graph]);
  const flow = useReactFlow();
  // biome-ignore lint/correctness/useExhaustiveDependencies: another shape is looked at as a whole
  useEffect(() => {
    void flow.fitView(FIT);
  }, [shape, flow]);
  const choice = useMemo(() => ({ selected, onSelect }), [selected, onSelect]);
  return (
    <Choice value={choice}>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: the keys of its buttons */}
      <div
        className="picture surface"
        onKeyDown={(event) =>
          walk(event, placed, graph, (box) =>
            flow.setCenter(box.x + box.width / 2, box.y + box.height / 2, { zoom: flow.getZoom() }),
          )
        }
      >
        <ReactFlow
          nodes={nodes}
          edges={edges}
          nodeTypes={NODE_TYPES}
          colorMode={colorScheme === 'auto' ? 'system' : colorScheme}
          fitView
          fitViewOptions={FIT}
          minZoom={0.05}
          maxZoom={1.5}
          nodesDraggable={false}
          nodesConnectable={false}
          nodesFocusable={false}
          edgesFocusable={false}
          elementsSelectable={false}
          disableKeyboardA11y
          preventScrolling={false}
          proOptions={{ hideAttribution: true }}
          aria-label="The steps as a picture"
        >
          <Background />
          <Controls showInteractive={false} />
        </ReactFlow>
      </div>
    </Choice>
  );
}

/** As a whole, but not smaller than can be read. */
const FIT = { padding: 0.08, minZoom: 0.4, maxZoom: 1 };

function nodesOf(placed: readonly Placed[], graph: Graph, direction: 'right' | 'down'): StepNode[] {
  const steps = new Map(graph.steps.map((step) => [step.id, step]));
  return placed.map(({ step, x, y, width, height }) => ({
    id: step.id,
    type: 'step',
    // Nodes that cannot be chosen by the library's own means would let the pointer through to what is behind.
    style: { pointerEvents: 'all' },
    position: { x, y },
    width,
    height,
    data: { step: steps.get(step.id) ?? step, direction },
  }));
}

function edgesOf({ edges }: Graph): Edge[] {
  return edges.map(({ from, to, type }) => ({
    id: `${from} ${to}`,
    source: from,
    target: to,
    style: type === 'soft' ? { strokeDasharray: '5 4' } : {},
    markerEnd: { type: MarkerType.ArrowClosed, width: 16, height: 16 },
  }));
}

/** From box to box: forth and back along the arrows, and to its neighbours. */
function walk(
  event: KeyboardEvent<HTMLElement>,
  placed: readonly Placed[],
  { edges }: Graph,
  lookAt: (box: Placed) => unknown,
): void {
  const box = (event.target as HTMLElement).closest<HTMLElement>('[data-step]');
  const own = placed.find(({ step }) => step.id === box?.dataset.step);
  if (box === null || own === undefined) return;
  const distance = (a: Placed) => Math.hypot(a.x - own.x, a.y - own.y);
  const nearest = (boxes: Placed[]) => boxes.sort((a, b) => distance(a) - distance(b))[0];
  const across = (sign: number) => nearest(placed.filter(({ x, y }) => x === own.x && Math.sign(y - own.y) === sign));
  const along = (end: 'from' | 'to', other: 'from' | 'to') =>
    nearest(placed.filter(({ step }) => edges.some((edge) => edge[end] === step.id && edge[other] === own.step.id)));
  const next = (key: string) => {
    switch (key) {
      case 'ArrowRight':
        return along('to', 'from');
      case 'ArrowLeft':
        return along('from', 'to');
      case 'ArrowDown':
        return across(1) ?? along('to', 'from');
      case 'ArrowUp':
        return across(-1) ?? along('from', 'to');
      default:
        return undefined;
    }
  };
  const target = next(event.key);
  if (target === undefined) return;
  event.preventDefault();
  lookAt(target);
  event.currentTarget.querySelector<HTMLElement>(`[data-step="${CSS.escape(target.step.id)}"] button`)?.focus();
}

function StepBox({ data: { step, direction } }: NodeProps<StepNode>) {
  const { selected, onSelect } = useContext(Choice);
  const [first] = step.nodes;
  const counts = countsOf(step);
  const worst =
    counts.find(([status]) => status === 'failed') ?? counts.find(([status]) => status === 'running') ?? counts[0];
  const status = worst?.[0] ?? 'waiting';
  const words =
    step.nodes.length === 1
      ? status.replaceAll('_', ' ')
      : counts.map(([name, count]) => `${count} ${name.replaceAll('_', ' ')}`).join(', ');
  const isSelected = step.nodes.some(({ id }) => id === selected);
  return (
    <div
      className="step"
      data-step={step.id}
      data-color={colorOf(status, true)}
      data-status={status}
      data-selected={isSelected || undefined}
    >
      <Handle type="target" position={direction === 'right' ? Position.Left : Position.Top} />
      <button
        type="button"
        className="step-head nopan"
        disabled={onSelect === undefined || first === undefined}
        aria-pressed={step.nodes.length === 1 ? isSelected : undefined}
        onClick={() => first !== undefined && onSelect?.(worstNode(step)?.id ?? first.id)}
      >
        <span className="step-name">{step.id}</span> <span className="step-kind">{step.kind}</span>{' '}
        <span className="step-state">{words}</span>
      </button>
      {step.nodes.length > 1 && step.nodes.length <= MAX_CELLS ? (
        <div className="cells">
          {step.nodes.map((node) => (
            <button
              key={node.id}
              type="button"
              className="cell nopan"
              data-color={colorOf(node.status, true)}
              data-status={node.status}
              disabled={onSelect === undefined}
              aria-pressed={node.id === selected}
              aria-label={`${node.id}: ${node.status.replaceAll('_', ' ')}`}
              title={`${node.id}: ${node.status.replaceAll('_', ' ')}`}
              onClick={() => onSelect?.(node.id)}
            />
          ))}
        </div>
      ) : null}
      <Handle type="source" position={direction === 'right' ? Position.Right : Position.Bottom} />
    </div>
  );
}

/** The node that one would want to see first. */
function worstNode({ nodes }: GraphStep) {
  return nodes.find(({ status }) => status === 'failed') ?? nodes.find(({ status }) => status === 'running');
}
