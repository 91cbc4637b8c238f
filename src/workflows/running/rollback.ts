/**
 * Undoes what a run did, in reverse order: a node when all that came after it has been seen to. One that cannot be
 * undone is told and does not stop the others. Begins again at any moment from the nodes' rows.
 */

import type { Authority } from '../../access/authority.ts';
import type { WorkflowNodeStatus, WorkflowUndoStatus } from '../../database/tables.ts';
import type { Json } from '../../documents/json.ts';
import type { StepCall } from '../../engine/procedure.ts';
import { ApplicationError } from '../../errors.ts';
import { runBudget } from '../../evaluation/pool.ts';
import { insertAudit, mutateUnasked, UNASKED } from '../../http/mutation.ts';
import type { NodeOutcome, NodeUndo } from '../../operations/node.ts';
import { PROTECTED } from '../../operations/protection.ts';
import { backoff } from '../../util/backoff.ts';
import { rulesOf } from '../kinds/rules.ts';
import type { PlannedStep } from '../planning/contract.ts';
import { submitRollback } from '../service-rollback.ts';
import { actingFor, requireStillPermitted } from './authority.ts';
import { createReport, nextRetry, soon, wokenByCancel } from './loop.ts';
import { handlerOf, prepareNode, type Runtime, takenElsewhere } from './runtime.ts';
import { createScheduler, type NodeState, type Scheduler } from './scheduler.ts';
import { endedAmong, readRun, type Snapshot } from './store.ts';
import {
  type BegunNode,
  claimUndo,
  moveUndo,
  readBegun,
  readFollowUps,
  serversLeft,
  type UndoMove,
} from './undo-store.ts';
import { createWake, type Wake } from './wake.ts';

/** Waits between tries of undoing a node. Seconds. */
const RETRY_DELAYS = { first: 1, most: 60 };
/** What looks how things stand may wait for a day for a server that hangs: then the try has failed. */
const FOLLOW_UP_MS = 30_000;

export interface RollbackOptions {
  runtime: Runtime;
  workflowId: string;
  workspace: string;
  call: StepCall;
  progress: (percent: number) => Promise<void>;
  /** Who asked for it; null: nobody, it follows from a failure, and acts for whoever submitted the run. */
  askedBy: Authority | null;
}

interface Rollback extends RollbackOptions {
  snapshot: Snapshot;
  begun: Map<number, BegunNode>;
  scheduler: Scheduler;
  wake: Wake;
  total: number;
}

/** Stops what is still running of a run, and waits until that and everything that tidies up has ended. */
export async function stopEverything({
  runtime,
  workflowId,
  call,
}: Pick<RollbackOptions, 'runtime' | 'workflowId' | 'call'>): Promise<void> {
  const { db, engine } = runtime.services;
  const wake = createWake(runtime.follower);
  const asked = new Set<string>();
  try {
    for (;;) {
      const begun = await readBegun(db, workflowId);
      const running = begun.filter(({ operationStatus }) => isOpen(operationStatus));
      const tidying = begun.filter(({ cleanupStatus }) => isOpen(cleanupStatus));
      if (running.length === 0 && tidying.length === 0) return;
      for (const { operationId } of running) {
        wake.watch(operationId);
        if (asked.has(operationId)) continue;
        asked.add(operationId);
        const { afterCommit } = await db
          .transaction()
          .execute((tx) => engine.requestCancel(tx, operationId, `workflow ${workflowId}`));
        afterCommit();
      }
      for (const { cleanupId } of tidying) if (cleanupId !== null) wake.watch(cleanupId);
      await wake.wait(soon(), call.signal);
      call.signal.throwIfAborted();
    }
  } finally {
    wake.close();
  }
}

function isOpen(status: string | null): boolean {
  return status === 'pending' || status === 'running';
}

