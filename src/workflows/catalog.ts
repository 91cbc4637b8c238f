import { readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { isInside, readBounded } from '../documents/bounded-file.ts';
import { ApplicationError, errors } from '../errors.ts';
import { type Budget, isSpent, sharedBudget } from '../evaluation/pool.ts';
import { ROOT } from '../root.ts';
import type { Loaded } from './definition/definition.ts';
import { MAX_DEFINITION_BYTES, TYPE_NAME } from './definition/limits.ts';
import { loadDefinition } from './evaluation.ts';

const BUILT_IN = path.join(ROOT, 'src/workflows/types');
const DIRECTORY = 'workflows';
/** Types of one workspace at most. */
const MAX_TYPES = 500;

/** A type of workflow, readable or not. */
export interface WorkflowType {
  name: string;
  origin: 'built-in' | 'workspace';
  loaded: Loaded;
}

/** A file read before: it is not read again until it changes. */
const read = new Map<string, { stamp: string; loaded: Loaded }>();

/**
 * The types that a workspace has: its own `workflows/*.yaml`, and the built-in ones that none of them replaces.
 * @param directory the workspace's; null: only the built-in ones.
 */
export async function workflowTypes(directory: string | null): Promise<Map<string, WorkflowType>> {
  const types = new Map<string, WorkflowType>();
  await addTypes(types, path.dirname(BUILT_IN), path.basename(BUILT_IN), 'built-in');
  if (directory !== null) await addTypes(types, directory, DIRECTORY, 'workspace');
  return types;
}

async function addTypes(
  types: Map<string, WorkflowType>,
  parent: string,
  name: string,
  origin: WorkflowType['origin'],
): Promise<void> {
  const folder = await openFolder(parent, name);
  if (folder === null) return;
  const { directory, root, files } = folder;
  const names = files
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => file.slice(0, -'.yaml'.length))
    .filter((name) => new RegExp(TYPE_NAME).test(name))
    .sort()
    .slice(0, MAX_TYPES);
  const budget = sharedBudget(`workflows in ${directory}`);
  for (const name of names) {
    const loaded = await loadFile(path.join(directory, `${name}.yaml`), root, name, budget);
    if (loaded !== null) types.set(name, { name, origin, loaded });
  }
}

/** What lies in a folder of `parent`; null where there is none. @throws 400 where it leads out of `parent`, or cannot be read. */
async function openFolder(
  parent: string,
  name: string,
): Promise<{ directory: string; root: string; files: string[] } | null> {
  const given = path.join(parent, name);
  const problem = (message: string) => errors.validation([{ field: 'workspace', message: `${given} ${message}` }]);
  try {
    const root = await realpath(parent);
    const directory = await realpath(given);
    if (isInside(root, directory)) return { directory, root, files: await readdir(directory) };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw problem(`cannot be read (${code})`);
  }
  throw problem('leads out of the folder that it must lie in');
}

/** Null where the file vanished meanwhile. @param root what nothing may lead out of, with its links resolved */
async function loadFile(file: string, root: string, name: string, budget: Budget): Promise<Loaded | null> {
  try {
    const { mtimeMs, size } = await stat(file);
    const stamp = `${mtimeMs} ${size}`;
    const known = read.get(file);
    if (known?.stamp === stamp) return known.loaded;
    const text = await readBounded(file, root, MAX_DEFINITION_BYTES);
    if ('problem' in text) return text.missing === true ? null : unreadable(text.problem);
    const alone = !isSpent(budget);
    const loaded = await loadText(text.text, name, budget);
    // What failed because others had used up the budget may succeed the next time.
    if (!alone) return loaded;
    if (read.size >= 10 * MAX_TYPES) read.clear();
    read.set(file, { stamp, loaded });
    return loaded;
  } catch (error) {
    if (error instanceof ApplicationError) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code === 'ENOENT') return null;
    return unreadable(`cannot be read (${code})`);
  }
}

async function loadText(text: string, name: string, budget: Budget): Promise<Loaded> {
  try {
    return await loadDefinition(text, name, budget);
  } catch (error) {
    if (error instanceof ApplicationError && error.code === 'TOO_COSTLY') return unreadable(error.message);
    throw error;
  }
}

function unreadable(message: string): Loaded {
  return { definition: null, problems: [{ path: [], field: 'definition', message }] };
}
