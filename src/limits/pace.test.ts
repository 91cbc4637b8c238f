import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { createPaces } from './pace.ts';

const database = await createTestDatabase({ poolSize: 8 });
const { db, pool } = database;
after(() => database.close());

/** Of two replicas. */
const paces = [createPaces(db), createPaces(db)] as const;
const PER_SECOND = 20;

test('two replicas together keep to the pace, and share it among those who ask', async () => {
  const passed = { few: 0, many: 0 };
  const end = new AbortController();
  const ask = (party: keyof typeof passed, n: number) =>
    paces[n % 2]?.turn({ key: 'shared', perSecond: PER_SECOND }, party, end.signal).then(
      () => (passed[party] += 1),
      () => {},
    );
  const began = performance.now();
  const asked = Array.from({ length: 2_000 }, (_, n) => ask('many', n));
  // Whoever comes last does not wait for all of them.
  await Promise.all(Array.from({ length: 10 }, (_, n) => ask('few', n)));
  const seconds = (performance.now() - began) / 1_000;
  assert.ok(passed.few + passed.many <= PER_SECOND * seconds + 2, `${JSON.stringify(passed)} in ${seconds} s`);
  assert.ok(passed.many <= passed.few + 4, JSON.stringify(passed));
  end.abort();
  await Promise.all(asked);
});

test('those who leave take no turn with them', async () => {
  const pace = { key: 'left', perSecond: 1 };
  const leaving = new AbortController();
  const asked = paces.flatMap((replica) =>
    Array.from({ length: 1_000 }, () => replica.turn(pace, 'leaving', leaving.signal)),
  );
  const left = Promise.allSettled(asked);
  const early = new Error('early');
  setTimeout(() => leaving.abort(early), 100);
  assert.equal((await left).filter(({ status }) => status === 'fulfilled').length <= 1, true);
  const { rows } = await pool.query<{ ahead: number }>(
    "select extract(epoch from next_at - now())::float8 as ahead from provisioning.paces where key = 'left'",
  );
  // The one that was let through, and one more of each replica.
  assert.ok((rows[0]?.ahead ?? 0) <= 3, `${rows[0]?.ahead} s are booked`);
  await paces[0].turn(pace, 'another', AbortSignal.timeout(10_000));
});

test('an error of the database reaches those who wait, and whoever asks again is served', async () => {
  const pace = { key: 'broken', perSecond: 100 };
  await pool.query('alter table provisioning.paces rename to away');
  const { signal } = new AbortController();
  await assert.rejects(paces[0].turn(pace, 'a', signal), /paces/);
  await pool.query('alter table provisioning.away rename to paces');
  await paces[0].turn(pace, 'a', signal);
});
