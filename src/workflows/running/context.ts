import type { Queryable } from '../../database/pool.ts';
import { isObject, type Json, type JsonObject } from '../../documents/json.ts';
import { eachTemplate } from '../expressions/template.ts';
import { operationsIn } from '../planning/static.ts';
import { secretsForExpressions } from '../secrets/reference.ts';
import { serversForExpressions, taskservsForExpressions } from '../store.ts';
import { readResults, type Snapshot } from './store.ts';

/** What expressions of a run can read, read when it is needed and kept: what has ended does not change. */
export interface RunContext {
  /** The context for a value with expressions in it. The steps it reads must have ended. */
  for(value: Json): Promise<Record<string, Json>>;
}

export function createRunContext(db: Queryable, workflowId: string, workspace: string, run: Snapshot): RunContext {
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
    secrets: secretsForExpressions(secretNames(run.definition)),
  };
  return {
    async for(value) {
      const operations: JsonObject = {};
      for (const step of operationsIn(value)) operations[step] = await resultsOf(step);
      const servers = mentions(value, 'servers') ? await serversForExpressions(db, workspace) : [];
      const taskservs = mentions(value, 'taskservs') ? await taskservsForExpressions(db, workspace) : [];
      return { ...base, operations, servers, taskservs };
    },
  };
}

function secretNames({ secrets }: JsonObject): string[] {
  return isObject(secrets) ? Object.keys(secrets) : [];
}

function mentions(value: Json, root: string): boolean {
  let found = false;
  eachTemplate(
    value,
    [],
    ({ references }) => {
      found ||= references.roots.has(root);
    },
    () => {},
  );
  return found;
}
