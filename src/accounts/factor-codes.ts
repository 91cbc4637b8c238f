/** Codes of the second factor: of an app, or in its place. */
import type { Encryption } from '../access/encryption.ts';
import {
  hasRecoveryCode,
  noteFailure,
  noteSuccess,
  readSecondFactor,
  type SecondFactor,
  takeRecoveryCode,
} from '../access/second-factor-store.ts';
import { canonicalCode, periodOf } from '../access/totp.ts';
import type { Queryable } from '../database/pool.ts';
import { type ApplicationError, errors } from '../errors.ts';

/** What came of asking for the second factor. */
export type FactorOutcome =
  | { kind: 'none' | 'missing' | 'wrong' }
  | { kind: 'accepted'; by: 'totp' | 'recovery code' }
  | { kind: 'throttled'; wait: number };

/** Of what encrypts the user's secret. */
export const contextOf = (userId: string) => `totp of ${userId}`;
const TOTP_CODE = /^\d{6}$/;

/** A recovery code as it is kept. */
export function digestOf(encryption: Encryption, userId: string, code: string): Buffer {
  return encryption.digest(canonicalCode(code), `recovery code of ${userId}`);
}

/**
 * Takes a code, once: the user's row must be held, so that of many tries at once, over all replicas, one has it. A refusal is
 * no exception: it is counted, and that must be committed.
 * @param use false: a right code stays good, for a change that is only to be checked.
 */
export async function takeCode(
  tx: Queryable,
  encryption: Encryption,
  userId: string,
  code: string | undefined,
  use = true,
): Promise<FactorOutcome> {
  const factor = await readSecondFactor(tx, userId);
  if (factor === null || factor.secret === null) return { kind: 'none' };
  if (code === undefined) return { kind: 'missing' };
  const canonical = canonicalCode(code);
  if (!TOTP_CODE.test(canonical)) {
    // Too long to be guessed, so they are not counted: else whoever knows the password could keep the user out with guesses.
    const digest = digestOf(encryption, userId, code);
    const take = use ? takeRecoveryCode : hasRecoveryCode;
    if (!(await take(tx, userId, digest))) return { kind: 'wrong' };
    if (use) await noteSuccess(tx, userId, null);
    return { kind: 'accepted', by: 'recovery code' };
  }
  if (factor.wait > 0) return { kind: 'throttled', wait: factor.wait };
  const step = freshPeriod(factor, encryption.decrypt(factor.secret, contextOf(userId)), canonical);
  if (step === null) {
    await noteFailure(tx, userId);
    return { kind: 'wrong' };
  }
  if (use) await noteSuccess(tx, userId, step);
  return { kind: 'accepted', by: 'totp' };
}

/** The period of a right code that is later than any that was taken before; null: it is none. */
function freshPeriod({ last_step: last, now }: SecondFactor, secret: string, code: string): number | null {
  const step = periodOf(secret, code, now);
  return step !== null && (last === null || step > last) ? step : null;
}

/** Why an outcome lets nobody in, for them and for the audit log. Null: it does, or nothing is asked for. */
export function refusalOf(outcome: FactorOutcome): { error: ApplicationError; reason: string } | null {
  switch (outcome.kind) {
    case 'missing':
      return { error: errors.totpRequired(), reason: 'no code' };
    case 'wrong':
      return { error: errors.invalidTotp(), reason: 'wrong code' };
    case 'throttled':
      return { error: errors.rateLimited(outcome.wait), reason: 'too many wrong codes' };
    default:
      return null;
  }
}
