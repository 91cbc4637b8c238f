import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { inexactNumbers } from './exact-yaml.ts';
import { isObject, type Json, type Path } from './json.ts';
import { type Locate, MAX_PROBLEMS, type Place, type Problem } from './problems.ts';

/** Deeper nesting is refused: what walks through a document later does so by recursion. A request's body has the same limit. */
const MAX_DEPTH = 64;
const TOO_DEEP = `nests more than ${MAX_DEPTH} deep`;

/** A document that was read: its value, and where each part of it is. */
export interface Source {
  value: Json;
  locate: Locate;
}

/**
 * Reads YAML 1.2 (core schema: no dates, no tags that make objects).
 * @param maxAliases aliases (`*name`) that may be resolved; with many a small text could become a huge value
 * @returns the source, or what keeps the text from being read
 */
export function readYaml(
  text: string,
  maxAliases: number,
): { source: Source; problems: [] } | { source: null; problems: Problem[] } {
  const lines = new LineCounter();
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const unreadable = (message: string, offset: number): Problem => ({
    path: [],
    field: 'definition',
    message,
    ...placeAt(offset),
  });
  const failed = (message: string) => ({ source: null, problems: [unreadable(message, 0)] });
  try {
    const document = parseDocument(text, { lineCounter: lines, schema: 'core', prettyErrors: false, stringKeys: true });
    const faults = [...document.errors, ...document.warnings];
    // The parser recurses, and tells of each level at which its stack ended.
    if (faults.some(({ code }) => code === 'RESOURCE_EXHAUSTION')) return failed(TOO_DEEP);
    if (faults.length > 0) {
      const told = faults.slice(0, MAX_PROBLEMS);
      return {
        source: null,
        problems: told.map(({ message, pos }) => unreadable(`is not valid YAML: ${message}`, pos[0])),
      };
    }
    const inexact = inexactNumbers(document).slice(0, MAX_PROBLEMS);
    if (inexact.length > 0)
      return { source: null, problems: inexact.map(({ message, offset }) => unreadable(message, offset)) };
    const value = document.toJS({ maxAliasCount: maxAliases }) as Json;
    if (isDeeper(value, MAX_DEPTH)) return failed(TOO_DEEP);
    return {
      source: { value, locate: (path, part) => placeAt(offsetOf(document.contents, path, part)) },
      problems: [],
    };
  } catch (error) {
    if (error instanceof RangeError) return failed(TOO_DEEP);
    if (error instanceof ReferenceError) {
      return failed(maxAliases === 0 ? 'must not use aliases (*name)' : `uses more than ${maxAliases} aliases (*name)`);
    }
    throw error;
  }
}

function isDeeper(value: Json, levels: number): boolean {
  if (!isObject(value) && !Array.isArray(value)) return false;
  return levels === 0 || Object.values(value).some((part) => isDeeper(part, levels - 1));
}

/** Where the value at a path begins, or its key; for one that is not there, what would hold it. */
function offsetOf(root: Node | null, path: Path, part: 'value' | 'key'): number {
  let node: Node | null = root;
  let offset = root?.range?.[0] ?? 0;
  for (const [index, name] of path.entries()) {
    let next: unknown = null;
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(name));
      if (pair === undefined) return offset;
      offset = (pair.key as Node).range?.[0] ?? offset;
      if (part === 'key' && index === path.length - 1) return offset;
      next = pair.value;
    } else if (isSeq(node)) next = node.items[Number(name)];
    if (next === null || next === undefined || typeof next !== 'object' || !('range' in next)) return offset;
    node = next as Node;
    offset = node.range?.[0] ?? offset;
  }
  return offset;
}
