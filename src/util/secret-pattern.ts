/** What a generated secret looks like: characters, and classes of them with how many, such as `[a-z0-9]{6}\.[a-z0-9]{16}`. */
import { randomInt } from 'node:crypto';

/** What is generated where a definition does not say. */
export const DEFAULT_PATTERN = '[A-Za-z0-9]{32}';
/** Bits of chance at least: nobody guesses 2^96. */
const MIN_BITS = 96;
/** Characters of a secret at most. */
const MAX_LENGTH = 1_024;

/** A part of a secret: `count` characters out of `from`. */
interface Part {
  from: string;
  count: number;
}

/** A pattern that cannot be used, in words for whoever wrote it. */
export class PatternError extends Error {
  override readonly name = 'PatternError';
}

/** A new secret, by the generator for keys. @throws PatternError. */
export function generateSecret(pattern: string): string {
  return checkedParts(pattern)
    .map(({ from, count }) => Array.from({ length: count }, () => from[randomInt(from.length)]).join(''))
    .join('');
}

/** A text of the pattern's form that is no secret: always the same. @throws PatternError. */
export function sampleOf(pattern: string): string {
  return checkedParts(pattern)
    .map(({ from, count }) => from.slice(0, 1).repeat(count))
    .join('');
}

function checkedParts(pattern: string): Part[] {
  const parts = partsOf(pattern);
  const length = parts.reduce((sum, { count }) => sum + count, 0);
  if (length > MAX_LENGTH) throw new PatternError(`makes ${length} characters; a secret has at most ${MAX_LENGTH}`);
  const bits = parts.reduce((sum, { from, count }) => sum + count * Math.log2(from.length), 0);
  if (bits < MIN_BITS) {
    throw new PatternError(
      `leaves ${Math.floor(bits)} bits to chance; at least ${MIN_BITS} are needed: make it longer`,
    );
  }
  return parts;
}

const PART = /\[((?:[^\]\\]|\\.)+)\](?:\{(\d{1,4})\})?|\\(.)|([^[\]{}()*+?|^$.\\])/gy;

function partsOf(pattern: string): Part[] {
  const parts: Part[] = [];
  let end = 0;
  for (const match of pattern.matchAll(PART)) {
    const [whole, characters, count, escaped, literal] = match;
    parts.push(
      characters === undefined
        ? { from: escaped ?? literal ?? '', count: 1 }
        : { from: charactersOf(characters), count: Number(count ?? 1) },
    );
    end = match.index + whole.length;
  }
  if (end < pattern.length) {
    throw new PatternError(
      `cannot be read from "${pattern.slice(end, end + 20)}" on; it consists of characters and classes like [a-z0-9]{16}`,
    );
  }
  return parts;
}

/** Each character that a class allows, once. */
function charactersOf(text: string): string {
  const found = new Set<string>();
  const characters = [...text.matchAll(/\\(.)|(.)-([^\]])|(.)/gsu)];
  for (const [, escaped, from, to, single] of characters) {
    if (from === undefined || to === undefined) {
      found.add(escaped ?? single ?? '');
      continue;
    }
    const [first, last] = [from.charCodeAt(0), to.charCodeAt(0)];
    if (first > last) throw new PatternError(`"${from}-${to}" is the wrong way round`);
    for (let code = first; code <= last; code += 1) found.add(String.fromCharCode(code));
  }
  for (const character of found) {
    if (character < ' ' || character > '~') throw new PatternError('a secret consists of printable ASCII characters');
  }
  return [...found].join('');
}
