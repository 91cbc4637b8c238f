/**
 * What of this section is evaluated in threads (src/evaluator.ts): all that depends on what a user wrote. Pure; takes and
 * answers what JSON can hold.
 */
import { type Json, type JsonObject, type Path, pathText, typeName } from '../documents/json.ts';
import { createProblems, type Place, type Problem } from '../documents/problems.ts';
import { CostError, notePlace } from '../evaluation/meter.ts';
import {
  type Definition,
  type DefinitionData,
  type Loaded,
  loadDefinition,
  placeOf,
  reviveDefinition,
} from './definition/definition.ts';
import { eachTemplate, render, TemplateError } from './expressions/template.ts';
import { checkWith } from './kinds/check.ts';
import { type Kind, withDefaults } from './kinds/plain-rules.ts';
import { type PackedPlan, packPlan } from './planning/pack.ts';
import { planWorkflow } from './planning/plan.ts';
import { findFirst } from './schedules/cron.ts';

/** What a workflow is planned from. */
export interface PlanRequest {
  definition: DefinitionData;
  parameters: JsonObject;
  workspace: { name: string; defaults: JsonObject };
  servers: Json[];
  taskservs: Json[];
  /** The types that it may nest: those whose names are mentioned. */
  types: Record<string, DefinitionData>;
  typeNames: readonly string[];
  workspaceSecrets?: readonly string[];
  given?: Record<string, Json>;
}

type PlanAnswer =
  | { plan: PackedPlan; problems: readonly [] }
  | { plan: null; problems: readonly Problem[] }
  /** A type whose name came out of an expression: ask again with it. */
  | { missing: string };

/** A node whose fields are to be known now. */
export interface NodeToRender {
  key: string;
  item: Json;
  index: number;
}

/** What came of it; `problem` says what is wrong. */
export type Rendered<T> = { value: T } | { problem: string };

function load({ text, name }: { text: string; name: string | null }): Loaded {
  const loaded = loadDefinition(text, name);
  // The text is there already where it is asked for.
  return loaded.definition === null
    ? loaded
    : { definition: { ...plain(loaded.definition), text: null }, problems: [] };
}

function plain({ name, fields, text }: Definition): DefinitionData {
  return { name, fields, text };
}

/** The places of parts of a definition in its text. */
function locate({ definition, paths }: { definition: DefinitionData; paths: Path[] }): (Place | null)[] {
  const revived = reviveDefinition(definition);
  return paths.map((path) => placeOf(revived, path));
}

function plan({ definition, types, typeNames, ...input }: PlanRequest): PlanAnswer {
  const revived = new Map<string, Definition>();
  let missing: string | undefined;
  const planned = planWorkflow({
    ...input,
    definition: reviveDefinition(definition),
    typeNames,
    type(name) {
      const known = revived.get(name);
      if (known !== undefined) return known;
      const type = Object.hasOwn(types, name) ? types[name] : undefined;
      if (type === undefined) {
        if (typeNames.includes(name)) missing ??= name;
        return undefined;
      }
      const made = reviveDefinition(type);
      revived.set(name, made);
      return made;
    },
  });
  if (missing !== undefined) return { missing };
  return planned.plan === null ? planned : { plan: packPlan(planned.plan), problems: [] };
}

/** What a value with expressions in it reads: steps, and names at the top. */
function references({ value }: { value: Json }): { operations: string[]; roots: string[]; workspaceSecrets: string[] } {
  const operations = new Set<string>();
  const workspaceSecrets = new Set<string>();
  const roots = new Set<string>();
  eachTemplate(
    value,
    [],
    ({ references: found }) => {
      for (const name of found.operations) operations.add(name);
      for (const name of found.roots) roots.add(name);
      for (const key of found.workspaceSecrets) workspaceSecrets.add(key);
    },
    () => {},
  );
  return { operations: [...operations], roots: [...roots], workspaceSecrets: [...workspaceSecrets] };
}

/** The fields of nodes of one step, whole and held against their kind. */
function fields(step: {
  kind: Kind;
  with: JsonObject;
  many: boolean;
  context: JsonObject;
  defaults: JsonObject;
  nodes: NodeToRender[];
}): Rendered<JsonObject>[] {
  return step.nodes.map(({ key, item, index }) =>
    refusable<JsonObject>(`${key}.with`, 'with', () => {
      const rendered = render(step.with, step.many ? { ...step.context, item, index } : step.context) as JsonObject;
      const complete = withDefaults(step.kind, rendered, step.defaults);
      const problems = createProblems();
      checkWith(step.kind, complete, new Set(), ['with'], problems);
      const [problem] = problems.list;
      return problem === undefined ? { value: complete } : { problem: `${problem.field} ${problem.message}` };
    }),
  );
}

/** Whether nodes of one step run. */
function when(step: { when: string; many: boolean; context: JsonObject; nodes: NodeToRender[] }): Rendered<boolean>[] {
  return step.nodes.map(({ key, item, index }) =>
    refusable<boolean>(`${key}.when`, 'when', () => {
      const value = render(step.when, step.many ? { ...step.context, item, index } : step.context);
      if (typeof value === 'boolean') return { value };
      return { problem: `when must be true or false, not ${typeName(value)}` };
    }),
  );
}

/** An output of a run; null where it fails. */
function output({ name, value, context }: { name: string; value: Json; context: JsonObject }): Json {
  const made = refusable(`outputs.${name}`, 'outputs', () => ({ value: render(value, context) }));
  return 'value' in made ? made.value : null;
}

function refusable<T>(place: string, field: string, work: () => Rendered<T>): Rendered<T> {
  notePlace(place);
  try {
    return work();
  } catch (error) {
    if (error instanceof TemplateError) return { problem: `${pathText([field, ...error.path])}: ${error.message}` };
    if (error instanceof CostError) error.path = [place, ...(error.path ?? [])];
    throw error;
  }
}

export const WORKFLOW_TASKS = {
  'workflow.load': load,
  'workflow.locate': locate,
  'workflow.plan': plan,
  'workflow.references': references,
  'workflow.fields': fields,
  'workflow.when': when,
  'workflow.output': output,
  'schedule.first': findFirst,
};
