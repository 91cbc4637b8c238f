import { Handle, type Node, type NodeProps, Position } from '@xyflow/react';
import { createContext, useContext } from 'react';
import { colorOf } from '../states.tsx';
import { type Direction, MAX_CELLS } from './layout.ts';
import { countsOf, type GraphStep } from './model.ts';

/** Which node is looked at, and what choosing another one does. */
export const Choice = createContext<{ selected?: string | undefined; onSelect?: ((node: string) => void) | undefined }>(
  {},
);
/** Whether the picture is seen from so far that letters cannot be read. */
export const FarAway = createContext(false);

export type StepNode = Node<{ step: GraphStep; direction: Direction }, 'step'>;

/** What one would want to see first. */
const FIRST = ['failed', 'running'];

/** How many of a step's nodes stand where, what one would want to see first before the most frequent. */
function rankedOf(step: GraphStep): [status: string, count: number][] {
  const rank = (status: string) => (FIRST.includes(status) ? FIRST.indexOf(status) : FIRST.length);
  return countsOf(step).sort(([a], [b]) => rank(a) - rank(b));
}

/** How a step as a whole is told. */
function statusOf(step: GraphStep): string {
  return rankedOf(step)[0]?.[0] ?? 'waiting';
}

/** The color of a step as a whole. */
export function colorOfStep(step: GraphStep): string {
  return colorOf(statusOf(step), true);
}

/** A step in the picture. */
export function StepBox({ data: { step, direction } }: NodeProps<StepNode>) {
  const { selected, onSelect } = useContext(Choice);
  const far = useContext(FarAway);
  const [first] = step.nodes;
  const status = statusOf(step);
  const words =
    step.nodes.length === 1
      ? status.replaceAll('_', ' ')
      : rankedOf(step)
          .map(([name, count]) => `${count.toLocaleString('en')} ${name.replaceAll('_', ' ')}`)
          .join(', ');
  const isSelected = step.nodes.some(({ id }) => id === selected);
  const several = step.nodes.length > 1;
  return (
    <div
      className="step"
      data-step={step.id}
      data-color={colorOf(status, true)}
      data-status={status}
      data-selected={isSelected || undefined}
      title={far ? `${step.id}: ${words}` : undefined}
    >
      <Handle type="target" position={direction === 'right' ? Position.Left : Position.Top} />
      <button
        type="button"
        className="step-head nopan"
        disabled={onSelect === undefined || first === undefined}
        aria-pressed={several ? undefined : isSelected}
        onClick={() => first !== undefined && onSelect?.(worstNode(step)?.id ?? first.id)}
      >
        <span className="step-name">{step.id}</span> <span className="step-kind">{step.kind}</span>{' '}
        <span className="step-state" title={words}>
          {words}
        </span>
      </button>
      {several && !far && step.nodes.length <= MAX_CELLS ? (
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
      {several && (far || step.nodes.length > MAX_CELLS) ? <Shares of={step} /> : null}
      <Handle type="source" position={direction === 'right' ? Position.Right : Position.Bottom} />
    </div>
  );
}

/** How many of a step's nodes stand where, as parts of a bar. */
function Shares({ of }: { of: GraphStep }) {
  return (
    <div className="shares" aria-hidden="true">
      {countsOf(of).map(([status, count]) => (
        <span key={status} data-color={colorOf(status, true)} data-status={status} style={{ flexGrow: count }} />
      ))}
    </div>
  );
}

/** The node that one would want to see first. */
function worstNode({ nodes }: GraphStep) {
  return nodes.find(({ status }) => status === 'failed') ?? nodes.find(({ status }) => status === 'running');
}
