import { acceptCreates, untilCarriedOut } from './support/backlog.ts';
import { type Installation, startInstallation } from './support/installation.ts';
import { processorSeconds } from './support/kernel.ts';
import { type Benchmark, compare, type Pair, plain } from './support/stats.ts';

const SIZES = [
  { creates: 300, rounds: 1 },
  { creates: 1_500, rounds: 5 },
] as const;
/** What a create waits at the simulated cloud: a quarter of its latency for the request, and the latency itself. */
const SECONDS_EACH = 3;
const SIMULATED_LATENCY_MS = String(SECONDS_EACH * 800);
/** As many as the server carries out at once by default (WORKER_CONCURRENCY). */
const AT_ONCE = 100;
const WORKERS = 3;
/** So that all of them together stay below what the embedded database takes. */
const POOL_SIZE = '10';
/** Where a backlog waits until all workers are there: no worker listens to it. */
const HELD = 'held';
const CHANNEL = 'provisioning_queue';

/** One for each size, so that they can be run one by one. */
export const backlogs: Benchmark[] = SIZES.map(({ creates, rounds }) => ({
  name: `backlog-${creates}`,
  about: `${creates} creates of ${SECONDS_EACH} s that wait, ${AT_ONCE} at once in a worker, against the time they take if no slot is ever empty`,
  run: (log) => measure(creates, rounds, log),
}));

async function measure(creates: number, rounds: number, log: (line: string) => void) {
  await using installation = await startInstallation({
    ROLE: 'api',
    LOG_LEVEL: 'warn',
    SIMULATED_LATENCY_MS,
    POOL_SIZE,
  });
  const ideal = (creates / AT_ONCE) * SECONDS_EACH;
  const pairs = { one: [] as Pair[], restart: [] as Pair[], several: [] as Pair[] };
  const processor: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const one = await carryOut(installation, creates, { workers: 1, waitForAll: true });
    const restart = await carryOut(installation, creates, { workers: 1, waitForAll: false });
    const several = await carryOut(installation, creates, { workers: WORKERS, waitForAll: true });
    log(`one: ${one.seconds} s, after a start: ${restart.seconds} s, ${WORKERS}: ${several.seconds} s`);
    pairs.one.push({ ours: one.seconds, floor: ideal });
    pairs.restart.push({ ours: restart.seconds, floor: ideal });
    pairs.several.push({ ours: creates / several.seconds, floor: creates / one.seconds });
    processor.push((one.processor / creates) * 1_000);
  }
  return [
    compare('one worker, against the ideal', pairs.one, 's', { atMost: 1.15 }),
    compare('one that starts while they wait, against the ideal', pairs.restart, 's', { atMost: 1.15 }),
    compare(`${WORKERS} workers, against one`, pairs.several, '/s', { atLeast: 2.7 }),
    plain('processor time of the worker, each', processor, 'ms'),
  ];
}

/**
 * @param how `waitForAll`: the backlog is given to the workers once all of them are there; otherwise it waits for their
 * start.
 * @returns seconds from the first that could begin until the last had ended, and of processor time in the workers.
 */
async function carryOut(
  installation: Installation,
  creates: number,
  { workers, waitForAll }: { workers: number; waitForAll: boolean },
): Promise<{ seconds: number; processor: number }> {
  const { pool, replica } = installation;
  await acceptCreates(installation, creates);
  const { rows: queues } = await pool.query<{ queue: string }>(
    'select distinct queue_name as queue from dbos.workflow_status',
  );
  const queue = queues[0]?.queue;
  if (waitForAll) await pool.query('update dbos.workflow_status set queue_name = $1', [HELD]);
  await using stack = new AsyncDisposableStack();
  const settings = { ROLE: 'worker', SIMULATED_LATENCY_MS, POOL_SIZE, WORKER_CONCURRENCY: String(AT_ONCE) };
  const started = await Promise.all(Array.from({ length: workers }, async () => stack.use(await replica(settings))));
  const spent = async () => {
    const each = await Promise.all(started.map(({ process }) => processorSeconds(process.pid ?? 0)));
    return each.reduce((sum, seconds) => sum + seconds, 0);
  };
  const before = await spent();
  const begun = Date.now();
  if (waitForAll) {
    await pool.query('update dbos.workflow_status set queue_name = $1', [queue]);
    await pool.query('select pg_notify($1, $2)', [CHANNEL, queue]);
  }
  await untilCarriedOut(installation);
  const { rows } = await pool.query<{ first: string; last: string }>(
    `select min(w.started_at_epoch_ms) as first, extract(epoch from max(o.finished_at)) * 1000 as last
     from dbos.workflow_status w join provisioning.operations o on o.id::text = w.workflow_uuid`,
  );
  const [{ first, last } = { first: '', last: '' }] = rows;
  const from = waitForAll ? begun : Number(first);
  return { seconds: (Number(last) - from) / 1_000, processor: (await spent()) - before };
}
