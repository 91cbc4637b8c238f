import { Ajv } from 'ajv';
import type { Problems } from '../documents/problems.ts';
import { addSchemaErrors } from '../documents/schema-errors.ts';
import { refusedKeyword } from '../documents/schema-keywords.ts';
import type { ConfigProperty, DefinitionFile } from './definition.ts';

/** Would collide with what every script gets, or with `config.version` of a request. */
const RESERVED = ['version', 'name', 'config', 'platforms'];

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
    checkProperty(property, path, problems);
  }
}

/** Whether a property's keywords make a schema, and whether its default meets it. */
function checkProperty(property: ConfigProperty, path: readonly string[], problems: Problems): void {
  const { secret: _secret, required: _required, multiline: _multiline, ...schema } = property;
  const refused = refusedKeyword(schema);
  if (refused !== null) {
    problems.add(path, refused);
    return;
  }
  const ajv = new Ajv({ strict: false, allErrors: true, verbose: true, logger: false });
  try {
    const validate = ajv.compile(schema);
    if ('default' in property && !validate(property.default)) {
      addSchemaErrors(problems, [...path, 'default'], validate.errors ?? []);
    }
  } catch (error) {
    if (error instanceof RangeError) throw error;
    problems.add(path, `is not a JSON Schema: ${error instanceof Error ? error.message : String(error)}`);
  }
}
