import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sql } from 'kysely';
import { pino } from 'pino';
import { createTestDatabase } from '../../test/support/database.ts';
import { uuidv7 } from '../database/uuid.ts';
import { APPLICATION_VERSION } from './dbos.ts';
import { startStraySweep } from './strays.ts';

const ME = 'this-replica';

test('what the library took for this replica and never began goes back on its queue; all else is left alone', async () => {
  await using database = await createTestDatabase({ poolSize: 2 });
  const { db } = database;
  const take = async (executor: string, secondsAgo: number, version = APPLICATION_VERSION) => {
    const id = uuidv7();
    await sql`
      insert into dbos.workflow_status (workflow_uuid, status, name, executor_id, owner_xid, queue_name, application_version, started_at_epoch_ms)
      values (${id}, 'PENDING', 'test', ${executor}, 'owner', 'a queue', ${version},
              (extract(epoch from now()) * 1000)::bigint - ${secondsAgo * 1_000}::bigint)`.execute(db);
    return id;
  };
  const lost = await take(ME, 60);
  const kept = {
    running: await take(ME, 60),
    // Younger than the wait for the first sweep and the time allowed together.
    young: await take(ME, -60),
    other: await take('another-replica', 60),
    version: await take(ME, 60, 'engine-0'),
    ended: await take(ME, 60),
  };
  // Later than now, so that it has ended just now however long the sweep takes to come.
  await sql`
    insert into provisioning.operations (id, kind, status, workspace, input, created_by, finished_at)
    values (${kept.ended}, 'test', 'completed', 'default', '{}', 'test', now() + interval '1 minute')`.execute(db);
  const { promise, resolve } = Promise.withResolvers<string[]>();
  const strays = startStraySweep({
    db,
    logger: pino({ level: 'silent' }),
    replica: { id: ME, alive: () => true },
    running: () => [kept.running],
    onFound: resolve,
  });
  try {
    assert.deepEqual(await promise, ['a queue']);
  } finally {
    await strays.stop();
  }
  const { rows } = await sql<{ id: string; status: string; owner: string | null; started: string | null }>`
    select workflow_uuid as id, status, owner_xid as owner, started_at_epoch_ms as started from dbos.workflow_status`.execute(
    db,
  );
  const changed = rows.filter((row) => row.status !== 'PENDING');
  assert.deepEqual(changed, [{ id: lost, status: 'ENQUEUED', owner: null, started: null }]);
  assert.equal(rows.length, 6);
});
