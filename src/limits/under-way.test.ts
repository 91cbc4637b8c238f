import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { sql } from 'kysely';
import { createTestDatabase } from '../../test/support/database.ts';
import { loadConfig } from '../config.ts';
import { retryingConflicts } from '../database/conflicts.ts';
import { uuidv7 } from '../database/uuid.ts';
import { ApplicationError } from '../errors.ts';
import { createOperationLimits } from './under-way.ts';

const database = await createTestDatabase({ poolSize: 12 });
const { db } = database;
after(() => database.close());

/** Large enough that far from it nobody counts exactly. */
const LIMIT = 400;
const settings = { ...loadConfig().limits, user_operations: LIMIT, workspace_operations: 0 };
const replicas = Array.from({ length: 5 }, () => createOperationLimits(db, settings));
const [first = assert.fail()] = replicas;

test('five replicas at once accept exactly as many as there may be, from far away up to the limit', async () => {
  const place = { userId: uuidv7(), workspace: 'default' };
  const accept = (limits: (typeof replicas)[number]) =>
    retryingConflicts(() =>
      db.transaction().execute(async (tx) => {
        await limits.requireRoom(tx, place, 'server.create');
        await sql`
          insert into provisioning.operations (id, kind, workspace, input, created_by, owner_id)
          values (${uuidv7()}, 'server.create', ${place.workspace}, '{}', 'ann', ${place.userId})`.execute(tx);
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
  const accepted = await Promise.all(replicas.flatMap((limits) => [1, 2].map(() => untilFull(limits))));
  assert.equal(
    accepted.reduce((sum, count) => sum + count, 0),
    LIMIT,
  );
  const { left, reason } = await first.room(db, place, 5);
  assert.equal(left, 0);
  assert.match(reason, /400 operations under way and may have 400 \(limit user_operations\)/);
  // Runs of workflows have a limit of their own, and undoing one has none.
  for (const kind of ['workflow.run', 'workflow.rollback']) {
    await db.transaction().execute((tx) => first.requireRoom(tx, place, kind));
  }
  await db
    .updateTable('provisioning.operations')
    .set({ status: 'completed' })
    .where('owner_id', '=', place.userId)
    .execute();
  await accept(first);
});
