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

export function createMask(secrets: readonly unknown[]): Mask {
  const pieces = new Set<string>();
  for (const text of secrets.flatMap(texts)) {
    // Output is made harmless before it is masked.
    for (const piece of [text, ...text.split('\n')].flatMap((part) => [part, harmlessText(part), harmlessLine(part)])) {
      const forms = [
        piece,
        JSON.stringify(piece).slice(1, -1),
        piece.replaceAll("'", `'\\''`),
        Buffer.from(piece).toString('base64').replace(/=+$/, ''),
        encodeURIComponent(piece.toWellFormed()),
      ];
      for (const form of forms) if (form.length >= MIN_PIECE || form === text) pieces.add(form);
    }
  }
  pieces.delete('');
  const longestFirst = [...pieces].sort((a, b) => b.length - a.length);
  return (text) => longestFirst.reduce((masked, piece) => masked.replaceAll(piece, HIDDEN), text);
}

/** Every text inside a value. */
function texts(value: unknown): string[] {
  if (typeof value === 'object' && value !== null) return Object.values(value).flatMap(texts);
  return value === null || value === undefined ? [] : [String(value)];
}
