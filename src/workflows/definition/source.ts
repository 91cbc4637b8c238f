import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { inexactNumbers } from '../../documents/exact-yaml.ts';
import type { Json, Path } from '../../documents/json.ts';
import { createProblems, type Place, type Problem } from '../problems.ts';

/** Bytes of a definition's text at most. */
export const MAX_DEFINITION_BYTES = 262_144;
/** Aliases that a YAML text may resolve: enough for reuse, too few to blow a small text up. */
const MAX_ALIASES = 100;

/** A text read: its value, and where each part of it stands. */
export interface Source {
  value: Json;
  /** The place of the value at a path, or of its nearest ancestor that is written there. */
  locate(path: Path): Place | null;
}

/** Reads YAML 1.2 (core schema: no dates, no tags that make objects). Problems name line and column. */
export function readYaml(text: string): { source: Source; problems: [] } | { source: null; problems: Problem[] } {
  if (Buffer.byteLength(text) > MAX_DEFINITION_BYTES) {
    const problems = createProblems();
    problems.add([], `the text is larger than ${MAX_DEFINITION_BYTES} bytes`);
    return { source: null, problems: problems.list };
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, schema: 'core', prettyErrors: false, stringKeys: true });
  const place = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    return {
      source: null,
      problems: faults.map(({ message, pos }) => ({
        path: [],
        field: 'definition',
        message: `is not valid YAML: ${message}`,
        ...place(pos[0]),
      })),
    };
  }
  const inexact = inexactNumbers(document);
  if (inexact.length > 0) {
    return {
      source: null,
      problems: inexact.map(({ offset, message }) => ({ path: [], field: 'definition', message, ...place(offset) })),
    };
  }
  let value: Json;
  try {
    value = document.toJS({ maxAliasCount: MAX_ALIASES }) as Json;
  } catch (error) {
    const problems = createProblems();
    problems.add([], `is not usable YAML: ${error instanceof Error ? error.message : String(error)}`);
    return { source: null, problems: problems.list };
  }
  const locate = (path: Path): Place => {
    const offset = offsetOf(document.contents, path);
    return place(offset);
  };
  return { source: { value, locate }, problems: [] };
}

/** Where the value at a path begins; for a missing or unknown field the key, or else what would hold it. */
function offsetOf(root: Node | null, path: Path): number {
  let node: Node | null = root;
  let offset = root?.range?.[0] ?? 0;
  for (const part of path) {
    let next: unknown = null;
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(part));
      if (pair === undefined) return offset;
      const key = pair.key as Node;
      offset = key.range?.[0] ?? offset;
      next = pair.value;
    } else if (isSeq(node)) next = node.items[Number(part)];
    if (next === null || next === undefined || typeof next !== 'object' || !('range' in next)) return offset;
    node = next as Node;
    offset = node.range?.[0] ?? offset;
  }
  return offset;
}
