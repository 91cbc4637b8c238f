import type { ValidateFunction } from 'ajv';
import formats from 'ajv-formats';
import type { JsonObject, Path } from '../../documents/json.ts';
import { createProblems, type Locate, type Place, type Problem, type Problems } from '../../documents/problems.ts';
import { addSchemaErrors } from '../../documents/schema-errors.ts';
import { refusedKeyword } from '../../documents/schema-keywords.ts';
import { compileForeign, createOwnAjv } from '../../documents/schemas.ts';
import { readYaml, type Source } from '../../documents/yaml.ts';
import { CostError, measure, notePlace } from '../../evaluation/meter.ts';
import { atFirstUse } from '../../util/at-first-use.ts';
import { PatternError, sampleOf } from '../../util/secret-pattern.ts';
import { eachTemplate, type Template } from '../expressions/template.ts';
import { MAX_DEFINITION_BYTES } from './limits.ts';
import { evaluatedRegExp } from './regexp.ts';
import { type DefinitionFields, definitionSchema } from './schema.ts';
import { patternOf } from './secrets.ts';

/** A definition whose form is right, as it is stored and handed around. */
export interface DefinitionData {
  /** The type's name; `null` for one that was only handed in. */
  name: string | null;
  fields: DefinitionFields;
  /** Text as it was written, where it was text. */
  text: string | null;
}

/** The same with what evaluates it. What depends on parameters is checked when it is planned. */
export interface Definition extends DefinitionData {
  /** Where the value at a path, or its nearest ancestor, stands in the text; null: there is no text. */
  locate: Locate;
  /** Checks parameters against the definition's schema. */
  checkParameters: ValidateFunction;
}

/** A definition, or what is wrong with it. */
export type Loaded<Form extends DefinitionData = DefinitionData> =
  | { definition: Form; problems: readonly [] }
  | { definition: null; problems: readonly Problem[] };

/** Characters of a definition's JSON at most: aliases may repeat what is written once. */
const MAX_JSON = 4_000_000;
/** Schemas of parameters that are remembered, by their JSON text, so that a run of thousands compiles one once. */
const MAX_COMPILED = 100;
/** Aliases that a text may resolve: enough for reuse, too few to blow a small text up. */
const MAX_ALIASES = 100;
/** What the whole is called in problems. */
const ROOT = 'definition';

const formOfDefinitions = atFirstUse(() => createOwnAjv().compile(definitionSchema()));
const compiled = new Map<string, ValidateFunction>();

/** Reads and checks a definition's YAML text. @param name what it must be called; null: anything. */
export function loadDefinition(text: string, name: string | null): Loaded<Definition> {
  notePlace(ROOT);
  if (Buffer.byteLength(text) > MAX_DEFINITION_BYTES) {
    const problems = createProblems(undefined, ROOT);
    problems.add([], `is larger than ${MAX_DEFINITION_BYTES} bytes`);
    return { definition: null, problems: problems.list };
  }
  const { source, problems } = readYaml(text, MAX_ALIASES);
  return source === null ? { definition: null, problems } : checkDefinition(source, name, text);
}

/** A definition that was checked before. @throws where its schema can no longer be read. */
export function reviveDefinition({ name, fields, text }: DefinitionData): Definition {
  let source: Source | null = null;
  const problems = createProblems();
  const checkParameters = compileParameters(fields, problems);
  if (checkParameters === null) {
    throw new Error(
      `the stored definition of ${name} is wrong: ${problems.list.map(({ message }) => message).join('; ')}`,
    );
  }
  const locate: Locate = (path, part) => {
    if (text === null) return null;
    source ??= readYaml(text, MAX_ALIASES).source;
    return source?.locate(path, part) ?? null;
  };
  return { name, fields, text, locate, checkParameters };
}

function checkDefinition(source: Source, name: string | null, text: string): Loaded<Definition> {
  const problems = createProblems(source.locate, ROOT);
  measure(source.value, MAX_JSON, 'with what its aliases repeat it');
  const checkForm = formOfDefinitions();
  if (!checkForm(source.value)) {
    addSchemaErrors(problems, [], checkForm.errors ?? []);
    return { definition: null, problems: problems.list };
  }
  const fields = source.value as DefinitionFields;
  if (name !== null && fields.name !== undefined && fields.name !== name) {
    problems.add(['name'], `must be "${name}", as its file is called`);
  }
  const checkParameters = compileParameters(fields, problems);
  checkSecrets(fields, problems);
  for (const part of ['operations', 'outputs', 'parallel_limit', 'rollback'] as const) {
    const value = fields[part];
    if (value !== undefined) checkTemplates(value, [part], fields, problems);
  }
  if (problems.list.length > 0 || checkParameters === null) return { definition: null, problems: problems.list };
  const definition = { name: fields.name ?? name, fields, text, locate: source.locate, checkParameters };
  return { definition, problems: [] };
}

