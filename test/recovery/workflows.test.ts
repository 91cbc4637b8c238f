/**
 * Workflows under kill -9 of every replica at random moments: forward, while being cancelled, and while being undone. What
 * they did is read from the simulated cloud's own books.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { expectOk } from '../support/acceptance.ts';
import { createTestDatabase } from '../support/database.ts';
import { chances } from '../support/seed.ts';
import { type Client, type Operation, startTestServer, type TestServer, until } from '../support/server.ts';
import { makes, type StepInput, submitBatch, workflowOf } from '../support/workflows.ts';
import {
  assertCreatedOnce,
  assertEventsComplete,
  assertListEqualsProvider,
  type Books,
  openBooks,
  scale,
  untilAllEnded,
} from './support.ts';

const NODES = scale(60, 500);
const ROUNDS = scale(1, 10);
const WORKERS = 2;
const LAYERS = 4;
const SETTLE_MS = scale(120_000, 400_000);
/** A round begins when so many more operations have ended. */
const PROGRESS = 5;

/** Layers of servers, each waiting for the one before, with a server of its own between two: `NODES` in all. */
function layers(nodes: number): StepInput[] {
  const perLayer = nodes / LAYERS - 1;
  return Array.from({ length: LAYERS }, (_, n) => [
    makes(`layer${n}`, `l${n}-\${{ item }}`, {
      for_each: `\${{ range(\`${perLayer}\`) }}`,
      ...(n === 0 ? {} : { depends_on: [`between${n - 1}`] }),
    }),
    makes(`between${n}`, `between-${n}`, { depends_on: [`layer${n}`] }),
  ]).flat();
}

interface Cluster {
  books: Books;
  /** On the replica that only accepts. */
  client: Client;
  /** Kills every worker at a moment of its own and starts others. @returns operations that had not ended by then. */
  killAll(): Promise<number>;
}

/** One replica that accepts, and workers that carry out, on one database. */
async function withCluster(t: TestContext, work: (cluster: Cluster) => Promise<void>): Promise<void> {
  await using database = await createTestDatabase({ poolSize: 1 });
  await using books = await openBooks({ databaseUrl: database.url });
  const settings = { SIMULATED_LATENCY_MS: '150', POOL_SIZE: '8' };
  await using front = await startTestServer({ databaseUrl: database.url, settings: { ...settings, ROLE: 'api' } });
  const start = () => startTestServer({ databaseUrl: database.url, settings: { ...settings, ROLE: 'worker' } });
  let workers: TestServer[] = [];
  const startAll = async () => {
    workers = await Promise.all(Array.from({ length: WORKERS }, start));
  };
  await using stack = new AsyncDisposableStack();
  stack.defer(async () => {
    for (const worker of workers) await worker[Symbol.asyncDispose]();
  });
  await startAll();
  let round = 0;
  const random = chances();
  await work({
    books,
    client: front.admin,
    async killAll() {
      round += 1;
      const moments = workers.map(() => random() * 1_000);
      await Promise.all(
        workers.map(async (worker, n) => {
          await sleep(moments[n]);
          await worker.kill();
        }),
      );
      const { open, ended } = await countOperations(books);
      t.diagnostic(
        `round ${round}: killed after ${moments.map((ms) => ms.toFixed(0)).join(' and ')} ms, ${ended} operations had ended, ${open} not`,
      );
      for (const worker of workers) await worker[Symbol.asyncDispose]();
      await startAll();
      return open;
    },
  });
  await assertListEqualsProvider(books);
  await assertCreatedOnce(books);
  await assertEventsComplete(books);
}

async function countOperations(books: Books): Promise<{ ended: number; open: number }> {
  const [row] = await books.query<{ ended: number; open: number }>(
    `select count(*) filter (where finished_at is not null)::int as ended,
            count(*) filter (where finished_at is null)::int as open from provisioning.operations`,
  );
  return row ?? { ended: 0, open: 0 };
}

/** Round after round, each when something has been done since the last one: only then is there something to lose. */
async function killRounds({ books, killAll }: Cluster): Promise<void> {
  for (let round = 1; round <= ROUNDS; round += 1) {
    const before = (await countOperations(books)).ended;
    const open = await untilProgress(books, before + PROGRESS);
    if (open === 0) assert.ok(round > 1, 'the work was over before the first kill');
    if (open === 0 || (await killAll()) === 0) return;
  }
}

/** @returns operations that have not ended. */
async function untilProgress(books: Books, ended: number): Promise<number> {
  let now = await countOperations(books);
  await until(
    async () => {
      now = await countOperations(books);
      return now.ended >= ended || now.open === 0;
    },
    'the work to go on',
    SETTLE_MS,
  );
  return now.open;
}

/** Reads the progress of a run again and again until it has ended. */
async function followProgress(client: Client, id: string, seen: { status: string; progress: number }[]): Promise<void> {
  for (;;) {
    const { status, progress } = await workflowOf(client, id);
    seen.push({ status, progress });
    if (!['pending', 'running'].includes(status)) return;
    await sleep(50);
  }
}

