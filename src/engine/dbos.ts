/**
 * The engine library's inner parts that we lean on, in one place. They are not its public interface: the version is
 * pinned exactly and dbos.test.ts checks each of them (docs/decisions/0003-durable-engine.md).
 */
import { DBOS, DBOSClient, type DLogger, Error as engineErrors } from '@dbos-inc/dbos-sdk';
import dbosModule from '@dbos-inc/dbos-sdk/internal/dbos';
import executorModule from '@dbos-inc/dbos-sdk/internal/dbos-executor';
import databaseModule from '@dbos-inc/dbos-sdk/internal/system_database';
import utilsModule from '@dbos-inc/dbos-sdk/internal/utils';
import queueModule from '@dbos-inc/dbos-sdk/internal/wfqueue';
import type pg from 'pg';
import type { Logger } from 'pino';
import { nameSources } from '../stack-traces.ts';

export { DBOS, DBOSClient };

/** Bumped only with a plan for what is in flight: a replica recovers only what runs under its own value. */
export const APPLICATION_VERSION = 'engine-1';
export const APPLICATION_NAME = 'provisioning';

const { runTransactionalInternalStep } = dbosModule;
const { DBOSExecutor } = executorModule;
const { DBOSWorkflowConflictError, DBOSWorkflowCancelledError } = engineErrors;

// While the database is away the library tries each of its statements again, waiting up to a minute by default: after an
// outage work would go on that much later.
utilsModule.dbRetryConfig.initialBackoffSec = 0.25;
utilsModule.dbRetryConfig.maxBackoffSec = 3;

/** One transaction: our writes, the check that we still own the procedure, and the checkpoint. Exactly once. */
export function transactionalStep<T>(name: string, write: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  return runTransactionalInternalStep(async (client) => {
    if (client === undefined) throw new Error(`The transactional step "${name}" ran outside a procedure.`);
    return write(client);
  }, name);
}

/** Errors by which the library stops an execution that lost its ownership. They must pass through every catch. */
export function isEngineStop(error: unknown): boolean {
  return error instanceof DBOSWorkflowConflictError || error instanceof DBOSWorkflowCancelledError;
}

/** Thrown inside a step to stop this execution and record nothing, so that another replica goes on from here. */
export function engineStop(operationId: string): Error {
  return new DBOSWorkflowConflictError(operationId);
}

interface Queue {
  name: string;
  workerConcurrency?: number;
  /** Over all replicas. */
  concurrency?: number;
  /** Of each part, where the queue has parts. */
  partitionWorkerConcurrency?: number;
}
interface QueueRunner {
  states: Map<string, { queue: Queue }>;
  /** Takes what the queue's limits allow and starts it. @returns whether another replica held the queue. */
  pollQueue(executor: unknown, queue: Queue): Promise<boolean>;
}
interface RunningProcedures {
  countRunningWorkflowsForQueue(queueName: string): number;
  /** The entry counts as running until `release` is called. */
  registerRunningWorkflow(id: string, queueName?: string, partition?: string): { release(): void };
}

/** What a look at a queue found. */
export interface Look {
  /** Another replica held the queue at that moment: try again shortly. */
  contended: boolean;
  /** It took all that the limits allowed, so more may be waiting: worth another look when a slot is free. */
  full: boolean;
  /** A slot came free while it looked, too late for it. */
  freedMeanwhile: boolean;
}

/** Told about every look at a queue, whether we or the library's own poll asked for it. */
export interface QueueObserver {
  looked(queueName: string, look: Look): void;
  /** A procedure of this queue has ended here and no longer counts against the queue's limits. */
  slotFreed(queueName: string): void;
}

const queueRunner = queueModule.wfQueueRunner as unknown as QueueRunner;
let lastLook = new Map<string, Promise<Look>>();

/**
 * Call it once the library has been launched. The library polls each queue once a second, and we look at it in between.
 * Two looks at once would each count the same running procedures and take different ones, which together exceed the
 * limit; so from here on looks at one queue wait for each other, whoever asks for them.
 */
export function serializeLooks(observer: QueueObserver): void {
  const executor = DBOSExecutor.globalInstance;
  if (executor === undefined) throw new Error('the engine has not been launched');
  const running = executor.systemDatabase as unknown as RunningProcedures;
  const begun = new Map<string, number>();
  const ended = new Map<string, number>();
  lastLook = new Map();

  const register = running.registerRunningWorkflow.bind(running);
  running.registerRunningWorkflow = (id, queueName, partition) => {
    const entry = register(id, queueName, partition);
    if (queueName === undefined) return entry;
    begun.set(queueName, (begun.get(queueName) ?? 0) + 1);
    const release = entry.release.bind(entry);
    let released = false;
    entry.release = () => {
      release();
      if (released) return;
      released = true;
      ended.set(queueName, (ended.get(queueName) ?? 0) + 1);
      observer.slotFreed(queueName);
    };
    return entry;
  };

  // From the prototype: the runner is shared by all launches of this process.
  const poll: QueueRunner['pollQueue'] = Object.getPrototypeOf(queueRunner).pollQueue.bind(queueRunner);
  const take = async (queue: Queue): Promise<Look> => {
    const { name, workerConcurrency = Number.POSITIVE_INFINITY, concurrency, partitionWorkerConcurrency } = queue;
    const free = workerConcurrency - running.countRunningWorkflowsForQueue(name);
    const begunBefore = begun.get(name) ?? 0;
    const endedBefore = ended.get(name) ?? 0;
    const contended = await poll(executor, queue);
    const taken = (begun.get(name) ?? 0) - begunBefore;
    // How many the other replicas run, and what waits in which part, is not known here.
    const full = concurrency !== undefined || partitionWorkerConcurrency !== undefined || taken >= free;
    const look = { contended, full, freedMeanwhile: (ended.get(name) ?? 0) > endedBefore };
    observer.looked(name, look);
    return look;
  };
  queueRunner.pollQueue = async (_executor, queue) => {
    const earlier = lastLook.get(queue.name);
    const look = (earlier ?? Promise.resolve()).catch(() => 'told to whoever asked for it').then(() => take(queue));
    lastLook.set(queue.name, look);
    return (await look).contended;
  };
}

/** Looks at a queue at once instead of at its next poll. What it found is told to the observer. */
export async function pollQueueNow(queueName: string): Promise<void> {
  const executor = DBOSExecutor.globalInstance;
  const state = queueRunner.states.get(queueName);
  if (executor?.initialized === true && state !== undefined) await queueRunner.pollQueue(executor, state.queue);
}

/** Puts the unfinished procedures of these executors back on their queues. @returns how many. */
export async function recover(executorIds: string[]): Promise<number> {
  const executor = DBOSExecutor.globalInstance;
  if (executor?.initialized !== true) return 0;
  return (await executor.recoverPendingWorkflows(executorIds)).length;
}

/** What `DBOS.migrate` does, but told to our log instead of standard output. */
export function migrateEngineTables(url: string, logger: Logger): Promise<void> {
  type LibraryLogger = Parameters<typeof databaseModule.migrateSystemDatabase>[1];
  return databaseModule.migrateSystemDatabase(url, engineLogger(logger) as unknown as LibraryLogger);
}

/** The library writes to our log. */
export function engineLogger(logger: Logger): DLogger {
  return {
    // What the library calls info is start-up chatter; its warnings are retries that usually succeed.
    debug: (entry) => logger.trace(String(entry)),
    info: (entry) => logger.debug(String(entry)),
    warn: (entry) => logger.debug(String(entry)),
    error: (entry, metadata) => logger.error({ stack: nameSources(metadata?.stack ?? '') }, String(entry)),
  };
}
