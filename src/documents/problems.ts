import { errors, type FieldProblem } from '../errors.ts';
import { type Path, pathText } from './json.ts';

/** A place in a text, both from 1. */
export interface Place {
  line: number;
  column: number;
}

/** Where the value at a path is, or the key of it; or the nearest that is there of what would hold it. Null: in no text. */
export type Locate = (path: Path, part: 'value' | 'key') => Place | null;

/** One thing wrong with a document, tied to the field that says it and, for a text, to its line and column. */
export interface Problem extends FieldProblem, Partial<Place> {
  path: Path;
}

/** More than this many are not told at once. */
export const MAX_PROBLEMS = 50;

/** Gathers problems of one document. */
export interface Problems {
  readonly list: Problem[];
  /** @param part what is wrong at the path: the value, or that there is such a key */
  add(path: Path, message: string, nearMatches?: string[], part?: 'value' | 'key'): void;
}

/** @param root what the whole document is called, for problems that no field of it has */
export function createProblems(locate: Locate = () => null, root = ''): Problems {
  const list: Problem[] = [];
  return {
    list,
    add(path, message, near, part = 'value') {
      if (list.length >= MAX_PROBLEMS) return;
      list.push({
        path,
        field: path.length === 0 ? root : pathText(path),
        message,
        ...(near === undefined ? {} : { near_matches: near }),
        ...locate(path, part),
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
