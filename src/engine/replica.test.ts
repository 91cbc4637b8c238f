/** The heartbeat of a replica: nothing that the process or its database does otherwise may keep it waiting. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { until } from '../../test/support/server.ts';
import { createDatabase, createPool, PROCESS_TAG } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';
import { joinReplicas } from './replica.ts';

/** Heartbeats, one a second. */
const BEATS = 4;

/** A replica whose requests have taken the only connection of its pool, and keep it. */
async function joinWithoutPool(database: TestDatabase, onDead: (executors: string[]) => Promise<void>) {
  const pool = createPool(database.settings, { max: 1, applicationName: 'used up' });
  const replica = await joinReplicas({
    ...{ settings: database.settings, db: createDatabase(pool), logger: pino({ level: 'silent' }) },
    ...{ role: 'worker', version: 'test', alone: false, onDead, onFenced: () => assert.fail('declared dead') },
  });
  const taken = await pool.connect();
  return {
    replica,
    async [Symbol.asyncDispose]() {
      taken.release();
      await replica.leave();
      await pool.end();
    },
  };
}

async function lastHeartbeat({ pool }: TestDatabase, id: string): Promise<string> {
  const { rows } = await pool.query('select heartbeat_at::text as at from provisioning.replicas where id = $1', [id]);
  return rows[0].at;
}

/** Waits for further heartbeats. Between two of them the replica never loses its right to act. */
async function untilBeats(database: TestDatabase, replica: { id: string; alive(): boolean }): Promise<void> {
  let last = await lastHeartbeat(database, replica.id);
  for (let n = 1; n <= BEATS; n += 1) {
    await until(async () => {
      assert.ok(replica.alive(), `no heartbeat for too long, ${n - 1} after the death`);
      const now = await lastHeartbeat(database, replica.id);
      if (now === last) return false;
      last = now;
      return true;
    }, `heartbeat ${n}`);
  }
}

test('a replica whose pool is used up declares a dead one dead, ends its sessions, and its own heartbeat goes on', async () => {
  await using database = await createTestDatabase({ poolSize: 2 });
  const dead: string[] = [];
  // Taking over does not come to an end: that must not keep the next heartbeat waiting either.
  await using joined = await joinWithoutPool(database, async (executors) => {
    dead.push(...executors);
    await Promise.race([new Promise(() => {}), stopped.promise]);
  });
  const stopped = Promise.withResolvers<void>();
  const victim = `elsewhere-1-${PROCESS_TAG.split('').reverse().join('')}`;
  const { pool } = database;
  const sessions = createPool(database.settings, { max: 1, applicationName: 'x' });
  const session = await sessions.connect();
  await session.query(`set application_name = 'provisioning ${victim.slice(-PROCESS_TAG.length)}'`);
  await pool.query(
    `insert into dbos.workflow_status (workflow_uuid, status, name, executor_id) values ($1, 'PENDING', 'test', $2)`,
    [uuidv7(), victim],
  );
  await pool.query(
    `insert into provisioning.replicas (id, lock_key, role, version, host, pid, heartbeat_at)
     values ($1, 1, 'worker', 'test', 'elsewhere', 1, now() - interval '1 minute')`,
    [victim],
  );
  try {
    await until(async () => {
      const { rows } = await pool.query('select from provisioning.replicas where id = $1', [victim]);
      return rows.length === 0;
    }, 'the dead replica to be declared dead');
    await untilBeats(database, joined.replica);
    await assert.rejects(session.query('select 1'), /terminat|closed|Connection|not queryable/);
    assert.deepEqual(dead, [victim]);
  } finally {
    stopped.resolve();
    session.release(true);
    await sessions.end();
  }
});

test('a heartbeat that finds its own connection gone goes on as soon as there is a new one, also without the pool', async () => {
  await using database = await createTestDatabase({ poolSize: 2 });
  await using joined = await joinWithoutPool(database, async () => {});
  // For longer than a heartbeat, so that one of them meets a connection that is gone.
  const end = performance.now() + 1_500;
  while (performance.now() < end) {
    await database.pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and application_name like 'provisioning replica%'`,
    );
  }
  await untilBeats(database, joined.replica);
});