/** @returns when every node has been seen to, or, after a cancel, when nothing is under way any more. */
export async function undoEverything(options: RollbackOptions): Promise<void> {
  const { runtime, workflowId, call } = options;
  const read = await readRun(runtime.services.db, workflowId);
  if (read === null) throw new Error(`the workflow ${workflowId} is gone`);
  const begun = new Map((await readBegun(runtime.services.db, workflowId)).map((node) => [node.position, node]));
  const wake = createWake(runtime.follower);
  const { settings, steps, edges } = read.run;
  const rollback: Rollback = {
    ...options,
    snapshot: read.run,
    begun,
    wake,
    total: begun.size,
    scheduler: createScheduler({
      steps: steps.map(
        (step) =>
          ({
            ...step,
            settings: { ...step.settings, onFailure: 'continue', priority: 0, parallelLimit: null },
          }) satisfies PlannedStep,
      ),
      // Backwards, and going on after what cannot be undone.
      edges: edges.map(({ from, to }) => ({ from: to, to: from, type: 'soft' })),
      nodes: read.nodes.map((node) => asUndone(node, begun.get(node.position))),
      parallelLimit: settings.parallelLimit,
    }),
  };
  await wokenByCancel(wake, call, () => untilUndone(rollback));
}

const AS_STATUS: Record<WorkflowUndoStatus, WorkflowNodeStatus> = {
  running: 'running',
  retrying: 'retrying',
  undone: 'completed',
  nothing: 'completed',
  kept: 'completed',
  failed: 'failed',
};

/** A node as the scheduler is to see it: what never began needs no undoing. */
function asUndone<Row extends { status: WorkflowNodeStatus }>(row: Row, begun: BegunNode | undefined) {
  if (begun === undefined) return { ...row, status: 'completed' as const, operationId: null };
  return {
    ...row,
    status: begun.undo === null ? ('waiting' as const) : AS_STATUS[begun.undo],
    attempt: begun.undoAttempt,
    operationId: begun.undo === 'running' ? begun.undoOperationId : null,
    nextAttemptAt: begun.undo === 'retrying' ? new Date(Date.now() + RETRY_DELAYS.first * 1_000) : null,
    error: begun.undoError,
  };
}

async function untilUndone(rollback: Rollback): Promise<void> {
  const { scheduler, wake, call, runtime } = rollback;
  for (const operationId of scheduler.running.keys()) wake.watch(operationId);
  let changed = [...scheduler.running.keys()];
  /** Operations that look how things stand after one of these, with that one. */
  const following = new Map<string, { id: string; until: number }>();
  const report = createReport(rollback.total, scheduler, rollback.progress);
  for (;;) {
    call.signal.throwIfAborted();
    const late = [...following].flatMap(([id, { until }]) => (until < performance.now() ? id : []));
    // Each once: an operation and what looks afterwards may have changed together.
    const asked = new Set([...changed, ...late].map((id) => following.get(id)?.id ?? id));
    const ended = await endedAmong(
      runtime.services.db,
      [...asked].filter((id) => scheduler.running.has(id)),
    );
    const followUpIds = ended.flatMap(({ cleanupId }) => cleanupId ?? []);
    for (const id of followUpIds) wake.watch(id);
    const followUps = await readFollowUps(runtime.services.db, followUpIds);
    const moves: [NodeState, UndoMove][] = [];
    for (const { id, status, error, errorCode, cleanupId, kept } of ended) {
      const node = scheduler.running.get(id);
      if (node === undefined) continue;
      const followUp = followUps.get(cleanupId ?? '');
      // A deletion that failed may have taken effect all the same: whoever looks afterwards knows.
      if (followUp?.ended === false) {
        const waited = following.get(followUp.id) ?? { id, until: performance.now() + FOLLOW_UP_MS };
        following.set(followUp.id, waited);
        if (performance.now() < waited.until) continue;
      }
      following.delete(followUp?.id ?? '');
      for (const watched of [id, followUp?.id ?? id]) wake.unwatch(watched);
      if (kept !== null) moves.push([node, moveOf(node, 'kept', kept)]);
      else if (status === 'completed' || followUp?.gone === true) moves.push([node, moveOf(node, 'undone', null)]);
      else if (errorCode === PROTECTED) moves.push([node, moveOf(node, 'kept', error)]);
      else moves.push([node, failedTry(rollback, node, error ?? `its operation ${id} was ${status}`)]);
    }
    await apply(rollback, moves);
    if (call.cancelled.aborted) {
      if (scheduler.running.size === 0) return;
    } else {
      await startReady(rollback);
      if (scheduler.open() === 0) return;
    }
    await report();
    await wake.wait(nextRetry(scheduler), call.signal);
    changed = wake.takeChanged();
  }
}

