import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalAddress } from './addresses.ts';

test('addresses that are the same are written the same', () => {
  for (const [given, written] of [
    ['0:0:0:0:0:0:0:1', '::1'],
    ['2001:DB8:0::0001', '2001:db8::1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:c000:0201', '192.0.2.1'],
    ['192.0.2.1', '192.0.2.1'],
    ['jump.example', 'jump.example'],
  ] as const) {
    assert.equal(canonicalAddress(given), written);
  }
});
