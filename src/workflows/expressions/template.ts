import { isObject, type Json, type Path } from '../../documents/json.ts';
import { CostError, spend, textUnits } from '../../evaluation/meter.ts';
import { isReference } from '../secrets/reference.ts';
import { type Expression, ExpressionError, evaluate, MAX_LENGTH, parseExpression } from './language.ts';
import { type References, referencesOf } from './references.ts';

/** A text with `${{ … }}` in it, read. */
export interface Template {
  /** Literal text and expressions in turn. */
  parts: readonly (string | Expression)[];
  /** The text is one expression and nothing else: its value keeps its type. */
  whole: boolean;
  references: References;
}

const OPEN = '${{';
const CLOSE = '}}';
/** Characters of read templates that are remembered: a thousand nodes share one. */
const MAX_REMEMBERED = 1_000_000;
/** What reading a character of an expression costs. */
const UNITS_PER_CHARACTER = 5;
const remembered = new Map<string, Template>();
let rememberedCharacters = 0;

/** The template that a text is; null where it holds no expression. @throws ExpressionError. */
export function templateOf(text: string): Template | null {
  if (!text.includes(OPEN)) return null;
  const known = remembered.get(text);
  if (known !== undefined) return known;
  const template = readTemplate(text);
  rememberedCharacters += text.length;
  if (rememberedCharacters > MAX_REMEMBERED) {
    remembered.clear();
    rememberedCharacters = text.length;
  }
  remembered.set(text, template);
  return template;
}

function readTemplate(text: string): Template {
  const parts: (string | Expression)[] = [];
  const references: References = {
    roots: new Set(),
    operations: new Set(),
    parameters: new Set(),
    secrets: new Set(),
    workspaceSecrets: new Set(),
  };
  let rest = text;
  for (;;) {
    const open = rest.indexOf(OPEN);
    if (open === -1) break;
    if (rest[open - 1] === '$') {
      // `$${{` stands for `${{` itself.
      parts.push(rest.slice(0, open - 1) + OPEN);
      rest = rest.slice(open + OPEN.length);
      continue;
    }
    if (open > 0) parts.push(rest.slice(0, open));
    const { expression, length } = readExpression(rest.slice(open + OPEN.length));
    const own = referencesOf(expression);
    for (const name of ['roots', 'operations', 'parameters', 'secrets', 'workspaceSecrets'] as const)
      for (const entry of own[name]) references[name].add(entry);
    parts.push(expression);
    rest = rest.slice(open + OPEN.length + length);
  }
  if (rest !== '') parts.push(rest);
  return { parts, whole: parts.length === 1 && typeof parts[0] !== 'string', references };
}

/** Reads up to the first `}}` that ends a whole expression: a hash inside it may end in `}}` as well. */
function readExpression(text: string): { expression: Expression; length: number } {
  let end = text.indexOf(CLOSE);
  if (end === -1) throw new ExpressionError(`"${OPEN}" is not closed by "${CLOSE}"`);
  let first: unknown;
  for (; end !== -1; end = text.indexOf(CLOSE, end + 1)) {
    spend(UNITS_PER_CHARACTER * Math.min(end, MAX_LENGTH));
    try {
      return { expression: parseExpression(text.slice(0, end)), length: end + CLOSE.length };
    } catch (error) {
      first ??= error;
      // A longer one is none.
      if (end > MAX_LENGTH) break;
    }
  }
  throw first;
}

/** Characters of a rendered text at most. */
const MAX_TEXT = 1_000_000;

/** The value of a template. In a longer text null is left out and an object or array stands as JSON. */
export function renderTemplate(template: Template, context: Record<string, Json>): Json {
  const values = template.parts.map((part) => (typeof part === 'string' ? part : evaluate(part, context)));
  if (template.whole) return values[0] ?? null;
  const texts = values.map((value) => {
    if (value === null) return '';
    if (isReference(value)) throw new ExpressionError('a secret stands alone: it cannot be a part of a longer text');
    return typeof value === 'object' ? JSON.stringify(value) : String(value);
  });
  const length = texts.reduce((sum, text) => sum + text.length, 0);
  if (length > MAX_TEXT) throw new ExpressionError(`makes a text of more than ${MAX_TEXT} characters`);
  spend(textUnits(length));
  return texts.join('');
}

/** A value with every template in it rendered. @throws TemplateError naming the place inside it. */
export function render(value: Json, context: Record<string, Json>, path: Path = []): Json {
  if (typeof value === 'string') {
    try {
      const template = templateOf(value);
      return template === null ? value : renderTemplate(template, context);
    } catch (error) {
      if (error instanceof ExpressionError) throw new TemplateError(error.message, path);
      if (error instanceof CostError) error.path ??= path;
      throw error;
    }
  }
  spend(1);
  if (Array.isArray(value)) return value.map((item, n) => render(item, context, [...path, n]));
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, child]) => [name, render(child, context, [...path, name])]),
  );
}

/** An expression that failed, with its place below the value that was rendered. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
  readonly path: Path;
  constructor(message: string, path: Path) {
    super(message);
    this.path = path;
  }
}

/** Calls back with every text in a value that holds an expression; what cannot be read goes to `failed`. */
export function eachTemplate(
  value: Json,
  path: Path,
  found: (template: Template, path: Path) => void,
  failed: (message: string, path: Path) => void,
): void {
  if (typeof value === 'string') {
    try {
      const template = templateOf(value);
      if (template !== null) found(template, path);
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      failed(error.message, path);
    }
    return;
  }
  if (Array.isArray(value)) for (const [n, item] of value.entries()) eachTemplate(item, [...path, n], found, failed);
  else if (isObject(value))
    for (const [name, child] of Object.entries(value)) eachTemplate(child, [...path, name], found, failed);
}
