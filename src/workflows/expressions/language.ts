/**
 * The expression language inside `${{ … }}`: JMESPath by a kept library, never code. Its functions are the library's
 * and those below; what an evaluation costs is counted (src/evaluation/meter.ts), also inside of functions.
 */
import {
  compile,
  getRegisteredFunctions,
  registerFunction,
  TreeInterpreter,
  TYPE_ANY,
  TYPE_ARRAY,
  TYPE_ARRAY_STRING,
  TYPE_NUMBER,
  TYPE_STRING,
} from '@jmespath-community/jmespath';
import { inexactness } from '../../documents/exact-json.ts';
import { numberProblem } from '../../documents/exact-numbers.ts';
import { isObject, type Json } from '../../documents/json.ts';
import { boundedJson, CostError, measure, spend, textUnits } from '../../evaluation/meter.ts';
import { occurrences } from './search.ts';

/** A parsed expression. */
export type Expression = ReturnType<typeof compile>;

/** Characters of one expression at most. */
export const MAX_LENGTH = 2_000;
/** Elements of an array and characters of a text at most. */
const MAX_ELEMENTS = 100_000;
const MAX_TEXT = 1_000_000;
/** Characters of the JSON of a value at most. */
const MAX_VALUE = 8_000_000;

/** An expression that cannot be read or evaluated, in words for whoever wrote it. */
export class ExpressionError extends Error {
  override readonly name = 'ExpressionError';
}

