import { pathText } from '../documents/json.ts';
import { type ApplicationError, errors } from '../errors.ts';

const [QUOTE, BACKSLASH, COMMA] = [...'"\\,'].map((sign) => sign.charCodeAt(0));
const [BRACE, BRACE_END, BRACKET, BRACKET_END] = [...'{}[]'].map((sign) => sign.charCodeAt(0));
const [MINUS, ZERO, NINE] = [0x2d, 0x30, 0x39];
const LARGE_NUMBER = `is a number past ±${Number.MAX_SAFE_INTEGER}, which would not be kept exactly: send it as a string`;
const NUMBER = /[-+.\deE]+/y;

/** An object or list that the scan is inside of. */
interface Container {
  /** Of an object: the names so far. */
  names: Set<string> | undefined;
  /** The last name, or the index in a list. */
  at: string | number;
}

/**
 * What `JSON.parse` passes over in silence: a name that an object has twice, of which the last would count; and a number
 * so large that a neighbor of it would be kept. Also nesting beyond `maxDepth`, which a name given twice might hide. One
 * pass, without recursion.
 * @param text JSON that has been parsed.
 */
export function inexactness(text: string, maxDepth: number): ApplicationError | undefined {
  const open: Container[] = [];
  let inside: Container | undefined;
  let nameIsNext = false;
  const pathOf = () => pathText(open.map(({ at }) => at)) || 'body';
  for (let i = 0; i < text.length; i += 1) {
    const sign = text.charCodeAt(i);
    if (sign === QUOTE) {
      const end = endOfString(text, i);
      if (nameIsNext && inside?.names !== undefined) {
        const name = nameIn(text.slice(i + 1, end));
        inside.at = name;
        if (inside.names.has(name)) return errors.validation([{ field: pathOf(), message: 'is given more than once' }]);
        inside.names.add(name);
        nameIsNext = false;
      }
      i = end;
    } else if (sign === MINUS || (sign >= ZERO && sign <= NINE)) {
      NUMBER.lastIndex = i;
      const [written = ''] = NUMBER.exec(text) ?? [];
      if (Math.abs(Number(written)) > Number.MAX_SAFE_INTEGER)
        return errors.validation([{ field: pathOf(), message: LARGE_NUMBER }]);
      i += written.length - 1;
    } else if (sign === COMMA) {
      if (inside?.names !== undefined) nameIsNext = true;
      else if (typeof inside?.at === 'number') inside.at += 1;
    } else if (sign === BRACE || sign === BRACKET) {
      nameIsNext = sign === BRACE;
      inside = nameIsNext ? { names: new Set(), at: '' } : { names: undefined, at: 0 };
      open.push(inside);
      if (open.length > maxDepth) return errors.tooDeep(maxDepth);
    } else if (sign === BRACE_END || sign === BRACKET_END) {
      open.pop();
      inside = open.at(-1);
      nameIsNext = false;
    }
  }
  return undefined;
}

/** @returns the index of the quote that ends the string which begins at `start`. */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  for (let sign = text.charCodeAt(i); sign !== QUOTE; sign = text.charCodeAt(i)) i += sign === BACKSLASH ? 2 : 1;
  return i;
}

/** `"a"` and `"\u0061"` are the same name. */
function nameIn(written: string): string {
  return written.includes('\\') ? String(JSON.parse(`"${written}"`)) : written;
}
