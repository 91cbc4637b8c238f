import { open } from 'node:fs/promises';
import path from 'node:path';
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
  const handle = await open(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
    throw problem(`cannot be read (${error.code})`);
  });
  if (handle === null) return {};
  let text: string;
  try {
    if ((await handle.stat()).size > MAX_BYTES) throw problem(`is larger than ${MAX_BYTES} bytes`);
    text = await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
  const { source, problems } = readYaml(text, MAX_ALIASES);
  throwProblems(problems.map((found) => ({ ...found, field: 'workspace', message: `${file} ${found.message}` })));
  if (source === null || source.value === null) return {};
  if (!isObject(source.value)) throw problem('must hold names and values');
  return source.value;
}
