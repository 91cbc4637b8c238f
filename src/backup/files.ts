/** The files of workspaces, into a backup and out of it. */
import { constants } from 'node:fs';
import { mkdir, open, readdir } from 'node:fs/promises';
import path from 'node:path';
import { resolveWorkspacePath } from '../workspaces/paths.ts';
import type { Part } from './format.ts';

const READ_BYTES = 256 * 1024;
/** rwxr-x---, as the server makes them. */
const DIRECTORY_MODE = 0o750;

/** A workspace and its directory. */
export interface WorkspacePlace {
  name: string;
  path: string;
}

/** Plain files below a workspace's directory. Links are not followed and not taken along: `skipped` is told of them. */
export async function* readFiles(workspace: WorkspacePlace, skipped: (file: string) => void): AsyncGenerator<Part> {
  yield* walk(workspace, '', skipped);
}

async function* walk(workspace: WorkspacePlace, below: string, skipped: (file: string) => void): AsyncGenerator<Part> {
  const directory = path.join(workspace.path, below);
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    // Of another replica, or removed by hand.
    if (below === '' && error.code === 'ENOENT') return null;
    throw error;
  });
  if (entries === null) return skipped(directory);
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const relative = path.join(below, entry.name);
    if (entry.isDirectory()) yield* walk(workspace, relative, skipped);
    else if (entry.isFile()) yield* readFile(workspace, relative);
    else skipped(path.join(workspace.path, relative));
  }
}

async function* readFile(workspace: WorkspacePlace, relative: string): AsyncGenerator<Part> {
  // What became a link or a pipe since the directory was read is neither followed nor waited on.
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const handle = await open(path.join(workspace.path, relative), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const { mode } = await handle.stat();
    yield { type: 'file', head: { workspace: workspace.name, path: relative, mode: mode & 0o777 } };
    for await (const bytes of handle.createReadStream({ highWaterMark: READ_BYTES, autoClose: false })) {
      yield { type: 'content', bytes: bytes as Buffer };
    }
  } finally {
    await handle.close();
  }
}

/** What became of the files. */
export interface FilesRestored {
  written: number;
  /** There was a file already: it stays as it is. */
  kept: string[];
  /** Outside of every workspace root, or behind a link. */
  refused: string[];
}

/** Puts files into their workspaces' directories, and nowhere else. Nothing is written over. */
export async function writeFiles(
  parts: AsyncIterable<Part>,
  workspaces: ReadonlyMap<string, string>,
  roots: readonly string[],
): Promise<FilesRestored> {
  const result: FilesRestored = { written: 0, kept: [], refused: [] };
  let current: Awaited<ReturnType<typeof open>> | null = null;
  try {
    for await (const part of parts) {
      if (part.type === 'content') await current?.writeFile(part.bytes);
      if (part.type !== 'file') continue;
      await current?.close();
      current = null;
      const directory = workspaces.get(part.head.workspace);
      const target = directory === undefined ? null : await placeFor(roots, directory, part.head.path);
      const shown = path.join(directory ?? part.head.workspace, part.head.path);
      if (target === null) {
        result.refused.push(shown);
        continue;
      }
      current = await open(target, 'wx', part.head.mode).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
        return null;
      });
      if (current === null) result.kept.push(shown);
      else result.written += 1;
    }
  } finally {
    await current?.close();
  }
  return result;
}

/** Where the file goes, its directory made; null where that is not inside of the workspace, which lies in a root. */
async function placeFor(roots: readonly string[], directory: string, relative: string): Promise<string | null> {
  if (path.isAbsolute(relative) || relative.split('/').includes('..')) return null;
  const place = await resolveWorkspacePath(roots, directory).catch(() => null);
  if (place === null) return null;
  const target = path.join(place.canonical, relative);
  const parent = path.dirname(target);
  if (parent !== place.canonical) {
    const found = await resolveWorkspacePath([place.canonical], parent).catch(() => null);
    // A link stands in the way.
    if (found?.canonical !== parent) return null;
  }
  await mkdir(parent, { recursive: true, mode: DIRECTORY_MODE });
  return target;
}
