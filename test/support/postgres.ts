/**
 * A Postgres for tests: made in a temporary directory, tuned for speed at the price of safety, and gone with the
 * process that started it, also where that process is killed.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { findBinaries, giveTo, postgresUser } from '../../src/database/embedded-binaries.ts';

/** No other directory of a test begins so: what is stale is told by its Postgres alone. */
const PREFIX = 'provisioning-postgres-';
/** A directory without a running Postgres may be one that is just being made. */
const STALE_AFTER_MS = 10 * 60_000;

const SETTINGS = [
  // Reached through the socket alone.
  "listen_addresses = ''",
  // Every test file holds a pool, and each server that a test starts holds two.
  'max_connections = 400',
  'shared_buffers = 128MB',
  'jit = off',
  // The data is thrown away: nothing has to survive a power failure.
  'fsync = off',
  'full_page_writes = off',
  'max_wal_size = 4GB',
  "log_timezone = 'UTC'",
  "timezone = 'UTC'",
];

/**
 * Owns Postgres and its directory. Standard input is open for as long as the process lives that wants them; when it
 * ends, both go. $1: the directory, $2: the directory of the binaries, $3: settings.
 */
const KEEPER = `
cd "$1" || exit 1
trap 'cd / && rm -rf "$1"' EXIT
mkdir -m 700 socket
"$2/initdb" --pgdata=data --username=postgres --auth=trust --encoding=UTF8 --locale=C --no-sync --no-instructions >log 2>&1 &&
  printf '%s\\n' "$3" "unix_socket_directories = '$1/socket'" >>data/postgresql.conf &&
  "$2/pg_ctl" start -w -s -t 60 -D data -l log >>log 2>&1 || { cat log; exit 1; }
echo ready
exec >/dev/null 2>&1
cat >/dev/null
"$2/pg_ctl" stop -m immediate -w -s -D data
`;

/** A running Postgres, reached by its superuser over a socket that only its owner may enter. */
export interface TestPostgres {
  host: string;
  port: number;
  user: string;
  password: string;
  /** Stops it and removes its directory. The end of this process does the same. */
  stop(): Promise<void>;
}

/** @throws with Postgres' own words when it does not start. */
export async function startTestPostgres(): Promise<TestPostgres> {
  const user = await postgresUser();
  const { initdb } = await findBinaries(user);
  // Another user than ours cannot be counted on to reach a TMPDIR of our own.
  const parent = user === undefined ? tmpdir() : '/tmp';
  await removeStale(parent);
  const directory = await mkdtemp(path.join(parent, PREFIX));
  await giveTo(directory, user);
  // In a session of its own, so that Ctrl-C reaches this process alone.
  const keeper = spawn('sh', ['-c', KEEPER, 'keeper', directory, path.dirname(initdb), SETTINGS.join('\n')], {
    ...(user === undefined ? {} : { uid: user.uid, gid: user.gid }),
    detached: true,
    env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  await untilReady(keeper);
  // A test run that is over ends, without having to stop anything.
  keeper.stdout.destroy();
  keeper.unref();
  return {
    host: path.join(directory, 'socket'),
    port: 5432,
    user: 'postgres',
    // Anything will do: the directory of the socket is the lock.
    password: 'postgres',
    async stop() {
      if (keeper.exitCode !== null || keeper.signalCode !== null) return;
      keeper.ref();
      const ended = once(keeper, 'exit');
      keeper.stdin.end();
      await ended;
    },
  };
}

async function untilReady(keeper: ChildProcessByStdio<Writable, Readable, null>): Promise<void> {
  let output = '';
  for await (const chunk of keeper.stdout) {
    output += String(chunk);
    if (output.endsWith('ready\n')) return;
  }
  throw new Error(`The Postgres for tests did not start:\n${output.trim()}`);
}

/** Removes what is left of runs that were cut off together with their keeper (by a lost machine, say). */
async function removeStale(parent: string): Promise<void> {
  const names = (await readdir(parent)).filter((name) => name.startsWith(PREFIX));
  for (const directory of names.map((name) => path.join(parent, name))) {
    const made = await stat(directory).catch(() => null);
    if (made === null || Date.now() - made.mtimeMs < STALE_AFTER_MS || (await isRunning(directory))) continue;
    await rm(directory, { recursive: true, force: true }).catch(() => 'it belongs to another user');
  }
}

async function isRunning(directory: string): Promise<boolean> {
  const pid = Number(
    (await readFile(path.join(directory, 'data', 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')[0],
  );
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
