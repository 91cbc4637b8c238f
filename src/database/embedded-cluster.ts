/** The files of the embedded Postgres: made once, given to the user that Postgres runs as, and its settings. */
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  appendFile,
  chmod,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
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
/** A unix socket's path holds 103 bytes on macOS, 107 on Linux; `/.s.PGSQL.5432` takes 14 of them. */
const MAX_SOCKET_DIR = 88;
/** For sockets whose own directory has too long a name. Not TMPDIR: the next start must find the same. */
const SHORT_DIR = '/tmp';

/** What a Postgres program is started with, but for its arguments. */
export const ENVIRONMENT = { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' };

/** An initialised database and how to run and reach it. */
export interface Cluster {
  binaries: PostgresBinaries;
  /** As whom Postgres runs; undefined: this process's own user. */
  user: PostgresUser | undefined;
  /** What the user calls it, for messages. */
  dataDir: string;
  /** Postgres' data directory proper, without symbolic links. */
  directory: string;
  /** The file that Postgres' output is appended to. */
  log: string;
  connection: { host: string; port: number; user: string; password: string; database: string };
}

/**
 * Makes what is missing. Any number of processes may do so at once.
 * @throws when the database belongs to another user, or cannot be made, with Postgres' own words.
 */
export async function prepareCluster(dataDir: string, log: (line: string) => void): Promise<Cluster> {
  await mkdir(dataDir, { recursive: true, mode: 0o711 });
  const usual = await postgresUser();
  const parent = await clusterParent(dataDir, usual);
  const directory = path.join(parent, 'postgres');
  const user = await ownerOf(directory, usual);
  const binaries = await findBinaries(user);
  if (!directory.startsWith(dataDir) && !(await exists(directory)))
    log(`the user that Postgres runs as cannot reach ${dataDir}; the database lies in ${directory}`);
  const password = await readOrMakePassword(path.join(dataDir, 'postgres-password'));
  const socketDir = await prepareSocketDir(path.join(parent, 'socket'), directory, user);
  await removeLeftovers(parent);
  if (!(await exists(path.join(directory, 'PG_VERSION'))))
    await initialise({ binaries, user, directory, parent, password });
  return {
    binaries,
    user,
    dataDir,
    directory,
    log: path.join(parent, 'postgres.log'),
    connection: { host: socketDir, port: PORT, user: SUPERUSER, password, database: DATABASE },
  };
}

/** A database that is there is run by its owner: Postgres takes no other. */
async function ownerOf(directory: string, usual: PostgresUser | undefined): Promise<PostgresUser | undefined> {
  if (!(await exists(directory))) return usual;
  const { uid, gid } = await stat(directory);
  if (usual !== undefined) return uid === 0 ? usual : { uid, gid };
  if (uid !== process.getuid?.())
    throw new Error(
      `The database in ${directory} belongs to another user (uid ${uid}). Start as that user or as root, or choose another directory with PROVISIONING_DATA_DIR.`,
    );
  return undefined;
}

/** Whole or not at all, also where two processes make it at once: the link succeeds for one of them. */
async function readOrMakePassword(file: string): Promise<string> {
  if (!(await exists(file))) {
    const fresh = `${file}.${randomBytes(4).toString('hex')}`;
    const handle = await open(fresh, 'w', 0o600);
    await handle.writeFile(`${randomBytes(24).toString('base64url')}\n`);
    await handle.sync();
    await handle.close();
    await link(fresh, file).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    await rm(fresh);
  }
  return (await readFile(file, 'utf8')).trim();
}

/** A directory only Postgres' user may enter; a short one in /tmp where the path would be too long. */
async function prepareSocketDir(wanted: string, cluster: string, user: PostgresUser | undefined): Promise<string> {
  const short = Buffer.byteLength(wanted) <= MAX_SOCKET_DIR;
  const digest = createHash('sha256').update(cluster).digest('hex').slice(0, 16);
  const directory = short ? wanted : path.join(SHORT_DIR, `provisioning-${digest}`);
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

/** What processes left behind that were killed while they made the database. */
async function removeLeftovers(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const pid = /^postgres\.(?:new|pw)-(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid)))
      await rm(path.join(parent, name), { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Whether a process of this id runs, whoever's it is. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
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

/** Runs a Postgres program to its end, in a session of its own, so that Ctrl-C in a terminal does not reach it. */
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
    env: ENVIRONMENT,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  child.on('error', reject);
  child.on('close', (status) => resolve({ status, output }));
  return promise;
}

/** Written before every start of Postgres. */
export async function writeSettings({ directory, connection, user }: Cluster): Promise<void> {
  const settings = [
    '# Written at every start.',
    // Reached through the socket alone.
    "listen_addresses = ''",
    `unix_socket_directories = ${quote(`"${connection.host.replaceAll('"', '""')}"`)}`,
    `port = ${connection.port}`,
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
    // Errors are reported by whoever sent the statement; its text may hold what belongs in no log.
    'log_min_error_statement = panic',
    'log_checkpoints = off',
    "log_timezone = 'UTC'",
    "timezone = 'UTC'",
  ];
  const file = path.join(directory, 'provisioning.conf');
  const fresh = `${file}.${process.pid}`;
  await writeFile(fresh, `${settings.join('\n')}\n`, { mode: 0o600 });
  await giveTo(fresh, user);
  await rename(fresh, file);
}

/** A value as Postgres' configuration files write it. */
function quote(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}
