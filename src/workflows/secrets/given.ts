/**
 * Secrets that a request writes out: a text in a field that a taskserv's definition marks as secret. On arrival each is
 * replaced by a reference, wherever in the parameters or the definition it comes from, and kept encrypted for the run alone.
 */
import { randomBytes } from 'node:crypto';
import type { TaskservDefinition } from '../../catalog/catalog.ts';
import { isObject, type Json, type JsonObject, type Path } from '../../documents/json.ts';
import { throwProblems } from '../../documents/problems.ts';
import type { DefinitionData } from '../definition/definition.ts';
import type { DefinitionFields } from '../definition/schema.ts';
import type { Plan, Planned, PlannedStep } from '../planning/contract.ts';
import { givenSecret, isReference } from './reference.ts';

/** Texts that merely equal a secret are told from its sources by planning without each; more than this are not tried. */
const MAX_DOUBTFUL = 20;

/** What a workflow is made from, without its secrets. */
export interface Sources {
  parameters: JsonObject;
  definition: DefinitionData;
  types: ReadonlyMap<string, DefinitionData>;
}

/** The values of secrets that were given, by the name of their reference. Never to be stored or told as they are. */
export type Given = ReadonlyMap<string, Json>;

export interface Sealed extends Sources {
  plan: Plan;
  given: Given;
}

/** The definition that says which fields of a node's config are secret; undefined: it has none. */
export type DefinitionOf = (fields: JsonObject) => TaskservDefinition | undefined;

/** A place in the sources, and what of them it is in. */
interface Candidate {
  of: 'parameters' | 'definition' | { type: string };
  path: Path;
  value: Json;
  /** It is written in the field itself. */
  certain: boolean;
}

/**
 * The same workflow with references for the secrets that it gives. A secret that an expression puts together out of others is
 * replaced where it arrives; what it is put together from stays.
 * @param names of every field that any taskserv keeps secret: for configs that are not known before the start.
 */
export async function sealGiven(
  sources: Sources,
  { plan, given }: { plan: Plan; given: Given },
  definitionOf: DefinitionOf,
  names: ReadonlySet<string>,
  replan: (sources: Sources, given: Given) => Promise<Planned>,
): Promise<Sealed> {
  const values = new Set([...openIn(plan, definitionOf), ...writtenLate(plan, sources.parameters, names)]);
  if (values.size === 0) return { ...sources, plan, given };
  const references = new Map([...values].map((text) => [text, `given:${randomBytes(6).toString('hex')}`]));
  const all = new Map([...given, ...[...references].map(([text, name]): [string, Json] => [name, JSON.parse(text)])]);
  const candidates = candidatesIn(sources, new Set(plan.nested.keys()), values, names);
  const attempt = async (chosen: readonly Candidate[]) => {
    const replaced = replace(sources, chosen, references);
    return { replaced, planned: await replan(replaced, all) };
  };
  let chosen = candidates;
  let { replaced, planned } = await attempt(chosen);
  if (planned.plan === null) {
    chosen = candidates.filter(({ certain }) => certain);
    for (const one of candidates.filter(({ certain }) => !certain).slice(0, MAX_DOUBTFUL)) {
      const { planned: with_ } = await attempt([...chosen, one]);
      if (with_.plan !== null) chosen = [...chosen, one];
    }
    ({ replaced, planned } = await attempt(chosen));
  }
  if (planned.plan === null) {
    throwProblems(planned.problems);
    throw new Error('a workflow that cannot be planned has no problem');
  }
  replaceInNodes(planned.plan, definitionOf, (value) => {
    const text = JSON.stringify(value);
    const name = references.get(text) ?? `given:${randomBytes(6).toString('hex')}`;
    references.set(text, name);
    all.set(name, value);
    return name;
  });
  return { ...replaced, plan: planned.plan, given: all };
}

const secretNames = ({ config }: TaskservDefinition) =>
  Object.keys(config).filter((name) => config[name]?.secret === true);

/** The secret fields of a node's config that hold a value, not a reference. */
function openFields(fields: JsonObject, definitionOf: DefinitionOf): [string, Json][] {
  const { config } = fields;
  const definition = isObject(config) ? definitionOf(fields) : undefined;
  if (!isObject(config) || definition === undefined) return [];
  return secretNames(definition).flatMap((name): [string, Json][] => {
    const value = config[name];
    return value === undefined || value === null || isReference(value) ? [] : [[name, value]];
  });
}

