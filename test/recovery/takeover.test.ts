/** Two replicas on one database: what one leaves behind, the other finishes; what one slept through, it does not write. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { type TestContext, test } from 'node:test';
import { insertOperations } from '../../bench/support/rows.ts';
import { createTestDatabase } from '../support/database.ts';
import { startTestServer, type TestServer, until } from '../support/server.ts';
import {
  allEnded,
  assertAllCompleted,
  assertCreatedOnce,
  assertEventsComplete,
  assertListEqualsProvider,
  type Books,
  createServers,
  openBooks,
  scale,
  untilAllEnded,
} from './support.ts';

const CREATES = scale(40, 100);
/** The promise: from the death of a replica to the moment another one has its work. */
const TAKEOVER_MS = 10_000;
const END_MS = 60_000;
/** Operations in the list that many ask for at once. */
const LISTED = 2_000;
/** How long a replica may say nothing (LEASE_SECONDS in src/engine/replica.ts). */
const LEASE_MS = 8_000;
/** Longer than the lease of a replica that says nothing. Milliseconds. */
const SLOW_MS = 10_000;
/** The process does nothing else for that long when its HTTP server is made, as on a machine with too much to do. */
const SLOW_APPLICATION = `--import=data:text/javascript,${encodeURIComponent(`
  import http from 'node:http';
  const { createServer } = http;
  http.createServer = (...given) => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${SLOW_MS});
    return createServer(...given);
  };
`)}`;
/** Exit status of a replica that the others have given up. */
const FENCED = 75;

interface Pair extends AsyncDisposable {
  books: Books;
  victim: TestServer;
  /** The victim's name among the replicas. */
  victimId: string;
}

/**
 * Two replicas with `CREATES` creates between them. The victim was there first and has the first half: the cloud has
 * begun them and brings them up when the test says so. The requests of the rest are on their way to the cloud.
 */
