import { setTimeout as delay } from 'node:timers/promises';
import { serverRequest, until } from '../test/support/server.ts';
import { startBare } from './support/bare.ts';
import { load, requestBytes } from './support/http.ts';
import { startInstallation } from './support/installation.ts';
import { forgetPeak, residentMebibytes } from './support/kernel.ts';
import { insertServers } from './support/rows.ts';
import { type Benchmark, compare, type Line, plain } from './support/stats.ts';

const IN_FLIGHT = 1_000;
const SERVERS = 100_000;
const ROUNDS = 3;
/** Longer than the measuring takes: all of them wait for their server. */
const LATENCY_MS = 120_000;
const SETTLE_MS = 5_000;

export const memory: Benchmark = {
  name: 'memory',
  about: `resident memory of the server: idle, with ${IN_FLIGHT} operations in flight, while sending ${SERVERS} servers in one list`,
  async run(log) {
    const figures = { idle: [] as number[], bare: [] as number[], inFlight: [] as number[], streaming: [] as number[] };
    for (let round = 0; round < ROUNDS; round += 1) {
      log(`round ${round + 1} of ${ROUNDS}`);
      await measureWork(figures);
      await measureStream(figures);
    }
    const lines: Line[] = [
      compare(
        'idle, against Fastify with pg alone',
        figures.idle.map((ours, round) => ({ ours, floor: figures.bare[round] ?? Number.NaN })),
        'MiB',
        null,
      ),
      plain(`${IN_FLIGHT} operations in flight`, figures.inFlight, 'MiB'),
      plain(`highest while sending ${SERVERS} servers`, figures.streaming, 'MiB'),
    ];
    return lines;
  },
};

async function measureWork(figures: { idle: number[]; bare: number[]; inFlight: number[] }): Promise<void> {
  await using installation = await startInstallation({
    SIMULATED_LATENCY_MS: String(LATENCY_MS),
    WORKER_CONCURRENCY: String(IN_FLIGHT),
  });
  const { server, pool, url } = installation;
  const pid = server.process.pid ?? 0;
  {
    await using bare = await startBare(url, []);
    await delay(SETTLE_MS);
    figures.idle.push(await residentMebibytes(pid, 'VmRSS'));
    figures.bare.push(await residentMebibytes(bare.process.pid ?? 0, 'VmRSS'));
  }
  await load({
    url: server.url,
    connections: 16,
    count: IN_FLIGHT,
    request: (n) => requestBytes('POST', '/v1/servers/create', server.admin.token, serverRequest(`host-${n}`)),
  });
  const running = `select count(*)::int as n from provisioning.operations where status = 'running'`;
  await until(async () => (await pool.query(running)).rows[0].n === IN_FLIGHT, 'all to be in flight', 60_000);
  await delay(SETTLE_MS);
  figures.inFlight.push(await residentMebibytes(pid, 'VmRSS'));
}

async function measureStream(figures: { streaming: number[] }): Promise<void> {
  await using installation = await startInstallation();
  const { server, pool } = installation;
  const pid = server.process.pid ?? 0;
  await insertServers(pool, SERVERS);
  await forgetPeak(pid);
  const reply = await fetch(`${server.url}/v1/servers`, { headers: { authorization: `Bearer ${server.admin.token}` } });
  const list: unknown = await reply.json();
  if (!Array.isArray(list) || list.length !== SERVERS) throw new Error('the list is not whole');
  figures.streaming.push(await residentMebibytes(pid, 'VmHWM'));
}
