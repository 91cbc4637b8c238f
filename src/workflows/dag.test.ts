/**
 * Random graphs on the simulated cloud: order and limits hold by the cloud's own books, results are those of a
 * sequential run, and where calls fail the report tells exactly what is left.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Installation, startInstallation } from '../../test/support/acceptance.ts';
import { ended } from '../../test/support/server.ts';
import { hostsInCloud, makes, runBatch, type StepInput, statuses, stepsOf } from '../../test/support/workflows.ts';

const FULL = process.env.PROVISIONING_TEST_SCALE === 'full';
const SHAPES = FULL ? 200 : 6;
const MAX_NODES = FULL ? 200 : 30;

interface Shape {
  size: number;
  /** Pairs of nodes: the greater waits for the smaller. */
  pairs: [number, number][];
  limit: number;
}

const shapes = fc.integer({ min: 2, max: MAX_NODES }).chain((size) =>
  fc.record({
    size: fc.constant(size),
    pairs: fc.array(fc.tuple(fc.nat(size - 1), fc.nat(size - 1)), { maxLength: 3 * size }),
    limit: fc.integer({ min: 1, max: 12 }),
  }),
);

let graphs = 0;

/** Node n makes a server whose tags name the addresses of what it waited for: its result depends on theirs. */
function graphOf({ size, pairs }: Shape, more: Record<string, unknown> = {}) {
  graphs += 1;
  const prefix = `g${graphs}`;
  const before = Array.from({ length: size }, (_, n) => [
    ...new Set(
      pairs.map(([a, b]) => [Math.min(a, b), Math.max(a, b)]).flatMap(([a, b]) => (b === n && a !== n ? [a] : [])),
    ),
  ]);
  const steps: StepInput[] = before.map((needs, n) =>
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

test(`${SHAPES} random graphs: order, limits and results`, async () => {
  await using installation = await startInstallation({ SIMULATED_LATENCY_MS: '20' });
  const { admin } = installation.server;
  await fc.assert(
    fc.asyncProperty(shapes, async (shape) => {
      const { prefix, before, steps } = graphOf(shape);
      const done = await runBatch(admin, steps, { parallel_limit: shape.limit });
      assert.equal(done.status, 'completed', JSON.stringify(done));
      const books = await booksOf(installation, prefix);
      assert.equal(books.size, shape.size);
      for (const [n, needs] of before.entries()) {
        const made = books.get(`${prefix}-${n}`);
        // What a sequential run would make: each node sees the results of all that it waits for.
        assert.deepEqual(
          made?.tags,
          needs.map((k) => `after:${prefix}-${k}`),
        );
        for (const k of needs) {
          const earlier = books.get(`${prefix}-${k}`);
          assert.ok((earlier?.settled ?? 0) <= (made?.created ?? 0), `n${n} was asked for before n${k} stood`);
        }
      }
      for (const { created } of books.values()) {
        const atOnce = [...books.values()].filter(
          (other) => other.created <= created && other.settled > created,
        ).length;
        assert.ok(atOnce <= shape.limit, `${atOnce} at once, the limit is ${shape.limit}`);
      }
    }),
    { numRuns: SHAPES },
  );
});

test('with faults in a fifth of the calls, retries and rollback leave exactly what the report says', async () => {
  await using installation = await startInstallation({
    SIMULATED_LATENCY_MS: '10',
    SIMULATED_FAULTS: 'lost_answer=0.07,server_error=0.07,half_created=0.03,stuck=0.03',
  });
  const { admin } = installation.server;
  let failures = 0;
  await fc.assert(
    fc.asyncProperty(shapes, async (shape) => {
      const { prefix, steps } = graphOf(shape, { timeout: 8, retry: { max_attempts: 2, initial_delay: 0.05 } });
      const done = await runBatch(admin, steps, { parallel_limit: shape.limit }, 120);
      const there = async () =>
        (await hostsInCloud(installation.database)).filter((host) => host.startsWith(`${prefix}-`)).sort();
      const all = Array.from({ length: shape.size }, (_, n) => `${prefix}-${n}`).sort();
      if (done.status === 'completed') {
        assert.deepEqual(await there(), all);
        return;
      }
      failures += 1;
      assert.equal(done.status, 'failed');
      const rollback = await ended(admin, String(done.result?.cleanup_operation_id), 120);
      const failed = (rollback.result?.failed ?? []) as { node: string }[];
      assert.equal(rollback.status, failed.length === 0 ? 'completed' : 'failed', JSON.stringify(rollback));
      const left = (await stepsOf(admin, done.id)).filter(({ id }) => failed.some(({ node }) => node === id));
      assert.deepEqual(await there(), left.map((step) => String(step.with?.hostname)).sort());
      assert.deepEqual(
        Object.values(await statuses(admin, done.id)).filter((status) =>
          ['waiting', 'running', 'retrying'].includes(status),
        ),
        [],
      );
    }),
    { numRuns: FULL ? SHAPES : 4 },
  );
  if (FULL) assert.ok(failures > 0, 'no graph failed: the faults were too kind');
});
