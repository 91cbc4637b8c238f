import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { readBounded } from '../documents/bounded-file.ts';
import { isObject, type JsonObject } from '../documents/json.ts';
import { throwProblems } from '../documents/problems.ts';
import { readYaml } from '../documents/yaml.ts';
import { errors } from '../errors.ts';

const FILE = 'workspace.yaml';
/** Bytes that are read at most; it holds a handful of lines. */
const MAX_BYTES = 65_536;
/** Aliases (`*name`) that are resolved. */
const MAX_ALIASES = 10;

/** What `workspace.yaml` says. */
export type WorkspaceSettings = JsonObject;

/**
 * Reads the workspace's `workspace.yaml`: `provider`, `plan` and `zone` are what requests leave open. Empty where the
 * file is missing. @throws 400 naming the file where it cannot be used.
 */
export async function readWorkspaceSettings(directory: string): Promise<WorkspaceSettings> {
  const file = path.join(directory, FILE);
  const problem = (message: string) => errors.validation([{ field: 'workspace', message: `${file} ${message}` }]);
  const root = await realpath(directory).catch(() => directory);
  const read = await readBounded(file, root, MAX_BYTES);
  if ('problem' in read) {
    if (read.missing === true) return {};
    throw problem(read.problem);
  }
  const { source, problems } = readYaml(read.text, MAX_ALIASES);
  throwProblems(problems.map((found) => ({ ...found, field: 'workspace', message: `${file} ${found.message}` })));
  if (source === null || source.value === null) return {};
  if (!isObject(source.value)) throw problem('must hold names and values');
  return source.value;
}
