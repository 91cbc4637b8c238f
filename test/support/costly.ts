/** Requests to POST /v1/workflows/validate that ask for far more than the server may spend on one. */

/** `let` over `let`, each with ten references to the one before: 10^levels elements in a thousand characters. */
export function doubled(levels: number, from = '`1`'): string {
  const names = Array.from({ length: levels }, (_, n) => `$v${n}`);
  const lets = names.map(
    (name, n) =>
      `let ${name} = [${Array(10)
        .fill(names[n - 1] ?? from)
        .join(',')}] in `,
  );
  return `${lets.join('')}${names.at(-1)}`;
}

/** A definition of one step. */
export const step = (fields: object) => JSON.stringify({ operations: [{ id: 'a', kind: 'approval', ...fields }] });
/** A definition whose parameter `x` has this schema. */
export const withParameter = (schema: object) =>
  JSON.stringify({
    parameters: { type: 'object', properties: { x: schema } },
    operations: [{ id: 'a', kind: 'approval' }],
  });
export const text = (expression: string) => `\${{ ${expression} }}`;
const megabyte = "let $s = join('', map(&'xxxxxxxxxx', range(`99999`))) in ";

/** Each would hold a thread for seconds to days. */
export const COSTLY: Record<string, { definition: string; parameters?: object }> = {
  'a list of lists, doubled': { definition: step({ for_each: text(doubled(8)) }) },
  'the same as text': { definition: step({ with: { message: `x ${text(`json(${`(${doubled(8)})`})`)}` } }) },
  'the same compared': { definition: step({ when: text(`(${doubled(7)}) == (${doubled(7)})`) }) },
  'trimming what is all space': {
    definition: step({ when: text("map(&trim(join('a', map(&' ', range(`90000`)))), range(`9000`)) == `1`") }),
  },
  'sorting by texts': {
    definition: step({ for_each: text(`${megabyte} sort_by(map(&{k: $s}, range(\`9000\`)), &k)`) }),
  },
  'one list for each element of another': {
    definition: step({ for_each: text('map(&map(&map(&@, range(`9999`)), range(`9999`)), range(`9999`))') }),
  },
  'a pattern that runs away': {
    definition: withParameter({ type: 'array', items: { type: 'string', pattern: '^(a+)+$' } }),
    parameters: { x: Array(60).fill(`${'a'.repeat(60)}!`) },
  },
  'a pattern with alternatives': {
    definition: withParameter({ type: 'string', pattern: '^(([a-z])+.)+[A-Z]([a-z])+$' }),
    parameters: { x: 'a'.repeat(60) },
  },
  'a pattern over any letter': {
    definition: withParameter({ type: 'string', pattern: '^(\\p{L}|é|\\w)*$' }),
    parameters: { x: `${'é'.repeat(60)}!` },
  },
  'unique elements among many': {
    definition: withParameter({ type: 'array', uniqueItems: true }),
    parameters: { x: Array.from({ length: 100_000 }, (_, n) => n) },
  },
  'unique objects among many': {
    definition: withParameter({ type: 'array', uniqueItems: true }),
    parameters: { x: Array.from({ length: 20_000 }, (_, n) => ({ deep: [{ a: [n] }] })) },
  },
};