function moveOf(node: NodeState, undo: UndoMove['undo'], error: string | null): UndoMove {
  return { position: node.position, undo, attempt: node.attempt, operationId: null, error };
}

function failedTry({ snapshot }: Rollback, node: NodeState, error: string): UndoMove {
  return moveOf(node, node.attempt >= snapshot.settings.rollback.maxAttempts ? 'failed' : 'retrying', error);
}

async function apply(rollback: Rollback, moves: readonly [NodeState, UndoMove][]): Promise<void> {
  await moveUndo(
    rollback.runtime.services.db,
    rollback.workflowId,
    moves.map(([, move]) => move),
  );
  for (const [node, move] of moves) {
    node.attempt = move.attempt;
    node.error = move.error;
    if (move.undo === 'retrying') {
      const delay = backoff(move.attempt, RETRY_DELAYS);
      node.nextAttemptAt = new Date(Date.now() + delay * 1_000);
      await rollback.call.log(`${node.key} is not undone yet: ${move.error} Trying again in ${delay.toFixed(1)} s.`, {
        node: node.key,
      });
    } else if (move.undo === 'failed')
      await rollback.call.log(`${node.key} could not be undone: ${move.error}`, { node: node.key });
    if (move.undo !== 'running')
      rollback.scheduler.moved(node, AS_STATUS[move.undo] as Parameters<Scheduler['moved']>[1]);
  }
}

/** Starts undoing what is ready, and settles at once what needs nothing. */
async function startReady(rollback: Rollback): Promise<void> {
  const { scheduler } = rollback;
  for (;;) {
    scheduler.takeOpened();
    const ready = scheduler.takeReady(new Date());
    if (ready.length === 0) return;
    const moves: [NodeState, UndoMove][] = [];
    for (const node of ready) {
      const undo = undoOf(rollback, node);
      if (undo === null || 'undo' in undo) moves.push([node, undo ?? moveOf(node, 'nothing', null)]);
      else {
        const move = await start(rollback, node, undo);
        if (move !== null) moves.push([node, move]);
      }
    }
    await apply(rollback, moves);
  }
}

/** How a node is undone; a move where that is already decided, null where there is nothing to do. */
function undoOf(
  { begun, runtime }: Rollback,
  node: NodeState,
): Exclude<NodeUndo, { how: 'nothing' | 'keep' }> | UndoMove | null {
  const of = begun.get(node.position);
  if (of === undefined || of.operationStatus === null) return null;
  const tidied = of.operationStatus === 'completed' ? null : of.cleanupStatus;
  if (tidied === 'completed') return moveOf(node, 'undone', null);
  const outcome: NodeOutcome = {
    operationId: of.operationId,
    status: of.operationStatus as NodeOutcome['status'],
    input: of.input ?? {},
    result: of.result ?? {},
    fields: of.fields ?? {},
    leftover: tidied !== null,
  };
  const undo = handlerOf(runtime, node.step.planned.kind).undo?.(outcome) ?? { how: 'nothing' };
  if (undo.how === 'nothing') {
    if (tidied === null) return null;
    return moveOf(node, 'failed', `${of.cleanupError ?? 'What should tidy up after it'} (operation ${of.cleanupId})`);
  }
  return undo.how === 'keep' ? moveOf(node, 'kept', undo.why) : undo;
}

