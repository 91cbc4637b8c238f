import { numberProblem } from './exact-numbers.ts';
import { pathText } from './json.ts';

const [QUOTE, BACKSLASH, COMMA] = [...'"\\,'].map((sign) => sign.charCodeAt(0));
const [BRACE, BRACE_END, BRACKET, BRACKET_END] = [...'{}[]'].map((sign) => sign.charCodeAt(0));
const [MINUS, ZERO, NINE] = [0x2d, 0x30, 0x39];
const NUMBER = /[-+.\deE]+/y;

/** An object or list that the scan is inside of. */
interface Container {
  /** Of an object: the names so far. */
  names: Set<string> | undefined;
  /** The last name, or the index in a list. */
  at: string | number;
}

/** What is wrong, and where: `with.servers[2]`. */
export interface Inexactness {
  field: string;
  message: string;
}

/**
 * What `JSON.parse` passes over in silence: a name that an object has twice, of which the last would count; a number in
 * whose place another one would be kept; and half of a surrogate pair (`\ud800`), which UTF-8 cannot hold. Also nesting
 * beyond `maxDepth` (`too deep`), which a name given twice might hide. One pass, without recursion.
 * @param text JSON that has been parsed.
 */
export function inexactness(text: string, maxDepth: number): Inexactness | 'too deep' | null {
  const open: Container[] = [];
  let inside: Container | undefined;
  let nameIsNext = false;
  const pathOf = () => pathText(open.map(({ at }) => at)) || 'body';
  for (let i = 0; i < text.length; i += 1) {
    const sign = text.charCodeAt(i);
    if (sign === QUOTE) {
      const end = endOfString(text, i);
      const value = read(text.slice(i + 1, end));
      if (!value.isWellFormed()) return { field: pathOf(), message: 'holds half of a surrogate pair: no character' };
      if (nameIsNext && inside?.names !== undefined) {
        inside.at = value;
        if (inside.names.has(value)) return { field: pathOf(), message: 'is given more than once' };
        inside.names.add(value);
        nameIsNext = false;
      }
      i = end;
    } else if (sign === MINUS || (sign >= ZERO && sign <= NINE)) {
      NUMBER.lastIndex = i;
      const [written = ''] = NUMBER.exec(text) ?? [];
      const message = numberProblem(written);
      if (message !== null) return { field: pathOf(), message };
      i += written.length - 1;
    } else if (sign === COMMA) {
      if (inside?.names !== undefined) nameIsNext = true;
      else if (typeof inside?.at === 'number') inside.at += 1;
    } else if (sign === BRACE || sign === BRACKET) {
      nameIsNext = sign === BRACE;
      inside = nameIsNext ? { names: new Set(), at: '' } : { names: undefined, at: 0 };
      open.push(inside);
      if (open.length > maxDepth) return 'too deep';
    } else if (sign === BRACE_END || sign === BRACKET_END) {
      open.pop();
      inside = open.at(-1);
      nameIsNext = false;
    }
  }
  return null;
}

/** @returns the index of the quote that ends the string which begins at `start`. */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  for (let sign = text.charCodeAt(i); sign !== QUOTE; sign = text.charCodeAt(i)) i += sign === BACKSLASH ? 2 : 1;
  return i;
}

/** `"a"` and `"\u0061"` are the same. */
function read(written: string): string {
  return written.includes('\\') ? String(JSON.parse(`"${written}"`)) : written;
}
