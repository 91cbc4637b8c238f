import type { JsonObject } from '../../documents/json.ts';
import { isObject } from '../../documents/json.ts';
import type { Problems } from '../../documents/problems.ts';
import { CostError, spend } from '../../evaluation/meter.ts';
import type { Definition, DefinitionData } from '../definition/definition.ts';
import { plainRulesOf } from '../kinds/plain-rules.ts';
import type { Plan, PlanInput, Planned } from './contract.ts';
import { operationsIn } from './static.ts';
import type { StepSource } from './steps.ts';

/** What a step costs that is not planned yet. Types that nest each other thousands of times come by here. */
const UNPLANNED_UNITS = 10;
/** Workflows inside workflows at most. */
const MAX_DEPTH = 5;

type PlanWorkflow = (input: PlanInput, above: readonly string[]) => Planned;

/**
 * Plans the workflows that a plan's nodes run, so that what is wrong with them, and what the caller may not do in
 * them, is known before anything starts.
 */
export function planNested(
  plan: Plan,
  steps: readonly StepSource[],
  input: PlanInput,
  above: readonly string[],
  problems: Problems,
  planWorkflow: PlanWorkflow,
): void {
  const path = [...above, input.definition.name ?? 'this workflow'];
  const withOf = new Map<string, JsonObject[]>();
  for (const node of plan.nodes) {
    if (node.skipped) continue;
    const given = withOf.get(node.step) ?? [];
    if (node.with !== null) given.push(node.with);
    withOf.set(node.step, given);
  }
  for (const source of steps) {
    if (source.fields.kind !== 'workflow' || !withOf.has(source.fields.id)) continue;
    const definition = nestedDefinition(source, input, path, problems);
    if (definition === null) continue;
    keep(plan, definition, source);
    for (const given of withOf.get(source.fields.id) ?? []) {
      const parameters = isObject(given.parameters) ? given.parameters : {};
      const nested = planInside(source, () => planWorkflow({ ...input, definition, parameters }, path));
      if (nested.plan === null) {
        for (const problem of nested.problems) {
          problems.add(
            [...source.path, 'with'],
            `workflow "${definition.name}": ${problem.field}: ${problem.message}`,
            problem.near_matches,
          );
        }
        break;
      }
      plan.inner.push({ path: [...source.path, 'with'], definition, plan: nested.plan });
      spend(nested.plan.permissions.length);
      for (const { permission } of nested.plan.permissions)
        plan.permissions.push({ permission, path: [...source.path, 'with'] });
      for (const [name, inner] of nested.plan.nested) plan.nested.set(name, inner);
    }
    // Parameters that need results: what it may ask for is known from its steps all the same.
    if ((withOf.get(source.fields.id) ?? []).length === 0)
      keepUnplanned(plan, definition, source, input, path, problems);
  }
}

/** Names the step that runs the nested workflow as the place of what is too costly in it. */
function planInside(source: StepSource, plan: () => Planned): Planned {
  try {
    return plan();
  } catch (error) {
    if (error instanceof CostError) error.path = [...source.path, 'with', ...(error.path ?? [])];
    throw error;
  }
}

function nestedDefinition(
  source: StepSource,
  input: PlanInput,
  path: readonly string[],
  problems: Problems,
): Definition | null {
  const at = [...source.path, 'with', 'workflow_type'];
  const type = (source.fields.with as JsonObject | undefined)?.workflow_type;
  if (typeof type !== 'string' || type.includes('${{') || operationsIn(type).size > 0) {
    problems.add(at, 'must be the name of a type, without an expression');
    return null;
  }
  const definition = input.type(type);
  if (definition === undefined) {
    problems.add(at, `there is no workflow type "${type}" that can be used`, [...input.typeNames]);
    return null;
  }
  if (path.includes(type)) {
    problems.add(
      at,
      `the workflows contain each other in a circle: ${[...path.slice(path.indexOf(type)), type].join(' → ')}`,
    );
    return null;
  }
  if (path.length >= MAX_DEPTH) {
    problems.add(at, `workflows are nested more than ${MAX_DEPTH} deep: ${[...path, type].join(' → ')}`);
    return null;
  }
  return definition;
}

function keep(plan: Plan, definition: DefinitionData, source: StepSource): void {
  if (definition.name === null) throw new Error(`the nested workflow at ${source.path.join('.')} has no name`);
  plan.nested.set(definition.name, definition);
}

function keepUnplanned(
  plan: Plan,
  definition: Definition,
  source: StepSource,
  input: PlanInput,
  path: readonly string[],
  problems: Problems,
): void {
  const { operations } = definition.fields;
  if (!Array.isArray(operations)) {
    problems.add(
      [...source.path, 'with'],
      `workflow "${definition.name}" takes its steps from its parameters: they must be known before the start`,
    );
    return;
  }
  const below = [...path, definition.name ?? ''];
  for (const fields of operations) {
    spend(UNPLANNED_UNITS);
    const { permission } = plainRulesOf(fields.kind);
    if (permission !== null) plan.permissions.push({ permission, path: [...source.path, 'with'] });
    if (fields.kind !== 'workflow') continue;
    const inner = nestedDefinition({ fields, path: source.path }, input, below, problems);
    if (inner === null) continue;
    keep(plan, inner, source);
    keepUnplanned(plan, inner, source, input, below, problems);
  }
}
