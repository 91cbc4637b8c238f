import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SEED } from '../../test/support/seed.ts';
import { type Line, MAX_LINE_BYTES } from './contract.ts';
import { cutLines } from './lines.ts';

fc.configureGlobal({ seed: SEED });

function cut(chunks: Buffer[]): Line[] {
  const lines: Line[] = [];
  const cutter = cutLines('stdout', (line) => lines.push(line));
  for (const chunk of chunks) cutter.push(chunk);
  cutter.end();
  return lines;
}

test('however the bytes are cut on their way, the lines are the same', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'ä', '😀', '\n', '\r\n', ' '), maxLength: 60 });
  fc.assert(
    fc.property(text, fc.array(fc.nat(200), { maxLength: 8 }), (whole, places) => {
      const bytes = Buffer.from(whole);
      const cuts = [0, ...places.filter((place) => place < bytes.length).toSorted((a, b) => a - b), bytes.length];
      const chunks = cuts.slice(1).map((to, index) => bytes.subarray(cuts[index], to));
      const expected = whole.split(/\r?\n/);
      if (expected.at(-1) === '') expected.pop();
      assert.deepEqual(
        cut(chunks).map((line) => line.text),
        expected,
      );
    }),
  );
});

test('a line without end comes in pieces of bounded size that lose nothing, no letter cut in two', () => {
  const whole = 'ä😀b'.repeat(20_000);
  const lines = cut([Buffer.from(`${whole}\nnext\n`)]);
  assert.equal(lines.at(-1)?.text, 'next');
  const pieces = lines.slice(0, -1);
  assert.equal(pieces.map((line) => line.text).join(''), whole);
  assert.ok(pieces.every((line) => Buffer.byteLength(line.text) <= MAX_LINE_BYTES));
  assert.deepEqual(
    pieces.map((line) => line.partial === true),
    pieces.map((_, index) => index < pieces.length - 1),
  );
});
