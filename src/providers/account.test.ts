import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAccount } from './account.ts';

const tick = () => new Promise((resolve) => setImmediate(resolve));

test('calls stay below the share of the limit, and changes go before observations', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  const account = createAccount({ name: 'c', limit: { calls: 60, perSeconds: 60 } });
  const done: string[] = [];
  for (let n = 0; n < 40; n++) void account.admit('observe').then(() => done.push('observe'));
  for (let n = 0; n < 20; n++) void account.admit('change').then(() => done.push('change'));
  for (; now < 50_000; now += 100) {
    t.mock.timers.tick(100);
    await tick();
  }
  // 0.6 a second for 50 s, and what the bucket holds at the start.
  assert.ok(done.length <= 0.6 * 50 + 5, `${done.length} calls`);
  assert.ok(done.length >= 0.6 * 50 - 2, `${done.length} calls`);
  assert.equal(done.filter((kind) => kind === 'change').length, 20);
  // But for the one in five that goes to an observation which has waited for long.
  assert.ok(done.lastIndexOf('change') < 30, 'a change waited for observations');
  assert.ok(done.indexOf('observe') < 20, 'observations starve');
  account.close();
});

test('a pause that the provider asked for holds everything, and says so', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  const account = createAccount({ name: 'c', limit: { calls: 600, perSeconds: 60 } });
  account.throttled(10);
  const said: string[] = [];
  let admitted = false;
  void account.admit('change', { onWait: (reason) => said.push(reason) }).then(() => {
    admitted = true;
  });
  for (; now < 9_900; now += 100) {
    t.mock.timers.tick(100);
    await tick();
    assert.equal(admitted, false);
  }
  assert.match(said[0] ?? '', /c asked for fewer calls/);
  assert.equal(said.length, 1);
  now = 10_100;
  t.mock.timers.tick(300);
  await tick();
  assert.ok(admitted);
  account.close();
});

test('a provider that does not answer is left alone, then asked by one call only', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  const account = createAccount({ name: 'c', limit: { calls: 6_000, perSeconds: 60 } });
  for (let n = 0; n < 5; n++) {
    await account.admit('change');
    account.failed();
  }
  let admitted = 0;
  for (let n = 0; n < 3; n++) void account.admit('change').then(() => admitted++);
  await tick();
  assert.equal(admitted, 0);
  assert.equal(account.state().state, 'unreachable');
  now = 1_100;
  t.mock.timers.tick(1_100);
  await tick();
  assert.equal(admitted, 1, 'one call asks whether it is back');
  account.answered({ limit: null, remaining: null });
  await tick();
  assert.equal(admitted, 3);
  account.close();
});

test('what the provider says of its limit counts', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  const account = createAccount({ name: 'c', limit: { calls: 3_600, perSeconds: 3_600 } });
  await account.admit('change');
  account.answered({ limit: 3_600, remaining: 3_600 * 0.2 + 3 });
  let admitted = 0;
  for (let n = 0; n < 10; n++) void account.admit('change').then(() => admitted++);
  await tick();
  assert.equal(admitted, 3);
  now += 1_700;
  t.mock.timers.tick(1_700);
  await tick();
  assert.equal(admitted, 4);
  account.close();
});

test('a caller without patience is told why; one whose signal fires leaves the line', async () => {
  const account = createAccount({ name: 'c', limit: { calls: 600, perSeconds: 60 } });
  account.throttled(60);
  await assert.rejects(account.admit('look', { patience: 0.01 }), { code: 'RATE_LIMITED', retryable: true });
  const controller = new AbortController();
  const reason = new Error('cancelled');
  const waiting = account.admit('change', { signal: controller.signal });
  controller.abort(reason);
  await assert.rejects(waiting, (error: unknown) => error === reason);
  assert.equal(account.state().waiting, 0);
  account.close();
});

test('calls that fail together are one failure more: the pause does not jump to the longest', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  const account = createAccount({ name: 'c', limit: { calls: 60_000, perSeconds: 60 } });
  for (let n = 0; n < 50; n++) await account.admit('change');
  for (let n = 0; n < 50; n++) account.failed();
  assert.deepEqual([account.state().state, account.state().retry_after], ['unreachable', 1]);
  for (const wait of [2, 4, 8, 16, 32, 60, 60]) {
    now += account.state().retry_after * 1_000 + 1;
    await account.admit('change');
    account.failed();
    assert.equal(account.state().retry_after, wait);
  }
  now += 60_001;
  for (let n = 0; n < 3; n++) void account.admit('change');
  account.answered({ limit: null, remaining: null });
  for (let n = 0; n < 3; n++) account.throttled(null);
  assert.deepEqual([account.state().state, account.state().retry_after], ['paused', 1]);
  account.close();
});

test('an account whose credentials are refused again and again is left alone, and says so at once', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  const account = createAccount({ name: 'c', limit: { calls: 60_000, perSeconds: 60 } });
  const denied = { limit: null, remaining: null, denied: true };
  for (let n = 0; n < 5; n++) await account.admit('look');
  const waiting = Array.from({ length: 3 }, () => account.admit('look'));
  account.throttled(1);
  waiting.push(account.admit('look'));
  for (let n = 0; n < 5; n++) account.answered(denied);
  const refused = { code: 'AUTHENTICATION_FAILED', retryable: false, message: /Set credentials that are valid/ };
  await assert.rejects(waiting[3] ?? Promise.resolve(), refused, 'who waits already is told as well');
  await assert.rejects(account.admit('change'), refused);
  assert.deepEqual([account.state().state, account.state().waiting], ['refused', 0]);
  now += 5_000;
  await account.admit('look');
  let others = 'waiting';
  const other = account.admit('look').catch(() => {
    others = 'refused';
  });
  await tick();
  assert.equal(others, 'waiting', 'one call asks whether the credentials are good again');
  account.answered(denied);
  await other;
  assert.equal(others, 'refused');
  assert.equal(account.state().retry_after, 10);
  now += 10_001;
  await account.admit('look');
  account.answered({ limit: null, remaining: null });
  assert.equal(account.state().state, 'ok');
  account.close();
});
