import type { Problems } from '../documents/problems.ts';
import { addSchemaErrors } from '../documents/schema-errors.ts';
import { refusedKeyword } from '../documents/schema-keywords.ts';
import { compileForeign, createOwnAjv } from '../documents/schemas.ts';
import { PatternError, sampleOf } from '../util/secret-pattern.ts';
import { type ConfigProperty, type DefinitionFile, schemaOf } from './definition.ts';

/** Would collide with what every script gets, or with `config.version` of a request. */
const RESERVED = ['version', 'name', 'config', 'platforms'];
/** Secrets that one taskserv generates at most: that is done while a request's transaction waits. */
const MAX_GENERATED = 50;

/** Adds what is wrong with a definition that meets the schema. @param folder what its name must be */
export function checkMeaning(file: DefinitionFile, folder: string, problems: Problems): void {
  if (file.name !== folder) problems.add(['name'], `must be "${folder}", the name of the folder`);
  if (!file.versions.supported.includes(file.versions.default)) {
    problems.add(['versions', 'default'], 'must be one of versions.supported');
  }
  for (const [index, entry] of (file.requires ?? []).entries()) {
    if ((typeof entry === 'string' ? entry : entry.name) === file.name) {
      problems.add(['requires', index], 'names the taskserv itself');
    }
  }
  for (const [name, property] of Object.entries(file.config ?? {})) {
    const path = ['config', name];
    if (RESERVED.includes(name)) problems.add(path, 'is a reserved name', undefined, 'key');
    if (property.secret === true && 'default' in property) {
      problems.add(
        [...path, 'default'],
        'a secret must not have a default: everyone who reads this file would know it',
      );
    }
    if (property.required === true && 'default' in property) {
      problems.add([...path, 'default'], 'is never used: the value is required');
    }
    if (!checkProperty(property, path, problems)) continue;
    const ungenerated = generateProblem(property);
    if (ungenerated !== null) problems.add([...path, 'generate'], ungenerated);
  }
  const generated = Object.values(file.config ?? {}).filter(({ generate }) => generate !== undefined);
  if (generated.length > MAX_GENERATED) {
    problems.add(['config'], `generates ${generated.length} secrets; a taskserv has at most ${MAX_GENERATED}`);
  }
  checkCluster(file, problems);
}

/** What keeps a secret from being generated that the property takes. */
function generateProblem(property: ConfigProperty): string | null {
  const { generate, secret, required, type } = property;
  if (generate === undefined) return null;
  if (secret !== true || type !== 'string') return 'is for strings with "secret: true"';
  if (required === true) return 'is never used: the value is required';
  try {
    const ajv = createOwnAjv({ allErrors: false, logger: false });
    if (ajv.validate(schemaOf(property), sampleOf(generate))) return null;
    return `generates what the property does not accept: ${ajv.errorsText(ajv.errors, { dataVar: 'value' })}`;
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    return error.message;
  }
}

function checkCluster({ cluster, config = {} }: DefinitionFile, problems: Problems): void {
  if (cluster === undefined) return;
  const names = cluster.roles.map(({ name }) => name);
  for (const [index, { name, count }] of cluster.roles.entries()) {
    const path = ['cluster', 'roles', index];
    const last = index === cluster.roles.length - 1;
    if (names.indexOf(name) < index) problems.add([...path, 'name'], `"${name}" is a role already`);
    if (last && count !== undefined) problems.add([...path, 'count'], 'the last role takes all servers that are left');
    if (!last && count === undefined) {
      problems.add(path, 'needs "count": only the last role takes all servers that are left');
    }
    const counted = typeof count === 'string' ? config[count] : undefined;
    if (typeof count === 'string' && (counted?.type !== 'integer' || !('default' in counted))) {
      problems.add([...path, 'count'], `config.${count} must be an integer with a default`);
    }
  }
  const { shared_address: address } = cluster;
  if (address !== undefined && (config[address]?.type !== 'string' || !('default' in config[address]))) {
    problems.add(['cluster', 'shared_address'], `config.${address} must be a string with a default`);
  }
  for (const [index, name] of (cluster.unless ?? []).entries()) {
    if (!(name in config)) problems.add(['cluster', 'unless', index], `there is no config.${name}`);
  }
}

/** @returns whether a property's keywords make a schema; adds what is wrong with it and with its default. */
function checkProperty(property: ConfigProperty, path: readonly string[], problems: Problems): boolean {
  const schema = schemaOf(property);
  const refused = refusedKeyword(schema);
  if (refused !== null) {
    problems.add(path, refused);
    return false;
  }
  try {
    const validate = compileForeign(createOwnAjv({ logger: false }), schema);
    if ('default' in property && !validate(property.default)) {
      addSchemaErrors(problems, [...path, 'default'], validate.errors ?? []);
    }
    return true;
  } catch (error) {
    if (error instanceof RangeError) throw error;
    problems.add(path, `is not a JSON Schema: ${error instanceof Error ? error.message : String(error)}`);
    return false;
  }
}
