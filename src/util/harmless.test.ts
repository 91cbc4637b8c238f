import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { SEED } from '../../test/support/seed.ts';
import { harmlessJson, harmlessLine, harmlessText } from './harmless.ts';

fc.configureGlobal({ seed: SEED });

test('control characters become visible, and terminal sequences go', () => {
  for (const [given, made] of [
    ['x\u0000', 'x␀'],
    ['bell\u0007 delete\u007f', 'bell␇ delete␡'],
    ['tabs\tand\nlines\r\nstay', 'tabs\tand\nlines\r\nstay'],
    ['over\rwritten', 'over␍written'],
    ['\u001b[1;31mred\u001b[0m', 'red'],
    ['\u001b]52;c;cm0gLXJmIC8=\u0007copied', 'copied'],
    ['\u001b]0;title\u001b\\shown', 'shown'],
    ['\u001b[2J\u001b[Hcleared', 'cleared'],
    ['\u009b31mred', 'red'],
    ['\u001b]never ended', 'never ended'],
    ['\u001b', '␛'],
    ['\u001b\u001b[0m[31m', '␛[31m'],
    ['half \ud83d a pair', 'half \uFFFD a pair'],
    ['ü 東京 😀', 'ü 東京 😀'],
  ] as const) {
    assert.equal(harmlessText(given), made, JSON.stringify(given));
  }
});

test('of a line that was overwritten the last state is told', () => {
  assert.equal(harmlessLine(' 10 %\r 50 %\r100 %'), '100 %');
  assert.equal(harmlessLine('100 %\r'), '100 %');
  assert.equal(harmlessLine('\r'), '');
  assert.equal(harmlessLine('plain'), 'plain');
});

/** What hosts may print: more control characters, sequences and halves of letters than any real one. */
const hostile = fc.string({
  unit: fc.oneof(
    fc.nat(0xff).map((code) => String.fromCharCode(code)),
    fc.constantFrom(
      '\u001b[',
      '\u001b]',
      '\u0007',
      '\u001b\\',
      '\r',
      '\n',
      '\\',
      '"',
      '\ud800',
      '\udc00',
      '\\u0000',
      '😀',
    ),
  ),
  maxLength: 40,
});

describe('whatever a host prints', () => {
  let database: TestDatabase;
  before(async () => {
    database = await createTestDatabase({ poolSize: 1 });
  });
  after(() => database.close());

  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there
  const HARMFUL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]|\r(?!\n)/;

  test('Postgres stores it as text and as JSON, unchanged, and no terminal obeys it', async () => {
    const property = fc.asyncProperty(hostile, fc.jsonValue({ stringUnit: 'binary' }), async (text, value) => {
      const clean = harmlessText(text);
      assert.doesNotMatch(clean, HARMFUL);
      assert.equal(harmlessText(clean), clean);
      assert.doesNotMatch(harmlessLine(text), HARMFUL);
      const json = harmlessJson({ [text]: text, value });
      const { rows } = await database.pool.query<{ text: string; json: unknown }>(
        'select $1::text as text, $2::jsonb as json',
        [clean, json],
      );
      assert.deepEqual(rows, [{ text: clean, json: JSON.parse(json) }]);
      assert.ok(Object.values(JSON.parse(json)).includes(clean));
    });
    // A failure's report names the seed and the path that show it again.
    await fc.assert(property, { numRuns: 300 });
  });

  test('JSON that is harmless already is the same text', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'grapheme-ascii' }), (value) => {
        assert.deepEqual(JSON.parse(harmlessJson(value)), JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});
