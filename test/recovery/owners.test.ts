/** A database of the version before, in which names owned things: who owns what after the upgrade. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { migrate } from '../../src/database/migrate.ts';
import { uuidv7 } from '../../src/database/uuid.ts';
import { createTestDatabase } from '../support/database.ts';

const BEFORE = '0032_titles_and_checks';
const LONG_AGO = '2020-01-01T00:00:00Z';
const LATER = '2021-01-01T00:00:00Z';
const LATEST = '2022-01-01T00:00:00Z';

test('ids follow from names, where the bearer of the name was there already; old names are kept from others', async () => {
  await using database = await createTestDatabase({ empty: true, poolSize: 2 });
  const { db, pool } = database;
  await migrate(db, BEFORE);
  const [ann, bob, schedule, run] = [uuidv7(), uuidv7(), uuidv7(), uuidv7()];
  const user = (id: string, name: string, at: string) =>
    pool.query(`insert into provisioning.users (id, username, password_hash, created_at) values ($1, $2, 'x', $3)`, [
      ...[id, name, at],
    ]);
  await user(ann, 'ann', LONG_AGO);
  // Took the name of somebody who had been deleted.
  await user(bob, 'bob', LATEST);
  await pool.query(`insert into provisioning.workspaces (name, path) values ('default', '/w')`);
  const server = (id: string, by: string) =>
    pool.query(
      `insert into provisioning.servers (id, workspace, hostname, provider, plan, zone, status, operation_id, created_by, created_at)
       values ($1, 'default', $1, 'simulated', 'p', 'z', 'running', $2, $3, $4)`,
      [id, uuidv7(), by, LATER],
    );
  await server('srv-ann', 'ann');
  await server('srv-bob', 'bob');
  await server('srv-gone', 'gone');
  const operation = (id: string, kind: string, status: string) =>
    pool.query(
      `insert into provisioning.operations (id, kind, status, workspace, input, created_by, created_at)
       values ($1, $2, $3, 'default', '{}', 'ann', $4)`,
      [id, kind, status, LATER],
    );
  const pending = uuidv7();
  await operation(run, 'workflow.run', 'completed');
  await operation(pending, 'server.stop', 'pending');
  const authority = JSON.stringify({ userId: ann, name: 'ann', tokenId: null, bindings: [] });
  await pool.query(
    `insert into provisioning.workflows (id, parameters, definition, nested, steps, settings, workspace_settings, authority)
     values ($1, '{}', '{}', '{}', '[]', '{}', '{}', $2)`,
    [run, authority],
  );
  await pool.query(
    `insert into provisioning.schedules (id, name, workspace, workflow_type, parameters, cron, timezone, overlap, missed,
       authority, next_run_at, created_by) values ($1, 's', 'default', 'batch', '{}', '@yearly', 'UTC', 'skip', 'skip', $2, now(), 'ann')`,
    [schedule, authority],
  );

  await migrate(db);

  const owners = async (table: string) =>
    Object.fromEntries(
      (
        await pool.query<{ id: string; owner: string | null; name: string }>(
          `select id, owner_id as owner, created_by as name from provisioning.${table}`,
        )
      ).rows.map(({ id, owner, name }) => [id, [owner, name]]),
    );
  assert.deepEqual(await owners('servers'), {
    'srv-ann': [ann, 'ann'],
    'srv-bob': [null, 'bob'],
    'srv-gone': [null, 'gone'],
  });
  assert.deepEqual(await owners('operations'), { [run]: [ann, 'ann'], [pending]: [ann, 'ann'] });
  assert.deepEqual(await owners('schedules'), { [schedule]: [ann, 'ann'] });
  const departed = async () =>
    (await pool.query<{ username: string }>('select username from provisioning.departed_users order by 1')).rows.map(
      ({ username }) => username,
    );
  assert.deepEqual(await departed(), ['gone']);

  // What a replica of the version before, still running, does from now on.
  await server('srv-late', 'ann');
  await pool.query(`delete from provisioning.users where username = 'bob'`);
  assert.deepEqual((await owners('servers'))['srv-late'], [ann, 'ann']);
  assert.deepEqual(await departed(), ['bob', 'gone']);
});
