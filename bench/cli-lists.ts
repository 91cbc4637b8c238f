import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { TestServer } from '../test/support/server.ts';
import { startInstallation } from './support/installation.ts';
import { residentMebibytes } from './support/kernel.ts';
import { insertOperations, insertServers } from './support/rows.ts';
import { alternate, type Benchmark, compare, type Line, plain } from './support/stats.ts';

const BIN = fileURLToPath(new URL('../bin/provisioning.js', import.meta.url));
const SERVERS = 100_000;
const OPERATIONS = 1_000_000;
const ROUNDS = 5;
/** How often a command's memory is looked at. Milliseconds. */
const LOOK_MS = 50;

export const cliLists: Benchmark = {
  name: 'cli-lists',
  about: `the command line listing ${SERVERS.toLocaleString('en')} servers and ${OPERATIONS.toLocaleString('en')} operations`,
  async run(log) {
    await using installation = await startInstallation({ ROLE: 'api', RATE_LIMIT: '0' });
    const { server, pool } = installation;
    log('inserting');
    await insertServers(pool, SERVERS);
    await insertOperations(pool, OPERATIONS);
    const lines: Line[] = [];
    for (const [what, count] of [
      ['server', SERVERS],
      ['operation', OPERATIONS],
    ] as const) {
      log(`${what} list`);
      const list = (limit: number, output: string) =>
        run(server, [what, 'list', '--limit', String(limit), '-o', output], limit === 0);
      const pairs = await alternate(
        ROUNDS,
        async () => (await list(0, 'table')).first,
        async () => (await list(1, 'table')).first,
      );
      lines.push(compare(`${what} list --limit 0: first row, against --limit 1`, pairs, 's', { atMost: 1.5 }));
      const few = await run(server, [what, 'list', '--limit', '1000', '-o', 'name'], false);
      const all = await run(server, [what, 'list', '--limit', '0', '-o', 'name'], false);
      if (all.lines < count) throw new Error(`${all.lines} of ${count} rows came`);
      lines.push(
        compare(
          `all ${all.lines.toLocaleString('en')} rows: highest memory, against 1,000`,
          [{ ours: all.peak, floor: few.peak }],
          'MiB',
          { atMost: 1.5 },
        ),
        plain('rows a second', [all.lines / all.seconds], ''),
      );
    }
    return lines;
  },
};

interface Run {
  /** Seconds from the start of the process to the first output. */
  first: number;
  seconds: number;
  lines: number;
  /** Mebibytes. */
  peak: number;
}

/** Runs a command. @param stops it is ended after its first output. */
async function run({ url, admin }: TestServer, args: string[], stops: boolean): Promise<Run> {
  const begun = performance.now();
  const child = spawn(process.execPath, [BIN, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PROVISIONING_URL: url, PROVISIONING_TOKEN: admin.token },
  });
  const ended = once(child, 'exit');
  const seconds = () => (performance.now() - begun) / 1_000;
  const found: Run = { first: 0, seconds: 0, lines: 0, peak: 0 };
  const look = () =>
    residentMebibytes(child.pid ?? 0, 'VmHWM').then(
      (peak) => {
        if (peak > found.peak) found.peak = peak;
      },
      () => 'it has ended',
    );
  const timer = setInterval(() => void look(), LOOK_MS);
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
    found.first ||= seconds();
    if (stops) {
      child.kill();
      break;
    }
    for (const byte of chunk) if (byte === 10) found.lines += 1;
  }
  await ended;
  clearInterval(timer);
  if (!stops && child.exitCode !== 0) throw new Error(`${args.join(' ')} ended with ${child.exitCode}`);
  return { ...found, seconds: seconds() };
}
