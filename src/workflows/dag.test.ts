/**
 * Random graphs on the simulated cloud: order and limits hold by the cloud's own books, results are those of a
 * sequential run, and where calls fail the report tells exactly what is left.
 *
 * `npm test` runs a few small ones, `npm run test:chaos` hundreds of 200 nodes. PROVISIONING_TEST_SHAPES says how many,
 * PROVISIONING_TEST_SEED which.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { expectOk, type Installation, startInstallation } from '../../test/support/acceptance.ts';
import { SEED } from '../../test/support/seed.ts';
import { ended, type Operation } from '../../test/support/server.ts';
import {
  hostsInCloud,
  makes,
  runBatch,
  type StepInput,
  stepsOf,
  submit,
  typeUndoneOnce,
} from '../../test/support/workflows.ts';

fc.configureGlobal({ seed: SEED });

const FULL = process.env.PROVISIONING_TEST_SCALE === 'full';
const SHAPES = Number(process.env.PROVISIONING_TEST_SHAPES ?? (FULL ? 200 : 6));
/** Nodes of a graph. */
const SIZE = FULL ? { min: 200, max: 200 } : { min: 2, max: 30 };
/** Graphs that run at the same time. */
const AT_ONCE = 4;
/** A sequential run of more nodes takes too long. */
const MOST_SEQUENTIAL = FULL ? 0 : 12;
/** Rollbacks of one graph at most: each leaves a twentieth of the servers. */
const MOST_ROLLBACKS = 10;
const TIMEOUT_SECONDS = FULL ? 600 : 180;

interface Shape {
  size: number;
  /** Pairs of nodes, no further apart than `reach`: the greater waits for the smaller. */
  pairs: [number, number][];
  /** Small: long chains. Great: broad layers. */
  reach: number;
  limit: number;
  /** Tries of each node. */
  attempts: number;
}

const shapes = fc.integer(SIZE).chain((size) =>
  fc.record({
    size: fc.constant(size),
    pairs: fc.array(fc.tuple(fc.nat(size - 1), fc.nat(size - 1)), { maxLength: 3 * size, size: 'max' }),
    reach: fc.oneof(fc.integer({ min: 1, max: 10 }), fc.constant(size)),
    limit: fc.oneof(fc.integer({ min: 2, max: 12 }), fc.integer({ min: 13, max: 60 })),
    attempts: fc.constantFrom(1, 2),
  }),
);

let graphs = 0;

interface Graph {
  prefix: string;
  /** What each node waits for. */
  before: number[][];
  steps: StepInput[];
}

/** Node n makes a server whose tags name the hostnames of what it waited for: its result depends on theirs. */
function graphOf({ size, pairs, reach }: Shape, more: Record<string, unknown> = {}): Graph {
  graphs += 1;
  const prefix = `g${graphs}`;
  const before: number[][] = Array.from({ length: size }, () => []);
  for (const [a, b] of pairs) {
    const [from, to] = [Math.min(a, b), Math.max(a, b)];
    const needs = before[to];
    if (from < to && to - from <= reach && needs?.includes(from) === false) needs.push(from);
  }
  const steps = before.map((needs, n) =>
    makes(`n${n}`, `${prefix}-${n}`, {
      depends_on: needs.map((k) => `n${k}`),
      with: { hostname: `${prefix}-${n}`, tags: needs.map((k) => `after:\${{ operations.n${k}.result.hostname }}`) },
      ...more,
    }),
  );
  return { prefix, before, steps };
}

interface Made {
  hostname: string;
  tags: string[];
  created: Date;
  settled: Date;
}

/** What the cloud's books say of a graph's servers: when each was asked for, and when it stood. */
async function booksOf({ database }: Installation, prefix: string): Promise<Map<string, Made>> {
  const { rows } = await database.pool.query<Made>(
    `select s.hostname, s.tags, c.at as created, s.settles_at as settled
     from simulated_cloud.servers s join simulated_cloud.calls c on c.ref = s.ref and c.call = 'create'
     where s.hostname like $1 || '-%'`,
    [prefix],
  );
  return new Map(rows.map((row) => [row.hostname, row]));
}

