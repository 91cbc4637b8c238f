import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseDocument } from 'yaml';
import { numberProblem } from './exact-numbers.ts';
import { inexactNumbers } from './exact-yaml.ts';

test('what a double keeps as it is written is fine, however it is written', () => {
  for (const written of [
    '0',
    '-0',
    '+1',
    '007',
    '.5',
    '5.',
    '1.50000000000000000000',
    '15e-1',
    '1e15',
    '9.007199254740991e15',
  ])
    assert.equal(numberProblem(written), null, written);
  for (const written of ['9007199254740991', '-9007199254740991', '0x1FFFFFFFFFFFFF', '0o17', '5e-324'])
    assert.equal(numberProblem(written), null, written);
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
      fc.pre(Math.abs(value) <= Number.MAX_SAFE_INTEGER);
      assert.equal(numberProblem(String(value)), null);
      assert.equal(numberProblem(value.toExponential()), null);
    }),
  );
});

test('what would become another number is a problem, and so is what is no number', () => {
  for (const written of ['9007199254740992', '-9007199254740993', '1e400', '-1e400', '0x20000000000001', '1e21'])
    assert.match(numberProblem(written) ?? '', /past ±9007199254740991/, written);
  for (const [written, kept] of [
    ['1e-400', '0'],
    ['3.14159265358979323846', '3.141592653589793'],
    ['0.10000000000000000555', '0.1'],
    ['4503599627370496.25', '4503599627370496'],
  ] as const)
    assert.match(numberProblem(written) ?? '', new RegExp(`kept as ${kept.replaceAll('.', '\\.')}:`), written);
  for (const written of ['.nan', '.inf', '-.inf']) assert.match(numberProblem(written) ?? '', /JSON can hold/, written);
  // Whole numbers: exactly those are refused that come back as another one.
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }), (value) => {
      const fits = value <= Number.MAX_SAFE_INTEGER && value >= Number.MIN_SAFE_INTEGER;
      assert.equal(numberProblem(String(value)) === null, fits);
    }),
  );
});

test('in YAML each is found where it stands, as a name too; texts are left alone', () => {
  const text = 'a: [1, 1909198862420847982]\nb: "1909198862420847982"\n1e400: .nan\nc: 1909198862420847982 apples\n';
  assert.deepEqual(
    inexactNumbers(parseDocument(text)).map(({ offset, message }) => [
      text.slice(offset, offset + 5),
      message.split(' ')[0],
    ]),
    [
      ['19091', '1909198862420847982'],
      ['1e400', '1e400'],
      ['.nan\n', '.nan'],
    ],
  );
});
