import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { SEED } from '../../test/support/seed.ts';
import { comparePositions, parsePosition, parseSeq, positionBefore, positionText } from './cursor.ts';

fc.configureGlobal({ seed: SEED });

const id = '0199c5a0-1111-7222-8333-444455556666';

describe('places in the feed', () => {
  test('survive being written and read', () => {
    const places = fc.tuple(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.uuid(), fc.nat({ max: 2 ** 31 - 1 }));
    fc.assert(
      fc.property(places, ([xid, operationId, seq]) => {
        const position = { xid, operationId, seq };
        assert.deepEqual(parsePosition(positionText(position), 'after'), position);
      }),
    );
  });

  test('are ordered by transaction, operation and number', () => {
    const ordered = [
      positionBefore(9n),
      { xid: 9n, operationId: id, seq: 2 },
      { xid: 9n, operationId: id, seq: 10 },
      { xid: 9n, operationId: `${id.slice(0, -1)}a`, seq: 1 },
      positionBefore(10n),
    ];
    const shuffled = ordered.toReversed();
    assert.deepEqual(shuffled.sort(comparePositions), ordered);
  });

  test('refuse what Postgres would choke on', () => {
    const wrong = ['', '7', `x.${id}.1`, `7.${id}.1.1`, '7.not-a-uuid.1', `7.${id}.-1`, `7.${id}.2147483648`];
    for (const text of [...wrong, `18446744073709551616.${id}.1`]) {
      assert.throws(() => parsePosition(text, 'after'), { code: 'VALIDATION_ERROR', status: 400 }, text);
    }
    for (const text of ['', '-1', '1.5', '1e3', '2147483648']) {
      assert.throws(() => parseSeq(text, 'Last-Event-ID'), { code: 'VALIDATION_ERROR', status: 400 }, text);
    }
  });
});
