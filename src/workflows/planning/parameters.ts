import type { JsonObject } from '../../documents/json.ts';
import { createProblems, type Problem } from '../../documents/problems.ts';
import { addSchemaErrors } from '../../documents/schema-errors.ts';
import type { Definition } from '../definition/definition.ts';

/**
 * The parameters as the definition sees them. What the caller leaves out is taken from the workspace's defaults where
 * a parameter has the name of one (provider, plan, zone, …) and does not say `from_workspace: false`, then from the parameter's own default.
 */
export function resolveParameters(
  definition: Definition,
  given: JsonObject,
  defaults: JsonObject,
): { value: JsonObject; problems: readonly [] } | { value: null; problems: readonly Problem[] } {
  const value = structuredClone(given);
  for (const [name, property] of Object.entries(definition.fields.parameters?.properties ?? {})) {
    const own = defaults[name];
    const asks = (property as { from_workspace?: unknown }).from_workspace !== false;
    if (asks && value[name] === undefined && own !== undefined) value[name] = own;
  }
  if (definition.checkParameters(value)) return { value, problems: [] };
  const problems = createProblems();
  addSchemaErrors(problems, ['parameters'], definition.checkParameters.errors ?? []);
  return { value: null, problems: problems.list };
}
