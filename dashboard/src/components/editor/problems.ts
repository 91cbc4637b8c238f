import { type Schema, Validator } from '@cfworker/json-schema';
import { isNode, LineCounter, parseDocument } from 'yaml';
import type { FieldProblem } from '../../../../src/sdk/client.ts';

/** Something wrong with a text, from one character to another. */
export interface Problem {
  from: number;
  to: number;
  message: string;
}

/** What this page can tell by itself about a definition: that it is no YAML, or does not fit the schema. */
export function ownProblems(text: string, schema: object): Problem[] {
  const document = parseDocument(text, { lineCounter: new LineCounter() });
  if (document.errors.length > 0) {
    return document.errors.map(({ pos: [from, to], message }) => ({
      from,
      to,
      message: message.split('\n')[0] ?? message,
    }));
  }
  const { errors } = new Validator(schema as Schema, '7', false).validate(document.toJS());
  // An error in something deep is repeated for all that is around it: the deepest says most.
  const deepest = Math.max(0, ...errors.map(({ instanceLocation }) => instanceLocation.split('/').length));
  return errors
    .filter(({ instanceLocation, keyword }) => instanceLocation.split('/').length === deepest && keyword !== 'anyOf')
    .map(({ instanceLocation, error }) => {
      const [from, to] = rangeOf(document, instanceLocation);
      return { from, to, message: error };
    });
}

/** Where a JSON pointer (`#/operations/0/kind`) stands in the text; the nearest thing around it that is there. */
function rangeOf(document: ReturnType<typeof parseDocument>, pointer: string): [number, number] {
  const path = pointer.split('/').slice(1).map(decodePart);
  for (let length = path.length; length > 0; length -= 1) {
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range != null) return [node.range[0], node.range[1]];
  }
  return [0, 0];
}

function decodePart(part: string): string | number {
  const text = decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
  return /^\d+$/.test(text) ? Number(text) : text;
}

/** What the server says, where it stands in the text. What it says of no place in it is left out. */
export function serverProblems(text: string, fields: readonly FieldProblem[]): Problem[] {
  const starts = [0, ...[...text.matchAll(/\n/g)].map(({ index }) => index + 1)];
  return fields.flatMap((field) => {
    const { line, column, message } = field as FieldProblem & { line?: number; column?: number };
    const start = line === undefined ? undefined : starts[line - 1];
    if (start === undefined) return [];
    const from = Math.min(text.length, start + (column ?? 1) - 1);
    const end = text.indexOf('\n', from);
    const near = field.near_matches ?? [];
    return [
      {
        from,
        to: end === -1 ? text.length : Math.max(from, end),
        message: `${message.replace(/ \(line \d+, column \d+\)$/, '')}${near.length === 0 ? '' : `. Did you mean ${near.join(', ')}?`}`,
      },
    ];
  });
}
