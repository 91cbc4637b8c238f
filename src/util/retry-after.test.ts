import assert from 'node:assert/strict';
import { test } from 'node:test';
import { retryAfterSeconds } from './retry-after.ts';

test('Retry-After is read as seconds or as a date, up to the longest wait', () => {
  assert.equal(retryAfterSeconds('7', 600), 7);
  assert.equal(retryAfterSeconds(' 0.4 ', 600), 0.4);
  assert.equal(retryAfterSeconds('86400', 600), 600);
  const inAMinute = retryAfterSeconds(new Date(Date.now() + 60_000).toUTCString(), 600) ?? 0;
  assert.ok(inAMinute > 55 && inAMinute <= 60, String(inAMinute));
  assert.equal(retryAfterSeconds('Thu, 01 Jan 1970 00:00:00 GMT', 600), 0);
  for (const nothing of [null, undefined, '', 'soon', '-', '1e9s']) assert.equal(retryAfterSeconds(nothing, 600), null);
});
