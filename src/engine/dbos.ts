/**
 * The engine library's inner parts that we lean on, in one place. They are not its public interface: the version is
 * pinned exactly and dbos.test.ts checks each of them (docs/decisions/0003-durable-engine.md).
 */
import { DBOS, DBOSClient, type DLogger } from '@dbos-inc/dbos-sdk';
import dbosModule from '@dbos-inc/dbos-sdk/internal/dbos';
import executorModule from '@dbos-inc/dbos-sdk/internal/dbos-executor';
import errorModule from '@dbos-inc/dbos-sdk/internal/error';
import databaseModule from '@dbos-inc/dbos-sdk/internal/system_database';
import utilsModule from '@dbos-inc/dbos-sdk/internal/utils';
import queueModule from '@dbos-inc/dbos-sdk/internal/wfqueue';
import type pg from 'pg';
import type { Logger } from 'pino';

export { DBOS, DBOSClient };

/** Bumped only with a plan for what is in flight: a replica recovers only what runs under its own value. */
export const APPLICATION_VERSION = 'engine-1';
export const APPLICATION_NAME = 'provisioning';

const { runTransactionalInternalStep } = dbosModule;
const { DBOSExecutor } = executorModule;
const { DBOSWorkflowConflictError, DBOSWorkflowCancelledError } = errorModule;

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

interface QueueState {
  queue: { name: string; workerConcurrency?: number; concurrency?: number };
}
interface QueueRunner {
  states: Map<string, QueueState>;
  pollQueue(executor: unknown, queue: unknown): Promise<boolean>;
}

/** What a look at a queue found. */
export interface Look {
  /** Another replica held the queue at that moment: try again shortly. */
  contended: boolean;
  /** A limit may have kept it from taking more: worth another look when a place comes free. */
  full: boolean;
}

/** Looks at a queue at once instead of at its next poll. */
export async function pollQueueNow(queueName: string): Promise<Look> {
  const executor = DBOSExecutor.globalInstance;
  const runner = queueModule.wfQueueRunner as unknown as QueueRunner;
  const state = runner.states.get(queueName);
  if (executor?.initialized !== true || state === undefined) return { contended: false, full: false };
  const { workerConcurrency = Number.POSITIVE_INFINITY, concurrency } = state.queue;
  const running = () => executor.systemDatabase.countRunningWorkflowsForQueue(queueName);
  // Before as well: what was taken may have ended while the look was under way.
  const before = running();
  const contended = await runner.pollQueue(executor, state.queue);
  return { contended, full: concurrency !== undefined || Math.max(before, running()) >= workerConcurrency };
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
    error: (entry, metadata) => logger.error({ stack: metadata?.stack }, String(entry)),
  };
}
