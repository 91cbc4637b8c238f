/** kill -9 at random moments of a workflow, and of the rollback of one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startTestServer, type TestServer, until } from '../support/server.ts';
import { makes, submitBatch } from '../support/workflows.ts';
import {
  allEnded,
  assertCreatedOnce,
  assertEventsComplete,
  assertListEqualsProvider,
  type Books,
  openBooks,
  scale,
  temporaryDataDir,
} from './support.ts';

const NODES = scale(80, 500);
const KILLS = scale(2, 10);
const SETTLE_MS = scale(60_000, 300_000);

/** Layers of servers, each waiting for the one before, with a server of its own between two. */
function layers(nodes: number) {
  const perLayer = Math.ceil(nodes / 4) - 1;
  return Array.from({ length: 4 }, (_, n) => [
    makes(`layer${n}`, `l${n}-\${{ item }}`, {
      for_each: `\${{ range(\`${perLayer}\`) }}`,
      ...(n === 0 ? {} : { depends_on: [`between${n - 1}`] }),
    }),
    makes(`between${n}`, `between-${n}`, { depends_on: [`layer${n}`] }),
  ]).flat();
}

/** Runs `work` on a server that is killed with -9 again and again while there is work; ends with one that lives. */
async function underKills(
  t: { diagnostic(message: string): void },
  work: (server: TestServer) => Promise<void>,
  check: (books: Books) => Promise<void>,
): Promise<void> {
  await using data = await temporaryDataDir();
  const start = () => startTestServer({ dataDir: data.directory, settings: { SIMULATED_LATENCY_MS: '150' } });
  const stack = new AsyncDisposableStack();
  await using _ = stack;
  let server = await start();
  stack.defer(() => server[Symbol.asyncDispose]());
  await using books = await openBooks({ dataDir: data.directory });
  await work(server);
  const ended = async () => {
    const [row] = await books.query<{ ended: number; open: number }>(
      `select count(*) filter (where finished_at is not null)::int as ended,
              count(*) filter (where finished_at is null)::int as open from provisioning.operations`,
    );
    return row ?? { ended: 0, open: 0 };
  };
  let before = 0;
  for (let kill = 1; kill <= KILLS; kill += 1) {
    // Only where something has been done since the last one is there something to lose.
    await until(async () => (await ended()).ended > before, 'the work to go on', SETTLE_MS);
    const moment = Math.random() * 500;
    await sleep(moment);
    const now = await ended();
    await server.kill();
    t.diagnostic(`kill ${kill} after ${moment.toFixed(0)} ms: ${now.ended} operations ended, ${now.open} open`);
    before = now.ended;
    if (now.open === 0) assert.ok(kill > 1, 'the work was over before the first kill');
    server = await start();
    if (now.open === 0) break;
  }
  await until(() => allEnded(books), 'all operations to end', SETTLE_MS);
  await check(books);
  await assertListEqualsProvider(books);
  await assertCreatedOnce(books);
  await assertEventsComplete(books);
}

test(`a workflow of some ${NODES} nodes, killed with -9 ${KILLS} times, completes and doubles nothing`, (t) =>
  underKills(
    t,
    async (server) => {
      await submitBatch(server.admin, layers(NODES), { parallel_limit: 40 });
    },
    async (books) => {
      const nodes = await books.query<{ status: string; count: number }>(
        'select status, count(*)::int as count from provisioning.workflow_nodes group by status',
      );
      assert.deepEqual(nodes, [{ status: 'completed', count: 4 * Math.ceil(NODES / 4) }]);
      const ended = await books.query("select status, error from provisioning.operations where kind = 'workflow.run'");
      assert.deepEqual(ended, [{ status: 'completed', error: null }]);
      const doubled = await books.query(`
        select o.id from provisioning.operations o
        where o.kind = 'server.create' and not exists (select from provisioning.workflow_nodes n where n.operation_id = o.id)`);
      assert.deepEqual(doubled, [], 'an operation belongs to no node');
      const early = await books.query(`
        select n.key from provisioning.workflow_nodes n
        join provisioning.workflow_edges e on e.workflow_id = n.workflow_id and e.to_step = n.step
        join provisioning.workflow_nodes b on b.workflow_id = n.workflow_id and b.step = e.from_step
        join provisioning.operations done on done.id = b.operation_id
        where done.finished_at > n.started_at`);
      assert.deepEqual(early, [], 'a node began before what it waits for had ended');
    },
  ));

test(`a rollback killed with -9 ${KILLS} times goes on and leaves nothing`, (t) =>
  underKills(
    t,
    async (server) => {
      const bad = { id: 'bad', kind: 'server.delete', depends_on: ['between3'], with: { server: 'nobody' } };
      const { id } = await submitBatch(server.admin, [...layers(scale(40, 300)), bad], { parallel_limit: 20 });
      await until(
        async () => {
          const { body } = await server.admin.request<{ status: string }>('GET', `/v1/workflows/${id}`);
          return body.status === 'failed';
        },
        'the workflow to fail',
        SETTLE_MS,
      );
    },
    async (books) => {
      const rollback = await books.query<{ status: string; error: string | null }>(
        "select status, error from provisioning.operations where kind = 'workflow.rollback'",
      );
      assert.deepEqual(rollback, [{ status: 'completed', error: null }]);
      assert.deepEqual(await books.query('select hostname from provisioning.servers'), []);
      const nodes = await books.query("select distinct undo from provisioning.workflow_nodes where key <> 'bad'");
      assert.deepEqual(nodes, [{ undo: 'undone' }]);
    },
  ));