/** JSON texts of the secrets that the nodes of a plan hold, those of nested workflows included. */
function openIn(plan: Plan, definitionOf: DefinitionOf): string[] {
  const own = plan.nodes.flatMap(({ known }) =>
    openFields(known, definitionOf).map(([, value]) => JSON.stringify(value)),
  );
  return [...own, ...plan.inner.flatMap((inner) => openIn(inner.plan, definitionOf))];
}

/** The same for configs that read results of other steps, as far as it can be told: by the names of their fields. */
function writtenLate(plan: Plan, parameters: JsonObject, names: ReadonlySet<string>): string[] {
  const late = (step: PlannedStep) =>
    step.kind.startsWith('taskserv.') &&
    step.with.config !== undefined &&
    plan.nodes.some((node) => node.step === step.id && !node.skipped && node.known.config === undefined);
  const steps = plan.steps.filter(late);
  if (steps.length === 0) return [];
  const found: string[] = [];
  const look = (value: Json, path: Path) => {
    if (names.has(String(path.at(-1))) && typeof value === 'string' && !value.includes('${{')) {
      found.push(JSON.stringify(value));
    }
  };
  for (const step of steps) walk(step.with, [], look);
  walk(parameters, [], look);
  return found;
}

function walk(value: Json, path: Path, look: (value: Json, path: Path) => void): void {
  look(value, path);
  if (isReference(value)) return;
  if (Array.isArray(value)) for (const [n, item] of value.entries()) walk(item, [...path, n], look);
  else if (isObject(value)) for (const [name, child] of Object.entries(value)) walk(child, [...path, name], look);
}

function candidatesIn(
  { parameters, definition, types }: Sources,
  nested: ReadonlySet<string>,
  values: ReadonlySet<string>,
  names: ReadonlySet<string>,
): Candidate[] {
  const found: Candidate[] = [];
  const search = (of: Candidate['of'], root: unknown) =>
    walk(root as Json, [], (value, path) => {
      if (path.length === 0 || !values.has(JSON.stringify(value))) return;
      const certain = path.at(-2) === 'config' && path.at(-3) === 'with' && names.has(String(path.at(-1)));
      // A number or a truth value is too common to be taken for a secret elsewhere.
      if (certain || typeof value === 'string' || typeof value === 'object') found.push({ of, path, value, certain });
    });
  search('parameters', parameters);
  search('definition', sourcesOf(definition.fields));
  for (const [type, { fields }] of types) {
    if (nested.has(type)) search({ type }, sourcesOf(fields));
  }
  return found;
}

/** What of a definition can give a value to a node. */
function sourcesOf({ operations, parameters }: DefinitionFields): Json {
  return { operations, ...(parameters === undefined ? {} : { parameters }) } as unknown as Json;
}

function replace(sources: Sources, chosen: readonly Candidate[], references: ReadonlyMap<string, string>): Sources {
  const changed = (of: (candidate: Candidate) => boolean, root: unknown): unknown => {
    const own = chosen.filter(of);
    if (own.length === 0) return root;
    const copy = structuredClone(root) as Json;
    for (const { path, value } of own) put(copy, path, givenSecret(references.get(JSON.stringify(value)) ?? ''));
    return copy;
  };
  const define = (definition: DefinitionData, of: (candidate: Candidate) => boolean): DefinitionData => ({
    ...definition,
    fields: changed(of, definition.fields) as DefinitionFields,
  });
  return {
    parameters: changed(({ of }) => of === 'parameters', sources.parameters) as JsonObject,
    definition: define(sources.definition, ({ of }) => of === 'definition'),
    types: new Map(
      [...sources.types].map(([name, type]) => [
        name,
        define(type, ({ of }) => typeof of === 'object' && of.type === name),
      ]),
    ),
  };
}

function put(root: Json, path: Path, value: Json): void {
  let at = root as Record<string | number, Json>;
  for (const part of path.slice(0, -1)) at = at[part] as Record<string | number, Json>;
  const last = path.at(-1);
  if (last !== undefined) at[last] = value;
}

/** What is left are secrets that expressions have put together. */
function replaceInNodes(plan: Plan, definitionOf: DefinitionOf, nameOf: (value: Json) => string): void {
  for (const node of plan.nodes) {
    for (const [name, value] of openFields(node.known, definitionOf)) {
      const config = { ...(node.known.config as JsonObject), [name]: givenSecret(nameOf(value)) };
      node.known = { ...node.known, config };
      if (node.with !== null) node.with = { ...node.with, config };
    }
  }
}

/** Those of the secrets that a value refers to. */
export function referencedIn(value: Json, given: Given): Given {
  const text = JSON.stringify(value);
  return new Map([...given].filter(([name]) => text.includes(`"${name}"`)));
}
