import type { Queryable } from '../../database/pool.ts';
import type { Json, JsonObject } from '../../documents/json.ts';
import { render, TemplateError } from '../expressions/template.ts';
import { createRunContext } from './context.ts';
import { countNodes, readRun } from './store.ts';

/** The result of a run whose nodes have ended: its outputs, and how its nodes ended. An output that fails is null. */
export async function endResult(tx: Queryable, workflowId: string, workspace: string): Promise<JsonObject> {
  const read = await readRun(tx, workflowId);
  if (read === null) throw new Error(`the workflow ${workflowId} is gone`);
  const { outputs } = read.run;
  const context = createRunContext(tx, workflowId, workspace, read.run);
  const result: JsonObject = {};
  for (const [name, value] of Object.entries(outputs)) result[name] = await output(value);
  return { ...result, nodes_by_status: await countNodes(tx, workflowId) };

  async function output(value: Json): Promise<Json> {
    try {
      return render(value, await context.for(value));
    } catch (error) {
      if (error instanceof TemplateError) return null;
      throw error;
    }
  }
}
