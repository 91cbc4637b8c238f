/**
 * Carries a graph out: hands nodes to the engine as operations when their turn comes, hears how they ended, and goes
 * on. All it knows stands in the nodes' rows, so that it can begin again at any moment. It does nothing while nothing
 * happens.
 */
import type { StepCall } from '../../engine/procedure.ts';
import { ApplicationError } from '../../errors.ts';
import { isSpent, runBudget } from '../../evaluation/pool.ts';
import { backoff } from '../../util/backoff.ts';
import { renderWhen } from '../evaluation.ts';
import { createRunContext } from './context.ts';
import { createReport, nextRetry, soon, wokenByCancel } from './loop.ts';
import { nextMove, refusedMove } from './moves.ts';
import { type Runtime, takenElsewhere } from './runtime.ts';
import { createScheduler, type NodeState, type Scheduler, type StepState } from './scheduler.ts';
import { createStartGuard, type StartGuard } from './start-guard.ts';
import { endedAmong, markTimedOut, moveNodes, type NodeMove, readInputs, readRun, type Snapshot } from './store.ts';
import { type SubmitOptions, submitNodes } from './submit.ts';
import { createWake, type Wake } from './wake.ts';

/** How a graph ended. */
export type Outcome =
  | { status: 'completed' }
  | { status: 'cancelled' }
  /** `node`: the first that failed. `code`: absent where it is the usual one. */
  | { status: 'failed'; node: string; error: string; code?: 'TOO_COSTLY' };

export interface CoordinatorOptions {
  runtime: Runtime;
  workflowId: string;
  workspace: string;
  call: StepCall;
  progress: (percent: number) => Promise<void>;
}

interface Run extends CoordinatorOptions {
  snapshot: Snapshot;
  scheduler: Scheduler;
  wake: Wake;
  starts: StartGuard;
  submit: SubmitOptions;
  /** Nodes that are not left out from the start. */
  total: number;
  /** Operations that have been asked to stop. */
  asked: Set<string>;
  /** How often in a row nodes found no room among the operations under way. */
  full: number;
}

/** @throws the signal's reason when this replica hands its work over. */
export async function coordinate(options: CoordinatorOptions): Promise<Outcome> {
  const { runtime, workflowId, workspace, call } = options;
  const read = await readRun(runtime.services.db, workflowId);
  if (read === null) throw new Error(`the workflow ${workflowId} is gone`);
  const { run: snapshot, nodes } = read;
  const wake = createWake(runtime.follower);
  const budget = runBudget(snapshot.authority.userId, call.signal);
  const starts = createStartGuard(runtime.services.db, workflowId, call.repeated);
  const run: Run = {
    ...options,
    snapshot,
    wake,
    starts,
    scheduler: createScheduler({
      steps: snapshot.steps,
      edges: snapshot.edges,
      nodes,
      parallelLimit: snapshot.settings.parallelLimit,
    }),
    submit: {
      runtime,
      workflowId,
      workspace,
      run: snapshot,
      context: createRunContext(runtime.services.db, { workflowId, workspace, run: snapshot, budget }),
      budget,
      starts,
      guard: () => call.guard(),
      onOperation: (operationId) => wake.watch(operationId),
    },
    total: nodes.filter(({ status }) => status !== 'skipped').length,
    asked: new Set(),
    full: 0,
  };
  try {
    return await wokenByCancel(wake, call, () => untilEnded(run));
  } finally {
    await starts.after().catch(() => 'the next execution counts one start too many');
  }
}

async function untilEnded(run: Run): Promise<Outcome> {
  const { scheduler, wake, call } = run;
  const report = createReport(run.total, scheduler, run.progress);
  for (const operationId of scheduler.running.keys()) wake.watch(operationId);
  let changed: string[] = [...scheduler.running.keys()];
  for (;;) {
    call.signal.throwIfAborted();
    await takeEnded(run, changed);
    const stop = stopReason(run);
    if (stop === null) {
      await goOn(run);
      if (scheduler.open() === 0 && stopReason(run) === null) return { status: 'completed' };
    } else if (scheduler.running.size === 0) return stop.outcome;
    else if (stop.cancelChildren) await stopRunning(run, [...scheduler.running.values()]);
    const until = stop === null ? await enforceTimeouts(run) : soon();
    await report();
    await run.starts.after();
    // A failure while going on is acted upon at once.
    if (stop === null && stopReason(run) !== null) wake.now();
    await wake.wait(until, call.signal);
    changed = wake.takeChanged();
  }
}

