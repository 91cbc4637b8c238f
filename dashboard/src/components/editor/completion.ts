import type { Completion, CompletionContext, CompletionResult } from '@codemirror/autocomplete';
import { isMap, isScalar, isSeq, parseDocument, visit } from 'yaml';
import { type SchemaNode, schemasAt, valuesOf } from './schema-path.ts';

/** Stands in the text where something is to be completed, so that the parser tells where that is. */
const HERE = 'here_7f3a';

interface Place {
  path: (string | number)[];
  /** Of the mapping around, those that are there already. */
  siblings: string[];
}

/** Offers the keys and values that the schema knows at the cursor, and the steps of the text where one is named. */
export function completeBySchema(schema: SchemaNode) {
  return (context: CompletionContext): CompletionResult | null => {
    const text = context.state.doc.toString();
    const line = context.state.doc.lineAt(context.pos);
    const before = text.slice(line.from, context.pos);
    const word = /[\w.-]*$/.exec(before)?.[0] ?? '';
    const from = context.pos - word.length;
    if (word === '' && !context.explicit && !/[:-] $/.test(before)) return null;
    const after = text.slice(context.pos).replace(/^[\w.-]*/, '');
    const asKey = /(^|[{,])\s*(- +)*[\w.-]*$/.test(before);
    const options = [
      ...(asKey ? keysAt(schema, `${text.slice(0, from)}${HERE}${after.startsWith(':') ? '' : ': 0'}${after}`) : []),
      ...valuesAt(schema, `${text.slice(0, from)}${HERE}${after}`),
    ];
    return options.length === 0 ? null : { from, options, validFor: /^[\w.-]*$/ };
  };
}

function keysAt(schema: SchemaNode, marked: string): Completion[] {
  const place = placeOf(marked, 'key');
  if (place === null) return [];
  return schemasAt(schema, place.path).flatMap(({ properties = {}, required = [] }) =>
    Object.entries(properties)
      .filter(([name]) => !place.siblings.includes(name))
      .map(([name, { description }]) => ({
        label: name,
        apply: `${name}: `,
        type: 'property',
        boost: required.includes(name) ? 1 : 0,
        ...(description === undefined ? {} : { info: description }),
      })),
  );
}

function valuesAt(schema: SchemaNode, marked: string): Completion[] {
  const place = placeOf(marked, 'value');
  if (place === null) return [];
  const named = place.path.includes('depends_on') ? stepsIn(marked) : [];
  return [...named, ...valuesOf(schemasAt(schema, place.path))].map((label) => ({ label, type: 'enum' }));
}

/** Where the mark stands, as a key of a mapping or as a value. Null where it does not. */
function placeOf(marked: string, as: 'key' | 'value'): Place | null {
  let place: Place | null = null;
  const path: (string | number)[] = [];
  const walk = (node: unknown): void => {
    if (isMap(node)) {
      const keys = node.items.map(({ key }) => String(isScalar(key) ? key.value : key));
      for (const [n, { value }] of node.items.entries()) {
        const key = keys[n] ?? '';
        if (as === 'key' && key === HERE) place = { path: [...path], siblings: keys };
        path.push(key);
        walk(value);
        path.pop();
      }
    } else if (isSeq(node)) {
      for (const [n, item] of node.items.entries()) {
        path.push(n);
        walk(item);
        path.pop();
      }
    } else if (as === 'value' && isScalar(node) && String(node.value) === HERE)
      place = { path: [...path], siblings: [] };
  };
  walk(parseDocument(marked, { strict: false }).contents);
  return place;
}

/** The ids of the steps that the text has. */
function stepsIn(text: string): string[] {
  const ids: string[] = [];
  visit(parseDocument(text, { strict: false }), {
    Pair(_, { key, value }) {
      if (isScalar(key) && key.value === 'id' && isScalar(value) && value.value !== HERE) ids.push(String(value.value));
    },
  });
  return ids;
}
