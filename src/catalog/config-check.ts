import type { ErrorObject, ValidateFunction } from 'ajv';
import { pathText } from '../documents/json.ts';
import { schemaProblems } from '../documents/schema-errors.ts';
import { createOwnAjv } from '../documents/schemas.ts';
import type { FieldProblem } from '../errors.ts';
import { type ConfigProperty, schemaOf } from './definition.ts';
import { environmentText } from './render.ts';

/** Bytes of one value as text. Linux allows an environment variable of 128 KiB. */
const MAX_VALUE_BYTES = 65_536;
/** Bytes of all values as text. */
const MAX_CONFIG_BYTES = 524_288;

/** Compiled schemas that are remembered, by their JSON text. */
const MAX_COMPILED = 200;
const compiled = new Map<string, ValidateFunction>();

/** Checks a config and fills in its defaults, in `config` itself: the part of `resolveConfig` that runs in a thread. */
export function checkConfig(
  name: string,
  properties: Record<string, ConfigProperty>,
  config: Record<string, unknown>,
): { values: Record<string, unknown>; problems: FieldProblem[] } {
  const key = JSON.stringify(properties);
  const validate = compiled.get(key) ?? compile(properties);
  if (compiled.size >= MAX_COMPILED) compiled.clear();
  compiled.set(key, validate);
  if (!validate(config)) return { values: config, problems: explain(validate.errors ?? [], name) };
  const problems = Object.entries(config).flatMap(([field, value]) => textProblems(properties[field], field, value));
  const total = Object.values(config).reduce<number>(
    (sum, value) => sum + Buffer.byteLength(environmentText(value)),
    0,
  );
  if (problems.length === 0 && total > MAX_CONFIG_BYTES)
    problems.push({ field: 'config', message: `must have at most ${MAX_CONFIG_BYTES} bytes in all` });
  return { values: config, problems };
}

/** The schema of a whole config; ours are no keywords of JSON Schema and stay out of it. */
function compile(config: Record<string, ConfigProperty>): ValidateFunction {
  const required = Object.keys(config).filter((name) => config[name]?.required === true);
  const properties = Object.fromEntries(Object.entries(config).map(([name, property]) => [name, schemaOf(property)]));
  // Each of them was held against the schema of schemas when the definition was read.
  const ajv = createOwnAjv({ useDefaults: true, logger: false });
  return ajv.compile({ type: 'object', properties, required, additionalProperties: false });
}

/** What is wrong with a config. Its values may be secrets and are not quoted. */
function explain(found: readonly ErrorObject[], taskserv: string): FieldProblem[] {
  const unknownField = `${taskserv} has no such setting`;
  return schemaProblems(found, { unknownField }).map(({ path, part: _, ...problem }) => ({
    field: pathText(['config', ...path]),
    ...problem,
  }));
}

/** What JSON Schema does not say: values must fit into an environment variable and into one line of a file. */
function textProblems(property: ConfigProperty | undefined, name: string, value: unknown): FieldProblem[] {
  const field = `config.${name}`;
  const problems: FieldProblem[] = [];
  const multiline = property?.multiline === true;
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
