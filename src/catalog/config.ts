import { isDeepStrictEqual } from 'node:util';
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { pathText } from '../documents/json.ts';
import { schemaProblems } from '../documents/schema-errors.ts';
import { errors, type FieldProblem } from '../errors.ts';
import { nearMatches } from '../util/near-matches.ts';
import type { ConfigProperty, TaskservDefinition } from './definition.ts';
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

/** The schema of a whole config; ours are no keywords of JSON Schema and stay out of it. */
function compile(config: Record<string, ConfigProperty>): ValidateFunction {
  const required = Object.keys(config).filter((name) => config[name]?.required === true);
  const properties = Object.fromEntries(
    Object.entries(config).map(([name, { secret: _s, privileged: _p, required: _r, multiline: _m, ...schema }]) => [
      name,
      schema,
    ]),
  );
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
