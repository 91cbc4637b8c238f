import { isObject, type Json, type JsonObject } from '../../documents/json.ts';
import { createProblems, type Problem } from '../../documents/problems.ts';
import { addSchemaErrors } from '../../documents/schema-errors.ts';
import type { Definition } from '../definition/definition.ts';
import { isReference } from '../secrets/reference.ts';

/**
 * The parameters as the definition sees them. What the caller leaves out is taken from the workspace's defaults where
 * a parameter has the name of one (provider, plan, zone, …) and does not say `from_workspace: false`, then from the parameter's own default.
 * @param secrets what references in it stand for; they stay in the value.
 */
export function resolveParameters(
  definition: Definition,
  given: JsonObject,
  defaults: JsonObject,
  secrets: Readonly<Record<string, Json>> = {},
): { value: JsonObject; problems: readonly [] } | { value: null; problems: readonly Problem[] } {
  const value = structuredClone(given);
  for (const [name, property] of Object.entries(definition.fields.parameters?.properties ?? {})) {
    const own = defaults[name];
    const asks = (property as { from_workspace?: unknown }).from_workspace !== false;
    if (asks && value[name] === undefined && own !== undefined) value[name] = own;
    const usual = (property as { default?: Json }).default;
    if (value[name] === undefined && isReference(usual)) value[name] = structuredClone(usual ?? null);
  }
  const references: { holder: JsonObject | Json[]; at: string | number; reference: Json }[] = [];
  open(value, secrets, (holder, at, reference) => references.push({ holder, at, reference }));
  if (definition.checkParameters(value)) {
    for (const { holder, at, reference } of references) (holder as Record<string | number, Json>)[at] = reference;
    return { value, problems: [] };
  }
  const problems = createProblems();
  addSchemaErrors(problems, ['parameters'], definition.checkParameters.errors ?? [], {
    quote: references.length === 0,
  });
  return { value: null, problems: problems.list };
}

/** Puts secrets in the place of their references, and tells of each. */
function open(
  holder: JsonObject | Json[],
  secrets: Readonly<Record<string, Json>>,
  opened: (holder: JsonObject | Json[], at: string | number, reference: Json) => void,
): void {
  for (const [at, child] of Object.entries(holder)) {
    if (typeof child !== 'object' || child === null) continue;
    const name = isObject(child) && isReference(child) ? child.$secret : null;
    if (typeof name === 'string' && Object.hasOwn(secrets, name)) {
      (holder as JsonObject)[at] = secrets[name] ?? null;
      opened(holder, at, child);
    } else open(child, secrets, opened);
  }
}