/** A schema of the definition's own. */
function compileParameters(fields: DefinitionFields, problems: Problems): ValidateFunction | null {
  const key = JSON.stringify(fields.parameters ?? {});
  const known = compiled.get(key);
  if (known !== undefined) return known;
  notePlace('parameters');
  const made = newSchema(fields, problems);
  if (made === null || problems.list.length > 0) return made;
  if (compiled.size >= MAX_COMPILED) compiled.clear();
  compiled.set(key, made);
  return made;
}

function newSchema({ parameters }: DefinitionFields, problems: Problems): ValidateFunction | null {
  const { properties = {}, required = [] } = parameters ?? {};
  const own = createOwnAjv({ useDefaults: true, logger: false, code: { regExp: evaluatedRegExp } });
  formats.default(own, ['uuid', 'date-time', 'date', 'hostname', 'ipv4', 'ipv6']);
  const compile = (schema: object) => compileForeign(own, schema);
  for (const [n, name] of required.entries()) {
    if (!Object.hasOwn(properties, name))
      problems.add(['parameters', 'required', n], `there is no parameter "${name}"`, Object.keys(properties));
  }
  for (const [name, property] of Object.entries(properties)) {
    const refused = schemaProblem(property, compile);
    if (refused === null) continue;
    problems.add(['parameters', 'properties', name], `is not a JSON Schema: ${refused}`);
    return null;
  }
  return compile({ ...parameters, type: 'object', additionalProperties: false });
}

function schemaProblem(property: object, compile: (schema: object) => unknown): string | null {
  const refused = refusedKeyword(property);
  if (refused !== null) return refused;
  try {
    compile(property);
    return null;
  } catch (error) {
    if (error instanceof CostError || error instanceof RangeError) throw error;
    return error instanceof Error ? error.message : String(error);
  }
}

/** Where a part of a planned workflow is written; null: not in this text, as steps that a parameter gives. */
export function placeOf({ fields, locate }: Definition, path: Path): Place | null {
  return path[0] === 'parameters' && !Array.isArray(fields.operations) ? null : locate(path, 'value');
}

function checkSecrets(fields: DefinitionFields, problems: Problems): void {
  for (const name of Object.keys(fields.secrets ?? {})) {
    try {
      sampleOf(patternOf(fields, name));
    } catch (error) {
      if (!(error instanceof PatternError)) throw error;
      problems.add(['secrets', name, 'pattern'], error.message);
    }
  }
}

const ROOTS = ['parameters', 'operations', 'workspace', 'servers', 'taskservs', 'secrets', 'item', 'index'];

/** Where a secret may go: what takes it there keeps it from being stored and told. */
function takesSecrets(path: Path): boolean {
  const at = path.indexOf('with');
  return at !== -1 && path.length > at + 1 && ['config', 'env'].includes(String(path[at + 1]));
}

/** Every expression can be read, and names only what there is at the top and among the parameters. */
export function checkTemplates(value: unknown, base: Path, fields: DefinitionFields, problems: Problems): void {
  const known = Object.keys(fields.parameters?.properties ?? {});
  const secrets = Object.keys(fields.secrets ?? {});
  const check = (template: Template, path: Path) => {
    for (const secret of template.references.secrets) {
      if (!secrets.includes(secret)) problems.add(path, `there is no secret "${secret}"`, secrets);
    }
    if (template.references.roots.has('secrets')) {
      if (!takesSecrets(path)) {
        problems.add(path, 'a secret goes into the config of a taskserv or the env of a command, and nowhere else');
      } else if (!template.whole) problems.add(path, 'a secret stands alone: it cannot be a part of a longer text');
    }
    for (const root of template.references.roots) {
      if (!ROOTS.includes(root))
        problems.add(path, `unknown reference "${root}"; known: ${ROOTS.join(', ')}`, [...ROOTS]);
    }
    for (const parameter of template.references.parameters) {
      if (!known.includes(parameter)) problems.add(path, `there is no parameter "${parameter}"`, known);
    }
  };
  eachTemplate(value as JsonObject, base, check, (message, path) => problems.add(path, message));
}
