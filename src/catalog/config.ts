import { isDeepStrictEqual } from 'node:util';
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { pathText } from '../documents/json.ts';
import { schemaProblems } from '../documents/schema-errors.ts';
import { errors, type FieldProblem } from '../errors.ts';
import { nearMatches } from '../util/near-matches.ts';
import { generateSecret } from '../util/secret-pattern.ts';
import { type ConfigProperty, schemaOf, type TaskservDefinition } from './definition.ts';
import { environmentText } from './render.ts';

/** Bytes of one value as text. Linux allows an environment variable of 128 KiB. */
const MAX_VALUE_BYTES = 65_536;
/** Bytes of all values as text. */
const MAX_CONFIG_BYTES = 524_288;

const validators = new WeakMap<TaskservDefinition, ValidateFunction>();

/**
 * Checks a config against the definition and fills in its defaults; `config` itself stays as it is.
 * @returns every value, the names of those that are secret and have one, and of those that are privileged and not as the
 * definition has them.
 * @throws 400 VALIDATION_ERROR naming each wrong field as `config.<name>`, never its value.
 */
export function resolveConfig(
  definition: TaskservDefinition,
  config: Record<string, unknown>,
): { values: Record<string, unknown>; secrets: string[]; privileged: string[] } {
  const validate = validators.get(definition) ?? compile(definition.config);
  validators.set(definition, validate);
  const values: Record<string, unknown> = structuredClone(config);
  if (!validate(values)) throw errors.validation(explain(validate.errors ?? [], definition));
  const problems = Object.entries(values).flatMap(([name, value]) => textProblems(definition, name, value));
  if (problems.length > 0) throw errors.validation(problems);
  const total = Object.values(values).reduce<number>(
    (sum, value) => sum + Buffer.byteLength(environmentText(value)),
    0,
  );
  if (total > MAX_CONFIG_BYTES) {
    throw errors.validation([{ field: 'config', message: `must have at most ${MAX_CONFIG_BYTES} bytes in all` }]);
  }
  const names = Object.keys(values);
  return {
    values,
    secrets: names.filter((name) => definition.config[name]?.secret === true),
    privileged: names.filter((name) => {
      const { privileged, default: usual } = definition.config[name] ?? {};
      return privileged === true && !isDeepStrictEqual(values[name], usual);
    }),
  };
}

/**
 * The version to install: the one asked for, or the default where it is undefined.
 * @throws 400 VALIDATION_ERROR naming `config.version` and the versions that there are.
 */
export function resolveVersion(definition: TaskservDefinition, version: unknown): string {
  const { supported } = definition.versions;
  if (version === undefined) return definition.versions.default;
  if (typeof version === 'string' && supported.includes(version)) return version;
  const near = typeof version === 'string' ? nearMatches(version, supported) : [];
  throw errors.validation([
    {
      field: 'config.version',
      message: `must be a version of ${definition.name} that the catalog has: ${supported.join(', ')}`,
      near_matches: near.length > 0 ? near : supported.slice(0, 3),
    },
  ]);
}

/**
 * The values with a secret for each property that generates one and has none.
 * @param kept what was generated before, which is kept.
 */
export function generateSecrets(
  definition: TaskservDefinition,
  { values, secrets }: { values: Record<string, unknown>; secrets: string[] },
  kept: Record<string, unknown>,
): { values: Record<string, unknown>; secrets: string[] } {
  const made = Object.entries(definition.config).flatMap(([name, { generate }]) =>
    generate === undefined || values[name] !== undefined
      ? []
      : [[name, kept[name] ?? generateSecret(generate)] as const],
  );
  return { values: { ...values, ...Object.fromEntries(made) }, secrets: [...secrets, ...made.map(([name]) => name)] };
}

/**
 * Whether an installed version may become another one in one go.
 * @throws 409 naming the versions that it may become.
 */
export function requireUpgrade(definition: TaskservDefinition, from: string, to: string): void {
  const [now, then] = [minorOf(from), minorOf(to)];
  if (definition.versions.upgrade === 'any' || from === to || now === null || then === null) return;
  const allowed = (version: string) => {
    const minor = minorOf(version);
    return minor !== null && minor.major === now.major && [now.minor, now.minor + 1].includes(minor.minor);
  };
  const newer = (version: string) => compareVersions(version, from) > 0;
  if (allowed(to) && newer(to)) return;
  const next = definition.versions.supported.filter((version) => allowed(version) && newer(version));
  throw errors.conflict(
    `${definition.name} ${from} cannot become ${to}: it is upgraded by one minor version at a time, and never downgraded. ${next.length === 0 ? 'The catalog has no version that it could become.' : `It can become ${next.join(' or ')}.`}`,
    { version: from, possible_versions: next },
  );
}

function minorOf(version: string): { major: number; minor: number } | null {
  const found = /^v?(\d+)\.(\d+)/.exec(version);
  return found === null ? null : { major: Number(found[1]), minor: Number(found[2]) };
}

/** By their numbers, one after the other. */
function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => (version.match(/\d+/g) ?? []).map(Number));
  for (let at = 0; at < Math.max(left?.length ?? 0, right?.length ?? 0); at += 1) {
    const difference = (left?.[at] ?? 0) - (right?.[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The schema of a whole config; ours are no keywords of JSON Schema and stay out of it. */
function compile(config: Record<string, ConfigProperty>): ValidateFunction {
  const required = Object.keys(config).filter((name) => config[name]?.required === true);
  const properties = Object.fromEntries(Object.entries(config).map(([name, property]) => [name, schemaOf(property)]));
  const ajv = new Ajv({ strict: false, allErrors: true, useDefaults: true, verbose: true });
  return ajv.compile({ type: 'object', properties, required, additionalProperties: false });
}

/** What is wrong with a config. Its values may be secrets and are not quoted. */
function explain(found: readonly ErrorObject[], definition: TaskservDefinition): FieldProblem[] {
  const unknownField = `${definition.name} has no such setting`;
  return schemaProblems(found, { unknownField }).map(({ path, part: _, ...problem }) => ({
    field: pathText(['config', ...path]),
    ...problem,
  }));
}

/** What JSON Schema does not say: values must fit into an environment variable and into one line of a file. */
function textProblems(definition: TaskservDefinition, name: string, value: unknown): FieldProblem[] {
  const field = `config.${name}`;
  const problems: FieldProblem[] = [];
  const multiline = definition.config[name]?.multiline === true;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  const forbidden = multiline ? /[\u0000-\u0008\u000b-\u001f\u007f]/ : /[\u0000-\u001f\u007f]/;
  for (const text of texts(value)) {
    if (forbidden.test(text)) {
      problems.push({ field, message: `must not contain control characters${multiline ? '' : ' or line breaks'}` });
      break;
    }
  }
  if (Buffer.byteLength(environmentText(value)) > MAX_VALUE_BYTES) {
    problems.push({ field, message: `must have at most ${MAX_VALUE_BYTES} bytes` });
  }
  return problems;
}

function* texts(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value;
  else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      yield key;
      yield* texts(item);
    }
  }
}
