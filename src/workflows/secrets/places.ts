/** Where the nodes of a plan take secrets: what stands there, what will, and what stands elsewhere and must not. */
import { isObject, type Json, type JsonObject, type Path, pathText } from '../../documents/json.ts';
import type { DefinitionData } from '../definition/definition.ts';
import type { StepFields } from '../definition/schema.ts';
import { plainRulesOf } from '../kinds/plain-rules.ts';
import type { Plan, PlannedNode, PlannedStep } from '../planning/contract.ts';
import { givenName, isReference } from './reference.ts';

/** Names of the secret fields of what a node installs or changes; of all taskservs where it is not known which. */
export type SecretFields = (fields: JsonObject) => ReadonlySet<string>;

export interface SecretPlaces {
  /** What stands in fields that are or become secret: values and references. */
  values: Json[];
  /** Some config is made of results: which of the parameters are secret, only their names tell. */
  byName: boolean;
  /** Fields that take a secret from the parameters in a way that shows only when results are there. */
  unclear: string[];
}

type Types = ReadonlyMap<string, DefinitionData>;

/** A text that is one expression; the expression. */
const WHOLE = /^\s*\$\{\{([\s\S]*)\}\}\s*$/;
/** An expression that only names something. */
const NAMED = /^\s*(parameters|item)((?:\.(?:[A-Za-z_][A-Za-z0-9_]*|"[^"]*"))*)\s*$/;
const PARAMETER = /\bparameters\.([a-z][a-z0-9_]*)/g;
/** A field of an object that an expression writes from the request, or out of itself. */
const OWN_FIELD = /(?<![A-Za-z0-9_])([A-Za-z_][A-Za-z0-9_]*)["']?\s*:\s*(?:parameters\b|item\b|['"`])/g;
const FROM_REQUEST = /\b(?:parameters|item)\b/;

export function takesSecrets(plan: Plan): boolean {
  return (
    plan.steps.some(({ kind }) => kind === 'workflow' || plainRulesOf(kind).secrets === 'config') ||
    plan.inner.some((inner) => takesSecrets(inner.plan))
  );
}

/** @param types the definitions that steps may nest, for those that are not planned. */
export function secretPlaces(plan: Plan, types: Types, secretFields: SecretFields): SecretPlaces {
  const places: SecretPlaces = { values: [], byName: false, unclear: [] };
  const leads = leadsIn(types, secretFields);
  const look = (one: Plan) => {
    const nodesOf = Map.groupBy(one.nodes, ({ step }) => step);
    for (const step of one.steps) {
      const nodes = nodesOf.get(step.id) ?? [];
      const at = pathText([...(one.places.get(step.id) ?? []), 'with']);
      if (step.kind === 'workflow') lookAtParameters(places, { step, nodes, at }, leads, secretFields);
      else if (plainRulesOf(step.kind).secrets === 'config') lookAtConfig(places, { step, nodes, at }, secretFields);
    }
    for (const inner of one.inner) look(inner.plan);
  };
  look(plan);
  return places;
}

interface StepOfPlan {
  step: PlannedStep;
  nodes: readonly PlannedNode[];
  at: string;
}

function lookAtConfig(places: SecretPlaces, { step, nodes, at }: StepOfPlan, secretFields: SecretFields): void {
  for (const { known, parts } of nodes) {
    const config = known.config ?? parts;
    if (!isObject(config)) continue;
    for (const name of secretFields({ ...step.with, ...known })) addValue(places, config[name]);
  }
  const { config } = step.with;
  if (config === undefined || nodes.every(({ known }) => known.config !== undefined)) return;
  const late = nodes.some(({ known, skipped }) => !skipped && known.config === undefined);
  if (typeof config === 'string') {
    places.byName = true;
    if (late && namesSecretOf(config, secretFields(step.with))) places.unclear.push(`${at}.config`);
  } else if (late && isObject(config)) {
    for (const name of secretFields(step.with)) {
      const expression = wholeIn(config[name]);
      if (expression?.includes('operations') && FROM_REQUEST.test(expression))
        places.unclear.push(`${at}.config.${name}`);
    }
  }
}

/** Of workflows inside that are not planned: their parameters read results, or their step is left out. */
function lookAtParameters(
  places: SecretPlaces,
  { step, nodes, at }: StepOfPlan,
  leadsOf: (type: string) => Leads,
  secretFields: SecretFields,
): void {
  const unplanned = nodes.filter((node) => node.with === null || node.skipped);
  if (unplanned.length === 0) return;
  const leads = leadsOf(String(step.with.workflow_type));
  if (typeof step.with.parameters === 'string') places.byName ||= leads.byName || leads.paths.length > 0;
  for (const { known, parts, skipped } of unplanned) {
    const parameters = known.parameters ?? parts ?? {};
    for (const path of leads.paths) for (const value of valuesAt(parameters, path)) addValue(places, value);
    if (leads.byName) {
      const names = secretFields({});
      walk(parameters, [], (value, path) => {
        if (names.has(String(path.at(-1))) && isText(value)) addValue(places, value);
      });
    }
    if (skipped || !isObject(parameters)) continue;
    for (const name of leads.unclear) {
      const value = parameters[name];
      if (value !== undefined && value !== null && !isReference(value)) places.unclear.push(`${at}.parameters.${name}`);
    }
  }
}

function addValue({ values }: SecretPlaces, value: Json | undefined): void {
  if (value !== undefined && value !== null) values.push(value);
}

/** Which of a definition's parameters become secrets. */
interface Leads {
  /** Ways into the parameters; `*`: each element of a list. */
  paths: Path[];
  byName: boolean;
  /** Names of parameters that an expression may make a secret of. */
  unclear: string[];
}

/** Where the parameters of each type lead, found out once. */
function leadsIn(types: Types, secretFields: SecretFields): (type: string) => Leads {
  const known = new Map<string, Leads>();
  const leadsOf = (type: string): Leads => {
    const made = known.get(type);
    if (made !== undefined) return made;
    const leads: Leads = { paths: [], byName: false, unclear: [] };
    known.set(type, leads);
    const operations = types.get(type)?.fields.operations;
    for (const step of Array.isArray(operations) ? operations : []) {
      if (plainRulesOf(step.kind).secrets === 'config') leadThroughConfig(leads, step, secretFields);
      else if (step.kind === 'workflow') leadThroughParameters(leads, step, leadsOf);
    }
    return leads;
  };
  return leadsOf;
}

function leadThroughConfig(leads: Leads, step: StepFields, secretFields: SecretFields): void {
  const fields = (step.with ?? {}) as JsonObject;
  const names = secretFields(fields);
  for (const name of names) follow(leads, step, fields.config, [name]);
  if (typeof fields.config === 'string' && namesSecretOf(fields.config, names))
    leads.unclear.push(...parametersIn(fields.config));
}

function leadThroughParameters(leads: Leads, step: StepFields, leadsOf: (type: string) => Leads): void {
  const { workflow_type: type, parameters } = (step.with ?? {}) as JsonObject;
  const below = leadsOf(String(type));
  leads.byName ||= below.byName;
  for (const path of below.paths) follow(leads, step, parameters, path);
  for (const name of below.unclear) {
    const value = isObject(parameters) ? parameters[name] : parameters;
    if (typeof value === 'string') leads.unclear.push(...parametersIn(value));
  }
}

/** From a place in a step's fields back to the parameters that its value comes from. */
function follow(leads: Leads, step: StepFields, value: Json | undefined, rest: Path): void {
  if (isObject(value) || Array.isArray(value)) {
    const [next, ...further] = rest;
    if (next === undefined) return;
    if (Array.isArray(value) && next === '*') for (const item of value) follow(leads, step, item, further);
    else if (isObject(value)) follow(leads, step, value[String(next)], further);
    return;
  }
  const expression = wholeIn(value);
  if (expression === null) return;
  const named = NAMED.exec(expression);
  if (named === null) {
    if (!FROM_REQUEST.test(expression)) return;
    // Of a whole config the names of its fields tell; of one field nothing does.
    if (rest.length > 0) leads.byName = true;
    else leads.unclear.push(...parametersIn(expression));
    return;
  }
  const path = [...(named[2] ?? '').matchAll(/\.(?:"([^"]*)"|([^."]+))/g)].map(
    ([, quoted, plain]) => quoted ?? plain ?? '',
  );
  if (named[1] === 'parameters') leads.paths.push([...path, ...rest]);
  else if (value !== step.for_each) follow(leads, step, step.for_each as Json | undefined, ['*', ...path, ...rest]);
}

function wholeIn(value: Json | undefined): string | null {
  return typeof value === 'string' ? (WHOLE.exec(value)?.[1] ?? null) : null;
}

function parametersIn(expression: string): string[] {
  return [...expression.matchAll(PARAMETER)].map(([, name]) => name ?? '');
}

/** Whether an expression writes a secret field itself: `{password: parameters.x}`. */
function namesSecretOf(expression: string, names: ReadonlySet<string>): boolean {
  return [...expression.matchAll(OWN_FIELD)].some(([, name]) => names.has(name ?? ''));
}

function valuesAt(value: Json | undefined, path: Path): Json[] {
  const [next, ...further] = path;
  if (value === undefined) return [];
  if (next === undefined) return [value];
  if (next === '*') return Array.isArray(value) ? value.flatMap((item) => valuesAt(item, further)) : [];
  return isObject(value) ? valuesAt(value[String(next)], further) : [];
}

/** Names of references to given secrets that stand where nothing opens them. */
export function misplacedIn(plan: Plan, secretFields: SecretFields): Set<string> {
  const found = new Set<string>();
  const note = (value: Json) =>
    walk(value, [], (part) => {
      const name = givenName(part);
      if (name !== null) found.add(name);
    });
  const kinds = new Map(plan.steps.map(({ id, kind }) => [id, kind]));
  for (const { step, known } of plan.nodes) {
    const kind = kinds.get(step) ?? '';
    for (const [field, value] of Object.entries(known)) {
      if (kind === 'workflow' && field === 'parameters') continue;
      const opened =
        kind === 'command' && field === 'env'
          ? () => true
          : plainRulesOf(kind).secrets === field && ((name: string) => secretFields(known).has(name));
      if (opened === false || !isObject(value)) note(value);
      else for (const [name, entry] of Object.entries(value)) if (!isReference(entry) || !opened(name)) note(entry);
    }
  }
  for (const inner of plan.inner) for (const name of misplacedIn(inner.plan, secretFields)) found.add(name);
  return found;
}

/** Every part of a value from the outside in, but for what references are made of. */
export function walk(value: Json, path: Path, look: (value: Json, path: Path) => void): void {
  look(value, path);
  if (isReference(value)) return;
  if (Array.isArray(value)) for (const [n, item] of value.entries()) walk(item, [...path, n], look);
  else if (isObject(value)) for (const [name, child] of Object.entries(value)) walk(child, [...path, name], look);
}

/** A text that holds no expression. */
export function isText(value: Json): value is string {
  return typeof value === 'string' && !value.includes('${{');
}
