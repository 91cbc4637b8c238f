/**
 * Secrets that a request writes out: a text in a field that a taskserv's definition marks as secret. On arrival each is
 * replaced by a reference, wherever in the parameters or the definition it comes from, and kept encrypted for the run alone.
 */
import { isObject, type Json, type JsonObject, type Path } from '../../documents/json.ts';
import { throwProblems } from '../../documents/problems.ts';
import { errors } from '../../errors.ts';
import type { Budget } from '../../evaluation/pool.ts';
import type { DefinitionData } from '../definition/definition.ts';
import type { DefinitionFields } from '../definition/schema.ts';
import { plainRulesOf } from '../kinds/plain-rules.ts';
import type { Plan, Planned } from '../planning/contract.ts';
import { isText, misplacedIn, type SecretFields, secretPlaces, walk } from './places.ts';
import { givenName, givenSecret, isReference, nameForGiven } from './reference.ts';

/** Texts that merely equal a secret are told from its sources by planning with references in their place, so often at most. */
const MAX_TRIES = 20;

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

/** What sealing plans anew with. */
export interface Replanning {
  replan: (sources: Sources, given: Given, budget: Budget) => Promise<Planned>;
  /** For a plan that must be made; the second kind is for tries, which end with it. */
  budget: () => Budget;
}

/** A place in the sources that may be where a secret comes from, and the name of the reference that would stand there. */
interface Candidate {
  name: string;
  of: 'parameters' | 'definition' | { type: string };
  path: Path;
  value: Json;
  /**
   * certain: written in the secret field itself. named: a secret by the name of its field, where it goes is not known yet.
   * equal: it equals a secret.
   */
  why: 'certain' | 'named' | 'equal';
}

/** Sources with references in them, and the plan that they make. */
interface Attempt {
  chosen: readonly Candidate[];
  replaced: Sources;
  plan: Plan;
}

/**
 * The same workflow with references for the secrets that it gives. A secret that an expression puts together out of others is
 * replaced where it arrives; what it is put together from stays.
 * @throws 400 where it cannot be told what of the request is the secret.
 */
export async function sealGiven(
  sources: Sources,
  { plan, given }: { plan: Plan; given: Given },
  secretFields: SecretFields,
  { replan, budget }: Replanning,
): Promise<Sealed> {
  const placesIn = (one: Plan) => secretPlaces(one, sources.types, secretFields);
  const { values, byName, unclear } = placesIn(plan);
  const [field] = unclear;
  if (field !== undefined) throw untold(field, 'a secret that depends on results of steps must be one that is kept');
  const nested = new Set(plan.nested.keys());
  const candidates = candidatesIn(sources, { nested, open: openTexts(values), byName }, secretFields);
  const attempt = async (chosen: readonly Candidate[], own: Budget): Promise<Attempt | Planned['problems']> => {
    const replaced = replace(sources, chosen);
    const all = new Map([...given, ...chosen.map(({ name, value }): [string, Json] => [name, value])]);
    const planned = await replan(replaced, all, own);
    return planned.plan === null ? planned.problems : { chosen, replaced, plan: planned.plan };
  };
  let made: Attempt = { chosen: [], replaced: sources, plan };
  const certain = candidates.filter(({ why }) => why === 'certain');
  if (certain.length > 0) {
    const first = await attempt(certain, budget());
    if (!('plan' in first)) throw refused(first);
    made = first;
  }
  const open = openTexts(placesIn(made.plan).values);
  const doubtful = candidates.filter(
    ({ why, value }) => why === 'named' || (why === 'equal' && open.has(JSON.stringify(value))),
  );
  if (doubtful.length > 0) {
    const own = budget();
    const wanted = textOf(plan, new Map());
    made = await withUseful(made, doubtful, {
      attempt: (chosen) => attempt(chosen, own),
      last: (chosen) => attempt(chosen, budget()),
      budget: own,
      keeps: ({ plan: one, chosen }) => textOf(one, new Map(chosen.map(({ name, value }) => [name, value]))) === wanted,
      useful(one, tried) {
        const arrived = new Set(placesIn(one.plan).values.map(givenName));
        const misplaced = misplacedIn(one.plan, secretFields);
        return tried.filter(({ name, why }) => !misplaced.has(name) && (why === 'named' || arrived.has(name)));
      },
    });
  }
  const all = new Map([...given, ...made.chosen.map(({ name, value }): [string, Json] => [name, value])]);
  const kinds = new Map(made.plan.steps.map(({ id, kind }) => [id, kind]));
  for (const node of made.plan.nodes) {
    if (plainRulesOf(kinds.get(node.step) ?? '').secrets !== 'config') continue;
    const known = sealFields(node.known, secretFields, all);
    if (node.with !== null) node.with = known;
    node.known = known;
  }
  return { ...made.replaced, plan: made.plan, given: all };
}

interface Trial {
  attempt: (chosen: readonly Candidate[]) => Promise<Attempt | Planned['problems']>;
  /** For what has been found in the end. */
  last: Trial['attempt'];
  budget: Budget;
  /** Whether the workflow is still the same, but for its secrets. */
  keeps: (made: Attempt) => boolean;
  useful: (made: Attempt, tried: readonly Candidate[]) => Candidate[];
}

