import type { Logger } from 'pino';
import { type Database, isDatabaseUnavailable, onConnection, type Queryable } from '../database/pool.ts';
import { backoff } from '../util/backoff.ts';
import { sleep } from '../util/sleep.ts';
import { DBOS, engineStop, isEngineStop, transactionalStep } from './dbos.ts';
import { type EndOptions, endInTransaction, type Failure } from './ending.ts';
import type { Enqueue } from './enqueue.ts';
import { type EventWriter, logEvent } from './events.ts';
import { asExecution } from './first-execution.ts';
import { type BegunOperation, beginOperation, completeOperation } from './operation-record.ts';
import {
  type Finished,
  OperationError,
  type Procedure,
  type ProcedureContext,
  type StepCall,
  type StepOptions,
} from './procedure.ts';
import type { Replica } from './replica.ts';
import type { Signals } from './signals.ts';

const DEFAULT_DEADLINE_SECONDS = 900;
/** Node's timers take no more. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const DEFAULT_ATTEMPTS = 10;
const MAX_RETRY_DELAY_SECONDS = 60;
/** How long to wait before looking again when the database was away inside a step. */
const DATABASE_RETRY_MS = 500;

/** What the runner needs of the engine around it. */
export interface RunnerDependencies {
  db: Database;
  logger: Logger;
  events: EventWriter;
  signals: Signals;
  replica: () => Replica;
  enqueue: Enqueue;
  procedures: ReadonlyMap<string, Procedure>;
}

/** Apart, because a step may outlive a cancel but never a handover. */
interface Controllers {
  cancel: AbortController;
  handOver: AbortController;
}

/** The operations running in this process, and how to stop them. */
export interface Runner {
  /** The durable function behind every procedure of this kind. */
  run(procedure: Procedure, operationId: string): Promise<void>;
  /** Ends the forward work of an operation that is running here; anything else is ignored. */
  cancel(operationId: string): void;
  /** Ids running here. */
  running(): ReadonlySet<string>;
  /**
   * Stops every procedure at its next safe point without recording anything, so that another replica goes on. Resolves
   * when none runs here any more, at the latest after `timeoutMs`.
   */
  handOver(timeoutMs: number): Promise<void>;
}

/** Why a step was interrupted: decided by `code`, which survives the checkpoint. */
const cancelled = () => new OperationError('CANCELLED', 'The operation was cancelled.');
const deadlineExceeded = (step: string, seconds: number, last?: string) => {
  const reason = last === undefined ? '' : ` The last thing it ran into: ${last}`;
  return new OperationError('DEADLINE_EXCEEDED', `"${step}" did not end within ${seconds} s.${reason}`);
};
const handedOver = () => new OperationError('HANDED_OVER', 'This replica is stopping.');

