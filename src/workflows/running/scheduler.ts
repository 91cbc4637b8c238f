/**
 * What may start next in a graph: pure bookkeeping in memory, made anew from the nodes' rows after a crash. Everything
 * costs the same per node however many there are.
 */
import type { WorkflowNodeStatus } from '../../database/tables.ts';
import type { PlannedStep } from '../planning/contract.ts';
import type { Edge } from '../planning/graph.ts';

/** A node as the scheduler knows it. */
export interface NodeState {
  position: number;
  key: string;
  step: StepState;
  status: WorkflowNodeStatus;
  /** Tries begun. */
  attempt: number;
  operationId: string | null;
  /** What tidies up after the last try. */
  cleanupId: string | null;
  startedAt: Date | null;
  nextAttemptAt: Date | null;
  timedOut: boolean;
  error: string | null;
}

/** A step in the course of a run. */
export interface StepState {
  readonly planned: PlannedStep;
  readonly order: number;
  readonly nodes: NodeState[];
  readonly waitsFor: { step: StepState; type: Edge['type'] }[];
  readonly next: StepState[];
  /** Steps that it waits for and that have not ended. */
  blockers: number;
  /** Nodes that have not ended. */
  open: number;
  /** Nodes that ended without success. */
  bad: number;
  running: number;
  /** Nodes before this one have been handed out. */
  cursor: number;
  ready: boolean;
}

export interface Scheduler {
  readonly steps: ReadonlyMap<string, StepState>;
  /** Nodes whose operation has not ended, by its id. */
  readonly running: Map<string, NodeState>;
  /** Nodes that wait for their next try, or were postponed. */
  readonly retrying: Set<NodeState>;
  /** The first node that failed without leave to go on, and whether any such asks for a rollback. */
  readonly failure: { node: NodeState; rollback: boolean } | null;
  /** Nodes that have not ended. */
  open(): number;
  /** Steps whose turn has come since the last call: everything they wait for has ended, and well. */
  takeOpened(): StepState[];
  /** Waiting nodes that can never run since the last call: what they need did not succeed. */
  takeDoomed(): NodeState[];
  /** Nodes that may start now, best first, at most as many as the limits leave. */
  takeReady(now: Date): NodeState[];
  /** Takes back a node that was handed out and not begun: it is ready again at that time. */
  postponed(node: NodeState, until: Date): void;
  /** Notes that a node's operation runs. */
  started(node: NodeState, operationId: string): void;
  /** Notes that a node's try is over: for good, or until its next one. */
  moved(node: NodeState, status: Exclude<WorkflowNodeStatus, 'running' | 'waiting'>): void;
}

const ENDED: readonly WorkflowNodeStatus[] = ['completed', 'failed', 'cancelled', 'skipped', 'not_run'];
const BAD: readonly WorkflowNodeStatus[] = ['failed', 'cancelled', 'not_run'];

function isEnded(status: WorkflowNodeStatus): boolean {
  return ENDED.includes(status);
}

/** A node as it is read from its row. */
export type NodeRow = Omit<NodeState, 'step'> & { step: string };