test(`a workflow of ${NODES} nodes, all replicas killed with -9 ${ROUNDS} times, completes and doubles nothing`, (t) =>
  withCluster(t, async (cluster) => {
    const { books, client } = cluster;
    const { id } = await submitBatch(client, layers(NODES), { parallel_limit: 40 });
    const seen: { status: string; progress: number }[] = [];
    const following = followProgress(client, id, seen);
    await killRounds(cluster);
    await untilAllEnded(books, SETTLE_MS);
    await following;
    const nodes = await books.query<{ status: string; count: number }>(
      'select status, count(*)::int as count from provisioning.workflow_nodes group by status',
    );
    assert.deepEqual(nodes, [{ status: 'completed', count: NODES }]);
    const runs = await books.query("select status, error from provisioning.operations where kind = 'workflow.run'");
    assert.deepEqual(runs, [{ status: 'completed', error: null }]);
    const doubled = await books.query(`
      select o.id from provisioning.operations o
      where o.kind = 'server.create' and not exists (select from provisioning.workflow_nodes n where n.operation_id = o.id)`);
    assert.deepEqual(doubled, [], 'an operation belongs to no node');
    const [made] = await books.query<{ servers: number; creates: number }>(
      `select (select count(*)::int from simulated_cloud.servers) as servers,
              (select count(*)::int from simulated_cloud.calls where call = 'create') as creates`,
    );
    assert.deepEqual(made, { servers: NODES, creates: NODES });
    const early = await books.query(`
      select n.key from provisioning.workflow_nodes n
      join provisioning.workflow_edges e on e.workflow_id = n.workflow_id and e.to_step = n.step
      join provisioning.workflow_nodes b on b.workflow_id = n.workflow_id and b.step = e.from_step
      join simulated_cloud.calls asked on asked.operation_id = n.operation_id::text and asked.call = 'create'
      join simulated_cloud.servers before on before.operation_id = b.operation_id::text
      where before.settles_at > asked.at`);
    assert.deepEqual(early, [], 'a server was asked for before one stood that it waits for');
    for (const [n, now] of seen.entries()) {
      assert.ok(now.progress >= (seen[n - 1]?.progress ?? 0), `progress fell: ${JSON.stringify(seen.slice(0, n + 1))}`);
      assert.equal(now.progress === 100, now.status === 'completed', JSON.stringify(now));
    }
  }));

test('a cancel in the middle of kills: nothing goes forward after `cancelled`', (t) =>
  withCluster(t, async (cluster) => {
    const { books, client, killAll } = cluster;
    const { id } = await submitBatch(client, layers(NODES), { parallel_limit: 20 });
    await untilProgress(books, NODES / 4);
    const killing = killAll();
    expectOk(await client.request<Operation>('POST', `/v1/workflows/${id}/cancel`));
    await killing;
    await untilAllEnded(books, SETTLE_MS);
    const [run] = await books.query<{ status: string; finished_at: Date }>(
      'select status, finished_at from provisioning.operations where id = $1',
      [id],
    );
    assert.equal(run?.status, 'cancelled');
    const late = await books.query(
      `select call, at from simulated_cloud.calls where call <> 'find' and call <> 'delete' and at > $1`,
      [run?.finished_at],
    );
    assert.deepEqual(late, [], 'the cloud was asked to make something after the end');
    const children = await books.query(
      `select id, kind, status, finished_at from provisioning.operations
       where parent_id = $1 and (finished_at > $2 or status = 'failed') and kind = 'server.create'`,
      [id, run?.finished_at],
    );
    assert.deepEqual(children, [], 'a child ended after its workflow, or failed');
    const nodes = await books.query<{ status: string }>('select distinct status from provisioning.workflow_nodes');
    const found = nodes.map(({ status }) => status);
    // Whether one ran at that very moment is luck.
    assert.deepEqual(found.filter((status) => status !== 'cancelled').sort(), ['completed', 'not_run']);
    const [kept] = await books.query<{ completed: number; servers: number }>(
      `select (select count(*)::int from provisioning.workflow_nodes where status = 'completed') as completed,
              (select count(*)::int from provisioning.servers) as servers`,
    );
    assert.equal(kept?.servers, kept?.completed, 'what completed stays, what was cancelled is tidied up');
  }));

test(`a rollback, all replicas killed with -9 ${ROUNDS} times, goes on and leaves nothing`, (t) =>
  withCluster(t, async (cluster) => {
    const { books, client } = cluster;
    const bad = { id: 'bad', kind: 'server.delete', depends_on: [`between${LAYERS - 1}`], with: { server: 'nobody' } };
    const { id } = await submitBatch(client, [...layers(scale(40, 300)), bad], { parallel_limit: 20 });
    await until(async () => (await workflowOf(client, id)).status === 'failed', 'the workflow to fail', SETTLE_MS);
    await killRounds(cluster);
    await untilAllEnded(books, SETTLE_MS);
    const rollback = await books.query<{ status: string; error: string | null }>(
      "select status, error from provisioning.operations where kind = 'workflow.rollback'",
    );
    assert.deepEqual(rollback, [{ status: 'completed', error: null }]);
    assert.deepEqual(await books.query('select hostname from provisioning.servers'), []);
    assert.deepEqual(await books.query('select ref from simulated_cloud.servers where change <> $1', ['delete']), []);
    const nodes = await books.query("select distinct undo from provisioning.workflow_nodes where key <> 'bad'");
    assert.deepEqual(nodes, [{ undo: 'undone' }]);
    const twice = await books.query(
      `select ref from simulated_cloud.calls where call = 'delete' and outcome = 'ok' group by ref having count(*) > 1`,
    );
    assert.deepEqual(twice, [], 'a server was deleted twice');
  }));
