import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createTestDatabase } from '../../test/support/database.ts';
import { until } from '../../test/support/server.ts';
import { startListener } from './listener.ts';

const CONNECTIONS = `select count(*)::int as n from pg_stat_activity
  where datname = current_database() and application_name like 'provisioning listen%'`;
const BREAK = `select pg_terminate_backend(pid) from pg_stat_activity
  where datname = current_database() and application_name like 'provisioning listen%'`;

test('a lost connection is opened again, and subscribers are told that they may have missed something', async () => {
  await using database = await createTestDatabase();
  const listener = await startListener(database.settings, ['one', 'other']);
  const heard: string[] = [];
  let reconnected = 0;
  const unsubscribe = listener.listen(
    'one',
    (payload) => heard.push(payload),
    () => {
      reconnected += 1;
    },
  );
  await database.pool.query("select pg_notify('other', 'not this'), pg_notify('one', 'before')");
  await until(async () => heard.length > 0, 'the first message');
  await database.pool.query(BREAK);
  await until(async () => reconnected === 1 && listener.connected, 'the connection');
  await database.pool.query("select pg_notify('one', 'after')");
  await until(async () => heard.length > 1, 'the second message');
  assert.deepEqual(heard, ['before', 'after']);
  unsubscribe();
  assert.throws(() => listener.listen('third', () => {}), /not one of one, other/);
  await listener.close();
});

test('closing leaves no connection, also while one is being opened or the database is away', async () => {
  await using database = await createTestDatabase();
  for (let round = 0; round < 30; round += 1) {
    const listener = await startListener(database.settings, ['one'], async () => {
      if (round % 3 === 0) throw new Error('still away');
    });
    await database.pool.query(BREAK);
    // At a different moment of the loss and of the new connection in each round.
    await delay(round % 10);
    await listener.close();
    assert.equal(listener.connected, false);
    await until(async () => (await database.pool.query(CONNECTIONS)).rows[0].n === 0, 'the connection to go', 5_000, 5);
  }
});