export function createRunner(dependencies: RunnerDependencies): Runner {
  const { db, logger, events, signals } = dependencies;
  const controllers = new Map<string, Controllers>();
  /** By execution: one that lost its ownership may still be on its way out when the next has begun here. */
  const active = new Map<symbol, string>();
  let stopping = false;
  let idle: (() => void) | undefined;

  const run = async (procedure: Procedure, operationId: string) => {
    const execution = Symbol(operationId);
    active.set(execution, operationId);
    try {
      if (stopping) throw engineStop(operationId);
      const begun = await untilDatabase(() => beginOperation(db, operationId));
      // It ended before its turn came (cancelled while pending), or its end was stored just before a crash.
      if (begun?.status === 'running') await carryOut(procedure, operationId, begun);
    } catch (error) {
      // The database went away outside a step, or the engine is being taken apart around us: nothing has failed, the work
      // goes on from its last checkpoint.
      throw isDatabaseUnavailable(error) || stopping ? engineStop(operationId) : error;
    } finally {
      active.delete(execution);
      if (active.size === 0) idle?.();
    }
  };

  const carryOut = async (procedure: Procedure, operationId: string, begun: BegunOperation) => {
    const controller: Controllers = { cancel: new AbortController(), handOver: new AbortController() };
    controllers.set(operationId, controller);
    events.begin(operationId, begun);
    if (begun.cancelRequested) controller.cancel.abort(cancelled());
    if (stopping) controller.handOver.abort(handedOver());
    if (begun.first) signals.operationsChanged([operationId]);
    try {
      await asExecution(begun.first, async () => {
        try {
          await procedure.run(begun.input, createContext(operationId, begun, controller));
        } catch (error) {
          if (isEngineStop(error) || isDatabaseUnavailable(error) || stopping) throw error;
          await compensate(procedure, operationId, begun.input, error);
        }
      });
    } finally {
      if (controllers.get(operationId) === controller) {
        controllers.delete(operationId);
        events.end(operationId);
      }
    }
  };

  const createContext = (
    operationId: string,
    begun: { workspace: string; createdBy: string; ownerId: string | null; first: boolean },
    controller: Controllers,
  ): ProcedureContext => ({
    operationId,
    workspace: begun.workspace,
    createdBy: begun.createdBy,
    ownerId: begun.ownerId,
    step: (name, work, options) =>
      DBOS.runStep(() => runStep({ operationId, first: begun.first }, name, work, options ?? {}, controller), { name }),
    progress: (percent) =>
      events.append(operationId, { type: 'progress', at: new Date(), data: { progress: Math.trunc(percent) } }),
    finish: (write) => finish(operationId, write),
    patched: (name) => DBOS.patch(name),
  });

  const finish = async (
    operationId: string,
    write: (tx: Queryable) => Promise<Record<string, unknown>>,
  ): Promise<Finished> => {
    const pending = await events.take(operationId);
    try {
      await transactionalStep('finish', async (client) => {
        const tx = onConnection(client);
        const result = await write(tx);
        if (!(await completeOperation(tx, operationId, result, pending))) throw cancelled();
      });
    } catch (error) {
      events.putBack(operationId, pending);
      throw error;
    }
    signals.operationsChanged([operationId]);
    return { finished: true };
  };

  const compensate = async (
    procedure: Procedure,
    operationId: string,
    input: Record<string, unknown>,
    cause: unknown,
  ) => {
    const failure = describeFailure(cause);
    if (failure.code === 'INTERNAL_ERROR')
      logger.error({ err: cause, operation_id: operationId }, 'a procedure failed unexpectedly');
    const pending = await events.take(operationId);
    let followUpQueue: string | undefined;
    try {
      // The step's name is persisted, and older than the name `compensate`.
      await transactionalStep('settle', async (client) => {
        const tx = onConnection(client);
        followUpQueue = await endUnfinished(tx, { operationId, procedure, input, failure, started: true, pending });
      });
    } catch (error) {
      events.putBack(operationId, pending);
      throw error;
    }
    signals.operationsChanged([operationId]);
    if (followUpQueue !== undefined) signals.queueFilled(followUpQueue);
  };

  const endUnfinished = (tx: Queryable, options: EndOptions) => endInTransaction(tx, options, dependencies.enqueue);

  const runStep = async <T>(
    { operationId, first }: { operationId: string; first: boolean },
    name: string,
    work: (call: StepCall) => Promise<T>,
    options: StepOptions,
    { cancel, handOver }: Controllers,
  ): Promise<T> => {
    const operationSignal =
      options.outlivesCancel === true ? handOver.signal : AbortSignal.any([handOver.signal, cancel.signal]);
    const deadlineSeconds = options.deadline ?? DEFAULT_DEADLINE_SECONDS;
    // A timer that can be cleared: AbortSignal.timeout would keep each step's memory for the whole deadline.
    const deadlineController = new AbortController();
    const deadline = deadlineController.signal;
    let endsAt = performance.now() + deadlineSeconds * 1_000;
    let timer: NodeJS.Timeout | undefined;
    const armDeadline = () => {
      clearTimeout(timer);
      if (!Number.isFinite(endsAt)) return;
      const left = Math.min(Math.max(0, endsAt - performance.now()), MAX_TIMER_MS);
      timer = setTimeout(() => deadlineController.abort(deadlineExceeded(name, deadlineSeconds)), left);
    };
    armDeadline();
    const waited = (milliseconds: number) => {
      if (!(milliseconds > 0) || deadline.aborted) return;
      endsAt += milliseconds;
      armDeadline();
    };
    const signal = AbortSignal.any([operationSignal, deadline]);
    const replica = dependencies.replica();
    let tries = 0;
    const call: StepCall = {
      operationId,
      signal,
      cancelled: cancel.signal,
      guard: () => {
        signal.throwIfAborted();
        if (!replica.alive())
          throw new OperationError('REPLICA_STALLED', 'This replica lost its lease.', { retryable: true });
      },
      get repeated() {
        return !first || tries > 1;
      },
      waited,
      log: (line, fields) => events.append(operationId, logEvent(line, { step: name, ...fields })),
    };
    try {
      for (let attempt = 1; ; ) {
        try {
          stopIfInterrupted(operationId, operationSignal);
          await replica.untilAlive(signal);
          tries += 1;
          return await work(call);
        } catch (error) {
          if (isEngineStop(error)) throw error;
          stopIfInterrupted(operationId, operationSignal);
          const failure = describeFailure(error);
          if (deadline.aborted) {
            const known = failure.code !== 'INTERNAL_ERROR' && failure.code !== 'DEADLINE_EXCEEDED';
            throw deadlineExceeded(name, deadlineSeconds, known ? failure.message : undefined);
          }
          const wait = retryDelay(error, attempt, options);
          if (wait === null) throw withStep(name, error, failure);
          if (wait.counts) attempt += 1;
          if (wait.announce)
            await call.log(`${failure.message} Trying again in ${wait.seconds.toFixed(1)} s.`, { code: failure.code });
          if (failure.code === 'RATE_LIMITED') waited(wait.seconds * 1_000);
          await sleep(wait.seconds * 1_000, signal).catch(() => 'the checks above say why');
        }
      }
    } finally {
      clearTimeout(timer);
    }
  };

  return {
    run,
    cancel: (operationId) => controllers.get(operationId)?.cancel.abort(cancelled()),
    running: () => new Set(active.values()),
    async handOver(timeoutMs) {
      stopping = true;
      for (const { handOver } of controllers.values()) handOver.abort(handedOver());
      if (active.size === 0) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      idle = resolve;
      const timer = setTimeout(resolve, timeoutMs);
      await promise;
      clearTimeout(timer);
    },
  };
}

