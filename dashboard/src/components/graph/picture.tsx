import '@xyflow/react/dist/base.css';
import './picture.css';
import { Text, useMantineColorScheme } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import {
  Background,
  Controls,
  type Edge,
  MarkerType,
  MiniMap,
  ReactFlow,
  ReactFlowProvider,
  useReactFlow,
  useStore,
} from '@xyflow/react';
import { type KeyboardEvent, useEffect, useMemo, useRef } from 'react';
import type { Schemas } from '../../../../src/sdk/client.ts';
import { Loading } from '../states.tsx';
import type { Direction, Placed } from './layout.ts';
import { type Graph, graphOfCheck } from './model.ts';
import { usePlaces } from './places.ts';
import { Choice, colorOfStep, FarAway, StepBox, type StepNode } from './step-box.tsx';
import { drawable } from './waves.ts';

interface PictureProps {
  graph: Graph;
  /** Of the node that is looked at. */
  selected?: string | undefined;
  /** Absent: nodes are not to be chosen. */
  onSelect?: (node: string) => void;
}

/**
 * A workflow as a picture: a box a step, in it a cell a node where there are several. It is moved by dragging and by the
 * wheel, and the arrow keys go from step to step along the arrows and across them. From afar it tells by colors alone; of
 * very many steps it shows the waves.
 */
export function Picture(props: PictureProps) {
  const shown = useMemo(() => drawable(props.graph), [props.graph]);
  return (
    <>
      <ReactFlowProvider>
        <Canvas {...props} graph={shown} />
      </ReactFlowProvider>
      {shown === props.graph ? null : (
        <Text size="xs" c="dimmed">
          {props.graph.steps.length.toLocaleString('en')} steps are too many to draw. Each box is a wave of steps that
          can run at the same time. The list shows every step.
        </Text>
      )}
    </>
  );
}

/** What a check has resolved, as a picture. */
export function CheckPicture({ of }: { of: Schemas['WorkflowGraph'] }) {
  const graph = useMemo(() => graphOfCheck(of), [of]);
  return <Picture graph={graph} />;
}

const NODE_TYPES = { step: StepBox };
/** Smaller than this, letters cannot be read. */
const READABLE = 0.55;
/** Boxes from which on a map of the whole helps. */
const MANY_BOXES = 40;
/** Nodes from which on only what is seen is drawn. */
const MANY_NODES = 1_000;

function Canvas({ graph, selected, onSelect }: PictureProps) {
  const { colorScheme } = useMantineColorScheme();
  const small = useMediaQuery('(max-width: 48em)');
  const direction = small ? 'down' : 'right';
  const places = usePlaces(graph, direction);
  const nodes = useMemo(() => nodesOf(places?.placed ?? [], graph, direction), [places, graph, direction]);
  const edges = useMemo(() => edgesOf(graph), [graph]);
  const frame = useRef<HTMLDivElement>(null);
  const flow = useReactFlow();
  const far = useStore(({ transform: [, , zoom] }) => zoom < READABLE);
  // biome-ignore lint/correctness/useExhaustiveDependencies: looked at anew where the places are others, not how things stand
  useEffect(() => {
    if (places !== null && frame.current !== null) lookAt(places.placed, graph, frame.current, flow);
  }, [places, flow]);
  const choice = useMemo(() => ({ selected, onSelect }), [selected, onSelect]);
  const count = graph.steps.reduce((sum, step) => sum + step.nodes.length, 0);
  return (
    <Choice value={choice}>
      <FarAway value={far}>
        {/* biome-ignore lint/a11y/noStaticElementInteractions: the keys of its buttons */}
        <div
          className="picture surface"
          ref={frame}
          data-far={far || undefined}
          onKeyDown={(event) =>
            walk(event, places?.placed ?? [], graph, (box) =>
              flow.setCenter(box.x + box.width / 2, box.y + box.height / 2, { zoom: flow.getZoom() }),
            )
          }
        >
          {places === null ? (
            <Loading />
          ) : (
            <ReactFlow
              nodes={nodes}
              edges={edges}
              nodeTypes={NODE_TYPES}
              colorMode={colorScheme === 'auto' ? 'system' : colorScheme}
              fitViewOptions={WHOLE}
              minZoom={0.02}
              maxZoom={1.5}
              onlyRenderVisibleElements={count > MANY_NODES}
              nodesDraggable={false}
              nodesConnectable={false}
              nodesFocusable={false}
              edgesFocusable={false}
              elementsSelectable={false}
              disableKeyboardA11y
              preventScrolling={false}
              proOptions={{ hideAttribution: true }}
              aria-label="Graph of the steps"
            >
              <Background />
              <Controls showInteractive={false} fitViewOptions={WHOLE} />
              {graph.steps.length > MANY_BOXES && !small && !far ? (
                <MiniMap
                  pannable
                  zoomable
                  ariaLabel="Map of the whole graph"
                  nodeColor={(node) => `var(--app-${colorOfStep((node as StepNode).data.step)})`}
                  nodeStrokeWidth={0}
                />
              ) : null}
            </ReactFlow>
          )}
        </div>
      </FarAway>
    </Choice>
  );
}

