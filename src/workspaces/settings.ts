import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { readBounded } from '../documents/bounded-file.ts';
import { throwProblems } from '../documents/problems.ts';
import { errors } from '../errors.ts';
import { evaluate, sharedBudget } from '../evaluation/pool.ts';
import type { ReadSettings, SETTINGS_TASKS, WorkspaceSettings } from './settings-tasks.ts';

export type { WorkspaceSettings } from './settings-tasks.ts';

const FILE = 'workspace.yaml';
/** Bytes that are read at most; it holds a handful of lines. */
const MAX_BYTES = 65_536;

/** Texts that are remembered. */
const MAX_KNOWN = 100;

/**
 * Reads the workspace's `workspace.yaml`: `provider`, `plan` and `zone` are what requests leave open. Empty where the
 * file is missing. @throws 400 naming the file where it cannot be used.
 */
export async function readWorkspaceSettings(directory: string): Promise<WorkspaceSettings> {
  const file = path.join(directory, FILE);
  const problem = (message: string) => errors.validation([{ field: 'workspace', message: `${file} ${message}` }]);
  const root = await realpath(directory).catch(() => directory);
  const text = await readBounded(file, root, MAX_BYTES);
  if ('problem' in text) {
    if (text.missing === true) return {};
    throw problem(text.problem);
  }
  const read = await readText(text.text, directory);
  if ('settings' in read) return read.settings;
  throwProblems(read.problems.map((found) => ({ ...found, field: 'workspace', message: `${file} ${found.message}` })));
  return {};
}

/** What was read before, by its text: nearly every request asks for it. */
const known = new Map<string, ReadSettings>();

async function readText(text: string, directory: string): Promise<ReadSettings> {
  const before = known.get(text);
  if (before !== undefined) return structuredClone(before);
  const read = await evaluate<(typeof SETTINGS_TASKS)['workspace.settings']>(
    'workspace.settings',
    { text },
    sharedBudget(`workspace in ${directory}`),
    FILE,
  );
  if (known.size >= MAX_KNOWN) known.clear();
  known.set(text, read);
  return structuredClone(read);
}