export function createScheduler(options: {
  steps: readonly PlannedStep[];
  edges: readonly Edge[];
  nodes: readonly NodeRow[];
  parallelLimit: number;
}): Scheduler {
  const steps = buildSteps(options.steps, options.edges);
  const running = new Map<string, NodeState>();
  const retrying = new Set<NodeState>();
  let failure: Scheduler['failure'] = null;
  let unended = 0;
  let opened: StepState[] = [];
  let doomed: NodeState[] = [];
  /** Steps that are ready and have nodes left to hand out, best first. */
  const queue: StepState[] = [];

  const noteFailure = (node: NodeState) => {
    const { onFailure } = node.step.planned.settings;
    if ((node.status !== 'failed' && node.status !== 'cancelled') || onFailure === 'continue') return;
    failure = { node: failure?.node ?? node, rollback: failure?.rollback === true || onFailure === 'rollback' };
  };

  const enqueue = (step: StepState) => {
    const at = queue.findIndex((other) => comesBefore(step, other));
    queue.splice(at === -1 ? queue.length : at, 0, step);
  };

  /** Opens or dooms a step whose blockers have all ended. Iterative: a chain may be thousands of steps long. */
  const release = (first: StepState) => {
    const pending = [first];
    for (let step = pending.pop(); step !== undefined; step = pending.pop()) {
      if (step.blockers > 0 || step.ready) continue;
      step.ready = true;
      const waiting = step.nodes.filter(({ status }) => status === 'waiting');
      if (step.waitsFor.some((dependency) => dependency.type === 'hard' && dependency.step.bad > 0)) {
        for (const node of waiting) {
          node.status = 'not_run';
          step.bad += 1;
          step.open -= 1;
          unended -= 1;
          doomed.push(node);
        }
      } else if (waiting.length > 0) {
        opened.push(step);
        enqueue(step);
      }
      if (step.open > 0) continue;
      for (const next of step.next) {
        next.blockers -= 1;
        pending.push(next);
      }
    }
  };

  for (const row of options.nodes) {
    const step = steps.get(row.step);
    if (step === undefined) throw new Error(`node ${row.key} belongs to no step`);
    const node: NodeState = { ...row, step };
    step.nodes.push(node);
    if (BAD.includes(node.status)) step.bad += 1;
    noteFailure(node);
    if (isEnded(node.status)) continue;
    step.open += 1;
    unended += 1;
    if (node.status === 'running' && node.operationId !== null) {
      step.running += 1;
      running.set(node.operationId, node);
    }
    if (node.status === 'retrying') retrying.add(node);
  }
  for (const step of steps.values())
    step.blockers = step.waitsFor.filter((dependency) => dependency.step.open > 0).length;
  // Steps that have ended already have released theirs by the count above.
  for (const step of steps.values())
    if (step.open > 0) release(step);
    else step.ready = true;

  const fits = (step: StepState) =>
    step.planned.settings.parallelLimit === null || step.running < step.planned.settings.parallelLimit;

  return {
    steps,
    running,
    retrying,
    get failure() {
      return failure;
    },
    open: () => unended,
    takeOpened() {
      const taken = opened;
      opened = [];
      return taken;
    },
    takeDoomed() {
      const taken = doomed;
      doomed = [];
      return taken;
    },
    takeReady(now) {
      const taken: NodeState[] = [];
      let free = options.parallelLimit - running.size;
      const take = (node: NodeState) => {
        taken.push(node);
        node.step.running += 1;
        free -= 1;
      };
      for (const node of retrying) {
        if (free <= 0) break;
        if ((node.nextAttemptAt ?? now) <= now && fits(node.step)) take(node);
      }
      for (let n = 0; n < queue.length && free > 0; ) {
        const step = queue[n];
        if (step === undefined) break;
        while (free > 0 && fits(step) && step.cursor < step.nodes.length) {
          const node = step.nodes[step.cursor];
          step.cursor += 1;
          if (node?.status === 'waiting') take(node);
        }
        if (step.cursor >= step.nodes.length) queue.splice(n, 1);
        else n += 1;
      }
      // Counted here only to respect the limits among themselves; `started` counts for good.
      for (const node of taken) node.step.running -= 1;
      return taken;
    },
    postponed(node, until) {
      node.nextAttemptAt = until;
      retrying.add(node);
    },
    started(node, operationId) {
      retrying.delete(node);
      node.status = 'running';
      node.operationId = operationId;
      node.step.running += 1;
      running.set(operationId, node);
    },
    moved(node, status) {
      if (node.status === 'running') {
        node.step.running -= 1;
        if (node.operationId !== null) running.delete(node.operationId);
      }
      retrying.delete(node);
      node.status = status;
      if (status === 'retrying') {
        retrying.add(node);
        return;
      }
      unended -= 1;
      node.step.open -= 1;
      if (BAD.includes(status)) node.step.bad += 1;
      noteFailure(node);
      if (node.step.open > 0) return;
      for (const next of node.step.next) {
        next.blockers -= 1;
        release(next);
      }
    },
  };
}

function buildSteps(planned: readonly PlannedStep[], edges: readonly Edge[]): Map<string, StepState> {
  const steps = new Map<string, StepState>(
    planned.map((step, order) => [
      step.id,
      {
        planned: step,
        order,
        nodes: [],
        waitsFor: [],
        next: [],
        blockers: 0,
        open: 0,
        bad: 0,
        running: 0,
        cursor: 0,
        ready: false,
      },
    ]),
  );
  for (const { from, to, type } of edges) {
    const [before, after] = [steps.get(from), steps.get(to)];
    if (before === undefined || after === undefined) throw new Error(`the edge ${from} → ${to} joins no steps`);
    after.waitsFor.push({ step: before, type });
    before.next.push(after);
  }
  return steps;
}

/** Of two ready steps the one of greater priority, then the one that is written first. */
function comesBefore(one: StepState, other: StepState): boolean {
  const [a, b] = [one.planned.settings.priority, other.planned.settings.priority];
  return a === b ? one.order < other.order : a > b;
}