/** All of it, however small. */
const WHOLE = { padding: 0.06, maxZoom: 1 };
/** Where all of it cannot be read, a part is looked at this near. */
const NEAR = 0.75;
const MARGIN = 16;

/** What is to be seen first: all of it where that can be read, else what has failed or goes on, else where it begins. */
function lookAt(
  placed: readonly Placed[],
  { steps }: Graph,
  { clientWidth, clientHeight }: HTMLElement,
  flow: ReturnType<typeof useReactFlow>,
): void {
  const right = Math.max(...placed.map(({ x, width }) => x + width));
  const bottom = Math.max(...placed.map(({ y, height }) => y + height));
  if (Math.min(clientWidth / right, clientHeight / bottom) >= READABLE) {
    void flow.fitView(WHOLE);
    return;
  }
  const byId = new Map(placed.map((box) => [box.id, box]));
  const of = (status: string) => steps.find((step) => step.nodes.some((node) => node.status === status));
  const box = byId.get((of('failed') ?? of('running'))?.id ?? '');
  if (box !== undefined) {
    void flow.setCenter(box.x + box.width / 2, box.y + box.height / 2, { zoom: NEAR });
    return;
  }
  // The first box of all, and what is below or beside it.
  const first = placed.reduce((a, b) => (a.x + a.y <= b.x + b.y ? a : b));
  void flow.setViewport({ x: MARGIN - first.x * NEAR, y: MARGIN - first.y * NEAR, zoom: NEAR });
}

function nodesOf(placed: readonly Placed[], graph: Graph, direction: Direction): StepNode[] {
  const steps = new Map(graph.steps.map((step) => [step.id, step]));
  return placed.flatMap(({ id, x, y, width, height }) => {
    const step = steps.get(id);
    if (step === undefined) return [];
    // Nodes that cannot be chosen by the library's own means would let the pointer through to what is behind.
    const style = { pointerEvents: 'all' } as const;
    return [{ id, type: 'step' as const, style, position: { x, y }, width, height, data: { step, direction } }];
  });
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
  show: (box: Placed) => unknown,
): void {
  const box = (event.target as HTMLElement).closest<HTMLElement>('[data-step]');
  const own = placed.find(({ id }) => id === box?.dataset.step);
  if (box === null || own === undefined) return;
  const distance = (a: Placed) => Math.hypot(a.x - own.x, a.y - own.y);
  const nearest = (boxes: Placed[]) => boxes.sort((a, b) => distance(a) - distance(b))[0];
  const across = (sign: number) => nearest(placed.filter(({ x, y }) => x === own.x && Math.sign(y - own.y) === sign));
  const along = (end: 'from' | 'to', other: 'from' | 'to') =>
    nearest(placed.filter(({ id }) => edges.some((edge) => edge[end] === id && edge[other] === own.id)));
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
  show(target);
  const picture = event.currentTarget;
  const button = () => picture.querySelector<HTMLElement>(`[data-step="${CSS.escape(target.id)}"] button`);
  // At once, for the next key may follow at once. What was out of sight is drawn only with the next frame.
  const drawn = button();
  if (drawn === null) requestAnimationFrame(() => button()?.focus());
  else drawn.focus();
}