/** The three kinds of quotes of an expression; what a backtick begins is JSON. */
const QUOTED = /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`((?:[^`\\]|\\.)*)`/gs;

/** A number that a function takes as a count. */
function whole(name: string, value: unknown, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max) return value;
  throw new ExpressionError(`${name}() takes whole numbers from 0 to ${max}, not ${JSON.stringify(value)}`);
}

type Signature = Parameters<typeof registerFunction>[2];
const number = { types: [TYPE_NUMBER] };
const array = { types: [TYPE_ARRAY] };
const text = { types: [TYPE_STRING] };

/** Registers a function of ours. The library has held the arguments against the signature when it is called. */
function define(name: string, signature: Signature, work: (args: Json[]) => Json): void {
  registerFunction(name, (args) => work(args as Json[]), signature, { override: true, warn: false });
}

const list = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : []);
const key = (value: Json): string => boundedJson(value, MAX_TEXT);

function checkedText(value: string): string {
  if (value.length <= MAX_TEXT) return value;
  throw new ExpressionError(`makes a text of more than ${MAX_TEXT} characters`);
}

function checkedList<T>(value: T[]): T[] {
  if (value.length <= MAX_ELEMENTS) return value;
  throw new ExpressionError(`makes an array of more than ${MAX_ELEMENTS} elements`);
}

function registerFunctions(): void {
  define('range', [number, { ...number, optional: true }], ([first, second]) => {
    const start = second === undefined ? 0 : whole('range', first, Number.MAX_SAFE_INTEGER);
    const end = whole('range', second ?? first, Number.MAX_SAFE_INTEGER);
    const length = whole('range', Math.max(0, end - start), MAX_ELEMENTS);
    spend(length);
    return Array.from({ length }, (_, n) => start + n);
  });
  define('take', [array, number], ([all, n]) => list(all).slice(0, whole('take', n, MAX_ELEMENTS)));
  define('drop', [array, number], ([all, n]) => list(all).slice(whole('drop', n, MAX_ELEMENTS)));
  define('chunk', [array, number], ([all, n]) => {
    const size = Math.max(1, whole('chunk', n, MAX_ELEMENTS));
    const { length } = list(all);
    return Array.from({ length: Math.ceil(length / size) }, (_, k) => list(all).slice(k * size, (k + 1) * size));
  });
  define('unique', [array], ([all]) => [...new Map(list(all).map((item) => [key(item), item])).values()]);
  define('concat', [array, array], ([one, other]) => checkedList([...list(one), ...list(other)]));
  define('without', [array, array], ([all, others]) => {
    const gone = new Set(list(others).map(key));
    return list(all).filter((item) => !gone.has(key(item)));
  });
  define('require', [{ types: [TYPE_ANY] }, text], ([condition, message]) => {
    if (condition === true) return true;
    throw new ExpressionError(String(message));
  });
  define('json', [{ types: [TYPE_ANY] }], ([value]) => key(value ?? null));
  define('to_string', [{ types: [TYPE_ANY] }], ([value]) => (typeof value === 'string' ? value : key(value ?? null)));
  // The library's own would take a neighbor of a number that cannot be kept.
  define('to_number', [{ types: [TYPE_ANY] }], ([value]) => {
    if (typeof value === 'number') return value;
    if (typeof value !== 'string' || Number.isNaN(Number(value))) return null;
    const problem = numberProblem(value.trim());
    if (problem !== null) throw new ExpressionError(`to_number(): "${value}" ${problem}`);
    return Number(value);
  });
  // The library's own would pad to any width.
  const padding = [text, number, { ...text, optional: true }];
  define('pad_left', padding, ([value, n, pad]) =>
    String(value).padStart(whole('pad_left', n, 1_000), String(pad ?? ' ')),
  );
  define('pad_right', padding, ([value, n, pad]) =>
    String(value).padEnd(whole('pad_right', n, 1_000), String(pad ?? ' ')),
  );
  registerTextFunctions();
}

/** The library's own make texts and lists of any size in one go, or (trim) take the square of a text's length. */
function registerTextFunctions(): void {
  const count = { ...number, optional: true };
  const places = [text, text, count, count];
  define('find_first', places, ([value, part, from, to]) => placeOf('first', value ?? '', part ?? '', from, to));
  define('find_last', places, ([value, part, from, to]) => placeOf('last', value ?? '', part ?? '', from, to));
  define('contains', [{ types: [TYPE_STRING, TYPE_ARRAY] }, { types: [TYPE_ANY] }], ([all, wanted]) => {
    if (Array.isArray(all)) return all.includes(wanted ?? null);
    if (typeof wanted !== 'string') return null;
    return wanted === '' || occurrences(String(all), wanted).next().done !== true;
  });
  define('join', [text, { types: [TYPE_ARRAY_STRING] }], ([separator, all]) =>
    joined(list(all) as string[], separator));
  define('split', [text, text, count], ([value, separator, n]) => {
    const [subject, by] = [String(value), String(separator)];
    if (subject === '' && by === '') return [];
    const parts = by === '' ? subject.split('') : partsOf(subject, by, MAX_ELEMENTS);
    if (n === undefined || n === null) return parts;
    const first = whole('split', n, MAX_ELEMENTS);
    return first === 0 ? [subject] : [...parts.slice(0, first), joined(parts.slice(first), by)];
  });
  define('replace', [text, text, text, count], ([value, old, by, n]) => {
    const most = n === undefined || n === null ? null : whole('replace', n, MAX_ELEMENTS);
    return replaced(String(value), String(old), String(by), most);
  });
  const characters = [text, { ...text, optional: true }];
  define('trim', characters, ([value, set]) => trimmed(String(value), set, true, true));
  define('trim_left', characters, ([value, set]) => trimmed(String(value), set, true, false));
  define('trim_right', characters, ([value, set]) => trimmed(String(value), set, false, true));
}

function joined(parts: readonly string[], separator: Json | undefined): string {
  const by = String(separator);
  const length = parts.reduce((sum, part) => sum + part.length, by.length * Math.max(0, parts.length - 1));
  if (length > MAX_TEXT) throw new ExpressionError(`makes a text of more than ${MAX_TEXT} characters`);
  spend(textUnits(length));
  return parts.join(by);
}

/** A text cut at the occurrences of another one. @param most occurrences that count. */
function partsOf(value: string, separator: string, most: number): string[] {
  const parts: string[] = [];
  let from = 0;
  for (const found of occurrences(value, separator)) {
    if (parts.length === most) break;
    parts.push(value.slice(from, found));
    from = found + separator.length;
  }
  return [...parts, value.slice(from)];
}

/** @param most occurrences that are replaced; null: all. */
function replaced(value: string, old: string, by: string, most: number | null): string {
  if (old === '') return most === null ? joined(value.split(''), by) : joined([...Array(most).fill(by), value], '');
  return joined(partsOf(value, old, most ?? Number.POSITIVE_INFINITY), by);
}

/** The place of the first or the last occurrence between two places; null where there is none. */
function placeOf(which: 'first' | 'last', value: Json, part: Json, from: Json | undefined, to: Json | undefined): Json {
  const text = String(value);
  const start = Math.max(0, integer(from) || 0);
  const occurring = occurrences(text.slice(start, integer(to) || text.length), String(part), which === 'last');
  let place: number | null = null;
  for (const at of occurring) {
    place = at + start;
    if (which === 'first') break;
  }
  return place;
}

function integer(value: Json | undefined): number {
  if (value === undefined || Number.isInteger(value)) return Number(value ?? 0);
  throw new ExpressionError(`expects whole numbers, not ${JSON.stringify(value)}`);
}

const SPACE = /[\s\u0085]/;

function trimmed(value: string, set: Json | undefined, left: boolean, right: boolean): string {
  const own = typeof set === 'string' && set !== '' ? new Set(set.split('')) : null;
  const goes = (at: number) => (own === null ? SPACE.test(value.charAt(at)) : own.has(value.charAt(at)));
  let [start, end] = [0, value.length];
  while (left && start < end && goes(start)) start += 1;
  while (right && end > start && goes(end - 1)) end -= 1;
  spend(value.length - (end - start));
  return value.slice(start, end);
}

/** Variables of `let`, the innermost last. */
let scopes: Map<string, unknown>[] = [];

/**
 * Every part of an evaluation passes through here: what grows too large stops it. `let` is ours as well: the library's
 * goes past this place, loses its variables in functions' expressions (`&…`), and has none that is 0 or false. So are
 * comparing and flattening, whose cost is that of the values and not of the expression.
 */
function boundInterpreter(): void {
  const visitOther = TreeInterpreter.visit.bind(TreeInterpreter);
  const visit: typeof visitOther = (node, value) => {
    if ('type' in node) {
      if (node.type === 'LetExpression') {
        const variables = node.bindings.map(
          ({ variable, reference }) => [variable, TreeInterpreter.visit(reference, value)] as const,
        );
        scopes.push(new Map(variables));
        try {
          return TreeInterpreter.visit(node.expression, value);
        } finally {
          scopes.pop();
        }
      }
      if (node.type === 'Variable') {
        const { name } = node;
        const scope = scopes.findLast((variables) => variables.has(name));
        if (scope === undefined) throw new ExpressionError(`there is no variable $${name}`);
        return (scope.get(name) ?? null) as Json;
      }
      if (node.type === 'Comparator' && (node.name === 'EQ' || node.name === 'NE')) {
        const same = isSame(
          TreeInterpreter.visit(node.left, value) as Json,
          TreeInterpreter.visit(node.right, value) as Json,
        );
        return node.name === 'EQ' ? same : !same;
      }
      if (node.type === 'Flatten') {
        const lists = TreeInterpreter.visit(node.child, value);
        return Array.isArray(lists) ? flattened(lists as Json[]) : null;
      }
      if (node.type === 'Slice' || node.type === 'ValueProjection') spend(sizeOf(value as Json));
    }
    return visitOther(node, value);
  };
  TreeInterpreter.visit = (node, value) => {
    spend(1);
    const found = visit(node, value);
    if (Array.isArray(found)) checkedList(found);
    else if (typeof found === 'string') spend(textUnits(checkedText(found).length));
    return found;
  };
  const { runtime } = TreeInterpreter;
  const callFunction = runtime.callFunction.bind(runtime);
  runtime.callFunction = (name, given) => {
    for (const argument of given) spend(argumentUnits(name, argument as Json));
    return callFunction(name, given);
  };
}

/** What looking at a value's own elements, names or characters costs. */
function sizeOf(value: Json): number {
  if (typeof value === 'string') return textUnits(value.length);
  if (Array.isArray(value)) return value.length;
  return isObject(value) ? Object.keys(value).length : 0;
}

/** Functions that put a list in order. */
const SORTING = ['sort', 'sort_by'];

function argumentUnits(name: string, argument: Json): number {
  let units = sizeOf(argument);
  if (Array.isArray(argument)) {
    for (const item of argument) if (typeof item === 'string') units += textUnits(item.length);
  }
  return SORTING.includes(name) ? units * Math.ceil(Math.log2(units + 2)) : units;
}

function flattened(lists: readonly Json[]): Json[] {
  const length = lists.reduce<number>((sum, item) => sum + (Array.isArray(item) ? item.length : 1), 0);
  if (length > MAX_ELEMENTS) throw new ExpressionError(`makes an array of more than ${MAX_ELEMENTS} elements`);
  spend(length);
  return lists.flat();
}

/** Deep equality that counts each part it looks at. */
function isSame(one: Json, other: Json): boolean {
  spend(typeof one === 'string' && typeof other === 'string' ? textUnits(Math.min(one.length, other.length)) : 1);
  if (one === other) return true;
  if (Array.isArray(one)) {
    return (
      Array.isArray(other) && one.length === other.length && one.every((item, n) => isSame(item, other[n] ?? null))
    );
  }
  if (!isObject(one) || !isObject(other)) return false;
  const names = Object.keys(one);
  return (
    names.length === Object.keys(other).length &&
    names.every((name) => Object.hasOwn(other, name) && isSame(one[name] ?? null, other[name] ?? null))
  );
}

registerFunctions();
boundInterpreter();
export const FUNCTION_NAMES: readonly string[] = getRegisteredFunctions();

/** @throws ExpressionError saying what cannot be read, and where in the expression. */
export function parseExpression(text: string): Expression {
  if (text.length > MAX_LENGTH) throw new ExpressionError(`an expression has at most ${MAX_LENGTH} characters`);
  let expression: Expression;
  try {
    expression = compile(text);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new ExpressionError(`cannot read the expression "${text.trim()}": ${message}${hintFor(text, message)}`);
  }
  for (const [, json] of text.matchAll(QUOTED)) {
    const problem = json === undefined ? null : inexactness(json.replaceAll('\\`', '`'), MAX_LENGTH);
    if (problem !== null && problem !== 'too deep') throw new ExpressionError(`\`${json}\` ${problem.message}`);
  }
  return expression;
}

function hintFor(text: string, message: string): string {
  const [, step] = /\boperations\.([\w-]+-\w*)/.exec(text) ?? [];
  if (step !== undefined) return `; ${inQuotes(step)}`;
  return /\(Number\)/.test(message) ? '; write a number in backticks: `3`' : '';
}

/** How to write the id of a step, whose hyphens are minus signs outside of quotes. */
export function inQuotes(step: string): string {
  return `write the id of a step that has a hyphen in quotes: operations."${step}"`;
}

/**
 * The value that a workflow stores and shows is the tree of it, which may be far larger than what is held in memory: it is
 * walked once here, so that whoever takes it need not count.
 * @throws ExpressionError with the library's reason, such as a wrong type of an argument. CostError past the budget.
 */
export function evaluate(expression: Expression, context: Record<string, Json>): Json {
  scopes = [];
  try {
    const value = (TreeInterpreter.search(expression, context) ?? null) as Json;
    measure(value, MAX_VALUE, 'its value');
    return value;
  } catch (error) {
    if (error instanceof ExpressionError || error instanceof CostError) throw error;
    throw new ExpressionError(error instanceof Error ? error.message : String(error));
  }
}
