import type { Encryption } from '../access/encryption.ts';
import { harmlessLine, harmlessText } from '../util/harmless.ts';
import type { Revision } from './store.ts';

/** Shorter pieces of a secret would blank out half of a log. Characters. */
const MIN_PIECE = 4;
const HIDDEN = '••••';

/** Parts a resolved config into what may be read and what is kept encrypted. */
export function sealConfig(
  encryption: Encryption,
  values: Record<string, unknown>,
  secretNames: readonly string[],
): Pick<Revision, 'config' | 'secret_names' | 'secrets'> {
  const secret = Object.fromEntries(Object.entries(values).filter(([name]) => secretNames.includes(name)));
  const config = Object.fromEntries(Object.entries(values).filter(([name]) => !secretNames.includes(name)));
  return {
    config,
    secret_names: [...secretNames].sort(),
    secrets: secretNames.length === 0 ? null : encryption.encrypt(JSON.stringify(secret)),
  };
}

/** The secret values alone. */
export function decryptSecrets(encryption: Encryption, revision: Pick<Revision, 'secrets'>): Record<string, unknown> {
  return revision.secrets === null ? {} : (JSON.parse(encryption.decrypt(revision.secrets)) as Record<string, unknown>);
}

/** Blanks secrets out of a line of output: as they are, as JSON and shells write them, in base64, line by line. */
export type Mask = (text: string) => string;

/** What looking at one line may cost: pieces that it is held against, the longer ones more. One that costs more is blanked out whole. */
const MAX_WORK = 20_000;
/** Characters that cost as much as a piece does by itself. */
const WORK_CHARACTERS = 64;
/** Written alike by everything but base64. */
const PLAIN = /^[\w.-]*$/;

export function createMask(secrets: readonly unknown[]): Mask {
  const pieces = new Set<string>();
  for (const text of new Set(secrets.flatMap(texts))) {
    for (const part of [text, ...text.split('\n')]) {
      for (const form of formsOf(part)) if (form.length >= MIN_PIECE || form === text) pieces.add(form);
    }
  }
  pieces.delete('');
  const lengths = lengthsByStart(pieces);
  const short = [...pieces].filter((piece) => piece.length < MIN_PIECE);
  const hideShort = (text: string) => short.reduce((masked, piece) => masked.replaceAll(piece, HIDDEN), text);
  return (text) => {
    const found = occurrencesIn(text, pieces, lengths);
    if (found === null) return HIDDEN;
    let masked = '';
    let shown = 0;
    for (const [from, to] of found) {
      masked += `${hideShort(text.slice(shown, from))}${HIDDEN}`;
      shown = to;
    }
    return masked + hideShort(text.slice(shown));
  };
}

/** How programs write it. Output is made harmless before it is masked. */
function formsOf(part: string): string[] {
  const encoded = (text: string) => Buffer.from(text).toString('base64').replace(/=+$/, '');
  if (PLAIN.test(part)) return [part, encoded(part)];
  return [part, harmlessText(part), harmlessLine(part)].flatMap((text) => [
    text,
    JSON.stringify(text).slice(1, -1),
    text.replaceAll("'", `'\\''`),
    encoded(text),
    encodeURIComponent(text.toWellFormed()),
  ]);
}

/** How long the pieces are that begin so, the longest first: whatever users keep secret, a line is looked at in one go. */
function lengthsByStart(pieces: ReadonlySet<string>): Map<string, number[]> {
  const found = new Map<string, number[]>();
  for (const piece of pieces) {
    const start = piece.slice(0, MIN_PIECE);
    const lengths = found.get(start);
    if (lengths === undefined) found.set(start, [piece.length]);
    else if (!lengths.includes(piece.length)) lengths.push(piece.length);
  }
  for (const lengths of found.values()) lengths.sort((a, b) => b - a);
  return found;
}

/** From where to where there are pieces; null: it would cost too much to say. */
function occurrencesIn(
  text: string,
  pieces: ReadonlySet<string>,
  lengths: ReadonlyMap<string, number[]>,
): [number, number][] | null {
  const found: [number, number][] = [];
  let work = 0;
  for (let at = 0; at < text.length; at += 1) {
    const length = lengths.get(text.slice(at, at + MIN_PIECE))?.find((one) => {
      if (at + one > text.length) return false;
      work += 1 + one / WORK_CHARACTERS;
      return pieces.has(text.slice(at, at + one));
    });
    if (work > MAX_WORK) return null;
    if (length === undefined) continue;
    const last = found.at(-1);
    if (last !== undefined && at < last[1]) last[1] = Math.max(last[1], at + length);
    else found.push([at, at + length]);
  }
  return found;
}

/** Every text inside a value. */
function texts(value: unknown): string[] {
  if (typeof value === 'object' && value !== null) return Object.values(value).flatMap(texts);
  return value === null || value === undefined ? [] : [String(value)];
}