/** Leaves the step: with nothing recorded when this replica is stopping, with a recorded cancel otherwise. */
function stopIfInterrupted(operationId: string, signal: AbortSignal): void {
  if (!signal.aborted) return;
  if (describeFailure(signal.reason).code === 'HANDED_OVER') throw engineStop(operationId);
  throw cancelled();
}

/** Code and words for the user. What is not one of our errors is a bug: its words stay in the log. */
function describeFailure(error: unknown): Failure {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') {
    const known = ['OperationError', 'ProviderError', 'TransportError', 'ApplicationError'].includes(error.name);
    if (known) return { code: error.code, message: error.message };
  }
  return {
    code: 'INTERNAL_ERROR',
    message: 'The server ran into an unexpected error; its log has the details under this operation id.',
  };
}

/** Keeps code and name, and says in which step it happened. */
function withStep(step: string, error: unknown, failure: Failure): Error {
  if (failure.code === 'INTERNAL_ERROR') return error instanceof Error ? error : new Error(String(error));
  return new OperationError(failure.code, `Could not ${step}: ${failure.message}`, { cause: error });
}

/** Whether and when to try again; null: not at all. */
function retryDelay(
  error: unknown,
  attempt: number,
  options: StepOptions,
): { seconds: number; counts: boolean; announce: boolean } | null {
  if (isDatabaseUnavailable(error)) return { seconds: DATABASE_RETRY_MS / 1_000, counts: false, announce: false };
  if (!(error instanceof Error) || !('retryable' in error) || error.retryable !== true) return null;
  const code = 'code' in error ? error.code : undefined;
  if (code === 'REPLICA_STALLED') return { seconds: 0, counts: false, announce: false };
  const asked = 'retryAfter' in error && typeof error.retryAfter === 'number' ? error.retryAfter : 0;
  const own = backoff(attempt, { first: options.retryDelay ?? 1, most: MAX_RETRY_DELAY_SECONDS });
  const seconds = Math.max(asked, own);
  if (code === 'RATE_LIMITED') return { seconds, counts: false, announce: true };
  return attempt >= (options.attempts ?? DEFAULT_ATTEMPTS) ? null : { seconds, counts: true, announce: true };
}

async function untilDatabase<T>(query: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await query();
    } catch (error) {
      if (!isDatabaseUnavailable(error)) throw error;
      await sleep(DATABASE_RETRY_MS);
    }
  }
}
