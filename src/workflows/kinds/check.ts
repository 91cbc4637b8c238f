import type { ValidateFunction } from 'ajv';
import formats from 'ajv-formats';
import type { TSchema } from 'typebox';
import { isObject, type JsonObject, type Path } from '../../documents/json.ts';
import type { Problems } from '../../documents/problems.ts';
import { addSchemaErrors } from '../../documents/schema-errors.ts';
import { createOwnAjv } from '../../documents/schemas.ts';
import { nearMatches } from '../../util/near-matches.ts';
import { type Kind, plainRulesOf } from './plain-rules.ts';

const ajv = createOwnAjv();
formats.default(ajv, ['uuid', 'date-time', 'date']);

interface Checks {
  whole: ValidateFunction;
  /** For what is known of a node whose other fields need results; null where fields cannot be told apart. */
  field: Map<string, ValidateFunction> | null;
  required: readonly string[];
}

const checks = new Map<Kind, Checks>();

function checksOf(kind: Kind): Checks {
  const made = checks.get(kind) ?? compileChecks(plainRulesOf(kind).with);
  checks.set(kind, made);
  return made;
}

function compileChecks(schema: TSchema): Checks {
  const properties = 'properties' in schema && isObject(schema.properties) ? schema.properties : null;
  return {
    whole: ajv.compile(schema),
    field:
      properties === null
        ? null
        : new Map(Object.entries(properties).map(([name, field]) => [name, ajv.compile(field as object)])),
    required: 'required' in schema && Array.isArray(schema.required) ? (schema.required as string[]) : [],
  };
}

/**
 * Checks a node's `with`. Fields named in `unknown` are not known yet: only that there are such fields.
 * `base` is where `with` stands.
 */
export function checkWith(
  kind: Kind,
  value: JsonObject,
  unknown: ReadonlySet<string>,
  base: Path,
  problems: Problems,
): void {
  const check = checksOf(kind);
  if (unknown.size === 0 || check.field === null) {
    if (unknown.size === 0 && !check.whole(value)) addSchemaErrors(problems, base, check.whole.errors ?? []);
    return;
  }
  for (const name of check.required) {
    if (value[name] === undefined && !unknown.has(name)) problems.add([...base, name], 'is required');
  }
  for (const name of new Set([...Object.keys(value), ...unknown])) {
    const field = check.field.get(name);
    if (field === undefined) {
      const known = [...check.field.keys()];
      problems.add([...base, name], `unknown field; known: ${known.join(', ')}`, nearMatches(name, known), 'key');
    } else if (!unknown.has(name) && !field(value[name]))
      addSchemaErrors(problems, [...base, name], field.errors ?? []);
  }
}