/** Submits the operation that undoes a node. @returns a move where that is not needed or fails. */
async function start(
  rollback: Rollback,
  node: NodeState,
  undo: Exclude<NodeUndo, { how: 'nothing' | 'keep' }>,
): Promise<UndoMove | null> {
  const { runtime, workflowId, workspace, snapshot, call, wake, scheduler } = rollback;
  const { services } = runtime;
  const { position, key } = node;
  // What a submitter wrote runs with the submitter's rights, whoever asks for the rollback.
  const own = undo.how === 'node' && undo.kind === 'command';
  const authority = own ? snapshot.authority : (rollback.askedBy ?? snapshot.authority);
  const needed = undo.how === 'node' ? rulesOf(undo.kind).permission : 'workflow_cancel';
  const budget = runBudget(snapshot.authority.userId, call.signal);
  const request =
    undo.how === 'node'
      ? {
          ...{ workflowId, position, key, workspace, kind: undo.kind, fields: undo.fields },
          ...{ secretNames: [], run: snapshot, budget },
        }
      : null;
  if (request !== null && own) {
    const servers = await serversLeft(services.db, (undo.fields.servers as Json[]).map(String));
    if (servers.length === 0) return moveOf(node, 'undone', null);
    request.fields = { ...undo.fields, servers };
  }
  let kept: string | null = null;
  call.guard();
  try {
    const acting = await actingFor(services, authority, `rollback of workflow ${workflowId}`);
    requireStillPermitted(acting, [needed], workspace);
    const { principal } = acting;
    const prepared = request === null ? null : await prepareNode(runtime, principal, request);
    const operationId = await mutateUnasked(services.db, principal, call.operationId, async (mutation) => {
      if ((await claimUndo(mutation.tx, workflowId, [node])).length === 0) throw takenElsewhere(key);
      kept = undo.how === 'node' ? ((await undo.keep?.(mutation.tx)) ?? null) : null;
      if (kept !== null) {
        await moveUndo(mutation.tx, workflowId, [{ ...moveOf(node, 'kept', kept), attempt: node.attempt + 1 }]);
        return null;
      }
      const id =
        request === null
          ? await submitRollback(services, mutation, undo.how === 'rollback' ? undo.workflowId : '')
          : (await handlerOf(runtime, request.kind).accept(services, mutation, request, prepared)).id;
      const now = id === null ? 'undone' : 'running';
      await moveUndo(mutation.tx, workflowId, [
        { position, undo: now, attempt: node.attempt + 1, operationId: id, error: null },
      ]);
      if (id !== null) wake.watch(id);
      return id;
    });
    if (kept !== null) return { ...moveOf(node, 'kept', kept), attempt: node.attempt + 1 };
    // Nothing was left to undo.
    if (operationId === null) return { ...moveOf(node, 'undone', null), attempt: node.attempt + 1 };
    node.attempt += 1;
    scheduler.started(node, operationId);
    return null;
  } catch (error) {
    if (!(error instanceof ApplicationError)) throw error;
    const tried = { attempt: node.attempt + 1 };
    // What is gone needs no undoing.
    if (error.status === 404) return { ...moveOf(node, 'undone', null), ...tried };
    if (error.denied) {
      const label = `${authority.name} (rollback of workflow ${workflowId})`;
      await insertAudit(services.db, UNASKED, label, 'denied', {
        ...{ action: undo.how === 'node' ? undo.kind : 'workflow.rollback', workspace },
        resource: `workflow:${workflowId}`,
        details: { step: key, code: error.code, message: error.message },
      });
    }
    if (error.code === PROTECTED) return { ...moveOf(node, 'kept', error.message), ...tried };
    // Whoever may not will not be let by trying again.
    const move =
      error.status === 403
        ? moveOf(node, 'failed', error.message)
        : failedTry(rollback, { ...node, ...tried }, error.message);
    return { ...move, ...tried };
  }
}
