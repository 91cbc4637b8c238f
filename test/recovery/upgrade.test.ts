/** A rolling upgrade: what the old version of a procedure began, the new one finishes as the old one would have. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { uuidv7 } from '../../src/database/uuid.ts';
import { createTestDatabase } from '../support/database.ts';
import { until } from '../support/server.ts';
import { assertAllCompleted, assertEventsComplete, openBooks, untilAllEnded } from './support.ts';
import { startReplica } from './upgrade-replica.ts';

const REPLICA = fileURLToPath(new URL('./upgrade-replica.ts', import.meta.url));

test('new code finishes what old code began, step by step, and begins its own with the new step', async () => {
  await using stack = new AsyncDisposableStack();
  const database = stack.use(await createTestDatabase({ poolSize: 3 }));
  const books = stack.use(await openBooks({ databaseUrl: database.url }));
  await books.query('create table gate (open boolean)');
  const api = await startReplica(database.settings, 'new', false);
  stack.defer(() => api.close());
  const submit = async (holdAt: string) => {
    const id = uuidv7();
    const input = { hold_at: holdAt };
    const operation = { kind: 'test.upgraded', workspace: 'default', resource: null, parentId: null, input };
    const { afterCommit } = await database.db.transaction().execute((tx) =>
      api.engine.submit(tx, {
        ...operation,
        id,
        title: 'Upgraded',
        checkMode: false,
        createdBy: 'test',
        ownerId: null,
      }),
    );
    afterCommit();
    return id;
  };
  const start = async (version: 'old' | 'new') => {
    const child = spawn(process.execPath, [REPLICA, version, database.url], { stdio: ['ignore', 'pipe', 'inherit'] });
    stack.defer(() => end(child));
    await once(child.stdout, 'data');
    return child;
  };
  const steps = async (id: string) =>
    (
      await books.query<{ name: string; output: string }>(
        'select function_name as name, output from dbos.operation_outputs where workflow_uuid = $1 order by function_id',
        [id],
      )
    ).map((row) => row.name);

  const isRunning = async (id: string) =>
    (await books.query("select from provisioning.operations where id = $1 and status = 'running'", [id])).length > 0;

  const old = await start('old');
  const past = await submit('end');
  const before = await submit('begin');
  await until(async () => (await steps(past)).length === 2, 'the old version to be past the change');
  await until(() => isRunning(before), 'the old version to be before the change');
  await end(old);
  await start('new');
  const begunByNew = await submit('end');
  await until(async () => (await steps(begunByNew)).length === 4, 'the new version to be in the middle');
  await books.query('insert into gate values (true)');
  await untilAllEnded(books);

  await assertAllCompleted(books);
  await assertEventsComplete(books);
  // Whoever has a step on record that the old version took behind the change goes on as the old version.
  const withNewStep = ['begin', 'DBOS.patch-check-in-between', 'check in between', 'go on', 'end', 'finish'];
  assert.deepEqual(await steps(past), ['begin', 'go on', 'end', 'finish']);
  assert.deepEqual(await steps(before), withNewStep);
  assert.deepEqual(await steps(begunByNew), withNewStep);
  const results = await books.query<{ result: unknown }>('select result from provisioning.operations order by id');
  assert.deepEqual(
    results.map((row) => row.result),
    Array(3).fill({ ended_by: 'new' }),
  );
});

/** kill -9. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}
