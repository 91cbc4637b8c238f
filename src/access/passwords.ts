import { randomBytes } from 'node:crypto';
import { hash, type Options, verify } from '@node-rs/argon2';
import { errors } from '../errors.ts';

/** Characters of a password. */
export const PASSWORD_LENGTH = { min: 8, max: 1_024 } as const;

/** argon2id (the library's default) with 19 MiB and two passes: OWASP Password Storage Cheat Sheet. */
const PARAMETERS: Options = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };
/** One fewer than libuv has threads, so that hashing never stops everything else that needs one. 57 MiB at most. */
const MAX_AT_ONCE = 3;
/** Waiting for longer than these take (a second or two) is no use to anyone. */
const MAX_WAITING = 100;

const waiting: (() => void)[] = [];
let running = 0;

/** Keeps a flood of logins from taking all memory. @throws 503 when too many wait already. */
async function bounded<T>(work: () => Promise<T>): Promise<T> {
  if (running < MAX_AT_ONCE) {
    running += 1;
  } else {
    if (waiting.length >= MAX_WAITING) throw errors.unavailable('Too many logins at once. Try again in a moment.');
    // Whoever ends hands its place over, so `running` stays as it is.
    await new Promise<void>((resolve) => waiting.push(resolve));
  }
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next === undefined) running -= 1;
    else next();
  }
}

/** @returns the hash with its salt and parameters, as text (PHC format). */
export function hashPassword(password: string): Promise<string> {
  return bounded(() => hash(password, PARAMETERS));
}

let dummyHash: Promise<string> | undefined;

/** Whether it is the password. Takes as long where there is no such user (`null`), and then says no. */
export async function verifyPassword(stored: string | null, password: string): Promise<boolean> {
  dummyHash ??= hashPassword(randomBytes(24).toString('base64url')).catch((error) => {
    dummyHash = undefined;
    throw error;
  });
  const dummy = await dummyHash;
  const matches = await bounded(() => verify(stored ?? dummy, password));
  return matches && stored !== null;
}
