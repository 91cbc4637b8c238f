/** Where a workspace may lie, and its directory on disk. Nothing here leaves the configured roots. */
import { access, constants, lstat, mkdir, open, realpath, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { stringify } from 'yaml';
import type { Config } from '../config.ts';
import { errors } from '../errors.ts';

/** Bytes of a path at most: far below PATH_MAX (4,096), so that files inside still fit. */
const MAX_PATH_BYTES = 1_024;
/** rwxr-x---: a workspace may hold configuration that others on the machine should not read. */
const DIRECTORY_MODE = 0o750;
const DEFAULTS_FILE = 'workspace.yaml';

/** A place that lies in a root. */
interface WorkspacePlace {
  /** As clients see it: the root as configured, links below it resolved. One directory has one such path. */
  path: string;
  /** With every link resolved. */
  canonical: string;
}

type Problem = (message: string) => Error;
const problem: Problem = (message) => errors.validation([{ field: 'path', message }]);

/**
 * Resolves the links in `requested` as far as it exists and holds the result against the roots. Writes nothing.
 * @throws 400 VALIDATION_ERROR naming `path` where it lies outside of every root or cannot be a directory.
 */
export async function resolveWorkspacePath(roots: readonly string[], requested: string): Promise<WorkspacePlace> {
  checkText(requested);
  const canonical = await canonicalPath(path.resolve(requested));
  for (const root of roots) {
    const canonicalRoot = await canonicalPath(path.resolve(root)).catch(() => null);
    if (canonicalRoot === null || !isInside(canonicalRoot, canonical)) continue;
    return { path: path.join(path.resolve(root), path.relative(canonicalRoot, canonical)), canonical };
  }
  throw problem(`must lie inside one of the workspace roots (${roots.join(', ')}), links resolved`);
}

/**
 * Makes the directory and its `workspace.yaml` where they are missing; what is there already stays as it is.
 * @throws 400 VALIDATION_ERROR naming `path` where that cannot be done, or where a link appeared meanwhile.
 */
export async function makeWorkspaceDirectory(place: WorkspacePlace, defaults: Config['defaults']): Promise<void> {
  try {
    await makeDirectory(place.canonical);
    await writeDefaults(place.canonical, defaults);
  } catch (error) {
    throw explain(error, 'cannot be created');
  }
}

/** For check_mode: as `makeWorkspaceDirectory`, as far as that can be told without writing. @throws 400. */
export async function checkWorkspaceDirectory({ canonical }: WorkspacePlace): Promise<void> {
  let existing = canonical;
  while (await isMissing(existing)) existing = path.dirname(existing);
  if (existing === canonical) return;
  await access(existing, constants.W_OK | constants.X_OK).catch((error: unknown) => {
    throw explain(error, 'cannot be created');
  });
}

function isMissing(file: string): Promise<boolean> {
  return lstat(file).then(
    () => false,
    (error: unknown) => codeOf(error) === 'ENOENT',
  );
}

function checkText(requested: string): void {
  if (requested.includes('\0')) throw problem('must not contain a NUL character');
  if (Buffer.byteLength(requested) > MAX_PATH_BYTES) throw problem(`must have at most ${MAX_PATH_BYTES} bytes`);
  if (!path.isAbsolute(requested)) throw problem('must be an absolute path');
  if (requested.split('/').includes('..')) throw problem('must not contain ".."');
}

/** Strictly inside: the root itself would hold every other workspace. */
function isInside(root: string, candidate: string): boolean {
  const relative = path.relative(root, candidate);
  return relative !== '' && relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
}

/** The real path of the deepest ancestor that exists, with the rest as it was given. */
async function canonicalPath(wanted: string): Promise<string> {
  let existing = wanted;
  const missing: string[] = [];
  for (;;) {
    try {
      await lstat(existing);
      break;
    } catch (error) {
      if (codeOf(error) !== 'ENOENT' || existing === path.dirname(existing)) throw explain(error, 'cannot be used');
      missing.unshift(path.basename(existing));
      existing = path.dirname(existing);
    }
  }
  try {
    const real = await realpath(existing);
    if (!(await stat(real)).isDirectory()) throw problem(`${existing} exists and is not a directory`);
    return path.join(real, ...missing);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') throw problem(`${existing} is a link that leads nowhere`);
    throw explain(error, 'cannot be used');
  }
}

/** Part by part, so that a link put in the way meanwhile is met before anything is made behind it. */
async function makeDirectory(canonical: string): Promise<void> {
  const parts = canonical.split(path.sep).filter((part) => part !== '');
  let current = path.parse(canonical).root;
  for (const part of parts) {
    current = path.join(current, part);
    await mkdir(current, { mode: DIRECTORY_MODE }).catch(ignoreExisting(current));
    if ((await realpath(current)) !== current) throw problem(`${current} became a link to somewhere else`);
  }
  if (!(await stat(canonical)).isDirectory()) throw problem(`${canonical} exists and is not a directory`);
}

/** A directory we may not write to (EACCES, EROFS) is no problem while it is there already. */
function ignoreExisting(directory: string) {
  return async (error: unknown) => {
    if (codeOf(error) === 'EEXIST') return;
    if (
      await lstat(directory).then(
        (found) => found.isDirectory(),
        () => false,
      )
    )
      return;
    throw error;
  };
}

async function writeDefaults(directory: string, { provider, plan, zone }: Config['defaults']): Promise<void> {
  const text = `# Defaults of this workspace: what a workflow takes where its parameters do not say.\n${stringify({ provider, plan, zone })}`;
  const file = path.join(directory, DEFAULTS_FILE);
  // wx: never follows a link and never writes over what is there.
  const handle = await open(file, 'wx', 0o640).catch((error: unknown) => {
    if (codeOf(error) === 'EEXIST') return null;
    throw error;
  });
  if (handle === null) return;
  try {
    await handle.writeFile(text);
  } catch (error) {
    // Half a file would stand in the way of the next try.
    await unlink(file);
    throw error;
  } finally {
    await handle.close();
  }
}

const REASONS: Record<string, string> = {
  EACCES: 'the server has no permission there',
  EPERM: 'the server has no permission there',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  ENOTDIR: 'a part of it exists and is not a directory',
  ELOOP: 'its links lead in a circle',
  ENAMETOOLONG: 'a part of it is too long for the file system',
  ENOENT: 'a part of it vanished meanwhile',
  EIO: 'the disk reports an error',
};

/** A reason the caller can act on; what is not one stays as it is. */
function explain(error: unknown, what: string): unknown {
  const reason = REASONS[codeOf(error)];
  return reason === undefined ? error : problem(`${what}: ${reason} (${codeOf(error)})`);
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