/** What a graph brought about, without what differs from one run to the next: each node's outcome, hostname and tags. */
async function outcomeOf(installation: Installation, { prefix }: Graph, id: string) {
  const books = await booksOf(installation, prefix);
  const nodes = await stepsOf(installation.server.admin, id);
  return nodes.map(({ id: node, status, result }) => ({
    node,
    status,
    host: String(result?.hostname).replace(`${prefix}-`, ''),
    tags: books.get(String(result?.hostname))?.tags.map((tag) => tag.replace(`${prefix}-`, '')),
  }));
}

/** Checks so many shapes, several at once. */
async function checkShapes(check: (shape: Shape) => Promise<void>): Promise<void> {
  await fc.assert(
    fc.asyncProperty(fc.array(shapes, { minLength: AT_ONCE, maxLength: AT_ONCE }), async (some) => {
      const results = await Promise.allSettled(some.map(check));
      for (const result of results) if (result.status === 'rejected') throw result.reason;
    }),
    { numRuns: Math.max(1, Math.ceil(SHAPES / AT_ONCE)), endOnFailure: true },
  );
}

test(`${SHAPES} random graphs of up to ${SIZE.max} nodes: order, limits and results`, async (t) => {
  await using installation = await startInstallation({ SIMULATED_LATENCY_MS: '20' });
  const { admin } = installation.server;
  let sequential = 0;
  let nodes = 0;
  await checkShapes(async (shape) => {
    const graph = graphOf(shape);
    const { prefix, before } = graph;
    const done = await runBatch(admin, graph.steps, { parallel_limit: shape.limit }, TIMEOUT_SECONDS);
    assert.equal(done.status, 'completed', JSON.stringify(done));
    const books = await booksOf(installation, prefix);
    assert.equal(books.size, shape.size);
    nodes += shape.size;
    for (const [n, needs] of before.entries()) {
      const made = books.get(`${prefix}-${n}`);
      // What a sequential run makes: each node sees the results of all that it waits for.
      assert.deepEqual(
        made?.tags,
        needs.map((k) => `after:${prefix}-${k}`),
      );
      for (const k of needs) {
        const earlier = books.get(`${prefix}-${k}`);
        assert.ok((earlier?.settled ?? 0) <= (made?.created ?? 0), `n${n} was asked for before n${k} stood`);
      }
    }
    assertLimit([...books.values()], shape.limit);
    if (shape.size > MOST_SEQUENTIAL) return;
    sequential += 1;
    const again = graphOf(shape);
    const alone = await runBatch(admin, again.steps, { parallel_limit: 1 }, TIMEOUT_SECONDS);
    assert.deepEqual(await outcomeOf(installation, again, alone.id), await outcomeOf(installation, graph, done.id));
  });
  t.diagnostic(`${nodes} nodes, ${sequential} graphs also one node at a time`);
});

/** Never more at once, by the cloud's clock. */
function assertLimit(made: Made[], limit: number): void {
  const moments = made
    .flatMap(({ created, settled }) => [
      { at: created.getTime(), change: 1 },
      { at: settled.getTime(), change: -1 },
    ])
    // What ended in the same millisecond as the next began has made room for it.
    .sort((a, b) => a.at - b.at || a.change - b.change);
  let now = 0;
  for (const { change } of moments) {
    now += change;
    assert.ok(now <= limit, `${now} at once, the limit is ${limit}`);
  }
}

test('with faults in a fifth of the calls, retries and rollback leave exactly what the report says', async (t) => {
  await using installation = await startInstallation({
    SIMULATED_LATENCY_MS: '10',
    SIMULATED_FAULTS: 'lost_answer=0.07,server_error=0.07,half_created=0.03,stuck=0.03',
  });
  const { admin } = installation.server;
  const tally = { completed: 0, undone: 0, incomplete: 0 };
  await checkShapes(async (shape) => {
    const graph = graphOf(shape, { timeout: 8, retry: { max_attempts: shape.attempts, initial_delay: 0.05 } });
    const done = await runBatch(admin, graph.steps, { parallel_limit: shape.limit }, TIMEOUT_SECONDS);
    const outcome = await assertReportHolds(installation, graph, done);
    tally[outcome] += 1;
    if (outcome !== 'undone') return;
    // Nothing is left of it: all of it may be done again, and what is said of that holds as well.
    const again = expectOk(await admin.request<Operation>('POST', `/v1/workflows/${done.id}/retry`));
    tally[await assertReportHolds(installation, graph, await ended(admin, again.id, TIMEOUT_SECONDS))] += 1;
  });
  t.diagnostic(JSON.stringify(tally));
  if (FULL) assert.ok(tally.undone + tally.incomplete > 0, 'no graph failed: the faults were too kind');
});

