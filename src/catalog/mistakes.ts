import { Ajv, type ErrorObject } from 'ajv';
import { nearMatches } from '../providers/near-matches.ts';
import { PatternError, sampleOf } from '../util/secret-pattern.ts';
import type { ConfigProperty, DefinitionFile } from './definition.ts';
import type { YamlPath, YamlSource } from './yaml.ts';

/** Something wrong in a file; line and column count from 1. */
export interface Mistake {
  line: number;
  column: number;
  message: string;
}

/** Would collide with what every script gets, or with `config.version` of a request. */
const RESERVED = ['version', 'name', 'config', 'platforms'];

/** What the schema does not accept, each at the place where it stands. */
export function schemaMistakes(yaml: YamlSource, errors: readonly ErrorObject[]): Mistake[] {
  // A union reports each of its branches and itself; its own line is enough.
  const told = errors.filter((error) => !(error.keyword === 'const' && errors.some((other) => within(other, error))));
  const mistakes = told.map((error) => {
    const path = pathOf(yaml, error.instancePath);
    const named = path.length === 0 ? 'the file' : path.join('.');
    if (error.keyword === 'additionalProperties') {
      const key = String(error.params.additionalProperty);
      const known = Object.keys((error.parentSchema?.properties as object | undefined) ?? {});
      const near = nearMatches(key, known);
      const hint = near.length > 0 ? `; did you mean ${near.join(' or ')}?` : '';
      return { ...yaml.keyPosition(path, key), message: `${named} has no field "${key.slice(0, 64)}"${hint}` };
    }
    if (error.keyword === 'required') {
      return { ...yaml.position(path), message: `${named} lacks "${String(error.params.missingProperty)}"` };
    }
    return { ...yaml.position(path), message: `${named} ${reason(error)}` };
  });
  return unique(mistakes);
}

const within = (union: ErrorObject, branch: ErrorObject) =>
  union.keyword === 'anyOf' && union.instancePath === branch.instancePath;

function reason(error: ErrorObject): string {
  if (error.keyword === 'enum') return `must be one of: ${error.params.allowedValues.join(', ')}`;
  if (error.keyword !== 'anyOf') return error.message ?? 'is not valid';
  const branches = Array.isArray(error.schema) ? (error.schema as unknown[]) : [];
  const values = branches.map((branch) =>
    typeof branch === 'object' && branch !== null && 'const' in branch ? String(branch.const) : null,
  );
  return values.includes(null) ? 'is of none of the allowed forms' : `must be one of: ${values.join(', ')}`;
}

/** An Ajv path as one through the document: its numbers are indexes where the value there is a list. */
function pathOf(yaml: YamlSource, instancePath: string): (string | number)[] {
  let value = yaml.value;
  return instancePath
    .split('/')
    .slice(1)
    .map((part) => {
      const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
      const step = Array.isArray(value) ? Number(key) : key;
      value = typeof value === 'object' && value !== null ? Reflect.get(value, step) : undefined;
      return step;
    });
}

function unique(mistakes: Mistake[]): Mistake[] {
  const seen = new Set<string>();
  return mistakes.filter(({ line, column, message }) => {
    const key = `${line}:${column}:${message}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** What is wrong with a definition that meets the schema. `folder` is what its name must be. */
export function meaningMistakes(yaml: YamlSource, file: DefinitionFile, folder: string): Mistake[] {
  const mistakes: Mistake[] = [];
  const add = (path: YamlPath, message: string) => mistakes.push({ ...yaml.position(path), message });
  if (file.name !== folder) add(['name'], `must be "${folder}", the name of the folder`);
  if (!file.versions.supported.includes(file.versions.default)) {
    add(['versions', 'default'], 'must be one of versions.supported');
  }
  for (const [index, entry] of (file.requires ?? []).entries()) {
    if ((typeof entry === 'string' ? entry : entry.name) === file.name) add(['requires', index], 'names itself');
  }
  for (const [name, property] of Object.entries(file.config ?? {})) {
    const path = ['config', name];
    if (RESERVED.includes(name))
      mistakes.push({ ...yaml.keyPosition(['config'], name), message: 'is a reserved name' });
    if (property.secret === true && 'default' in property) {
      add([...path, 'default'], 'a secret must not have a default: everybody who reads this file would know it');
    }
    if (property.required === true && 'default' in property) {
      add([...path, 'default'], 'is never used: the value is required');
    }
    const ungenerated = generateProblem(property);
    if (ungenerated !== null) add([...path, 'generate'], ungenerated);
    const wrong = schemaProblem(property);
    if (wrong !== null) add([...path, ...wrong.path], wrong.message);
  }
  clusterMistakes(file, add);
  return mistakes;
}

/** Whether what is generated is a secret that the property takes. */
function generateProblem(property: ConfigProperty): string | null {
  const { generate, secret, required } = property;
  if (generate === undefined) return null;
  if (secret !== true || property.type !== 'string') return 'is for texts with "secret: true"';
  if (required === true) return 'is never used: the value is required';
  try {
    const sample = sampleOf(generate);
    const ajv = new Ajv({ strict: false });
    if (ajv.validate(schemaOf(property), sample)) return null;
    return `makes what the property does not take: ${ajv.errorsText(ajv.errors, { dataVar: 'value' })}`;
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    return error.message;
  }
}

function clusterMistakes({ cluster, config = {} }: DefinitionFile, add: (path: YamlPath, message: string) => void) {
  if (cluster === undefined) return;
  const names = cluster.roles.map(({ name }) => name);
  for (const [index, { name, count }] of cluster.roles.entries()) {
    const path = ['cluster', 'roles', index];
    const last = index === cluster.roles.length - 1;
    if (names.indexOf(name) < index) add([...path, 'name'], `"${name}" is a role already`);
    if (last && count !== undefined) add([...path, 'count'], 'the last role takes all servers that are left');
    if (!last && count === undefined) add(path, 'lacks "count": only the last role takes all servers that are left');
    const counted = typeof count === 'string' ? config[count] : undefined;
    if (typeof count === 'string' && (counted?.type !== 'integer' || !('default' in counted))) {
      add([...path, 'count'], `config.${count} must be an integer with a default`);
    }
  }
  for (const [index, name] of (cluster.unless ?? []).entries()) {
    if (!(name in config)) add(['cluster', 'unless', index], `there is no config.${name}`);
  }
}

/** A property without the keywords of our own. */
export function schemaOf(property: ConfigProperty): object {
  const { secret: _secret, required: _required, multiline: _multiline, generate: _generate, ...schema } = property;
  return schema;
}

/** Whether a property's keywords make a schema, and whether its default meets it. */
function schemaProblem(property: ConfigProperty): { path: string[]; message: string } | null {
  const ajv = new Ajv({ strict: false, allErrors: true });
  try {
    const validate = ajv.compile(schemaOf(property));
    if ('default' in property && !validate(property.default)) {
      return { path: ['default'], message: `the default ${ajv.errorsText(validate.errors, { dataVar: 'value' })}` };
    }
    return null;
  } catch (error) {
    return { path: [], message: `is no JSON Schema: ${error instanceof Error ? error.message : String(error)}` };
  }
}
