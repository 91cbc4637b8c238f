import { makeClient } from '../test/support/acceptance.ts';
import { COSTLY } from '../test/support/costly.ts';
import { type Client, serverRequest } from '../test/support/server.ts';
import { startInstallation } from './support/installation.ts';
import { residentMebibytes } from './support/kernel.ts';
import { type Benchmark, type Line, median, plain } from './support/stats.ts';

const QUIET_MS = 20_000;
const HOSTILE_MS = 60_000;
/** Costly requests at once, all of one developer, and others at work. */
const AT_ONCE = 16;
const OTHERS = 50;
/** Pause of each of the others between two requests. Milliseconds. */
const PAUSE_MS = 500;
const AIM = { live: 100, others: 3 };

/** What the others do: look, change, and check a workflow of their own. */
const WORK: ((client: Client, n: number) => Promise<unknown>)[] = [
  (client) => client.request('GET', '/v1/servers?limit=20'),
  (client) => client.request('GET', '/v1/operations?limit=20'),
  (client, n) => client.request('POST', '/v1/servers/create', { ...serverRequest(`bench-${n}`), check_mode: true }),
  (client) =>
    client.request('POST', '/v1/workflows/validate', {
      workspace: 'default',
      workflow_type: 'server_batch',
      parameters: { servers: [{ hostname: 'a' }] },
    }),
];

interface Times {
  live: number[];
  others: number[];
}

/** Everybody works until the time is over. */
async function observe(clients: readonly Client[], milliseconds: number): Promise<Times> {
  const times: Times = { live: [], others: [] };
  const until = performance.now() + milliseconds;
  const repeat = async (into: number[], pause: number, work: (n: number) => Promise<unknown>) => {
    for (let n = 0; performance.now() < until; n += 1) {
      const begun = performance.now();
      await work(n);
      into.push(performance.now() - begun);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  };
  const [first] = clients;
  if (first === undefined) throw new Error('nobody is at work');
  await Promise.all([
    repeat(times.live, 10, () => first.request('GET', '/health/live')),
    ...clients.map((client, person) =>
      repeat(times.others, PAUSE_MS, (n) => WORK[(person + n) % WORK.length]?.(client, n) ?? Promise.resolve()),
    ),
  ]);
  return times;
}

function percentile(values: readonly number[], share: number): number {
  return [...values].sort((a, b) => a - b)[Math.floor(share * (values.length - 1))] ?? Number.NaN;
}

export const hostile: Benchmark = {
  name: 'hostile',
  about: `${AT_ONCE} costly requests of one developer at once, and ${OTHERS} others at work: who waits for whom`,
  async run(log) {
    await using installation = await startInstallation({ RATE_LIMIT: '0', ROLE: 'all' });
    const { server } = installation;
    const pid = server.process.pid ?? 0;
    const attacker = await makeClient(server, 'attacker', [{ role: 'developer' }]);
    const clients: Client[] = [];
    for (let n = 0; n < OTHERS; n += 1) clients.push(await makeClient(server, `user${n}`, [{ role: 'developer' }]));
    await observe(clients, QUIET_MS / 4);
    const quiet = await observe(clients, QUIET_MS);
    const before = await residentMebibytes(pid, 'VmRSS');
    let over = false;
    const answers = new Map<number, number>();
    const bodies = Object.values(COSTLY);
    const attacks = Array.from({ length: AT_ONCE }, async (_, from) => {
      for (let n = from; !over; n += 1) {
        const body = { workspace: 'default', ...bodies[n % bodies.length] };
        const { status } = await attacker.request('POST', '/v1/workflows/validate', body);
        answers.set(status, (answers.get(status) ?? 0) + 1);
      }
    });
    const under = await observe(clients, HOSTILE_MS);
    over = true;
    const after = await residentMebibytes(pid, 'VmRSS');
    await Promise.all(attacks);
    if (server.process.exitCode !== null) throw new Error('the server has ended');
    log(`answers to the attacker: ${JSON.stringify(Object.fromEntries(answers))}`);
    const live = percentile(under.live, 0.99);
    const others: Line = {
      ...plain('median of the others under attack', under.others, 'ms'),
      floor: `${median(quiet.others).toPrecision(3)} ms quiet`,
    };
    const ratio = median(under.others) / median(quiet.others);
    return [
      { ...plain('p99 of /health/live under attack', [live], 'ms'), floor: `${AIM.live} ms at most` },
      plain('p99 of /health/live, quiet', [percentile(quiet.live, 0.99)], 'ms'),
      { ...others, ratio: { median: ratio, least: ratio, most: ratio }, aim: { atMost: AIM.others } },
      plain('memory before', [before], 'MiB'),
      plain('memory at the end of the attack', [after], 'MiB'),
    ];
  },
};
