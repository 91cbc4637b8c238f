/** What the server asks of the threads that evaluate workflows (tasks.ts): past the budget 400 TOO_COSTLY with the place. */
import type { Json, JsonObject, Path } from '../documents/json.ts';
import { createProblems, type Place, type Problems } from '../documents/problems.ts';
import { type Budget, evaluate } from '../evaluation/pool.ts';
import type { DefinitionData, Loaded } from './definition/definition.ts';
import type { Kind } from './kinds/plain-rules.ts';
import type { Planned } from './planning/contract.ts';
import { unpackPlan } from './planning/pack.ts';
import { type CronQuestion, requireApart, timeOf } from './schedules/cron.ts';
import type { NodeToRender, PlanRequest, Rendered, WORKFLOW_TASKS } from './tasks.ts';

type Task<Name extends keyof typeof WORKFLOW_TASKS> = (typeof WORKFLOW_TASKS)[Name];

/** Reads and checks a definition's YAML text. @param name what it must be called; null: anything. */
export async function loadDefinition(text: string, name: string | null, budget: Budget): Promise<Loaded> {
  const loaded = await evaluate<Task<'workflow.load'>>('workflow.load', { text, name }, budget, 'definition');
  return loaded.definition === null ? loaded : { definition: { ...loaded.definition, text }, problems: [] };
}

/** Checks and resolves a workflow. The same input makes the same plan. @param types every type the workspace has. */
export async function planWorkflow(
  input: Omit<PlanRequest, 'types' | 'typeNames'>,
  types: ReadonlyMap<string, DefinitionData>,
  budget: Budget,
): Promise<Planned> {
  const typeNames = [...types.keys()];
  const sent = mentioned(types, [jsonOf(input.definition.fields), JSON.stringify(input.parameters)]);
  for (;;) {
    const request = { ...input, types: Object.fromEntries(sent), typeNames };
    const answer = await evaluate<Task<'workflow.plan'>>('workflow.plan', request, budget, 'operations');
    if (!('missing' in answer)) {
      return answer.plan === null ? answer : { plan: unpackPlan(answer.plan), problems: [] };
    }
    // Its name came out of an expression.
    const type = types.get(answer.missing);
    if (type === undefined || sent.has(answer.missing)) throw new Error(`there is no type "${answer.missing}"`);
    sent.set(answer.missing, type);
    for (const [name, further] of mentioned(types, [jsonOf(type.fields)])) sent.set(name, further);
  }
}

/** The types whose names occur in the texts, and in those types in turn. */
function mentioned(types: ReadonlyMap<string, DefinitionData>, texts: string[]): Map<string, DefinitionData> {
  const found = new Map<string, DefinitionData>();
  for (let text = texts.pop(); text !== undefined; text = texts.pop()) {
    for (const [name, type] of types) {
      if (found.has(name) || !text.includes(name)) continue;
      // A message names places in its own fields alone: its text stays here.
      found.set(name, { ...type, text: null });
      texts.push(jsonOf(type.fields));
    }
  }
  return found;
}

const texts = new WeakMap<object, string>();

/** The JSON of a definition's fields, made once. */
export function jsonOf(fields: object): string {
  const known = texts.get(fields);
  if (known !== undefined) return known;
  const made = JSON.stringify(fields);
  texts.set(fields, made);
  return made;
}

/** Gathers problems of a definition at paths, and finds out where they stand in its text once there are any. */
export async function placedProblems(
  definition: DefinitionData,
  found: readonly { path: Path; message: string; near?: string[] | undefined }[],
  budget: Budget,
): Promise<Problems['list']> {
  if (found.length === 0) return [];
  const places = await placesOf(
    definition,
    found.map(({ path }) => path),
    budget,
  );
  const at = new Map(found.map(({ path }, n) => [path, places[n] ?? null]));
  const problems = createProblems((path) => at.get(path) ?? null);
  for (const { path, message, near } of found) problems.add(path, message, near);
  return problems.list;
}

/** Where parts of a definition stand in its text; null: it is no text, or the part stands elsewhere. */
export async function placesOf(definition: DefinitionData, paths: Path[], budget: Budget): Promise<(Place | null)[]> {
  if (definition.text === null) return paths.map(() => null);
  return evaluate<Task<'workflow.locate'>>('workflow.locate', { definition, paths }, budget, 'definition');
}

/** What a value with expressions in it reads: steps, and names at the top. */
export function referencesOf(value: Json, budget: Budget): Promise<ReturnType<Task<'workflow.references'>>> {
  return evaluate<Task<'workflow.references'>>('workflow.references', { value }, budget, 'operations');
}

/** The fields of nodes of one step, whole and held against their kind. */
export function renderFields(
  step: {
    kind: Kind;
    with: JsonObject;
    many: boolean;
    context: JsonObject;
    defaults: JsonObject;
    nodes: NodeToRender[];
  },
  budget: Budget,
): Promise<Rendered<JsonObject>[]> {
  return evaluate<Task<'workflow.fields'>>('workflow.fields', step, budget, `${step.nodes[0]?.key}.with`);
}

/** Whether nodes of one step run. */
export function renderWhen(
  step: { when: string; many: boolean; context: JsonObject; nodes: NodeToRender[] },
  budget: Budget,
): Promise<Rendered<boolean>[]> {
  return evaluate<Task<'workflow.when'>>('workflow.when', step, budget, `${step.nodes[0]?.key}.when`);
}

/** An output of a run; null where it fails. */
export function renderOutput(
  output: { name: string; value: Json; context: JsonObject },
  budget: Budget,
): Promise<Json> {
  return evaluate<Task<'workflow.output'>>('workflow.output', output, budget, `outputs.${output.name}`);
}

/**
 * When a cron expression comes first.
 * @throws 400 where it cannot be read, never comes, or comes again within `apart` seconds.
 */
export async function firstTime(question: CronQuestion, apart: number, budget: Budget): Promise<Date> {
  const found = await evaluate<Task<'schedule.first'>>('schedule.first', question, budget, 'cron');
  requireApart(found, apart);
  return timeOf(found);
}
