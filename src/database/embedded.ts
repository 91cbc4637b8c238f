import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { appendFile, chmod, lstat, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import {
  clusterParent,
  exists,
  findBinaries,
  giveTo,
  type PostgresBinaries,
  type PostgresUser,
  postgresUser,
} from './embedded-binaries.ts';

/** Only a name here: it becomes part of the socket's file name, no TCP port is opened. */
const PORT = 5432;
const DATABASE = 'provisioning';
const SUPERUSER = 'postgres';
/** A unix socket's path holds 107 bytes; the rest is for `/.s.PGSQL.5432`. */
const MAX_SOCKET_DIR = 90;
/** Crash recovery of a large database may take this long. */
const START_TIMEOUT_MS = 60_000;
const RETRY_MS = 200;
/** Any number: whoever holds this session lock owns the data directory. Postgres drops it when the owner dies. */
const OWNER_LOCK = 7_201_003;

/** A Postgres of our own that outlives a crash of this process and is taken over by the next. */
export interface EmbeddedPostgres {
  connection: { host: string; port: number; user: string; password: string; database: string };
  /** It was already running, left behind by an owner that was killed. */
  adopted: boolean;
  /** Starts it again where it died; resolves when it accepts connections. */
  ensureRunning(): Promise<void>;
  /** Stops it and gives the data directory back. */
  stop(): Promise<void>;
}

interface Cluster {
  binaries: PostgresBinaries;
  user: PostgresUser | undefined;
  /** The data directory proper. */
  directory: string;
  connection: EmbeddedPostgres['connection'];
}

/**
 * Starts Postgres on `<dataDir>/postgres`, or adopts the one that runs there, and owns it until `stop`.
 * @throws when another living process owns the data directory, naming it; when Postgres does not start, with the end
 * of its log.
 */
export async function startEmbeddedPostgres(options: {
  dataDir: string;
  log: (line: string) => void;
}): Promise<EmbeddedPostgres> {
  const cluster = await prepareCluster(options.dataDir, options.log);
  const adopted = await canConnect(cluster);
  if (!adopted) await startCluster(cluster);
  await createDatabase(cluster);

  const ownerFile = path.join(options.dataDir, 'owner.pid');
  let owner: pg.Client | undefined = await takeOwnership(cluster, options.dataDir, ownerFile);
  let stopped = false;
  const watch = (client: pg.Client) => {
    const lost = () => {
      if (owner === client) owner = undefined;
      if (!stopped) void ensureRunning().catch((error: Error) => options.log(error.message));
    };
    client.on('error', lost);
    client.on('end', lost);
  };
  watch(owner);

  let reviving: Promise<void> | undefined;
  const revive = async () => {
    if (!(await canConnect(cluster))) {
      options.log('the embedded Postgres is gone; starting it again');
      await startCluster(cluster);
    }
    if (owner === undefined && !stopped) {
      owner = await takeOwnership(cluster, options.dataDir, ownerFile);
      watch(owner);
    }
  };
  const ensureRunning = async () => {
    if (stopped) return;
    reviving ??= revive().finally(() => {
      reviving = undefined;
    });
    await reviving;
  };

  return {
    connection: cluster.connection,
    adopted,
    ensureRunning,
    async stop() {
      stopped = true;
      await reviving;
      const session = owner;
      owner = undefined;
      await session?.end().catch(() => 'it is being stopped anyway');
      await pgCtl(cluster, ['stop', '-m', 'fast', '-w', '-s', '-D', cluster.directory]);
      await rm(ownerFile, { force: true });
    },
  };
}

async function prepareCluster(dataDir: string, log: (line: string) => void): Promise<Cluster> {
  await mkdir(dataDir, { recursive: true, mode: 0o711 });
  const user = await postgresUser();
  const binaries = await findBinaries(user);
  const parent = await clusterParent(dataDir, user);
  if (parent !== dataDir)
    log(`the user that Postgres runs as cannot reach ${dataDir}; the database lives in ${parent}`);
  const password = await readOrMakePassword(path.join(dataDir, 'postgres-password'));
  const directory = path.join(parent, 'postgres');
  const socketDir = await prepareSocketDir(path.join(parent, 'socket'), directory, user);
  if (!(await exists(path.join(directory, 'PG_VERSION'))))
    await initialise({ binaries, user, directory, parent, password });
  await writeSettings(directory, socketDir, user);
  return {
    binaries,
    user,
    directory,
    connection: { host: socketDir, port: PORT, user: SUPERUSER, password, database: DATABASE },
  };
}

async function readOrMakePassword(file: string): Promise<string> {
  try {
    const handle = await open(file, 'wx', 0o600);
    const password = randomBytes(24).toString('base64url');
    await handle.writeFile(`${password}\n`);
    await handle.sync();
    await handle.close();
    return password;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return (await readFile(file, 'utf8')).trim();
  }
}

/** A directory only Postgres' user may enter; in the system's temporary directory where the path would be too long. */
async function prepareSocketDir(wanted: string, cluster: string, user: PostgresUser | undefined): Promise<string> {
  const short = Buffer.byteLength(wanted) <= MAX_SOCKET_DIR;
  const digest = createHash('sha256').update(cluster).digest('hex').slice(0, 16);
  const directory = short ? wanted : path.join(tmpdir(), `provisioning-${digest}`);
  await mkdir(directory, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  const found = await lstat(directory);
  const mine = [process.getuid?.() ?? 0, user?.uid ?? process.getuid?.() ?? 0];
  if (!found.isDirectory() || !mine.includes(found.uid)) {
    throw new Error(`${directory} belongs to somebody else; remove it, or choose another PROVISIONING_DATA_DIR.`);
  }
  await giveTo(directory, user);
  await chmod(directory, 0o700);
  return directory;
}

/** Into a directory of its own first: two processes that start at once then cannot spoil each other's work. */
async function initialise(options: {
  binaries: PostgresBinaries;
  user: PostgresUser | undefined;
  directory: string;
  parent: string;
  password: string;
}) {
  const { binaries, user, directory, parent, password } = options;
  const fresh = path.join(parent, `postgres.new-${process.pid}`);
  const passwordFile = path.join(parent, `postgres.pw-${process.pid}`);
  try {
    await rm(fresh, { recursive: true, force: true });
    await mkdir(fresh, { mode: 0o700 });
    await giveTo(fresh, user);
    await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
    await giveTo(passwordFile, user);
    const result = await execute(binaries.initdb, user, [
      `--pgdata=${fresh}`,
      '--auth=scram-sha-256',
      `--username=${SUPERUSER}`,
      `--pwfile=${passwordFile}`,
      '--encoding=UTF8',
      '--locale=C',
    ]);
    if (result.status !== 0)
      throw new Error(`The embedded Postgres could not be set up in ${directory}: ${result.output.trim()}`);
    await appendFile(path.join(fresh, 'postgresql.conf'), "\ninclude 'provisioning.conf'\n");
    await rename(fresh, directory).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(passwordFile, { force: true });
    await rm(fresh, { recursive: true, force: true });
  }
}

async function writeSettings(directory: string, socketDir: string, user: PostgresUser | undefined): Promise<void> {
  const settings = [
    '# Written at every start.',
    // Reached through the socket alone.
    "listen_addresses = ''",
    `unix_socket_directories = '${socketDir.replaceAll("'", "''")}'`,
    `port = ${PORT}`,
    'max_connections = 100',
    "shared_buffers = '128MB'",
    // Short statements: compiling them costs more than it gives.
    'jit = off',
    // Acknowledged means on disk.
    'synchronous_commit = on',
    // Fewer checkpoints under load, at most this much to replay after a crash.
    "max_wal_size = '1GB'",
    "huge_pages = 'off'",
    "password_encryption = 'scram-sha-256'",
    "log_timezone = 'UTC'",
    "timezone = 'UTC'",
  ];
  const file = path.join(directory, 'provisioning.conf');
  await writeFile(file, `${settings.join('\n')}\n`, { mode: 0o600 });
  await giveTo(file, user);
}

/** Starts Postgres and waits until it accepts connections, also where somebody else is starting it right now. */
async function startCluster(cluster: Cluster): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  const log = path.join(cluster.directory, 'server.log');
  let reason = '';
  while (Date.now() < deadline) {
    const result = await pgCtl(cluster, ['start', '-w', '-s', '-t', '30', '-D', cluster.directory, '-l', log]);
    if (result.status === 0 || (await canConnect(cluster))) return;
    reason = result.output.trim();
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    // Not worth repeating: nothing will change by itself.
    if (/No space left on device|Permission denied|invalid value|incompatible with server/.test(await tail(log))) break;
  }
  throw new Error(`The embedded Postgres in ${cluster.directory} did not start: ${reason}\n${await tail(log)}`);
}

async function tail(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text.split('\n').slice(-12).join('\n');
}

function pgCtl(cluster: Cluster, args: string[]) {
  return execute(cluster.binaries.pgCtl, cluster.user, args);
}

/** Runs a Postgres program as Postgres' user, in a session of its own, so that Ctrl-C in a terminal does not reach it. */
function execute(
  file: string,
  user: PostgresUser | undefined,
  args: string[],
): Promise<{ status: number | null; output: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number | null; output: string }>();
  const child = spawn(file, args, {
    ...(user === undefined ? {} : { uid: user.uid, gid: user.gid }),
    cwd: '/',
    detached: true,
    env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  child.on('error', reject);
  // "exit", not "close": the started server inherits nothing of ours that would keep a pipe open (-l), but be sure.
  child.on('exit', (status) => resolve({ status, output }));
  return promise;
}

async function canConnect(cluster: Cluster): Promise<boolean> {
  const client = new pg.Client({ ...cluster.connection, database: 'postgres', connectionTimeoutMillis: 2_000 });
  client.on('error', () => 'the caller looks again');
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } catch (error) {
    const code = (error as { code?: string }).code;
    if (code === '28P01')
      throw new Error(
        `The password in ${path.dirname(cluster.directory)} does not fit the database there. Restore the file postgres-password that belongs to it.`,
      );
    return false;
  } finally {
    await client.end().catch(() => 'it never stood');
  }
}

async function createDatabase(cluster: Cluster): Promise<void> {
  const client = new pg.Client({ ...cluster.connection, database: 'postgres' });
  client.on('error', () => 'the statement under way reports it');
  await client.connect();
  try {
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [DATABASE]);
    if (rowCount === 0) await client.query(`create database ${DATABASE}`);
  } catch (error) {
    // 42P04, 23505: another process that starts at the same moment was faster.
    if (!['42P04', '23505'].includes((error as { code?: string }).code ?? '')) throw error;
  } finally {
    await client.end();
  }
}

async function takeOwnership(cluster: Cluster, dataDir: string, ownerFile: string): Promise<pg.Client> {
  const client = new pg.Client({ ...cluster.connection, application_name: 'provisioning owner', keepAlive: true });
  client.on('error', () => 'handled by whoever watches it');
  await client.connect();
  const { rows } = await client.query<{ locked: boolean }>('select pg_try_advisory_lock($1) as locked', [OWNER_LOCK]);
  if (rows[0]?.locked !== true) {
    await client.end();
    const pid = (await readFile(ownerFile, 'utf8').catch(() => 'unknown')).trim();
    throw new Error(
      `The data directory ${dataDir} is in use by process ${pid}. Stop that server first, or choose another directory with PROVISIONING_DATA_DIR.`,
    );
  }
  await writeFile(ownerFile, `${process.pid}\n`);
  return client;
}
