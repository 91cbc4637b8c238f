import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSlots } from './slots.ts';

test('no more than the limit runs at once, in order; one that waits gives up when its signal fires', async () => {
  const slots = createSlots(2);
  const never = new AbortController().signal;
  const order: number[] = [];
  const open = Promise.withResolvers<void>();
  let running = 0;
  let most = 0;
  const work = (n: number, signal = never) =>
    slots.run(signal, async () => {
      order.push(n);
      running += 1;
      most = Math.max(most, running);
      await open.promise;
      running -= 1;
    });
  const impatient = new AbortController();
  const all = [work(1), work(2), work(3), work(4, impatient.signal), work(5)];
  impatient.abort(new Error('enough'));
  await assert.rejects(all[3] ?? Promise.resolve(), /enough/);
  assert.deepEqual(order, [1, 2]);
  open.resolve();
  await Promise.all([all[0], all[1], all[2], all[4]]);
  assert.deepEqual(order, [1, 2, 3, 5]);
  assert.equal(most, 2);
  await slots.run(never, async () => 'free again');
});

test('places that are kept back go to urgent takers only', async () => {
  const slots = createSlots(2, 1);
  const never = new AbortController().signal;
  const first = await slots.take(never);
  let second: (() => void) | undefined;
  const waiting = slots.take(never).then((release) => {
    second = release;
  });
  const urgent = await slots.take(never, true);
  assert.equal(second, undefined);
  urgent();
  urgent();
  await Promise.resolve();
  assert.equal(second, undefined, 'one place is still kept back');
  first();
  await waiting;
  assert.notEqual(second, undefined);
});
