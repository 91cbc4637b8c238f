import { rmdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { asDiskError } from './disk.ts';
import { exists } from './embedded-binaries.ts';
import { type Cluster, isAlive, prepareCluster } from './embedded-cluster.ts';
import {
  boundLog,
  endOrphans,
  logTail,
  type Postmaster,
  runningPostmaster,
  spawnPostmaster,
  stopPostmaster,
} from './embedded-process.ts';

/** Crash recovery of a large database on a slow disk may take minutes. */
const START_TIMEOUT_MS = 300_000;
const RETRY_MS = 50;
const RESPAWN_MS = 200;
const CONNECT_TIMEOUT_MS = 2_000;
/** Postgres notices within a moment that the client which held the lock is dead. */
const DEAD_OWNER_GRACE_MS = 15_000;
/** How often the size of Postgres' log is looked at. */
const LOG_CHECK_MS = 60_000;
/** Any number: whoever holds this session lock owns the data directory. Postgres drops it when the owner dies. */
const OWNER_LOCK = 7_201_004;
/** What the owner's session calls itself, followed by its process id. */
const OWNER_NAME = 'provisioning owner';
/** A killed Postgres' last backends are still ending, or do not notice that it has ended. */
const ORPHANS = /pre-existing shared memory block/;
/** What passes: these, and another process that is starting the same. */
const PASSING = new RegExp(`lock file "[^"]*" already exists|${ORPHANS.source}`);

/** A Postgres of our own that outlives a crash of this process and is taken over by the next. */
export interface EmbeddedPostgres {
  connection: Cluster['connection'];
  /** Where its files lie. */
  directory: string;
  /** It was already running, left behind by an owner that was killed. */
  adopted: boolean;
  /** Starts it again where it died; resolves when it accepts connections. */
  ensureRunning(): Promise<void>;
  /** Stops it and gives the data directory back. Also while it is being started again; a second call does nothing. */
  stop(): Promise<void>;
}

/** A Postgres that accepts connections, and the session that says it is ours. */
interface Owned {
  session: pg.Client;
  pid: number;
  adopted: boolean;
}

/**
 * Starts Postgres on `<dataDir>/postgres`, or adopts the one that runs there, and owns it until `stop`.
 * @param options `log` gets what an operator may want to know; `signal` ends a start, which then leaves nothing behind.
 * @throws when another living process owns the data directory, naming it; when Postgres does not start, with the end
 * of its log; the signal's reason.
 */
export async function startEmbeddedPostgres(options: {
  dataDir: string;
  log: (line: string) => void;
  signal?: AbortSignal;
}): Promise<EmbeddedPostgres> {
  const { log } = options;
  const stopping = new AbortController();
  const signals = AbortSignal.any([stopping.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  signals.throwIfAborted();
  const cluster = await prepareCluster(options.dataDir, log);
  const first = await acquire(cluster, signals);
  let owned: Owned | null = first;
  let reviving: Promise<void> | null = null;
  let stop: Promise<void> | null = null;

  const revive = async () => {
    const found = await acquire(cluster, stopping.signal);
    log(found.adopted ? 'the embedded Postgres is back' : 'the embedded Postgres was gone; it was started again');
    owned = found;
    watch(found);
  };
  const ensureRunning = async () => {
    if (owned !== null || stopping.signal.aborted) return;
    reviving ??= revive().finally(() => {
      reviving = null;
    });
    await reviving;
  };
  /** The session ends with its Postgres, and nothing else is said when that is killed. */
  const watch = ({ session }: Owned) => {
    const lost = () => {
      if (owned?.session !== session) return;
      owned = null;
      if (!stopping.signal.aborted)
        ensureRunning().catch((error: Error) => log((asDiskError(error, cluster.directory) ?? error).message));
    };
    session.on('error', lost);
    session.on('end', lost);
  };
  watch(first);
  const logCheck = setInterval(
    () => boundLog(cluster).catch((error: Error) => log(error.message)),
    LOG_CHECK_MS,
  ).unref();

  return {
    connection: cluster.connection,
    directory: cluster.directory,
    adopted: first.adopted,
    ensureRunning,
    stop() {
      stop ??= (async () => {
        stopping.abort(new Error('the embedded Postgres is being stopped'));
        clearInterval(logCheck);
        await reviving?.catch(() => 'it leaves nothing running');
        // One that is not ours by now belongs to a process that started since.
        if (owned !== null) await release(cluster, owned);
      })();
      return stop;
    },
  };
}

/** Where the Postgres on `<dataDir>/postgres` is while a server has it running; null: it does not run. */
export async function runningEmbeddedPostgres(dataDir: string): Promise<Cluster['connection'] | null> {
  // Nothing is made where there is nothing.
  if (!(await exists(path.join(dataDir, 'postgres-password')))) return null;
  const cluster = await prepareCluster(dataDir, () => 'said when it was started');
  return (await probe(cluster)).state === 'ready' ? cluster.connection : null;
}

/** The session stays until Postgres ends it: no other process can come into the possession of one that is going. */
async function release(cluster: Cluster, { session, pid }: Owned): Promise<void> {
  await stopPostmaster(cluster, pid);
  await session.end().catch(() => 'Postgres has ended it');
  // The one in /tmp; the one in the data directory may stay.
  if (path.dirname(cluster.connection.host) !== path.dirname(cluster.directory))
    await rmdir(cluster.connection.host).catch(() => 'the next start uses it again');
}

/** Finds Postgres running or starts it, and makes it ours. What it started does not stay when it fails. */
async function acquire(cluster: Cluster, signal: AbortSignal): Promise<Owned> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  let started: Postmaster | null = null;
  try {
    for (;;) {
      signal.throwIfAborted();
      const { state, reason } = await probe(cluster);
      if (state === 'ready') {
        const session = await own(cluster);
        const pid = session === null ? null : await runningPostmaster(cluster);
        if (session !== null && pid !== null) {
          await createDatabase(session, cluster);
          return { session, pid, adopted: pid !== started?.pid };
        }
        await session?.end().catch(() => 'Postgres ended just now');
      } else if (state === 'away') {
        started = await startAgain(cluster, started);
      }
      if (performance.now() > deadline) throw await notStarted(cluster, state, reason);
      await delay(RETRY_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  } catch (error) {
    if (started !== null) await abandon(cluster, started.pid);
    throw error;
  }
}

/** Starts Postgres unless one is coming up or going down. @throws with its own words when it did not start. */
async function startAgain(cluster: Cluster, started: Postmaster | null): Promise<Postmaster | null> {
  const words = started?.ended?.words;
  if (words !== undefined && !PASSING.test(words))
    throw new Error(`The embedded Postgres in ${cluster.directory} did not start. It said:\n${words}`);
  if (started !== null && started.ended === null) return started;
  if ((await runningPostmaster(cluster)) !== null) return null;
  if (started !== null) await delay(RESPAWN_MS);
  if (words !== undefined && ORPHANS.test(words)) await endOrphans(cluster);
  return spawnPostmaster(cluster);
}

async function notStarted(cluster: Cluster, state: State, reason: string): Promise<Error> {
  const pid = await runningPostmaster(cluster);
  const words = `The end of ${cluster.log}:\n${await logTail(cluster)}`;
  if (state === 'away' && pid !== null)
    return new Error(
      `Postgres runs in ${cluster.directory} (process ${pid}), but not on its socket in ${cluster.connection.host}. Stop it (kill -INT ${pid}) and start again. ${words}`,
    );
  return new Error(
    `The embedded Postgres in ${cluster.directory} did not accept connections within ${START_TIMEOUT_MS / 1_000} s (${reason}). ${words}`,
  );
}

/** Stops what was started in vain, unless another process has come to own it, which then must be able to log in. */
async function abandon(cluster: Cluster, pid: number): Promise<void> {
  const state = await probe(cluster).then(
    (found) => found.state,
    () => 'closed' as const,
  );
  const session = state === 'ready' ? await own(cluster).catch(() => 'another' as const) : null;
  if (session === 'another') return;
  await stopPostmaster(cluster, pid);
  await session?.end().catch(() => 'Postgres has ended it');
}

/** `busy`: it is there and does not take us: it starts, recovers, or stops. */
type State = 'ready' | 'busy' | 'away';

async function probe(cluster: Cluster): Promise<{ state: State; reason: string }> {
  const client = connectTo(cluster, 'provisioning probe');
  try {
    await client.connect();
    return { state: 'ready', reason: '' };
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    if (code === '28P01')
      throw new Error(
        `The password in ${path.join(cluster.dataDir, 'postgres-password')} does not fit the database in ${cluster.directory}. Restore the file that belongs to it.`,
      );
    if (code === 'EACCES')
      throw new Error(`The socket of the embedded Postgres in ${cluster.connection.host} is closed to this user.`);
    return { state: code === 'ENOENT' || code === 'ECONNREFUSED' ? 'away' : 'busy', reason: error.message };
  } finally {
    await client.end().catch(() => 'it never stood');
  }
}

/**
 * Takes the lock that makes Postgres ours.
 * @returns its session; null when the connection broke, or the owner was just killed: to be tried again.
 * @throws when another living process has it, naming that.
 */
async function own(cluster: Cluster): Promise<pg.Client | null> {
  const client = connectTo(cluster, `${OWNER_NAME} ${process.pid}`);
  const deadline = performance.now() + DEAD_OWNER_GRACE_MS;
  let holder: string | null;
  try {
    await client.connect();
    for (;;) {
      const { rows } = await client.query<{ locked: boolean; holder: string | null }>(
        `select pg_try_advisory_lock($1) as locked,
                (select max(application_name) from pg_locks join pg_stat_activity using (pid)
                 where locktype = 'advisory' and objid = $1 and granted and application_name like $2) as holder`,
        [OWNER_LOCK, `${OWNER_NAME} %`],
      );
      if (rows[0]?.locked === true) return client;
      holder = rows[0]?.holder?.slice(OWNER_NAME.length + 1) ?? 'unknown';
      if (performance.now() > deadline || isAlive(Number(holder))) break;
      await delay(RETRY_MS);
    }
  } catch {
    holder = null;
  }
  await client.end().catch(() => 'it is of no use');
  if (holder === null) return null;
  throw new Error(
    `The data directory ${cluster.dataDir} is in use by process ${holder}. Stop that server first, or choose another directory with PROVISIONING_DATA_DIR.`,
  );
}

async function createDatabase(session: pg.Client, { connection }: Cluster): Promise<void> {
  const { rowCount } = await session.query('select 1 from pg_database where datname = $1', [connection.database]);
  if (rowCount === 0) await session.query(`create database ${connection.database}`);
}

function connectTo(cluster: Cluster, name: string): pg.Client {
  const client = new pg.Client({
    ...cluster.connection,
    database: 'postgres',
    application_name: name,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  client.on('error', () => 'the caller looks again, or watches the session');
  return client;
}
