/**
 * A procedure that has just been begun for the first time has recorded nothing yet, so that there is nothing to look
 * up. The library looks all the same before each step, three times; and for cancels, which we never ask it for
 * (docs/decisions/0014-cost-of-a-node.md).
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import executorModule from '@dbos-inc/dbos-sdk/internal/dbos-executor';
import type pg from 'pg';

type Stored = { functionName?: string } | undefined;

/** What is replaced of the library's access to its tables, and what the replacement calls. */
interface StepTables {
  checkIfCanceled(id: string): Promise<void>;
  getOperationResultAndThrowIfCancelled(id: string, step: number): Promise<Stored>;
  runTransactionalStep(
    id: string,
    step: number,
    name: string,
    work: (client: pg.PoolClient) => Promise<string | null>,
  ): Promise<Stored>;
  connect(): Promise<pg.PoolClient>;
  /** With the check that we still own the procedure. */
  recordOperationResultInternal(
    client: pg.PoolClient,
    id: string,
    step: number,
    name: string,
    checkConflict: boolean,
    startedAt: number,
    endedAt: number,
    options: { output: string | null },
  ): Promise<void>;
}

const executions = new AsyncLocalStorage<{ first: boolean }>();

/**
 * Runs a procedure's body. @param first no execution before this one can have recorded a step: this very call moved the
 * operation from `pending` to `running`.
 */
export function asExecution<T>(first: boolean, body: () => Promise<T>): Promise<T> {
  return executions.run({ first }, body);
}

/** Teaches the library, once it has been launched, to leave out what a first execution need not look up. */
export function skipNeedlessLooks(): void {
  const tables = executorModule.DBOSExecutor.globalInstance?.systemDatabase as unknown as StepTables | undefined;
  if (tables === undefined) throw new Error('the engine has not been launched');
  const getRecorded = tables.getOperationResultAndThrowIfCancelled.bind(tables);
  const runTransactionalStep = tables.runTransactionalStep.bind(tables);
  const isFirst = () => executions.getStore()?.first === true;

  tables.checkIfCanceled = async () => {};
  tables.getOperationResultAndThrowIfCancelled = async (id, step) => (isFirst() ? undefined : getRecorded(id, step));
  tables.runTransactionalStep = async (id, step, name, work) => {
    const execution = executions.getStore();
    if (execution?.first !== true) return runTransactionalStep(id, step, name, work);
    const startedAt = Date.now();
    const client = await tables.connect();
    try {
      await client.query('BEGIN ISOLATION LEVEL READ COMMITTED');
      const output = await work(client);
      await tables.recordOperationResultInternal(client, id, step, name, true, startedAt, Date.now(), { output });
      await client.query('COMMIT');
      return undefined;
    } catch {
      // Whether it was committed is not known where the connection was lost: from here on everything is looked up. The
      // library tries again, and records what the work itself throws.
      execution.first = false;
      await client.query('ROLLBACK').catch(() => 'the connection is lost, and the transaction with it');
    } finally {
      client.release();
    }
    return runTransactionalStep(id, step, name, work);
  };
}
