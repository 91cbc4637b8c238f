/**
 * Whatever a user writes, an evaluation answers, refuses, or is ended within its budget, and the thread of the server does
 * next to nothing meanwhile. BUDGET_RUNS says how many definitions are tried.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { tellSeed } from '../../test/support/seed.ts';
import type { JsonObject } from '../documents/json.ts';
import { ApplicationError } from '../errors.ts';
import './kinds/rules.ts';
import { type Budget, closeEvaluation, evaluate, requestBudget } from '../evaluation/pool.ts';
import { loadDefinition, planWorkflow } from './evaluation.ts';

after(closeEvaluation);

const RUNS = Number(process.env.BUDGET_RUNS ?? 60);
const SEED = tellSeed();
/** Small, so that many are tried. Milliseconds of processor time, of which a thread may take some more until it is seen. */
const LIMIT = { milliseconds: 300, work: 1_000_000 };
const SLACK_MS = 700;
/** Processor time that the thread of the server may spend on one of them. Milliseconds. */
const OWN_MS = 500;

const { expression } = fc.letrec<{ expression: string; list: string; text: string }>((tie) => {
  const list = tie('list');
  const text = tie('text');
  return {
    list: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom('range(`9`)', 'range(`9999`)', 'range(`99999`)', 'parameters.x', '@', '[@, @, @]'),
      fc.tuple(list, list).map(([one, other]) => `map(&${one}, ${other})`),
      fc.tuple(list, list).map(([one, other]) => `concat(${one}, ${other})`),
      fc.tuple(list, list).map(([one, other]) => `without(${one}, ${other})`),
      fc.tuple(list, list).map(([one, other]) => `(let $v = ${one} in [$v, $v, ${other}, $v, $v])`),
      list.map((of) => `sort_by(${of}, &to_string(@))`),
      list.map((of) => `unique(${of})`),
      list.map((of) => `(${of})[]`),
      list.map((of) => `zip(${of}, ${of}, ${of})`),
      list.map((of) => `reverse(${of})`),
      fc.tuple(text, text).map(([one, other]) => `split(${one}, ${other})`),
      fc.tuple(list, list).map(([one, other]) => `(${one})[?@ == (${other})]`),
    ),
    text: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom("'a'", "' '", "'é東'", "'\u{1f600}'", "''"),
      list.map((of) => `json(${of})`),
      fc.tuple(text, list).map(([by, of]) => `join(${by}, map(&to_string(@), ${of}))`),
      fc.tuple(text, text, text).map(([of, old, by]) => `replace(${of}, ${old}, ${by})`),
      text.map((of) => `trim(${of})`),
      text.map((of) => `upper(${of})`),
      text.map((of) => `pad_left(${of}, \`1000\`)`),
      text.map((of) => `(let $t = ${of} in join($t, [$t, $t, $t, $t]))`),
    ),
    expression: fc.oneof(
      list,
      text,
      fc.tuple(text, text).map(([of, part]) => `contains(${of}, ${part})`),
      fc.tuple(list, list).map(([one, other]) => `(${one}) == (${other})`),
    ),
  };
});

const pattern = fc
  .array(fc.constantFrom('a', '(a+)+', '(a|a)*', '[^b]*', 'a{0,99}', '(a*)*', '(?=a*)', '.', '\\p{L}*', '$'), {
    minLength: 1,
    maxLength: 6,
  })
  .map((parts) => `^${parts.join('')}!$`);

const schema = fc.oneof(
  pattern.map((of) => ({ items: { pattern: of } })),
  fc.constantFrom<object>(
    { uniqueItems: true },
    { items: { anyOf: [{ type: 'string', minLength: 9 }, { uniqueItems: true }] } },
    { contains: { enum: [[1], [2]] } },
    { items: { format: 'ipv6' } },
  ),
);

const value = fc.oneof(
  fc.nat(20_000).map((length) => Array.from({ length }, (_, n) => n)),
  fc.nat(2_000).map((length) => Array.from({ length }, (_, n) => ({ n: [n] }))),
  fc.nat(200).map((length) => [`${'a'.repeat(length)}?`]),
);

const yaml = fc.oneof(
  fc
    .tuple(fc.constantFrom('[', '{a: ', '- ', '? ', '&a ', '#\n', '"\\x', '|\n', 'a: *a\n'), fc.nat(20_000))
    .map(([part, n]) => part.repeat(n)),
  fc.string({ unit: 'binary', maxLength: 2_000 }),
);

const definition = fc.oneof(
  { weight: 1, arbitrary: yaml },
  {
    weight: 5,
    arbitrary: fc
      .record({ expression, schema, place: fc.constantFrom('for_each', 'when', 'with') })
      .map(({ expression: of, schema: x, place }) => {
        const text = `\${{ ${of} }}`;
        const step = { id: 'a', kind: 'approval', [place]: place === 'with' ? { message: text } : text };
        return JSON.stringify({ parameters: { type: 'object', properties: { x } }, operations: [step] });
      }),
  },
);

async function plan(text: string, parameters: JsonObject, budget: Budget): Promise<void> {
  const loaded = await loadDefinition(text, null, budget);
  if (loaded.definition === null) return;
  const workspace = { name: 'default', defaults: {} };
  await planWorkflow(
    { definition: loaded.definition, parameters, workspace, servers: [], taskservs: [] },
    new Map(),
    budget,
  );
}

/** Processor time of this thread alone. Milliseconds. */
function ownTime(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

test(`any definition holds the budget (PROVISIONING_TEST_SEED=${SEED} BUDGET_RUNS=${RUNS})`, async () => {
  await fc.assert(
    fc.asyncProperty(definition, value, async (text, x) => {
      const budget: Budget = { owner: 'somebody', ...LIMIT, patient: true };
      const before = ownTime();
      try {
        await plan(text, { x }, budget);
      } catch (error) {
        assert.ok(error instanceof ApplicationError && error.code === 'TOO_COSTLY', String(error));
        assert.match(error.message, /^(operations|definition|parameters|outputs|the pattern )/);
      }
      assert.ok(budget.milliseconds > -SLACK_MS, `took ${LIMIT.milliseconds - budget.milliseconds} ms`);
      const own = ownTime() - before;
      assert.ok(own < OWN_MS, `the thread of the server took ${own} ms`);
    }),
    { numRuns: RUNS, seed: SEED, endOnFailure: true },
  );
});

test('one user does not hold all threads', async () => {
  const costly = JSON.stringify({
    parameters: { type: 'object', properties: { x: { type: 'string', pattern: '^(a+)+$' } } },
    operations: [{ id: 'a', kind: 'approval' }],
  });
  const order: string[] = [];
  const one = (owner: string, x: string) =>
    plan(costly, { x }, { owner, milliseconds: 1_000, work: 1_000_000, patient: true })
      .catch((error: unknown) => assert.equal((error as ApplicationError).code, 'TOO_COSTLY'))
      .then(() => order.push(owner));
  const greedy = Array.from({ length: 4 }, () => one('greedy', `${'a'.repeat(60)}!`));
  await Promise.all([...greedy, one('modest', 'aaa')]);
  assert.ok(order.indexOf('modest') < 2, `the modest one was answered as number ${order.indexOf('modest') + 1}`);
});

test('what is asked of a thread that has a fault is a fault, and the next one is answered', async () => {
  await assert.rejects(
    evaluate('no.such.task', {} as never, requestBudget('somebody'), 'nowhere'),
    /there is no task "no\.such\.task"/,
  );
  await plan(JSON.stringify({ operations: [{ id: 'a', kind: 'approval' }] }), {}, requestBudget('somebody'));
});
