import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backoff } from './backoff.ts';

test('waits double up to the longest, and chance only shortens them', () => {
  const longest = [1, 2, 4, 8, 10, 10];
  assert.deepEqual(
    longest.map((_, n) => backoff(n + 1, { first: 1, most: 10, jitter: 0 })),
    longest,
  );
  for (const [n, full] of longest.entries()) {
    const waits = Array.from({ length: 200 }, () => backoff(n + 1, { first: 1, most: 10 }));
    assert.ok(Math.min(...waits) >= full / 2 && Math.max(...waits) <= full, `${waits}`);
    assert.ok(new Set(waits).size > 1, 'they differ');
  }
  assert.equal(backoff(3, { first: 5, most: 21_600, factor: 3, jitter: 0 }), 45);
  assert.equal(backoff(5_000, { first: 1, most: 60, jitter: 0 }), 60);
});