/** Learns which of the operations have ended, and writes what becomes of their nodes. */
async function takeEnded(run: Run, changed: readonly string[]): Promise<void> {
  const { scheduler, wake, runtime } = run;
  const ended = await endedAmong(
    runtime.services.db,
    changed.filter((id) => scheduler.running.has(id)),
  );
  const moves: [NodeState, NodeMove][] = [];
  const stopping = stopReason(run) !== null;
  for (const operation of ended) {
    const node = scheduler.running.get(operation.id);
    if (node !== undefined) moves.push([node, nextMove(node, operation, stopping)]);
  }
  await applyMoves(run, moves);
  for (const { id } of ended) {
    wake.unwatch(id);
    run.asked.delete(id);
  }
}

async function applyMoves(run: Run, moves: readonly [NodeState, NodeMove][]): Promise<void> {
  await moveNodes(
    run.runtime.services.db,
    run.workflowId,
    moves.map(([, move]) => move),
  );
  for (const [node, move] of moves) {
    node.attempt = move.attempt;
    node.error = move.error;
    node.cleanupId = move.cleanupId;
    node.nextAttemptAt = move.nextAttemptAt;
    run.scheduler.moved(node, move.status);
    if (move.status === 'retrying') {
      const seconds = ((move.nextAttemptAt?.getTime() ?? Date.now()) - Date.now()) / 1_000;
      await run.call.log(`${node.key} failed: ${move.error} Trying again in ${Math.max(0, seconds).toFixed(1)} s.`, {
        node: node.key,
      });
    } else if (move.status === 'failed') await run.call.log(`${node.key} failed: ${move.error}`, { node: node.key });
  }
}

/** Why nothing new is started any more; null: nothing speaks against it. */
function stopReason({ call, scheduler, snapshot, submit }: Run): { outcome: Outcome; cancelChildren: boolean } | null {
  if (call.cancelled.aborted) return { outcome: { status: 'cancelled' }, cancelChildren: true };
  const { failure } = scheduler;
  if (failure === null) return null;
  const { rollback } = snapshot.settings;
  return {
    outcome: {
      status: 'failed',
      node: failure.node.key,
      error: failure.node.error ?? 'it failed',
      // Nothing more can be evaluated then: whatever failed first, that is why the run ends.
      ...(isSpent(submit.budget) ? { code: 'TOO_COSTLY' } : {}),
    },
    // What is going to be undone need not be finished first.
    cancelChildren: failure.rollback && rollback.enabled && !rollback.preserveSuccessful,
  };
}

/** Starts what may start. */
async function goOn(run: Run): Promise<void> {
  const { scheduler } = run;
  for (;;) {
    const doomed = scheduler.takeDoomed();
    const opened = scheduler.takeOpened();
    if (doomed.length === 0 && opened.length === 0) break;
    await moveNodes(
      run.runtime.services.db,
      run.workflowId,
      doomed.map((node) => ({
        ...node,
        status: 'not_run',
        error: notRunBecause(node),
        errorCode: null,
        nextAttemptAt: null,
      })),
    );
    for (const step of opened) await decideWhen(run, step);
  }
  while (stopReason(run) === null) {
    const ready = scheduler.takeReady(new Date());
    if (ready.length === 0) return;
    const { submitted, refused, held, full } = await submitNodes(run.submit, ready);
    for (const [node, { operationId, attempt }] of submitted) {
      node.attempt = attempt;
      node.startedAt = new Date();
      node.timedOut = false;
      scheduler.started(node, operationId);
    }
    await applyMoves(
      run,
      refused.map((refusal) => [refusal.node, refusedMove(refusal)]),
    );
    const settled = new Set([...submitted.keys(), ...held, ...refused.map(({ node }) => node)]);
    const left = ready.filter((node) => !settled.has(node));
    const lost = left.find(({ status }) => status === 'waiting');
    if (lost !== undefined) throw takenElsewhere(lost.key);
    // What their last try left behind is still being tidied up.
    for (const node of left) node.nextAttemptAt = new Date(Date.now() + TIDY_MS);
    // Not all runs at once, and less often where there is none for long.
    const until = new Date(Date.now() + backoff(run.full + 1, ROOM));
    for (const node of held) scheduler.postponed(node, until);
    await tellFull(run, full);
    if (full !== null) return;
  }
}

