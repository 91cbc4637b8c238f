import { isMap, isScalar, LineCounter, type Node, parseDocument } from 'yaml';
import { inexactNumbers } from '../documents/exact-yaml.ts';
import type { Mistake } from './mistakes.ts';

/** Where a value stands in a document: keys and indexes from the top. */
export type YamlPath = readonly (string | number)[];

/** A parsed YAML document that knows where everything stands. */
export interface YamlSource {
  value: unknown;
  /** What keeps it from being read; the value is undefined then. */
  mistakes: Mistake[];
  /** Line and column, from 1, of the value at a path, else of what is nearest above it. */
  position(path: YamlPath): { line: number; column: number };
  /** Of the key itself. */
  keyPosition(path: YamlPath, key: string): { line: number; column: number };
}

/** Aliases, with which a small file could grow into a huge value, are refused. */
export function readYaml(text: string): YamlSource {
  const lines = new LineCounter();
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const failed = (mistakes: Mistake[]): YamlSource => ({
    value: undefined,
    mistakes,
    position: () => ({ line: 1, column: 1 }),
    keyPosition: () => ({ line: 1, column: 1 }),
  });
  try {
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
    const broken = [...document.errors, ...document.warnings];
    if (broken.length > 0) return failed(broken.map(({ pos, message }) => ({ ...at(pos[0]), message })));
    const inexact = inexactNumbers(document);
    if (inexact.length > 0) return failed(inexact.map(({ offset, message }) => ({ ...at(offset), message })));
    const value: unknown = document.toJS({ maxAliasCount: 0 });
    const position = (path: YamlPath) => {
      for (let length = path.length; length >= 0; length--) {
        const node = document.getIn(path.slice(0, length), true);
        const start = startOf(node);
        if (start !== null) return at(start);
      }
      return { line: 1, column: 1 };
    };
    const keyPosition = (path: YamlPath, key: string) => {
      const parent = path.length === 0 ? document.contents : document.getIn(path, true);
      const pair = isMap(parent)
        ? parent.items.find((item) => isScalar(item.key) && item.key.value === key)
        : undefined;
      const start = pair === undefined ? null : startOf(pair.key);
      return start === null ? position(path) : at(start);
    };
    return { value, mistakes: [], position, keyPosition };
  } catch (error) {
    // Aliases, or nesting deeper than the parser's stack.
    const message = error instanceof RangeError ? 'is nested too deeply' : 'must not use aliases (*name)';
    return failed([{ line: 1, column: 1, message }]);
  }
}

function startOf(node: unknown): number | null {
  if (typeof node !== 'object' || node === null || !('range' in node)) return null;
  const range = (node as Node).range;
  return range?.[0] ?? null;
}
