/**
 * The file of a backup: gzip over a line that says what it is, frames, and a last frame with a checksum over all before
 * it. A frame is one byte that names it, four bytes of length, and so many bytes.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { decryptWith } from './encryption.ts';
import { BackupError, damaged } from './errors.ts';

/** Raised when an older program can no longer read what a newer one writes. */
export const FORMAT = 1;
const MAGIC = Buffer.from('provisioning backup\n');
const HEADER_BYTES = 5;
/** Of one frame: what reading holds in memory. Longer content is several frames. */
const MAX_FRAME_BYTES = 1024 * 1024;

/** What the backup is of. */
export interface Manifest {
  format: number;
  /** Version of the program that made it. */
  application: string;
  created_at: string;
  /** Names of the application's migrations that its tables have been through. */
  migrations: string[];
  /** How far the engine's tables are. */
  engine_migration: number;
  postgres: string;
  /** Where the data directory was: workspaces below it move with it. */
  data_dir: string;
  /** Which master key opens its secrets; null: there are none yet. */
  master_key_id: string | null;
}

/** A piece of a backup, in the order in which they come: the manifest first, then tables, sequences, files. */
export type Part =
  | { type: 'manifest'; head: Manifest }
  | { type: 'table'; head: { schema: string; table: string; columns: string[] } }
  | { type: 'sequence'; head: { schema: string; name: string; value: string } }
  | { type: 'file'; head: { workspace: string; path: string; mode: number } }
  /** Of the table or file before it. */
  | { type: 'content'; bytes: Buffer };

const CODES = { manifest: 'M', table: 'T', sequence: 'S', file: 'F', content: 'C', end: 'E' } as const;
type Type = keyof typeof CODES;

function frame(type: Type, payload: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(CODES[type], 0, 'latin1');
  header.writeUInt32BE(payload.length, 1);
  return Buffer.concat([header, payload]);
}

/** The parts as bytes, not yet compressed. */
export async function* encode(parts: AsyncIterable<Part>): AsyncGenerator<Buffer> {
  const hash = createHash('sha256').update(MAGIC);
  yield MAGIC;
  for await (const part of parts) {
    for (const bytes of framesOf(part)) {
      hash.update(bytes);
      yield bytes;
    }
  }
  yield frame('end', Buffer.from(JSON.stringify({ sha256: hash.digest('hex') })));
}

function* framesOf(part: Part): Generator<Buffer> {
  if (part.type !== 'content') {
    yield frame(part.type, Buffer.from(JSON.stringify(part.head)));
    return;
  }
  for (let at = 0; at < part.bytes.length; at += MAX_FRAME_BYTES) {
    yield frame('content', part.bytes.subarray(at, at + MAX_FRAME_BYTES));
  }
}

/**
 * The parts of a file. Only once they have all come is it certain that the file is whole.
 * @param identities secret keys that may open it, where it is encrypted.
 * @throws BackupError where it is damaged, cut off or something else.
 */
export async function* decode(file: string, identities: readonly string[] = []): AsyncGenerator<Part> {
  const bytes = createGunzip();
  pipeline(createReadStream(file), decryptWith(file, identities), bytes, () => 'whoever reads gets the error');
  const hash = createHash('sha256').update(MAGIC);
  let held = Buffer.alloc(0);
  let begun = false;
  let ended = false;
  try {
    for await (const chunk of bytes) {
      held = Buffer.concat([held, chunk as Buffer]);
      if (!begun) {
        if (held.length < MAGIC.length) continue;
        if (!held.subarray(0, MAGIC.length).equals(MAGIC)) throw new BackupError(`${file} is not a backup.`);
        held = held.subarray(MAGIC.length);
        begun = true;
      }
      for (;;) {
        const whole = takeFrame(file, held);
        if (whole === null) break;
        if (ended) throw damaged(file);
        held = held.subarray(whole.length);
        if (whole[0] === CODES.end.charCodeAt(0)) {
          const { sha256 } = parsed<{ sha256: string }>(file, whole.subarray(HEADER_BYTES));
          if (sha256 !== hash.digest('hex')) throw damaged(file);
          ended = true;
          continue;
        }
        hash.update(whole);
        yield partOf(file, whole);
      }
    }
  } catch (error) {
    throw explained(file, error);
  } finally {
    bytes.destroy();
  }
  if (!begun) throw new BackupError(`${file} is not a backup.`);
  if (!ended || held.length > 0) throw damaged(file);
}

/** The first frame, or null where it is not there whole yet. */
function takeFrame(file: string, bytes: Buffer): Buffer | null {
  if (bytes.length < HEADER_BYTES) return null;
  const length = bytes.readUInt32BE(1);
  if (length > MAX_FRAME_BYTES) throw damaged(file);
  return bytes.length < HEADER_BYTES + length ? null : bytes.subarray(0, HEADER_BYTES + length);
}

function partOf(file: string, whole: Buffer): Part {
  const payload = whole.subarray(HEADER_BYTES);
  const code = whole.toString('latin1', 0, 1);
  if (code === CODES.content) return { type: 'content', bytes: payload };
  for (const type of ['manifest', 'table', 'sequence', 'file'] as const) {
    // What encode wrote: the checksum speaks for its shape.
    if (code === CODES[type]) return { type, head: parsed(file, payload) } as Part;
  }
  throw damaged(file);
}

function parsed<T>(file: string, payload: Buffer): T {
  try {
    return JSON.parse(payload.toString('utf8')) as T;
  } catch {
    throw damaged(file);
  }
}

function explained(file: string, error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error;
  // zlib's: not gzip at all, wrong check sums, an early end.
  if (typeof error.code === 'string' && error.code.startsWith('Z_')) return damaged(file);
  return 'syscall' in error ? new BackupError(`${file} cannot be read: ${error.message}`) : error;
}
