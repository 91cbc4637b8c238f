import type { ErrorObject } from 'ajv';
import { nearMatches } from '../util/near-matches.ts';
import { type Path, pathText, typeName } from './json.ts';
import { MAX_PROBLEMS, type Problems } from './problems.ts';

/** Errors of a schema that are looked at: many for each problem that is told, and what it takes grows with their square. */
const MAX_ERRORS = 20 * MAX_PROBLEMS;
/** Characters of a wrong value that are quoted. */
const MAX_QUOTED = 80;
/** Allowed values that are named as near where none is. */
const EXAMPLES = 3;

/** What a schema says against a value. */
export interface SchemaProblem {
  path: Path;
  message: string;
  near_matches?: string[];
  /** Whether the value is wrong, or that there is such a field. */
  part: 'value' | 'key';
}

export interface Wording {
  /** Of a field that the schema does not have. */
  unknownField: string;
  /** Quotes a text that does not match its pattern: not where it may be a secret. */
  quote: boolean;
  /** Names the type that a value has: not where everything comes as text. */
  types: boolean;
  /** Tells a description instead of the pattern: where descriptions say in words what the pattern does. */
  described: boolean;
}

const DEFAULT_WORDING: Wording = { unknownField: 'unknown field', quote: false, types: true, described: false };

/** Adds what a JSON Schema says against a value at `base`. @param quote false: the value holds what may not be shown. */
export function addSchemaErrors(
  problems: Problems,
  base: Path,
  found: readonly ErrorObject[],
  { quote = true }: { quote?: boolean } = {},
): void {
  for (const { path, message, near_matches: near, part } of schemaProblems(found, { quote }))
    problems.add([...base, ...path], message, near, part);
}

/** The errors of a validator in words, each once. @param found by Ajv with `verbose: true` */
export function schemaProblems(found: readonly ErrorObject[], wording: Partial<Wording> = {}): SchemaProblem[] {
  const words = { ...DEFAULT_WORDING, ...wording };
  const problems = new Map<string, SchemaProblem>();
  for (const error of withoutOtherBranches(found.slice(0, MAX_ERRORS))) {
    const problem = describe(error, words);
    const key = `${pathText(problem.path)} ${problem.message}`;
    if (!problems.has(key)) problems.set(key, problem);
  }
  return [...problems.values()];
}

/**
 * Of the branches of an `anyOf` only those whose type fits the value speak; where none does, the first. Where each is one
 * constant, it speaks itself.
 */
function withoutOtherBranches(found: readonly ErrorObject[]): readonly ErrorObject[] {
  let left = found;
  for (const choice of found.filter(({ keyword }) => keyword === 'anyOf' || keyword === 'oneOf')) {
    const branchOf = ({ schemaPath }: ErrorObject) =>
      schemaPath.startsWith(`${choice.schemaPath}/`)
        ? schemaPath.slice(choice.schemaPath.length + 1).split('/')[0]
        : undefined;
    if (constants(choice) !== null) {
      left = left.filter((error) => branchOf(error) === undefined);
      continue;
    }
    const unfit = new Set(
      left
        .filter(
          ({ keyword, instancePath }) =>
            ['type', 'const', 'pattern'].includes(keyword) && instancePath === choice.instancePath,
        )
        .map(branchOf),
    );
    const branches = new Set(left.map(branchOf));
    branches.delete(undefined);
    if (branches.size === 0) continue;
    const fit = [...branches].filter((branch) => !unfit.has(branch));
    const speaks = fit.length > 0 ? fit : [...branches].slice(0, 1);
    left = left.filter(
      (error) => error !== choice && (branchOf(error) === undefined || speaks.includes(branchOf(error))),
    );
  }
  return left;
}

/** The values of an `anyOf` of constants; null for any other. */
function constants({ schema }: ErrorObject): unknown[] | null {
  if (!Array.isArray(schema)) return null;
  const values = schema.map((branch: { const?: unknown }) => branch.const);
  return values.includes(undefined) ? null : values;
}

function describe(error: ErrorObject, words: Wording): SchemaProblem {
  const path = pointerPath(error.instancePath);
  const parameters = error.params as Record<string, unknown>;
  const parent = error.parentSchema as { properties?: object; description?: string } | undefined;
  const wrong = (message: string): SchemaProblem => ({ path, message, part: 'value' });
  switch (error.keyword) {
    case 'additionalProperties': {
      const name = String(parameters.additionalProperty);
      const known = Object.keys(parent?.properties ?? {});
      const message = `${words.unknownField}; known: ${known.join(', ') || 'none'}`;
      return { path: [...path, name], message, near_matches: nearMatches(name, known), part: 'key' };
    }
    case 'required':
      return { ...wrong('is required'), path: [...path, String(parameters.missingProperty)] };
    case 'enum':
    case 'anyOf':
    case 'oneOf': {
      const values = error.keyword === 'enum' ? (parameters.allowedValues as unknown[]) : constants(error);
      if (values === null) return wrong(error.message ?? 'is invalid');
      const allowed = values.map(String);
      const near = nearMatches(String(error.data), allowed);
      return {
        ...wrong(`must be one of ${allowed.join(', ')}`),
        near_matches: near.length > 0 ? near : allowed.slice(0, EXAMPLES),
      };
    }
    case 'const':
      return wrong(`must be ${String(parameters.allowedValue)}`);
    case 'type': {
      const given = words.types && error.data !== undefined ? `, not ${typeName(error.data)}` : '';
      return wrong(`must be ${[parameters.type].flat().join(' or ')}${given}`);
    }
    case 'pattern': {
      const subject = words.quote ? `"${String(error.data).slice(0, MAX_QUOTED)}" ` : '';
      if (words.described && parent?.description !== undefined) {
        return wrong(`${subject}does not fit. ${parent.description}`);
      }
      return wrong(`${subject}does not match ${String(parameters.pattern)}`);
    }
    default:
      return wrong(error.message ?? 'is invalid');
  }
}

function pointerPath(pointer: string): (string | number)[] {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
}
