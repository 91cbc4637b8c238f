import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { UsageError } from '../errors.ts';

/**
 * `name=value` texts as an object. A value that reads as YAML keeps its type (`3`, `true`, `[a, b]`); `name=@file`
 * takes a file's text, so that a secret need not stand on the command line.
 * @throws UsageError
 */
export async function namedValues(option: string, given: readonly string[] = []): Promise<Record<string, unknown>> {
  const values: Record<string, unknown> = {};
  for (const text of given) {
    const at = text.indexOf('=');
    if (at < 1) throw new UsageError(`${option} ${text}: it looks like name=value.`);
    const value = text.slice(at + 1);
    values[text.slice(0, at)] = value.startsWith('@')
      ? (await readText(value.slice(1), option)).trimEnd()
      : yamlValue(value);
  }
  return values;
}

function yamlValue(text: string): unknown {
  try {
    return text === '' ? '' : parse(text);
  } catch {
    // What is no YAML is meant as it is written.
    return text;
  }
}

/** @throws UsageError naming the file. */
export async function readText(file: string, option: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new UsageError(`${option} ${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The options of commands that take parameters of a workflow, and the workspace it is for. */
export const PARAMETERS = {
  flags: '-p, --parameter <name=value>',
  description: 'a parameter; may be given several times; name=@file takes the text of a file',
  repeatable: true,
};
export const WORKSPACE = {
  flags: '-w, --workspace <name>',
  names: 'workspace',
  description: 'the workspace',
  default: 'default',
} as const;
