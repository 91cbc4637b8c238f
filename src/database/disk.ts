/** Disks that take no more: full, without inodes, over quota, read-only. */
import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import path from 'node:path';

/** Postgres must be able to make one more segment of its log (16 MiB) and something beside it. */
const NEEDED_BYTES = 32 * 1_048_576;
const MEBIBYTE = 1_048_576;
/** What the operating system says where a disk takes no more, also in Postgres' words and in those of its programs. */
const SAID: Record<string, string> = {
  ENOSPC: 'No space left on device',
  EDQUOT: 'Disk quota exceeded',
  EROFS: 'Read-only file system',
};
const WORDS = new RegExp(Object.values(SAID).join('|'));

/** A disk that took no more, in words that name the place and what is left there. */
export class DiskError extends Error {
  override readonly name = 'DiskError';
}

/** Why nothing more can be written below the directory, or soon cannot; null: it can. */
function diskProblem(directory: string): string | null {
  const place = nearest(directory);
  try {
    accessSync(place, constants.W_OK);
  } catch (error) {
    if (codeOf(error) === 'EROFS') return `the file system of ${directory} is read-only`;
    // Of files that are Postgres' user's alone nothing more is known here.
  }
  const { bavail, bsize, files, ffree } = statfsSync(place);
  const free = bavail * bsize;
  if (free < NEEDED_BYTES) return `the disk of ${directory} is full (${(free / MEBIBYTE).toFixed(1)} MiB free)`;
  // Some file systems count none.
  if (files > 0 && ffree === 0) return `the disk of ${directory} has no inodes left`;
  return null;
}

/**
 * The same for whatever a start or a command ran into: an error of the operating system about a file, of Postgres about
 * its disk, or one that repeats their words.
 * @param directory where it would have written, where the error does not say.
 * @returns null: it is about something else.
 */
export function asDiskError(error: unknown, directory: string): DiskError | null {
  if (!(error instanceof Error)) return null;
  if (error instanceof DiskError) return error;
  const code = codeOf(error);
  const file = 'path' in error && typeof error.path === 'string' ? error.path : null;
  const [said] = code in SAID ? [SAID[code]] : (WORDS.exec(error.message) ?? []);
  const seen = diskProblem(file ?? directory);
  // Also with another code: it is ENOENT where a directory cannot be made on a read-only file system.
  const about = said !== undefined || (file !== null && seen !== null);
  if (!about) return null;
  const problem = seen ?? `the system says "${said}"`;
  return new DiskError(
    `Cannot write ${file ?? directory}: ${problem}. Make it writable and make room on it, or choose another directory with PROVISIONING_DATA_DIR. The error was: ${error.message}`,
    { cause: error },
  );
}

/** Whether Postgres refused a statement because its disk takes no more. It has a code of its own for a full one alone. */
export function isDiskRefusal(error: unknown): boolean {
  return error instanceof Error && (codeOf(error) === '53100' || ('severity' in error && WORDS.test(error.message)));
}

/** What is known of the disk of a database. */
export interface DiskWatch {
  /** Why it takes no more; null: it does, as far as is known. */
  problem(): string | null;
  /** Postgres has refused a statement because of it, in these words. */
  refused(words: string): void;
}

/** For so long a refusal counts. Then the next statement may try. Milliseconds. */
const REFUSAL_MS = 10_000;

/** @param directory where the database lies; null: elsewhere, so that only its refusals tell of its disk. */
export function createDiskWatch(directory: string | null): DiskWatch {
  let last: { words: string; at: number } | null = null;
  return {
    problem() {
      const seen = directory === null ? null : diskProblem(directory);
      if (seen !== null || last === null || performance.now() - last.at > REFUSAL_MS) return seen;
      return `its disk takes no more (${last.words})`;
    },
    refused(words) {
      last = { words, at: performance.now() };
    },
  };
}

function nearest(directory: string): string {
  let place = path.resolve(directory);
  while (!existsSync(place) && path.dirname(place) !== place) place = path.dirname(place);
  return place;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
