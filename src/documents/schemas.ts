import { Ajv, type Options, type ValidateFunction } from 'ajv';
import { atFirstUse } from '../util/at-first-use.ts';

/**
 * An Ajv that takes what it compiles for a schema, as those are that are written in this project. All errors are told, with
 * the values that they are about.
 */
export function createOwnAjv(options: Options = {}): Ajv {
  return new Ajv({ strict: false, allErrors: true, verbose: true, validateSchema: false, meta: false, ...options });
}

/** One for all: the schema of schemas takes longer to compile than all of a definition's own. */
const ofSchemas = atFirstUse(() => new Ajv({ strict: false, logger: false }));

/**
 * Compiles a schema that a user wrote.
 * @param ajv of `createOwnAjv`. @throws what is wrong with it, where it is none.
 */
export function compileForeign(ajv: Ajv, schema: object): ValidateFunction {
  ofSchemas().validateSchema(schema, true);
  return ajv.compile(schema);
}
