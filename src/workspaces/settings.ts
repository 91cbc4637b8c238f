import { open } from 'node:fs/promises';
import path from 'node:path';
import { parseDocument } from 'yaml';
import { inexactNumbers } from '../documents/exact-yaml.ts';
import { errors } from '../errors.ts';

const FILE = 'workspace.yaml';
/** Bytes that are read at most; it holds a handful of lines. */
const MAX_BYTES = 65_536;

/** What `workspace.yaml` says. */
export type WorkspaceSettings = Record<string, unknown>;

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
  const invalid = (error: unknown) =>
    problem(`is not valid YAML: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
  const document = parseDocument(text, { schema: 'core' });
  const [fault] = document.errors;
  if (fault !== undefined) throw invalid(fault);
  const [inexact] = inexactNumbers(document);
  if (inexact !== undefined) throw problem(`cannot be used: ${inexact.message}`);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 10 });
  } catch (error) {
    throw invalid(error);
  }
  if (value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) throw problem('must hold names and values');
  return value as WorkspaceSettings;
}
