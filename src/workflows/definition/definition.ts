import { Ajv, type ValidateFunction } from 'ajv';
import formats from 'ajv-formats';
import type { JsonObject, Path } from '../../documents/json.ts';
import { createProblems, type Place, type Problem, type Problems } from '../../documents/problems.ts';
import { addSchemaErrors } from '../../documents/schema-errors.ts';
import { readYaml, type Source } from '../../documents/yaml.ts';
import { eachTemplate, type Template } from '../expressions/template.ts';
import { DEFAULT_PATTERN, PatternError, sampleOf } from '../secrets/pattern.ts';
import { safeRegExp } from './regexp.ts';
import { type DefinitionFields, DefinitionSchema, MAX_DEFINITION_BYTES } from './schema.ts';

/** A definition whose form is right. What depends on parameters is checked when it is planned. */
export interface Definition {
  /** The type's name; `null` for one that was only handed in. */
  name: string | null;
  fields: DefinitionFields;
  source: Source;
  /** Checks parameters against the definition's schema. */
  checkParameters: ValidateFunction;
  /** Text as it was written, where it was text. */
  text: string | null;
}

/** A definition, or what is wrong with it. */
export type Loaded =
  | { definition: Definition; problems: readonly [] }
  | { definition: null; problems: readonly Problem[] };

/** Aliases that a text may resolve: enough for reuse, too few to blow a small text up. */
const MAX_ALIASES = 100;
/** What the whole is called in problems. */
const ROOT = 'definition';

const ajv = new Ajv({ allErrors: true, strict: false, verbose: true });
const checkForm = ajv.compile(DefinitionSchema);

/** Reads and checks a definition's YAML text. @param name what it must be called; null: anything. */
export function loadDefinition(text: string, name: string | null): Loaded {
  if (Buffer.byteLength(text) > MAX_DEFINITION_BYTES) {
    const problems = createProblems(undefined, ROOT);
    problems.add([], `is larger than ${MAX_DEFINITION_BYTES} bytes`);
    return { definition: null, problems: problems.list };
  }
  const { source, problems } = readYaml(text, MAX_ALIASES);
  return source === null ? { definition: null, problems } : checkDefinition(source, name, text);
}

/** A definition that was checked before, as a run keeps it. */
export function loadSnapshot(fields: JsonObject, name: string): Definition {
  const { definition, problems } = checkDefinition({ value: fields, locate: () => null }, name, null);
  if (definition !== null) return definition;
  throw new Error(`the stored definition of ${name} is wrong: ${problems.map(({ message }) => message).join('; ')}`);
}

function checkDefinition(source: Source, name: string | null, text: string | null): Loaded {
  const problems = createProblems(source.locate, ROOT);
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
  return { definition: { name: fields.name ?? name, fields, source, checkParameters, text }, problems: [] };
}

/** A schema of the definition's own: compiled with patterns that cannot run away. */
function compileParameters(fields: DefinitionFields, problems: Problems): ValidateFunction | null {
  const own = new Ajv({
    allErrors: true,
    strict: false,
    verbose: true,
    useDefaults: true,
    code: { regExp: safeRegExp },
  });
  formats.default(own, ['uuid', 'date-time', 'date', 'hostname', 'ipv4', 'ipv6']);
  const schema = { type: 'object', ...fields.parameters, additionalProperties: false };
  for (const [n, name] of (fields.parameters?.required ?? []).entries()) {
    if (!Object.hasOwn(fields.parameters?.properties ?? {}, name)) {
      problems.add(
        ['parameters', 'required', n],
        `there is no parameter "${name}"`,
        Object.keys(fields.parameters?.properties ?? {}),
      );
    }
  }
  for (const [name, property] of Object.entries(fields.parameters?.properties ?? {})) {
    try {
      if (JSON.stringify(property).includes('"$ref"')) throw new Error('references ($ref) are not supported');
      own.compile(property as object);
    } catch (error) {
      problems.add(
        ['parameters', 'properties', name],
        `is not a JSON Schema: ${error instanceof Error ? error.message : String(error)}`,
      );
      return null;
    }
  }
  return own.compile(schema);
}

/** Where a part of a planned workflow is written; null: not in this text, as steps that a parameter gives. */
export function placeOf({ fields, source }: Definition, path: Path): Place | null {
  return path[0] === 'parameters' && !Array.isArray(fields.operations) ? null : source.locate(path, 'value');
}

/** What a secret of the definition looks like. */
export function patternOf(fields: DefinitionFields, name: string): string {
  return fields.secrets?.[name]?.pattern ?? DEFAULT_PATTERN;
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