/** How long nodes without room wait before they look again. Milliseconds. */
const ROOM = { first: 1_000, most: 4_000 };

/** Says why nodes wait for room, when they begin to. */
async function tellFull(run: Run, full: string | null): Promise<void> {
  if (full !== null && run.full === 0) await run.call.log(`${full} The next steps wait until there is room.`);
  run.full = full === null ? 0 : run.full + 1;
}

/** How long a node waits before it looks again whether its last try has been tidied up after. */
const TIDY_MS = 500;

function notRunBecause(node: NodeState): string {
  const bad = node.step.waitsFor.find(({ step, type }) => type === 'hard' && step.bad > 0);
  return `"${bad?.step.planned.id ?? 'what it needs'}" did not succeed`;
}

/** Leaves out the nodes of a step whose `when` turns out false. */
async function decideWhen(run: Run, step: StepState): Promise<void> {
  const { when, many } = step.planned;
  if (when === null) return;
  const waiting = step.nodes.filter(({ status }) => status === 'waiting');
  for (let start = 0; start < waiting.length; start += WHEN_BATCH) {
    const batch = waiting.slice(start, start + WHEN_BATCH);
    const decided = await decide(run, when, many, batch);
    const moves = batch.flatMap((node, n): [NodeState, NodeMove][] => {
      const { position, attempt } = node;
      const ended = { position, attempt, errorCode: null, cleanupId: null, nextAttemptAt: null };
      const made = decided[n] ?? { problem: 'when: it is not known' };
      if ('problem' in made) {
        return [[node, { ...ended, status: 'failed', error: made.problem, errorCode: made.code ?? null }]];
      }
      return made.value ? [] : [[node, { ...ended, status: 'skipped', error: null }]];
    });
    await applyMoves(run, moves);
  }
}

/** Nodes whose `when` is evaluated together. */
const WHEN_BATCH = 500;

/** Whether a node runs; `problem` where nobody can tell, with the code of the error that it has. */
type Decision = { value: boolean } | { problem: string; code?: string };

async function decide(
  { submit, runtime, workflowId }: Run,
  when: string,
  many: boolean,
  batch: readonly NodeState[],
): Promise<Decision[]> {
  const items = many
    ? await readInputs(
        runtime.services.db,
        workflowId,
        batch.map(({ position }) => position),
      )
    : null;
  const nodes = batch.map(({ key, position }) => {
    const { item = null, index = 0 } = items?.get(position) ?? {};
    return { key, item, index };
  });
  try {
    await submit.starts.before();
    return await renderWhen({ when, many, context: await submit.context.for(when), nodes }, submit.budget);
  } catch (error) {
    if (!(error instanceof ApplicationError) || error.code !== 'TOO_COSTLY') throw error;
    return batch.map(() => ({ problem: error.message, code: error.code }));
  }
}

/** Asks running operations to stop, each once. */
async function stopRunning(run: Run, nodes: readonly NodeState[]): Promise<void> {
  const { runtime, snapshot, asked, workflowId } = run;
  const { db, engine } = runtime.services;
  const unasked = nodes.filter(({ operationId }) => operationId !== null && !asked.has(operationId));
  if (unasked.length === 0) return;
  const later: (() => void)[] = [];
  await db.transaction().execute(async (tx) => {
    for (const { operationId, timedOut, position } of unasked) {
      if (operationId === null) continue;
      const { afterCommit } = await engine.requestCancel(
        tx,
        operationId,
        `${snapshot.authority.name} (workflow ${workflowId})`,
      );
      if (timedOut) await markTimedOut(tx, workflowId, position);
      later.push(afterCommit);
    }
  });
  for (const callback of later) callback();
  for (const { operationId } of unasked) if (operationId !== null) asked.add(operationId);
}

/** Stops the tries whose time is over. @returns when the next thing is due. */
async function enforceTimeouts(run: Run): Promise<Date> {
  const { scheduler } = run;
  const now = Date.now();
  let next = Number.POSITIVE_INFINITY;
  const over: NodeState[] = [];
  for (const node of scheduler.running.values()) {
    const { timeout } = node.step.planned.settings;
    if (timeout === null || node.startedAt === null || node.timedOut) continue;
    const due = node.startedAt.getTime() + timeout * 1_000;
    if (due <= now) {
      node.timedOut = true;
      over.push(node);
    } else next = Math.min(next, due);
  }
  await stopRunning(run, over);
  return new Date(Math.min(next, nextRetry(scheduler).getTime()));
}
