import { readFile } from 'node:fs/promises';
import { parseDocument } from 'yaml';
import { inexactNumbers } from '../../documents/exact-yaml.ts';
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
    if (at < 1) throw new UsageError(`${option} ${text}: expected name=value.`);
    const value = text.slice(at + 1);
    values[text.slice(0, at)] = value.startsWith('@')
      ? (await readText(value.slice(1), option)).trimEnd()
      : yamlValue(value, `${option} ${text}`);
  }
  return values;
}

/** @throws UsageError: a number that would not be kept exactly. */
function yamlValue(text: string, given: string): unknown {
  if (text === '') return '';
  const document = parseDocument(text);
  // What is no YAML is meant as it is written.
  if (document.errors.length > 0) return text;
  const [inexact] = inexactNumbers(document);
  if (inexact !== undefined)
    throw new UsageError(`${given}: ${inexact.message}, with quotes that your shell leaves in place: '"…"'.`);
  try {
    return document.toJS();
  } catch {
    return text;
  }
}

/** The text of a file, in UTF-8 or, with its mark, UTF-16. @throws UsageError naming the file. */
export async function readText(file: string, option: string): Promise<string> {
  return textIn(await readBytes(file, option), `${option} ${file}`);
}

/**
 * User data of a file: text as it is, and in base64, as the API takes it, what is compressed with gzip.
 * @throws UsageError naming the file.
 */
export async function readUserData(file: string, option: string): Promise<string> {
  const bytes = await readBytes(file, option);
  return bytes[0] === 0x1f && bytes[1] === 0x8b ? bytes.toString('base64') : textIn(bytes, `${option} ${file}`);
}

async function readBytes(file: string, option: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new UsageError(`${option} ${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** By their first two bytes. */
const UTF_16 = new Map([
  ['fffe', 'utf-16le'],
  ['feff', 'utf-16be'],
]);

/** @throws UsageError where it is no text: what is not understood would be replaced without a word. */
function textIn(bytes: Buffer, given: string): string {
  const encoding = UTF_16.get(bytes.subarray(0, 2).toString('hex')) ?? 'utf-8';
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    throw new UsageError(`${given}: it is no text in UTF-8 or UTF-16.`);
  }
}

const UNIT_SECONDS: Record<string, number> = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 };

/** `90d`, `12h`, `30m` → seconds. @throws UsageError */
export function durationSeconds(option: string, duration: string): number {
  const [, count, unit = ''] = /^(\d+)([smhdw])$/.exec(duration) ?? [];
  if (count === undefined) throw new UsageError(`${option} ${duration}: expected a duration such as 30m, 12h or 90d.`);
  return Number(count) * (UNIT_SECONDS[unit] ?? 0);
}

/** The options of commands that take parameters of a workflow, and the workspace it is for. */
export const PARAMETERS = {
  flags: '-p, --parameter <name=value>',
  description: 'parameter; name=@file reads a file; can be repeated',
  repeatable: true,
};
export const WORKSPACE = {
  flags: '-w, --workspace <name>',
  names: 'workspace',
  description: 'workspace',
  default: 'default',
} as const;
