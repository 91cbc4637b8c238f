import type { Queryable } from '../../database/pool.ts';
import type { JsonObject } from '../../documents/json.ts';
import { ApplicationError } from '../../errors.ts';
import { runBudget } from '../../evaluation/pool.ts';
import { renderOutput } from '../evaluation.ts';
import { createRunContext } from './context.ts';
import { readRun } from './store.ts';

/**
 * The outputs of a run whose nodes have ended; one that fails or costs too much is null. Evaluated before the transaction
 * that ends the run: nobody's connection waits for it.
 */
export async function renderOutputs(db: Queryable, workflowId: string, workspace: string): Promise<JsonObject> {
  const read = await readRun(db, workflowId);
  if (read === null) throw new Error(`the workflow ${workflowId} is gone`);
  const { run } = read;
  const budget = runBudget(run.authority.userId);
  const context = createRunContext(db, { workflowId, workspace, run, budget });
  const outputs: JsonObject = {};
  for (const [name, value] of Object.entries(run.outputs)) {
    try {
      outputs[name] = await renderOutput({ name, value, context: await context.for(value) }, budget);
    } catch (error) {
      if (!(error instanceof ApplicationError) || error.code !== 'TOO_COSTLY') throw error;
      outputs[name] = null;
    }
  }
  return outputs;
}
