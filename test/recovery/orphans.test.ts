/** Sweeps that race with creates and deletes, and a server that is killed while it deletes an orphan. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { startListener } from '../../src/database/listener.ts';
import { CHANNELS, startEngine } from '../../src/engine/engine.ts';
import { readInstallationId } from '../../src/providers/installation.ts';
import { createRegistry } from '../../src/providers/registry.ts';
import { parseFaults } from '../../src/providers/simulated/faults.ts';
import { createSimulatedProvider } from '../../src/providers/simulated/provider.ts';
import { orphanDeleteProcedure } from '../../src/servers/orphans/delete/procedure.ts';
import { sweepAccount } from '../../src/servers/orphans/sweep.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type Operation, serverRequest, startTestServer, type TestServer, until } from '../support/server.ts';
import {
  assertCreatedOnce,
  assertEventsComplete,
  assertListEqualsProvider,
  inParallel,
  openBooks,
  scale,
  untilAllEnded,
} from './support.ts';

const CREATES = 100;
const PATIENCE_MS = scale(120_000, 600_000);
/** An orphan is deleted by the very sweep that finds it. Seconds. */
const AT_ONCE = 1e-6;

/** Sweeps again and again without a pause, and deletes what it takes for an orphan. @returns how often, once told to stop. */
async function sweepOnAndOn(database: TestDatabase, done: AbortSignal): Promise<number> {
  const logger = pino({ level: 'silent' });
  const provider = createSimulatedProvider({ db: database.db, latencyMs: 0, faults: parseFaults('') });
  const providers = createRegistry([provider]);
  const listener = await startListener(database.settings, Object.values(CHANNELS), async () => {});
  const engine = await startEngine({
    ...{ settings: database.settings, db: database.db, listener, logger, version: 'test', queues: [], work: false },
    ...{ retentionDays: 1, poolSize: 2, onFenced: () => {} },
  });
  engine.register([orphanDeleteProcedure(database.db, providers)]);
  let sweeps = 0;
  try {
    const installation = await readInstallationId(database.db);
    const tools = { db: database.db, engine, providers, installation, logger, deleteAfter: AT_ONCE };
    for (; !done.aborted; sweeps += 1) await sweepAccount(tools, { provider, workspace: null });
  } finally {
    await engine.close();
    await listener.close();
  }
  return sweeps;
}

test(`${CREATES} creates whose answers get lost, and deletes, under sweeps that delete at once: nothing of ours is touched`, async (t) => {
  await using stack = new AsyncDisposableStack();
  const database = stack.use(await createTestDatabase({ poolSize: 6 }));
  const books = stack.use(await openBooks({ databaseUrl: database.url }));
  const server = stack.use(
    await startTestServer({
      databaseUrl: database.url,
      settings: { POOL_SIZE: '8', SIMULATED_LATENCY_MS: '20', SIMULATED_FAULTS: 'lost_answer=0.3,half_created=0.1' },
    }),
  );
  const done = new AbortController();
  const sweeping = sweepOnAndOn(database, done.signal);
  try {
    await inParallel(CREATES, 10, async (n) => {
      const answer = await server.admin.request<Operation>('POST', '/v1/servers/create', serverRequest(`race-${n}`));
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      // Some are cancelled on their way: what is left of them is tidied up by an operation of its own.
      if (n % 10 === 9) await server.admin.request('POST', `/v1/operations/${answer.body.id}/cancel`);
    });
    const running = await books.query<{ id: string }>(
      "select id from provisioning.servers where status = 'running' order by id limit 30",
    );
    await inParallel(running.length, 5, async (n) => {
      await server.admin.request('DELETE', `/v1/servers/${running[n]?.id}`);
    });
    await untilAllEnded(books, PATIENCE_MS);
  } finally {
    done.abort();
  }
  const sweeps = await sweeping;
  t.diagnostic(`${sweeps} sweeps`);
  assert.ok(sweeps > 20, `only ${sweeps} sweeps`);
  const touched = await books.query(
    "select kind, status, result from provisioning.operations where kind like 'orphan.%' or kind = 'server.observed'",
  );
  assert.deepEqual(touched, [], 'something of ours was taken for an orphan, or for missing');
  assert.deepEqual(await books.query('select * from provisioning.orphans'), []);
  await assertListEqualsProvider(books);
  await assertCreatedOnce(books);
});

test('a server killed with -9 while it deletes an orphan goes on with that, and touches nothing else', async () => {
  await using stack = new AsyncDisposableStack();
  const database = stack.use(await createTestDatabase({ poolSize: 2 }));
  const books = stack.use(await openBooks({ databaseUrl: database.url }));
  const settings = {
    ...{ SWEEP_INTERVAL: '1', ORPHAN_DELETE_AFTER: '1', SIMULATED_LATENCY_MS: '4000', POOL_SIZE: '8' },
  };
  const start = (latency: string) =>
    startTestServer({ databaseUrl: database.url, settings: { ...settings, SIMULATED_LATENCY_MS: latency } });
  let server: TestServer = await start('50');
  stack.defer(() => server[Symbol.asyncDispose]());
  for (const name of ['kept', 'lost']) {
    await server.admin.request('POST', '/v1/servers/create', serverRequest(name));
  }
  await untilAllEnded(books, PATIENCE_MS);
  await server.kill();
  await books.query("delete from provisioning.servers where hostname = 'lost'");
  await books.query('delete from provisioning.departed_servers');
  server = await start('4000');
  const deleting = async () =>
    (await books.query("select 1 from simulated_cloud.servers where hostname = 'lost' and change = 'delete'")).length >
    0;
  await until(deleting, 'the deletion to begin', PATIENCE_MS);
  await server.kill();
  server = await start('50');
  const deleted = async () =>
    (await books.query("select 1 from provisioning.operations where kind = 'orphan.delete' and status = 'completed'"))
      .length > 0;
  await until(deleted, 'the deletion to be done', PATIENCE_MS);
  assert.deepEqual(await books.query('select id from provisioning.orphans'), []);
  const deletions = await books.query<{ created_by: string; status: string }>(
    "select created_by, status from provisioning.operations where kind = 'orphan.delete'",
  );
  assert.deepEqual(deletions, [{ created_by: '(observer)', status: 'completed' }]);
  await assertListEqualsProvider(books);
  const left = await books.query('select hostname, status from provisioning.servers');
  assert.deepEqual(left, [{ hostname: 'kept', status: 'running' }]);
  await assertEventsComplete(books);
});
