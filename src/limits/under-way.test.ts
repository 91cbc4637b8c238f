import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { sql } from 'kysely';
import { createTestDatabase } from '../../test/support/database.ts';
import { loadConfig } from '../config.ts';
import { retryingConflicts } from '../database/conflicts.ts';
import type { Queryable } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';
import { ApplicationError } from '../errors.ts';
import { createOperationLimits } from './under-way.ts';

const database = await createTestDatabase({ poolSize: 8 });
const { db, pool } = database;
after(() => database.close());

/** Large enough that far from it nobody counts exactly (`NEAR` of under-way.ts). */
const LIMIT = 2_300;
const settings = { ...loadConfig().limits, user_operations: LIMIT, workspace_operations: 0 };
const replicas = [createOperationLimits(db, settings), createOperationLimits(db, settings)] as const;

interface Place {
  userId: string;
  workspace: string;
}
const insert = (tx: Queryable, { userId, workspace }: Place) =>
  sql`
    insert into provisioning.operations (id, kind, workspace, input, created_by, owner_id)
    values (${uuidv7()}, 'server.create', ${workspace}, '{}', 'ann', ${userId})`.execute(tx);

test('two replicas at once accept exactly as many as there may be, from far away up to the limit', async () => {
  const place = { userId: uuidv7(), workspace: 'default' };
  const accept = (limits: (typeof replicas)[number]) =>
    retryingConflicts(() =>
      db.transaction().execute(async (tx) => {
        await limits.requireRoom(tx, place, 'server.create');
        await insert(tx, place);
      }),
    );
  const untilFull = async (limits: (typeof replicas)[number]) => {
    for (let accepted = 0; ; accepted += 1) {
      try {
        await accept(limits);
      } catch (error) {
        if (error instanceof ApplicationError && error.code === 'LIMIT_REACHED') return accepted;
        throw error;
      }
    }
  };
  // All at once, before anybody can know of the others, and then by six at once up to the limit.
  await Promise.all(replicas.flatMap((limits) => Array.from({ length: 150 }, () => accept(limits))));
  await pool.query(
    `insert into provisioning.operations (id, kind, workspace, input, created_by, owner_id)
     select gen_random_uuid(), 'server.create', 'default', '{}', 'ann', $1 from generate_series(1, ${LIMIT} - 360)`,
    [place.userId],
  );
  await setTimeout(600);
  const accepted = await Promise.all(replicas.flatMap((limits) => [1, 2, 3].map(() => untilFull(limits))));
  assert.equal(
    accepted.reduce((sum, count) => sum + count, 0),
    60,
  );
  await setTimeout(600);
  const { left, reason } = await replicas[0].room(place, 5);
  assert.equal(left, 0);
  assert.match(reason, /2300 operations under way and may have 2300 \(limit user_operations\)/);
  // Runs of workflows have a limit of their own, and undoing one has none; nor has what ends or protects things.
  for (const kind of ['workflow.run', 'workflow.rollback', 'server.delete', 'taskserv.delete', 'server.guard']) {
    await db.transaction().execute((tx) => replicas[1].requireRoom(tx, place, kind));
  }
  await db
    .updateTable('provisioning.operations')
    .set({ status: 'completed' })
    .where('owner_id', '=', place.userId)
    .execute();
  await accept(replicas[0]);
});

test('nodes of workflows of two replicas at once: so many are committed as there is room for', async () => {
  const limits = { ...loadConfig().limits, user_operations: 40, workspace_operations: 0 };
  const place = { userId: uuidv7(), workspace: 'default' };
  const batch = async (replica: ReturnType<typeof createOperationLimits>) =>
    db.transaction().execute(async (tx) => {
      for (let n = 0; n < 25; n += 1) await insert(tx, place);
      const { left } = await replica.roomFor(tx, place, 25);
      if (left < 25) throw new Error(`room for ${left}`);
    });
  const both = [createOperationLimits(db, limits), createOperationLimits(db, limits)];
  const answers = await Promise.allSettled(both.map(batch));
  assert.deepEqual(answers.map((answer) => (answer.status === 'rejected' ? String(answer.reason) : '')).sort(), [
    '',
    'Error: room for 15',
  ]);
});

test('the count near a limit reads the indexes of what is under way alone', async () => {
  const place = { userId: uuidv7(), workspace: 'default' };
  await pool.query('analyze provisioning.operations');
  const { rows } = await pool.query<{ 'QUERY PLAN': string }>(
    `explain select count(*) from provisioning.operations
     where status in ('pending', 'running') and owner_id = $1 and kind <> all('{workflow.run}'::text[])`.replace(
      '$1',
      `'${place.userId}'::uuid`,
    ),
  );
  assert.match(JSON.stringify(rows), /operations_under_way_owner/);
});
