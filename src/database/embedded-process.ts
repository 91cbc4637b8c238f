/** The process of the embedded Postgres: whether it runs, starting and stopping it, and the file of its output. */
import { execFile, spawn } from 'node:child_process';
import { copyFile, link, open, readdir, readFile, readlink, rename, rm, stat, truncate } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type Cluster, ENVIRONMENT, isAlive, writeSettings } from './embedded-cluster.ts';

const run = promisify(execFile);

/** Bytes of the log from which on it is moved aside; there are never more than two such files. */
const MAX_LOG_BYTES = 8 * 1_048_576;
/** What of it an error shows. */
const TAIL_LINES = 12;
const TAIL_BYTES = 8_192;
/** A stop writes all changed pages to disk first. */
const FAST_STOP_MS = 40_000;
/** Then without that; the next start replays the log. */
const IMMEDIATE_STOP_MS = 10_000;
const POLL_MS = 20;

/** A Postgres that this process started. */
export interface Postmaster {
  pid: number;
  /** Set when it has ended: what it said since its start, at most the last lines. */
  ended: { words: string } | null;
}

/** Starts Postgres. It may take a while until it answers, or end at once: `ended`. */
export async function spawnPostmaster(cluster: Cluster): Promise<Postmaster> {
  await clearStaleLocks(cluster);
  await writeSettings(cluster);
  await boundLog(cluster);
  const log = await open(cluster.log, 'a', 0o600);
  try {
    const { size: begin } = await log.stat();
    const child = spawn(cluster.binaries.postgres, ['-D', cluster.directory], {
      ...(cluster.user === undefined ? {} : { uid: cluster.user.uid, gid: cluster.user.gid }),
      cwd: '/',
      // In a session of its own: Ctrl-C in a terminal does not reach it, and it outlives this process.
      detached: true,
      env: ENVIRONMENT,
      stdio: ['ignore', log.fd, log.fd],
    });
    const { promise: spawned, resolve, reject } = Promise.withResolvers<void>();
    child.once('spawn', resolve).once('error', reject);
    const postmaster: Postmaster = { pid: child.pid ?? 0, ended: null };
    child.once('exit', async () => {
      postmaster.ended = { words: await logTail(cluster, begin) };
    });
    await spawned;
    child.unref();
    return postmaster;
  } finally {
    await log.close();
  }
}

/** Id of the Postgres that runs on this database, whoever started it; null when there is none. */
export async function runningPostmaster(cluster: Cluster): Promise<number | null> {
  const pid = lockHolder(await readText(path.join(cluster.directory, 'postmaster.pid')));
  return pid !== null && (await isPostmasterOf(cluster, pid)) ? pid : null;
}

/** Stops it and waits until it is gone. @throws when it does not end. */
export async function stopPostmaster(cluster: Cluster, pid: number): Promise<void> {
  for (const [signal, patience] of [
    ['SIGINT', FAST_STOP_MS],
    ['SIGQUIT', IMMEDIATE_STOP_MS],
  ] as const) {
    if (!(await isPostmasterOf(cluster, pid)) || !signalProcess(pid, signal)) return;
    const deadline = performance.now() + patience;
    while (performance.now() < deadline) {
      if (!(await isPostmasterOf(cluster, pid))) return;
      await delay(POLL_MS);
    }
  }
  throw new Error(`The embedded Postgres (process ${pid}) in ${cluster.directory} does not stop; see ${cluster.log}.`);
}

/**
 * Ends what a Postgres that was killed has left: a child of it that waits for a lock does not notice, and as long as it
 * lives no other Postgres starts. Children of one that runs are not touched.
 */
export async function endOrphans(cluster: Cluster): Promise<void> {
  if (process.platform !== 'linux') return;
  for (const pid of (await readdir('/proc')).map(Number).filter(Number.isInteger)) {
    if ((await readlink(`/proc/${pid}/cwd`).catch(() => null)) !== cluster.directory) continue;
    const [title = ''] = await argumentsOf(pid);
    const parent = Number(/^PPid:\s*(\d+)$/m.exec(await readText(`/proc/${pid}/status`))?.[1]);
    if (title.startsWith('postgres: ') && !(await isPostmasterOf(cluster, parent))) signalProcess(pid, 'SIGKILL');
  }
}

/** @returns false: it has ended since it was looked at. */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/**
 * Ids are used again, so a living process of that id is not enough: it must be a Postgres on this very directory. One
 * that has ended and waits for its parent has no arguments any more.
 */
async function isPostmasterOf(cluster: Cluster, pid: number): Promise<boolean> {
  if (!isAlive(pid)) return false;
  const [program = '', ...args] = await argumentsOf(pid);
  if (!/^(postgres|postmaster)$/.test(path.basename(program))) return false;
  if (args.some((argument) => argument === cluster.directory || argument === `-D${cluster.directory}`)) return true;
  // Started by hand with another name of the directory, or the directory was moved since.
  return (await readlink(`/proc/${pid}/cwd`).catch(() => null)) === cluster.directory;
}

async function argumentsOf(pid: number): Promise<string[]> {
  if (process.platform === 'linux') return (await readText(`/proc/${pid}/cmdline`)).split('\0');
  const { stdout } = await run('ps', ['-ww', '-o', 'args=', '-p', String(pid)]).catch(() => ({ stdout: '' }));
  const [, program = '', rest = ''] = /^(\S+) -D (.*)$/s.exec(stdout.trim()) ?? [];
  return [program, rest];
}

/**
 * Postgres leaves its lock files behind when it is killed, and takes them for a living Postgres' when their process id
 * has gone to another process of its user. Those are moved aside; all others are Postgres' own affair.
 */
async function clearStaleLocks(cluster: Cluster): Promise<void> {
  const { host, port } = cluster.connection;
  for (const file of [path.join(cluster.directory, 'postmaster.pid'), path.join(host, `.s.PGSQL.${port}.lock`)]) {
    const text = await readText(file);
    const pid = lockHolder(text);
    if (pid === null || !isAlive(pid) || (await isPostmasterOf(cluster, pid))) continue;
    const aside = `${file}.stale-${process.pid}`;
    await rename(file, aside).catch(ignoreMissing);
    // Between the look and the move another process may have started Postgres: then the file is that one's.
    if ((await readText(aside)) !== text) await link(aside, file).catch(() => 'a newer one is there already');
    await rm(aside, { force: true });
  }
}

/** The first line is the process id. */
function lockHolder(text: string): number | null {
  const pid = Number(text.split('\n')[0]);
  return Number.isInteger(pid) && pid > 1 ? pid : null;
}

/** Empty when there is no such file. */
async function readText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return '';
    throw error;
  });
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}

/** Keeps the log from growing without end. Postgres goes on with the emptied file: it appends. */
export async function boundLog({ log }: Pick<Cluster, 'log'>): Promise<void> {
  const { size } = await stat(log).catch(() => ({ size: 0 }));
  if (size <= MAX_LOG_BYTES) return;
  await copyFile(log, `${log}.1`);
  await truncate(log);
}

/** The last lines of the log, of what was written from `begin` on. */
export async function logTail({ log }: Pick<Cluster, 'log'>, begin = 0): Promise<string> {
  const handle = await open(log, 'r').catch(() => null);
  if (handle === null) return '';
  try {
    const { size } = await handle.stat();
    const from = Math.max(begin <= size ? begin : 0, size - TAIL_BYTES);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(size - from), 0, size - from, from);
    return buffer.subarray(0, bytesRead).toString().trim().split('\n').slice(-TAIL_LINES).join('\n');
  } finally {
    await handle.close();
  }
}