async function pairAtWork(): Promise<Pair> {
  const stack = new AsyncDisposableStack();
  try {
    const database = stack.use(await createTestDatabase({ poolSize: 1 }));
    const settings = { SIMULATED_LATENCY_MS: '4000', SIMULATED_FAULTS: 'stuck=1', POOL_SIZE: '8' };
    const start = async () => stack.use(await startTestServer({ databaseUrl: database.url, settings }));
    const victim = await start();
    const books = stack.use(await openBooks({ databaseUrl: database.url }));
    const replicas = await books.query<{ id: string }>('select id from provisioning.replicas');
    const victimId = replicas[0]?.id;
    assert.ok(victimId !== undefined);
    await createServers(victim.admin, 'begun', CREATES / 2);
    const made = async () => (await books.query('select from simulated_cloud.servers')).length;
    await until(async () => (await made()) === CREATES / 2, 'the first half of the creates');
    await start();
    await createServers(victim.admin, 'on-its-way', CREATES / 2, CREATES / 2);
    return { books, victim, victimId, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

/** Ids of the unfinished operations that a replica has. */
async function heldBy(books: Books, replicaId: string): Promise<string[]> {
  const rows = await books.query<{ id: string }>(
    "select workflow_uuid as id from dbos.workflow_status where status = 'PENDING' and executor_id = $1",
    [replicaId],
  );
  return rows.map((row) => row.id);
}

/** Milliseconds from now until another replica has the first of these operations, and until none is the victim's. */
async function timeTakeover({ books, victimId }: Pair, held: string[]): Promise<{ first: number; all: number }> {
  const start = performance.now();
  let first: number | undefined;
  await until(
    async () => {
      const taken = await books.query(
        `select from dbos.workflow_status where workflow_uuid = any($1) and status = 'PENDING' and executor_id <> $2
         limit 1`,
        [held, victimId],
      );
      if (taken.length > 0) first ??= performance.now() - start;
      return first !== undefined && (await heldBy(books, victimId)).length === 0;
    },
    'the work to be taken over',
    END_MS,
    20,
  );
  return { first: first ?? Number.NaN, all: performance.now() - start };
}

async function assertAllDoneOnce(books: Books): Promise<void> {
  const inTheMaking = "update simulated_cloud.servers set settles_at = clock_timestamp() where settles_at = 'infinity'";
  await until(
    async () => {
      await books.query(inTheMaking);
      return allEnded(books);
    },
    'all operations to end',
    END_MS,
    100,
  ).catch(() => untilAllEnded(books, 0));
  await assertAllCompleted(books);
  await assertListEqualsProvider(books);
  await assertCreatedOnce(books);
  await assertEventsComplete(books);
  const servers = await books.query('select id from provisioning.servers');
  assert.equal(servers.length, CREATES);
}

function report(t: TestContext, how: string, held: string[], takeover: { first: number; all: number }): void {
  t.diagnostic(
    `${how} with ${held.length} of ${CREATES} operations: first one taken over after ${takeover.first.toFixed(0)} ms, ` +
      `the last after ${takeover.all.toFixed(0)} ms`,
  );
  assert.ok(takeover.first <= TAKEOVER_MS, `the takeover took ${takeover.first} ms`);
}

test('the other replica finishes what one killed with -9 had in flight', async (t) => {
  await using pair = await pairAtWork();
  const { books, victim, victimId } = pair;
  const held = await heldBy(books, victimId);
  assert.ok(held.length >= CREATES / 2, `the victim has only ${held.length} of ${CREATES} operations`);
  victim.process.kill('SIGKILL');
  report(t, 'killed', held, await timeTakeover(pair, held));
  await assertAllDoneOnce(books);
});

test('a replica that is told to stop hands its work over at once', async (t) => {
  await using pair = await pairAtWork();
  const { books, victim, victimId } = pair;
  const held = await heldBy(books, victimId);
  assert.ok(held.length >= CREATES / 2, `the victim has only ${held.length} of ${CREATES} operations`);
  const stopped = victim.stop();
  report(t, 'stopped', held, await timeTakeover(pair, held));
  assert.equal(await stopped, 0);
  await assertAllDoneOnce(books);
});

test('a replica that stood still past its lease writes nothing stale and ends with status 75', async (t) => {
  await using pair = await pairAtWork();
  const { books, victim, victimId } = pair;
  const held = await heldBy(books, victimId);
  assert.ok(held.length >= CREATES / 2, `the victim has only ${held.length} of ${CREATES} operations`);
  const exited = once(victim.process, 'exit');
  victim.process.kill('SIGSTOP');
  let before: Record<string, unknown[]>;
  try {
    report(t, 'stood still', held, await timeTakeover(pair, held));
    await assertAllDoneOnce(books);
    await until(
      async () => (await books.query("select from dbos.workflow_status where status <> 'SUCCESS'")).length === 0,
      'the survivor to have written its last',
    );
    before = await everything(books);
  } finally {
    // Also where something went wrong: a stopped process cannot end.
    victim.process.kill('SIGCONT');
  }
  const [status] = await exited;
  assert.equal(status, FENCED, victim.output().slice(-2_000));
  assert.match(victim.output(), /declared this one dead/);
  assert.deepEqual(await everything(books), before, 'the replica wrote something after its lease');
});

test('a replica whose application takes longer to come up than its lease is not given up by the others meanwhile', async () => {
  await using stack = new AsyncDisposableStack();
  const database = stack.use(await createTestDatabase({ poolSize: 1 }));
  const books = stack.use(await openBooks({ databaseUrl: database.url }));
  const first = stack.use(await startTestServer({ databaseUrl: database.url }));
  const begun = performance.now();
  stack.use(await startTestServer({ databaseUrl: database.url, nodeOptions: SLOW_APPLICATION }));
  assert.ok(performance.now() - begun > SLOW_MS, 'it came up as fast as others');
  assert.doesNotMatch(first.output(), /declared replicas dead/);
  assert.equal((await books.query('select id from provisioning.replicas')).length, 2);
});

test('requests that use up every connection of the pools end no replica, also where one finds another one dead meanwhile', async () => {
  await using stack = new AsyncDisposableStack();
  const database = stack.use(await createTestDatabase({ poolSize: 1 }));
  const books = stack.use(await openBooks({ databaseUrl: database.url }));
  const start = async () =>
    stack.use(await startTestServer({ databaseUrl: database.url, settings: { POOL_SIZE: '4' } }));
  const victim = await start();
  const [first, second] = [await start(), await start()];
  const blocker = await database.pool.connect();
  await blocker.query('begin; lock table provisioning.operations in access exclusive mode');
  const waiting = [first, second].flatMap(({ admin }) =>
    Array.from({ length: 50 }, () => admin.request('GET', '/v1/operations').catch(() => 'cut off')),
  );
  await until(async () => {
    const rows = await books.query(
      "select from pg_locks where relation = 'provisioning.operations'::regclass and not granted",
    );
    return rows.length >= 8;
  }, 'both pools to be used up');
  // Whoever of the two finds it dead has no connection free to look after it.
  await victim.kill();
  const replicas = async () => (await books.query('select id from provisioning.replicas')).length;
  await until(async () => (await replicas()) < 3, 'the killed one to be declared dead');
  // Half as long again as a lease: a replica that was silent meanwhile is off the list.
  await new Promise((resolve) => setTimeout(resolve, 1.5 * LEASE_MS));
  await blocker.query('rollback');
  blocker.release();
  await Promise.all(waiting);
  assert.equal(await replicas(), 2, first.output().slice(-2_000) + second.output().slice(-2_000));
  assert.deepEqual([first.process.exitCode, second.process.exitCode], [null, null]);
});

for (const requests of scale([600], [600, 2_000])) {
  test(`${requests} requests at once for a list of ${LISTED} operations end no replica`, async (t) => {
    await using stack = new AsyncDisposableStack();
    const database = stack.use(await createTestDatabase({ poolSize: 1 }));
    const books = stack.use(await openBooks({ databaseUrl: database.url }));
    await insertOperations(books.pool, LISTED);
    // Without the limit that refuses most of them.
    const settings = { LIMIT_WHOLE_LISTS: '0' };
    const asked = stack.use(await startTestServer({ databaseUrl: database.url, settings }));
    const other = stack.use(await startTestServer({ databaseUrl: database.url }));
    const begun = performance.now();
    const answers = await Promise.all(Array.from({ length: requests }, () => answerToList(asked)));
    const counts = Map.groupBy(answers, String);
    const told = [...counts].map(([answer, { length }]) => `${length} × ${answer}`).join(', ');
    t.diagnostic(`${told}, after ${((performance.now() - begun) / 1_000).toFixed(1)} s`);
    assert.ok(counts.has('200'), asked.output().slice(-2_000));
    assert.deepEqual(
      [...counts.keys()].filter((answer) => !['200', '503', 'cut off'].includes(answer)),
      [],
    );
    assert.deepEqual([asked.process.exitCode, other.process.exitCode], [null, null]);
    assert.doesNotMatch(other.output(), /declared replicas dead/);
    assert.equal((await books.query('select id from provisioning.replicas')).length, 2);
  });
}

/**
 * Asks for the list of all operations on a connection of its own and reads it to its end.
 * @returns the status; `cut off` where no connection to the database came free for the rest of the list in time.
 */
async function answerToList({ url, admin }: TestServer): Promise<number | 'cut off'> {
  const headers = { authorization: `Bearer ${admin.token}` };
  const [response]: http.IncomingMessage[] = await once(
    http.get(`${url}/v1/operations`, { agent: false, headers }),
    'response',
  );
  if (response === undefined) throw new Error('no response');
  response.resume();
  return once(response, 'end').then(
    () => response.statusCode ?? 0,
    () => 'cut off',
  );
}

/** All that a procedure may write. */
async function everything(books: Books): Promise<Record<string, unknown[]>> {
  const [operations, events, servers, calls, cloud, engine] = await Promise.all([
    books.query('select * from provisioning.operations order by id'),
    books.query(
      'select operation_id, seq, at, type, data from provisioning.operation_events order by operation_id, seq',
    ),
    books.query('select * from provisioning.servers order by id'),
    // The cloud also enters who has looked. A look that waited for a connection while the process stood still is sent when
    // it wakes; it changes nothing, and what follows it is guarded.
    books.query("select * from simulated_cloud.calls where call <> 'find' order by id"),
    books.query('select * from simulated_cloud.servers order by ref'),
    books.query('select workflow_uuid, status, executor_id, recovery_attempts from dbos.workflow_status order by 1'),
  ]);
  return { operations, events, servers, calls, cloud, engine };
}
