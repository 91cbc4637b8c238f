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