/** Chooses further candidates: those that bring a secret to where it is one and change nothing else. */
async function withUseful(start: Attempt, doubtful: readonly Candidate[], trial: Trial): Promise<Attempt> {
  let left = MAX_TRIES;
  let best = start;
  let cost = { milliseconds: 0, work: 0 };
  const usefulOf = async (tried: readonly Candidate[]): Promise<Candidate[]> => {
    const { milliseconds, work } = trial.budget;
    if (left === 0 || milliseconds <= cost.milliseconds || work <= cost.work)
      throw untold('parameters', 'too many texts in it equal a secret that it gives');
    left -= 1;
    const made = await trial.attempt([...start.chosen, ...tried]);
    cost = { milliseconds: milliseconds - trial.budget.milliseconds, work: work - trial.budget.work };
    if ('plan' in made && trial.keeps(made)) {
      const useful = trial.useful(made, tried);
      if (useful.length === tried.length) best = made;
      return useful;
    }
    if (tried.length === 1) return [];
    const middle = Math.ceil(tried.length / 2);
    return [...(await usefulOf(tried.slice(0, middle))), ...(await usefulOf(tried.slice(middle)))];
  };
  const useful = await usefulOf(doubtful);
  if (best.chosen.length === start.chosen.length + useful.length) return best;
  const made = await trial.last([...start.chosen, ...useful]);
  if (!('plan' in made)) throw refused(made);
  if (!trial.keeps(made)) throw untold('parameters', 'a secret in it also decides what the workflow does');
  return made;
}

function untold(field: string, reason: string): Error {
  const message = `${reason}: keep it in the workspace and refer to it (\${{ secrets.workspace.<key> }})`;
  return errors.validation([{ field, message }]);
}

/** What is said against a plan, as an error. */
function refused(problems: Planned['problems']): Error {
  throwProblems(problems);
  return new Error('a workflow that cannot be planned has no problem');
}

/** JSON texts of those of the values that are no references. */
function openTexts(values: readonly Json[]): Set<string> {
  return new Set(values.filter((value) => !isReference(value)).map((value) => JSON.stringify(value)));
}

/** A reference to a given secret, in JSON. */
const REFERENCE = /\{"\$secret":"(given(?:-json)?:[0-9a-f]{12})"\}/g;

/** What a plan says, as one text, with secrets in the place of their references. */
function textOf(plan: Plan, secrets: Given): string {
  return JSON.stringify(withoutDefinitions(plan)).replaceAll(REFERENCE, (reference, name: string) => {
    const secret = secrets.get(name);
    return secret === undefined ? reference : JSON.stringify(secret);
  });
}

/** The definitions of nested workflows are sources. */
function withoutDefinitions(plan: Plan): object {
  const inner = plan.inner.map(({ definition: _, ...rest }) => ({ ...rest, plan: withoutDefinitions(rest.plan) }));
  return { ...plan, inner };
}

function candidatesIn(
  { parameters, definition, types }: Sources,
  { nested, open, byName }: { nested: ReadonlySet<string>; open: ReadonlySet<string>; byName: boolean },
  secretFields: SecretFields,
): Candidate[] {
  const found: Candidate[] = [];
  const all = secretFields({});
  const search = (of: Candidate['of'], root: Json) =>
    walk(root, [], (value, path) => {
      const last = path.at(-1);
      if (last === undefined || value === null || isReference(value)) return;
      const add = (why: Candidate['why']) => found.push({ name: nameForGiven(value), of, path, value, why });
      const literal = typeof value === 'string' ? isText(value) : true;
      if (literal && path.at(-2) === 'config' && path.at(-3) === 'with') {
        const names = secretFields(at(root, path.slice(0, -2)));
        if (names.has(String(last))) return add(names === all ? 'named' : 'certain');
      }
      // A number or a truth value is too common to be taken for a secret elsewhere.
      if (!literal || (typeof value !== 'string' && typeof value !== 'object')) return;
      if (byName && all.has(String(last)) && (of === 'parameters' || path.includes('for_each'))) add('named');
      else if (open.has(JSON.stringify(value))) add('equal');
    });
  search('parameters', parameters);
  search('definition', sourcesOf(definition.fields));
  for (const [type, { fields }] of types) {
    if (nested.has(type)) search({ type }, sourcesOf(fields));
  }
  return found;
}

function at(root: Json, path: Path): JsonObject {
  let value: Json | undefined = root;
  for (const part of path) value = (value as Record<string | number, Json>)[part];
  return isObject(value) ? value : {};
}

/** What of a definition can give a value to a node. */
function sourcesOf({ operations, parameters }: DefinitionFields): Json {
  return { operations, ...(parameters === undefined ? {} : { parameters }) } as unknown as Json;
}

function replace(sources: Sources, chosen: readonly Candidate[]): Sources {
  const changed = (of: (candidate: Candidate) => boolean, root: unknown): unknown => {
    const own = chosen.filter(of);
    if (own.length === 0) return root;
    const copy = structuredClone(root) as Json;
    for (const { path, name } of own) put(copy, path, givenSecret(name));
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
  let holder = root as Record<string | number, Json>;
  for (const part of path.slice(0, -1)) holder = holder[part] as Record<string | number, Json>;
  const last = path.at(-1);
  if (last !== undefined) holder[last] = value;
}

/** A node's fields with references for the secrets that its config still holds; those are added to `given`. */
export function sealFields(fields: JsonObject, secretFields: SecretFields, given: Map<string, Json>): JsonObject {
  const { config } = fields;
  if (!isObject(config)) return fields;
  const sealed = { ...config };
  for (const name of secretFields(fields)) {
    const value = config[name];
    if (value === undefined || value === null || isReference(value)) continue;
    const reference = nameForGiven(value);
    given.set(reference, value);
    sealed[name] = givenSecret(reference);
  }
  return { ...fields, config: sealed };
}

/** Those of the secrets that a value refers to. */
export function referencedIn(value: Json, given: Given): Given {
  const text = JSON.stringify(value);
  return new Map([...given].filter(([name]) => text.includes(`"${name}"`)));
}
