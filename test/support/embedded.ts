/** Embedded Postgres for its own tests: in directories of their own, and in processes that can be killed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, readFile, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import type { EmbeddedPostgres } from '../../src/database/embedded.ts';
import { signalProcess } from '../../src/database/embedded-process.ts';
import { until } from './server.ts';

const EMBEDDED = new URL('../../src/database/embedded.ts', import.meta.url).href;
/** Starts it, says so in a line of JSON, and goes on until SIGTERM. */
const OWNER = `
import { startEmbeddedPostgres } from '${EMBEDDED}';
const log = (line) => process.stderr.write(line + '\\n');
try {
  const postgres = await startEmbeddedPostgres({ dataDir: process.argv[1], log });
  process.on('SIGTERM', () => postgres.stop().then(() => process.exit(0)));
  process.stdout.write(JSON.stringify({ adopted: postgres.adopted, connection: postgres.connection }) + '\\n');
} catch (error) {
  process.stderr.write(error.message + '\\n');
  process.exit(1);
}`;

/** A process that has tried to start the embedded Postgres. */
export interface Owner {
  pid: number;
  /** What it said when it could not; null when it runs. */
  refusal: string | null;
  adopted: boolean;
  connection: EmbeddedPostgres['connection'];
  /** kill -9: Postgres goes on. */
  kill(): Promise<void>;
  /** SIGTERM; Postgres ends with it. @returns the exit status. */
  stop(): Promise<number | null>;
}

/** @param as the user to run as; only root may say so. */
export async function startOwner(dataDir: string, as: { uid?: number; gid?: number } = {}): Promise<Owner> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', OWNER, dataDir], {
    ...as,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = once(child, 'exit');
  let output = '';
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const running = () => child.exitCode === null && child.signalCode === null;
  await until(async () => output.includes('\n') || !running(), 'the embedded Postgres to start', 120_000, 10);
  if (!output.includes('\n')) await exited;
  const end = async (signal: NodeJS.Signals) => {
    if (running()) child.kill(signal);
    await exited;
    return child.exitCode;
  };
  return {
    pid: child.pid ?? 0,
    refusal: output === '' ? errors : null,
    ...(output === '' ? {} : JSON.parse(output)),
    kill: async () => void (await end('SIGKILL')),
    stop: () => end('SIGTERM'),
  };
}

/** A directory that every user may pass through, removed at the end with whatever still runs in it. */
export async function createDataDir(name = 'data'): Promise<{ dataDir: string } & AsyncDisposable> {
  const top = await mkdtemp(path.join(await realpath(tmpdir()), 'provisioning-embedded-'));
  await chmod(top, 0o711);
  const dataDir = path.join(top, name);
  return {
    dataDir,
    async [Symbol.asyncDispose]() {
      const parent = path.dirname(await realpath(path.join(dataDir, 'postgres')).catch(() => path.join(dataDir, '-')));
      const left = await postmasters(parent);
      // A child of Postgres that has not named itself yet looks like another Postgres, and may have ended since.
      for (const pid of left) signalProcess(pid, 'SIGQUIT');
      await until(async () => (await postmasters(parent)).length === 0, 'Postgres to end');
      await rm(top, { recursive: true, force: true });
      if (parent.startsWith('/var/lib/provisioning/data-')) await rm(parent, { recursive: true, force: true });
      assert.deepEqual(left, [], `a Postgres was left running in ${parent}`);
    },
  };
}

/** Ids of the Postgres processes that were started on a directory below this one, by what the kernel says. */
export async function postmasters(parent: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const [program = '', ...args] = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
      const ours = args.some((argument) => argument.startsWith(`${parent}${path.sep}`));
      return program.endsWith('postgres') && ours ? [Number(pid)] : [];
    }),
  );
  return found.flat();
}

/** Runs one statement on a connection of its own. @returns its rows. */
export async function query(
  connection: EmbeddedPostgres['connection'],
  text: string,
  values: unknown[] = [],
): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ ...connection, connectionTimeoutMillis: 10_000 });
  client.on('error', () => 'the query says so');
  try {
    await client.connect();
    return (await client.query(text, values)).rows;
  } finally {
    await client.end().catch(() => 'it never stood');
  }
}
