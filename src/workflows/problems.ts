import type { ErrorObject } from 'ajv';
import { type Path, pathText } from '../documents/json.ts';
import { errors, type FieldProblem } from '../errors.ts';
import { nearMatches } from '../util/near-matches.ts';

/** A place in a YAML text, both from 1. */
export interface Place {
  line: number;
  column: number;
}

/** One thing wrong with a workflow, tied to the field that says it and, for YAML, to its line and column. */
export interface Problem extends FieldProblem, Partial<Place> {
  path: Path;
}

/** More than this many are not told at once. */
const MAX_PROBLEMS = 50;

/** Gathers problems of one definition. */
export interface Problems {
  readonly list: Problem[];
  add(path: Path, message: string, nearMatches?: string[]): void;
}

/** @param locate where the value at a path stands in its text; null: it stands in no text. */
export function createProblems(locate: (path: Path) => Place | null = () => null): Problems {
  const list: Problem[] = [];
  return {
    list,
    add(path, message, near) {
      if (list.length >= MAX_PROBLEMS) return;
      list.push({
        path,
        field: pathText(path),
        message,
        ...(near === undefined ? {} : { near_matches: near }),
        ...locate(path),
      });
    },
  };
}

/** 400 with every problem, where there is one. The message says line and column in front of each. */
export function throwProblems(problems: readonly Problem[]): void {
  if (problems.length === 0) return;
  throw errors.validation(
    problems.map(({ path: _, line, column, ...problem }) => ({
      ...problem,
      ...(line === undefined ? {} : { line, column, message: `${problem.message} (line ${line}, column ${column})` }),
    })),
  );
}

/** Errors of a schema that are looked at: many for each problem that is told, and what it takes grows with their square. */
const MAX_ERRORS = 20 * MAX_PROBLEMS;

/** Adds what a JSON Schema says against a value that stands at `base`. */
export function addSchemaErrors(problems: Problems, base: Path, found: readonly ErrorObject[]): void {
  const told = new Set<string>();
  for (const error of withoutOtherBranches(found.slice(0, MAX_ERRORS))) {
    const path = [...base, ...pointerPath(error.instancePath)];
    const parameters = error.params as Record<string, unknown>;
    const { at, message, near } = describe(error, parameters, path);
    const key = `${pathText(at)} ${message}`;
    if (told.has(key)) continue;
    told.add(key);
    problems.add(at, message, near);
  }
}

/** Of the branches of an `anyOf` only those whose type fits the value speak; where none does, all do. */
function withoutOtherBranches(found: readonly ErrorObject[]): readonly ErrorObject[] {
  let left = found;
  for (const choice of found.filter(({ keyword }) => keyword === 'anyOf' || keyword === 'oneOf')) {
    const branchOf = ({ schemaPath }: ErrorObject) =>
      schemaPath.startsWith(`${choice.schemaPath}/`)
        ? schemaPath.slice(choice.schemaPath.length + 1).split('/')[0]
        : undefined;
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
    const fit = [...branches].filter((branch) => !unfit.has(branch));
    const speaks = fit.length > 0 ? fit : [...branches].slice(0, 1);
    left = left.filter(
      (error) => error !== choice && (branchOf(error) === undefined || speaks.includes(branchOf(error))),
    );
  }
  return left;
}

function describe(error: ErrorObject, parameters: Record<string, unknown>, path: Path) {
  switch (error.keyword) {
    case 'additionalProperties': {
      const name = String(parameters.additionalProperty);
      const known = Object.keys((error.parentSchema as { properties?: object } | undefined)?.properties ?? {});
      return {
        at: [...path, name],
        message: `unknown field; known: ${known.join(', ') || 'none'}`,
        near: nearMatches(name, known),
      };
    }
    case 'required':
      return { at: [...path, String(parameters.missingProperty)], message: 'is required', near: undefined };
    case 'enum': {
      const allowed = (parameters.allowedValues as unknown[]).map(String);
      return {
        at: path,
        message: `must be one of ${allowed.join(', ')}`,
        near: nearMatches(String(error.data), allowed),
      };
    }
    case 'type':
      return {
        at: path,
        message: `must be ${[parameters.type].flat().join(' or ')}, not ${typeName(error.data)}`,
        near: undefined,
      };
    case 'pattern':
      return {
        at: path,
        message: `"${String(error.data).slice(0, 80)}" does not match ${String(parameters.pattern)}`,
        near: undefined,
      };
    default:
      return { at: path, message: error.message ?? 'is invalid', near: undefined };
  }
}

/** A value's type in JSON's words. */
export function typeName(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

function pointerPath(pointer: string): (string | number)[] {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
}