test('where undoing fails in part as well, the report names just what is left, until nothing is', async (t) => {
  await using installation = await startInstallation({
    SIMULATED_LATENCY_MS: '10',
    SIMULATED_FAULTS: 'lost_answer=0.05,server_error=0.05,stuck=0.05,delete_refused=0.05',
  });
  const { admin } = installation.server;
  const tally = { completed: 0, undone: 0, incomplete: 0 };
  const left: number[] = [];
  const once = await typeUndoneOnce(installation.server);
  await checkShapes(async (shape) => {
    const graph = graphOf(shape, { timeout: 8, retry: { max_attempts: shape.attempts, initial_delay: 0.05 } });
    const run = await submit(admin, once, { operations: graph.steps, parallel_limit: shape.limit });
    let outcome = await assertReportHolds(installation, graph, await ended(admin, run.id, TIMEOUT_SECONDS));
    tally[outcome] += 1;
    for (let tries = 1; outcome === 'incomplete'; tries++) {
      assert.ok(tries < MOST_ROLLBACKS, 'it is never undone');
      left.push((await leftOf(installation, graph.prefix)).there.length);
      const again = expectOk(await admin.request<Operation>('POST', `/v1/workflows/${run.id}/rollback`));
      outcome = await assertRollbackHolds(installation, graph, run.id, again.id);
    }
  });
  t.diagnostic(`${JSON.stringify(tally)}; servers left after a rollback: ${left.join(', ') || 'none'}`);
  if (FULL) assert.ok(tally.incomplete > 0, 'no rollback failed: the faults were too kind');
});

/** Hostnames of a graph's servers at the cloud and in our list. */
async function leftOf({ database }: Installation, prefix: string): Promise<{ there: string[]; listed: string[] }> {
  const { rows } = await database.pool.query<{ hostname: string }>(
    "select hostname from provisioning.servers where hostname like $1 || '-%'",
    [prefix],
  );
  const there = (await hostsInCloud(database)).filter((host) => host.startsWith(`${prefix}-`));
  return { there: there.sort(), listed: rows.map(({ hostname }) => hostname).sort() };
}

/** At the cloud and in our list there is what the run's end says, and nothing else. */
async function assertReportHolds(
  installation: Installation,
  graph: Graph,
  run: Operation,
): Promise<'completed' | 'undone' | 'incomplete'> {
  const { prefix, before } = graph;
  if (run.status === 'completed') {
    const all = before.map((_, n) => `${prefix}-${n}`).sort();
    assert.deepEqual(await leftOf(installation, prefix), { there: all, listed: all });
    return 'completed';
  }
  assert.equal(run.status, 'failed', JSON.stringify(run));
  return assertRollbackHolds(installation, graph, run.id, String(run.result?.cleanup_operation_id));
}

/** The same after a rollback, by its report. */
async function assertRollbackHolds(
  installation: Installation,
  { prefix }: Graph,
  runId: string,
  rollbackId: string,
): Promise<'undone' | 'incomplete'> {
  const { admin } = installation.server;
  const rollback = await ended(admin, rollbackId, TIMEOUT_SECONDS);
  const report = rollback.result as { failed: { node: string }[]; kept: unknown[] } | null;
  const failed = report?.failed.map(({ node }) => node) ?? [];
  assert.equal(rollback.status, failed.length === 0 ? 'completed' : 'failed', JSON.stringify(rollback));
  assert.deepEqual(report?.kept, []);
  const steps = await stepsOf(admin, runId);
  assert.deepEqual(
    steps.filter(({ status }) => ['waiting', 'running', 'retrying'].includes(status)),
    [],
  );
  const left = steps.filter(({ id }) => failed.includes(id)).map((step) => String(step.with?.hostname));
  const now = await leftOf(installation, prefix);
  const odd = steps.filter((step) => now.there.includes(String(step.with?.hostname)) !== failed.includes(step.id));
  assert.deepEqual(now, { there: left.sort(), listed: left }, JSON.stringify({ odd, report }));
  return failed.length === 0 ? 'undone' : 'incomplete';
}
