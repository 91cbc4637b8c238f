/** Cancelling at every moment of an operation: `cancelled` is the truth, and what was half made is tidied up in sight. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { chances } from '../support/seed.ts';
import {
  type Client,
  ended,
  type Operation,
  serverRequest,
  startTestServer,
  type TestServer,
  until,
} from '../support/server.ts';
import {
  assertCreatedOnce,
  assertEventsComplete,
  assertListEqualsProvider,
  type Books,
  createServers,
  inParallel,
  openBooks,
  scale,
  untilAllEnded,
} from './support.ts';

const RACES = scale(60, 200);

/** One database, and servers with different clouds on it one after the other. */
interface Bench extends AsyncDisposable {
  books: Books;
  database: TestDatabase;
  /** Ends the server before it, and starts one whose cloud is so. */
  serve(cloud: { latencyMs: number; faults?: string; concurrency?: number }): Promise<TestServer>;
}

async function openBench(): Promise<Bench> {
  const stack = new AsyncDisposableStack();
  const database = stack.use(await createTestDatabase({ poolSize: 1 }));
  const books = stack.use(await openBooks({ databaseUrl: database.url }));
  let server: TestServer | undefined;
  stack.defer(async () => server?.[Symbol.asyncDispose]());
  return {
    books,
    database,
    async serve({ latencyMs, faults = '', concurrency = 100 }) {
      await server?.stop();
      server = await startTestServer({
        databaseUrl: database.url,
        settings: {
          POOL_SIZE: '8',
          SIMULATED_LATENCY_MS: String(latencyMs),
          SIMULATED_FAULTS: faults,
          WORKER_CONCURRENCY: String(concurrency),
        },
      });
      return server;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function askForServer(client: Client, hostname: string): Promise<string> {
  const { status, body } = await client.request<Operation>('POST', '/v1/servers/create', serverRequest(hostname));
  assert.equal(status, 200, JSON.stringify(body));
  return body.id;
}

async function askToDelete(client: Client, serverId: string): Promise<string> {
  const { status, body } = await client.request<Operation>('DELETE', `/v1/servers/${serverId}`);
  assert.equal(status, 200, JSON.stringify(body));
  return body.id;
}

const askToCancel = (client: Client, id: string) => client.request<Operation>('POST', `/v1/operations/${id}/cancel`);

/** Cancels and asserts that the operation is cancelled, for good. @returns it. */
async function cancel(client: Client, id: string): Promise<Operation> {
  const answer = await askToCancel(client, id);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  const operation = await ended(client, id);
  assert.equal(operation.status, 'cancelled', JSON.stringify(operation));
  assert.equal(operation.error, null);
  const again = await askToCancel(client, id);
  assert.equal(again.status, 409);
  assert.equal((again.body as unknown as { error: string }).error, 'OPERATION_ENDED');
  return operation;
}

/** The operation that tidies up after a cancelled one, ended. */
async function followUp(client: Client, books: Books, cancelled: Operation, kind: string): Promise<Operation> {
  const id = cancelled.result?.cleanup_operation_id;
  assert.equal(typeof id, 'string', `nothing tidies up: ${JSON.stringify(cancelled)}`);
  const operation = await ended(client, String(id));
  assert.equal(operation.status, 'completed', JSON.stringify(operation));
  const rows = await books.query<{ kind: string; parent_id: string }>(
    'select kind, parent_id from provisioning.operations where id = $1',
    [operation.id],
  );
  assert.deepEqual(rows, [{ kind, parent_id: cancelled.id }]);
  return operation;
}

/** No change asked for by the operation reached the provider after its end. */
async function assertNothingForward(books: Books): Promise<void> {
  const late = await books.query(`
    select o.id, o.kind, o.status, o.finished_at, c.call, c.outcome, c.at
    from provisioning.operations o join simulated_cloud.calls c on c.operation_id = o.id::text
    where c.call <> 'find' and c.at > o.finished_at`);
  assert.deepEqual(late, [], 'the provider was called after the end');
}

async function calls(books: Books, operationId: string): Promise<string[]> {
  const rows = await books.query<{ call: string; outcome: string }>(
    "select call, outcome from simulated_cloud.calls where operation_id = $1 and call <> 'find' order by id",
    [operationId],
  );
  return rows.map((row) => `${row.call} ${row.outcome}`);
}

async function assertGone(books: Books, createId: string): Promise<void> {
  assert.deepEqual(await books.query('select id from provisioning.servers where operation_id = $1', [createId]), []);
  await assertListEqualsProvider(books);
  await assertNothingForward(books);
  await assertEventsComplete(books);
}

const running = async (books: Books, id: string): Promise<boolean> =>
  (await books.query("select from provisioning.operations where id = $1 and status = 'running'", [id])).length > 0;

test('a create cancelled while it waits for its turn was never begun', async () => {
  await using bench = await openBench();
  const { admin } = await bench.serve({ latencyMs: 0, faults: 'stuck=1', concurrency: 1 });
  const first = await askForServer(admin, 'first');
  await until(() => running(bench.books, first), 'the first create to take the only place');
  const second = await askForServer(admin, 'second');
  const operation = await cancel(admin, second);
  assert.equal(operation.result, null, 'there is nothing to tidy up');
  assert.deepEqual(await calls(bench.books, second), []);
  await followUp(admin, bench.books, await cancel(admin, first), 'server.cleanup');
  await assertGone(bench.books, first);
  await assertGone(bench.books, second);
  assert.deepEqual(await calls(bench.books, second), []);
});

test('a create cancelled while its request is on the way never reaches the provider', async () => {
  await using bench = await openBench();
  const { admin } = await bench.serve({ latencyMs: 120_000 });
  const id = await askForServer(admin, 'on-its-way');
  await until(() => running(bench.books, id), 'the create to begin');
  await followUp(admin, bench.books, await cancel(admin, id), 'server.cleanup');
  assert.deepEqual(await calls(bench.books, id), []);
  await assertGone(bench.books, id);
});

test('a create cancelled while it is tried again and again stops trying', async () => {
  await using bench = await openBench();
  const { admin } = await bench.serve({ latencyMs: 0, faults: 'server_error=1' });
  const id = await askForServer(admin, 'again');
  await until(async () => (await calls(bench.books, id)).length >= 2, 'two tries');
  await followUp(admin, bench.books, await cancel(admin, id), 'server.cleanup');
  assert.ok((await calls(bench.books, id)).every((call) => call === 'create error'));
  await assertGone(bench.books, id);
});

test('a create cancelled right after its answer was lost leaves no server behind', async () => {
  await using bench = await openBench();
  const { admin } = await bench.serve({ latencyMs: 0, faults: 'lost_answer=1,half_created=1' });
  const id = await askForServer(admin, 'lost');
  await until(async () => (await calls(bench.books, id)).length > 0, 'the lost create');
  const cancelled = await cancel(admin, id);
  await bench
    .serve({ latencyMs: 0 })
    .then((server) => followUp(server.admin, bench.books, cancelled, 'server.cleanup'));
  assert.equal((await calls(bench.books, id))[0], 'create lost');
  await assertGone(bench.books, id);
});

test('a create cancelled while the server is coming up leaves no server behind', async () => {
  await using bench = await openBench();
  const { admin } = await bench.serve({ latencyMs: 0, faults: 'stuck=1' });
  const id = await askForServer(admin, 'coming-up');
  await until(async () => (await calls(bench.books, id)).length > 0, 'the create');
  const cleanup = await followUp(admin, bench.books, await cancel(admin, id), 'server.cleanup');
  assert.deepEqual(await calls(bench.books, id), ['create ok']);
  assert.deepEqual(await calls(bench.books, cleanup.id), ['delete ok']);
  await assertGone(bench.books, id);
});

test('a delete cancelled at any step leaves the list saying what is true', async () => {
  await using bench = await openBench();
  const { books } = bench;
  let { admin } = await bench.serve({ latencyMs: 0 });
  await createServers(admin, 'delete', 3);
  await untilAllEnded(books);
  const [waiting, sent, deleting] = (await books.query<{ id: string }>('select id from provisioning.servers')).map(
    ({ id }) => id,
  ) as [string, string, string];
  const statusOf = async (id: string) =>
    (await books.query<{ status: string }>('select status from provisioning.servers where id = $1', [id]))[0]?.status;

  // One place, taken by a delete whose request is on its way; the other one waits.
  ({ admin } = await bench.serve({ latencyMs: 120_000, concurrency: 1 }));
  const sentId = await askToDelete(admin, sent);
  await until(() => running(books, sentId), 'the delete to begin');
  const waitingId = await askToDelete(admin, waiting);
  assert.equal((await cancel(admin, waitingId)).result, null);
  assert.equal(await statusOf(waiting), 'running');
  await followUp(admin, books, await cancel(admin, sentId), 'server.reconcile');
  assert.equal(await statusOf(sent), 'running');
  assert.deepEqual([...(await calls(books, waitingId)), ...(await calls(books, sentId))], []);

  // The provider has it and takes its time: it cannot be called back, and the list ends up without the server.
  ({ admin } = await bench.serve({ latencyMs: 150, faults: 'slow_delete=1', concurrency: 1 }));
  const deletingId = await askToDelete(admin, deleting);
  await until(async () => (await calls(books, deletingId)).length > 0, 'the deletion at the provider');
  const reconciled = await followUp(admin, books, await cancel(admin, deletingId), 'server.reconcile');
  assert.equal(reconciled.result?.status, 'deleted');
  assert.equal(await statusOf(deleting), undefined);
  await assertListEqualsProvider(books);
  await assertNothingForward(books);
  await assertEventsComplete(books);
});

test('a cancel outlives a kill -9', async (t) => {
  await using bench = await openBench();
  const { books } = bench;
  const server = await bench.serve({ latencyMs: 0, faults: 'stuck=1' });
  const ids = await createServers(server.admin, 'killed', 10);
  await until(async () => (await books.query('select from simulated_cloud.servers')).length === 10, 'all creates');
  const asking = ids.map((id) => askToCancel(server.admin, id).catch(() => 'it was killed before it answered'));
  const requested = () =>
    books.query<{ id: string }>('select id from provisioning.operations where cancel_requested_at is not null');
  await until(async () => (await requested()).length > 0, 'the first cancel to be stored', 10_000, 1);
  await server.kill();
  await Promise.all(asking);
  const stored = (await requested()).map((row) => row.id);
  t.diagnostic(`killed with ${stored.length} of ${ids.length} cancels stored`);
  const { admin } = await bench.serve({ latencyMs: 0 });
  for (const id of stored) assert.equal((await ended(admin, id)).status, 'cancelled');
  // The cloud never brings these up: they wait until somebody asks.
  for (const id of ids) if (!stored.includes(id)) await cancel(admin, id);
  await untilAllEnded(books);
  assert.deepEqual(await books.query('select id from provisioning.servers'), []);
  await assertListEqualsProvider(books);
  await assertEventsComplete(books);
});

test(`${RACES} cancels that race with completions agree with the provider`, async (t) => {
  await using bench = await openBench();
  const { books } = bench;
  const { admin } = await bench.serve({ latencyMs: 80, faults: 'lost_answer=0.1,half_created=0.1' });
  const random = chances();
  const race = async (ask: (n: number) => Promise<string>, count: number) => {
    const outcomes = { accepted: 0, refused: 0 };
    // How long one takes here, of late: half of the cancels shall come in time.
    let typical = 300;
    const moments = Array.from({ length: count }, random);
    await inParallel(count, 12, async (n) => {
      const id = await ask(n);
      const begun = performance.now();
      if (n % 6 === 0) {
        await ended(admin, id);
        typical = performance.now() - begun;
      } else await sleep((moments[n] ?? 0) * 1.6 * typical);
      const answer = await askToCancel(admin, id);
      const { status } = await ended(admin, id);
      if (answer.status === 200) {
        outcomes.accepted += 1;
        assert.equal(status, 'cancelled', `${id}: the cancel was accepted`);
      } else {
        outcomes.refused += 1;
        assert.equal(answer.status, 409, JSON.stringify(answer.body));
        assert.equal(status, 'completed', `${id}: the cancel came too late`);
      }
    });
    await untilAllEnded(books);
    await assertListEqualsProvider(books);
    await assertCreatedOnce(books);
    await assertNothingForward(books);
    await assertEventsComplete(books);
    return outcomes;
  };

  const creates = await race((n) => askForServer(admin, `race-${n}`), RACES);
  t.diagnostic(`creates: ${creates.accepted} cancelled, ${creates.refused} completed before`);
  const servers = await books.query<{ id: string; operation_id: string; status: string }>(
    `select s.id, s.operation_id, o.status from provisioning.servers s join provisioning.operations o on o.id = s.operation_id`,
  );
  assert.deepEqual(
    servers.filter(({ status }) => status !== 'completed'),
    [],
    'a server of a cancelled create is left',
  );
  assert.equal(servers.length, creates.refused);

  const deletes = await race(async (n) => askToDelete(admin, servers[n]?.id ?? ''), servers.length);
  t.diagnostic(`deletes: ${deletes.accepted} cancelled, ${deletes.refused} completed before`);
});
