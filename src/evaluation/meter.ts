/**
 * Counts the work of one evaluation of what a user wrote. A unit is about what one part of an expression costs, some
 * 100 ns. Counted is also what library functions do inside: what counts stops by itself and names its place, and a native
 * call that cannot be interrupted (a sort, a search, a JSON text) is never begun where it would be long.
 */
import type { Json, Path } from '../documents/json.ts';

/** An evaluation that would take too much work, in words for whoever wrote what is evaluated. */
export class CostError extends Error {
  override readonly name = 'CostError';
  /** Where it stands; null: at the place that was noted last. */
  path: Path | null = null;
}

/** Characters that cost as much as one unit when they are copied, compared or searched. */
const CHARACTERS_PER_UNIT = 16;
/** Six characters of JSON stand for one of these at most. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what JSON writes longer
const ESCAPED = /["\\\u0000-\u001f\ud800-\udfff]/;

let left = Number.POSITIVE_INFINITY;
let note: (place: string) => void = () => {};

/** Takes this much work from what is left. @throws CostError where that is less. */
export function spend(units: number): void {
  left -= units;
  if (left < 0) throw new CostError('the evaluation takes more work than one request or run may ask for');
}

/** What a text of this length costs. */
export function textUnits(length: number): number {
  return 1 + length / CHARACTERS_PER_UNIT;
}

/** Says what is evaluated from here on: all that is known of an evaluation that had to be cut off. */
export function notePlace(place: string): void {
  note(place);
}

/** Runs `work`, which may spend `units`. @param tell gets each place that is noted. @returns what it answered and spent. */
export function metered<T>(units: number, tell: (place: string) => void, work: () => T): { value: T; spent: number } {
  left = units;
  note = tell;
  try {
    return { value: work(), spent: units - left };
  } finally {
    left = Number.POSITIVE_INFINITY;
    note = () => {};
  }
}

/**
 * Walks a value as the tree that JSON makes of it: a list that holds another one ten times, ten levels deep, is small in
 * memory and endless as text. Spends what the walk costs.
 * @returns characters of its JSON text, about. @throws CostError where they are more than `limit`.
 */
export function measure(value: unknown, limit: number, what = 'the value'): number {
  let size = 0;
  const open: unknown[] = [value];
  while (open.length > 0) {
    const next = open.pop();
    if (typeof next === 'string') size += jsonLength(next);
    else if (Array.isArray(next)) {
      size += 2 + next.length;
      if (size <= limit) for (const item of next) open.push(item);
    } else if (typeof next === 'object' && next !== null) {
      const entries = Object.entries(next);
      size += 2;
      for (const [name, item] of entries) {
        size += jsonLength(name) + 2;
        open.push(item);
      }
      spend(entries.length);
    } else size += 8;
    spend(1);
    if (size > limit) throw new CostError(`${what} grows to more than ${limit} characters`);
  }
  spend(textUnits(size));
  return size;
}

function jsonLength(text: string): number {
  return 2 + text.length * (ESCAPED.test(text) ? 6 : 1);
}

/** A JSON text that is never longer than `limit`, about. @throws CostError. */
export function boundedJson(value: Json, limit: number): string {
  measure(value, limit);
  return JSON.stringify(value);
}
