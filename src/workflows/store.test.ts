import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { sql } from 'kysely';
import { createTestDatabase } from '../../test/support/database.ts';
import type { Queryable } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';
import { countNodesAround } from './store.ts';

const database = await createTestDatabase({ poolSize: 4 });
const { db } = database;
after(() => database.close());

async function insertRun(tx: Queryable, parentId: string | null, nodes: number): Promise<string> {
  const id = uuidv7();
  await sql`
    insert into provisioning.operations (id, kind, workspace, input, created_by, parent_id)
    values (${id}, 'workflow.run', 'default', '{}', 'ann', ${parentId})`.execute(tx);
  await sql`
    insert into provisioning.workflows (id, parameters, definition, nested, steps, settings, workspace_settings, authority)
    values (${id}, '{}', '{}', '{}', '[]', '{}', '{}', '{}')`.execute(tx);
  await sql`
    insert into provisioning.workflow_nodes (workflow_id, position, key, step, item_index, status)
    select ${id}::uuid, n, 'step-' || n, 'step', 0, 'waiting' from generate_series(1, ${nodes}::int) as n`.execute(tx);
  return id;
}

test('runs that start at once inside the same outermost run are counted one after the other', async () => {
  const outermost = await insertRun(db, null, 2);
  const inner = [await insertRun(db, outermost, 1), await insertRun(db, outermost, 1)] as const;
  const elsewhere = await insertRun(db, null, 1);
  const countIn = (run: string) => db.transaction().execute((tx) => countNodesAround(tx, run));
  let later: Promise<number> | undefined;
  await db.transaction().execute(async (tx) => {
    assert.equal(await countNodesAround(tx, inner[0]), 4);
    later = countIn(inner[1]);
    await insertRun(tx, inner[0], 5);
    // Other runs are not held up; by now the one inside this one has asked.
    assert.equal(await countIn(elsewhere), 1);
  });
  assert.equal(await later, 9);
});
