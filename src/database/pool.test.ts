import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { createPool, isDatabaseUnavailable } from './pool.ts';

const database = await createTestDatabase({ poolSize: 2 });
after(() => database.close());

test('a connection that breaks while it is checked out ends neither the process nor the pool', async () => {
  const pool = createPool(database.settings, { max: 1, applicationName: 'pool test' });
  // Between two statements there is nobody whom the error could be given to.
  const broken = await pool.connect();
  const { rows } = await broken.query<{ pid: number }>('select pg_backend_pid() as pid');
  const gone = new Promise((resolve) => broken.once('end', resolve));
  await database.pool.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
  await gone;
  await assert.rejects(broken.query('select 1'), isDatabaseUnavailable);
  broken.release(true);
  assert.deepEqual((await pool.query('select 1 as one')).rows, [{ one: 1 }]);
  await pool.end();
});

test('a transaction begins with its first statement, and one that cannot begin runs none of it', async () => {
  const pool = createPool(database.settings, { max: 1, applicationName: 'pool test' });
  const one = await pool.connect();
  await one.query('create temporary table kept (n int)');
  const rows = async () => (await one.query<{ n: number }>('select n from kept order by n')).rows.map(({ n }) => n);
  const backend = async () => Number((await one.query('select pg_backend_pid() as pid')).rows[0]?.pid);
  const insert = (n: number) => one.query('insert into kept values ($1) returning n', [n]);
  for (const beginning of ['begin', 'BEGIN', 'BEGIN ISOLATION LEVEL READ COMMITTED']) {
    for (const end of ['commit', 'rollback']) {
      await one.query(beginning);
      assert.equal((await insert(1)).rowCount, 1);
      assert.equal((await insert(2)).rowCount, 1);
      await one.query(end);
      assert.deepEqual(await rows(), end === 'commit' ? [1, 2] : []);
      await one.query('delete from kept');
    }
    // The first statement fails: its transaction has begun, and nothing after it counts.
    await one.query(beginning);
    await assert.rejects(one.query('insert into kept values ($1 / 0)', [1]), /division by zero/);
    await assert.rejects(insert(3), /current transaction is aborted/);
    await one.query('rollback');
    // Nothing between, and a statement without parameters.
    await one.query(beginning);
    await one.query('rollback');
    await one.query(beginning);
    await one.query('insert into kept values (4)');
    await one.query('rollback');
    assert.deepEqual(await rows(), []);
  }

  // The next BEGIN fails: what should come after it must not take effect outside of a transaction.
  const pid = await backend();
  await one.query('deallocate all');
  await one.query('begin');
  await assert.rejects(insert(5), /prepared statement "begin begin" does not exist/);
  assert.equal(await backend(), pid);
  assert.deepEqual(await rows(), []);
  one.release();
  await pool.end();
});

test('a missing socket counts as a database that is away, for promises and for callbacks alike', async () => {
  const settings = { ...database.settings, host: '/nonexistent/socket' };
  const pool = createPool(settings, { max: 1, applicationName: 'pool test' });
  // The engine knows this code, and not ENOENT.
  const isReset = (error: unknown) =>
    isDatabaseUnavailable(error) && (error as { code?: string }).code === 'ECONNRESET';
  await assert.rejects(pool.query('select 1'), isReset);
  await assert.rejects(pool.connect(), isReset);
  await pool.end();
});
