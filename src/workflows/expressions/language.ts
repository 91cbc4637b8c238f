/**
 * The expression language inside `${{ … }}`: JMESPath by a kept library, never code. Its functions are the library's
 * and the few below; what an evaluation may cost is bounded.
 */
import {
  compile,
  getRegisteredFunctions,
  registerFunction,
  TreeInterpreter,
  TYPE_ANY,
  TYPE_ARRAY,
  TYPE_NUMBER,
  TYPE_STRING,
} from '@jmespath-community/jmespath';
import { inexactness } from '../../documents/exact-json.ts';
import { numberProblem } from '../../documents/exact-numbers.ts';
import type { Json } from '../../documents/json.ts';

/** A parsed expression. */
export type Expression = ReturnType<typeof compile>;

/** Characters of one expression at most. */
const MAX_LENGTH = 2_000;
/** Parts of an expression that may be evaluated, elements of an array and characters of a text at most. */
const MAX_VISITS = 2_000_000;
const MAX_ELEMENTS = 100_000;
const MAX_TEXT = 1_000_000;

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
const key = (value: Json): string => JSON.stringify(value);

function registerFunctions(): void {
  define('range', [number, { ...number, optional: true }], ([first, second]) => {
    const start = second === undefined ? 0 : whole('range', first, Number.MAX_SAFE_INTEGER);
    const end = whole('range', second ?? first, Number.MAX_SAFE_INTEGER);
    const length = whole('range', Math.max(0, end - start), MAX_ELEMENTS);
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
  define('concat', [array, array], ([one, other]) => [...list(one), ...list(other)]);
  define('without', [array, array], ([all, others]) => {
    const gone = new Set(list(others).map(key));
    return list(all).filter((item) => !gone.has(key(item)));
  });
  define('require', [{ types: [TYPE_ANY] }, text], ([condition, message]) => {
    if (condition === true) return true;
    throw new ExpressionError(String(message));
  });
  define('json', [{ types: [TYPE_ANY] }], ([value]) => JSON.stringify(value));
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
}

let visits = 0;
/** Variables of `let`, the innermost last. */
let scopes: Map<string, unknown>[] = [];

/**
 * Every part of an evaluation passes through here: what grows too large stops it. `let` is ours as well: the library's
 * goes past this place, loses its variables in functions' expressions (`&…`), and has none that is 0 or false.
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
    }
    return visitOther(node, value);
  };
  TreeInterpreter.visit = (node, value) => {
    visits += 1;
    if (visits > MAX_VISITS) throw new ExpressionError('the evaluation takes too long');
    const found = visit(node, value);
    if (Array.isArray(found) && found.length > MAX_ELEMENTS) {
      throw new ExpressionError(`makes an array of more than ${MAX_ELEMENTS} elements`);
    }
    if (typeof found === 'string' && found.length > MAX_TEXT) {
      throw new ExpressionError(`makes a text of more than ${MAX_TEXT} characters`);
    }
    return found;
  };
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

/** @throws ExpressionError with the library's reason, such as a wrong type of an argument. */
export function evaluate(expression: Expression, context: Record<string, Json>): Json {
  visits = 0;
  scopes = [];
  try {
    const value = TreeInterpreter.search(expression, context);
    return value === undefined ? null : (value as Json);
  } catch (error) {
    if (error instanceof ExpressionError) throw error;
    throw new ExpressionError(error instanceof Error ? error.message : String(error));
  }
}
