import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { startSharedCounts } from './shared-counts.ts';

const database = await createTestDatabase({ poolSize: 8 });
const { db, pool } = database;
const warn = (error: unknown) => assert.fail(String(error));
const replicas = [await startSharedCounts(db, warn), await startSharedCounts(db, warn)] as const;
after(async () => {
  await Promise.all(replicas.map((counts) => counts.stop()));
  await database.close();
});

test('a place whose commit fails is not taken, here nor at another replica', async () => {
  const [here, there] = replicas;
  await pool.query(`
    create function refuse() returns trigger language plpgsql as $$ begin raise 'no commit'; end $$;
    create constraint trigger refuse after insert or update on provisioning.shared_counts
      deferrable initially deferred for each row when (new.count > 0) execute function refuse()`);
  for (let n = 0; n < 3; n += 1) await assert.rejects(here.open('place', 1), /no commit/);
  await pool.query('drop function refuse cascade');
  const close = await here.open('place', 1);
  assert.ok(typeof close === 'function', `${close} open`);
  assert.equal(await there.open('place', 1), 1);
  close();
});

test('many addresses reset no count of a user', async () => {
  const [counts] = replicas;
  for (let n = 0; n < 10; n += 1) counts.add('requests ann', 1, 60);
  counts.add('address 192.0.2.1', 1, 60);
  for (let n = 0; n < 60_000; n += 1) counts.add(`address 2001:db8:${n.toString(16)}::`, 1, 60);
  assert.equal(counts.add('requests ann', 1, 60), 11);
  assert.equal(counts.add('address 192.0.2.1', 1, 60), 1, 'the oldest address has made room');
});
