import type { Queryable } from '../../database/pool.ts';
import { isObject, type Json, type JsonObject } from '../../documents/json.ts';
import type { Budget } from '../../evaluation/pool.ts';
import { referencesOf } from '../evaluation.ts';
import { secretsForExpressions } from '../secrets/reference.ts';
import { serversForExpressions, taskservsForExpressions } from '../store.ts';
import { readResults, type Snapshot } from './store.ts';

/** What expressions of a run can read, read when it is needed and kept: what has ended does not change. */
export interface RunContext {
  /** The context for a value with expressions in it. The steps it reads must have ended. */
  for(value: Json): Promise<JsonObject>;
}

export function createRunContext(
  db: Queryable,
  { workflowId, workspace, run, budget }: { workflowId: string; workspace: string; run: Snapshot; budget: Budget },
): RunContext {
  const read = new Map<Json, ReturnType<typeof referencesOf>>();
  const referencesIn = (value: Json) => {
    const known = read.get(value) ?? referencesOf(value, budget);
    read.set(value, known);
    return known;
  };
  const results = new Map<string, Json>();
  const resultsOf = async (step: string): Promise<Json> => {
    const known = results.get(step);
    if (known !== undefined) return known;
    const rows = await readResults(db, workflowId, step);
    const many = run.steps.find(({ id }) => id === step)?.many === true;
    const value: Json = many ? rows : (rows[0] ?? null);
    results.set(step, value);
    return value;
  };
  const base: Record<string, Json> = {
    parameters: run.parameters,
    workspace: { name: workspace, ...run.workspaceSettings },
  };
  return {
    async for(value) {
      const { operations: steps, roots, workspaceSecrets } = await referencesIn(value);
      const operations: JsonObject = {};
      for (const step of steps) operations[step] = await resultsOf(step);
      const servers = roots.includes('servers') ? await serversForExpressions(db, workspace) : [];
      const taskservs = roots.includes('taskservs') ? await taskservsForExpressions(db, workspace) : [];
      const secrets = secretsForExpressions(secretNames(run.definition), workspaceSecrets);
      return { ...base, operations, servers, taskservs, secrets };
    },
  };
}

function secretNames({ secrets }: JsonObject): string[] {
  return isObject(secrets) ? Object.keys(secrets) : [];
}
