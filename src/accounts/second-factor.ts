/** The authenticator app that a login asks for besides the password. */
import type { Authenticator } from '../access/authenticate.ts';
import type { Encryption } from '../access/encryption.ts';
import { type Principal, requireLogin } from '../access/permissions.ts';
import {
  confirmPendingSecret,
  countRecoveryCodes,
  deleteSecondFactor,
  noteFailure,
  noteSuccess,
  readSecondFactor,
  replaceRecoveryCodes,
  type SecondFactor,
  setPendingSecret,
  takeRecoveryCode,
} from '../access/second-factor-store.ts';
import { lockUser, notifyUserChanged, type UserCredentials } from '../access/store.ts';
import { canonicalCode, newRecoveryCodes, newTotpSecret, otpauthUrl, periodOf } from '../access/totp.ts';
import type { Database, Queryable } from '../database/pool.ts';
import { ApplicationError, errors } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import type { TotpState } from './schemas.ts';

/** What came of asking for the second factor. */
export type FactorOutcome =
  | { kind: 'none' | 'missing' | 'wrong' }
  | { kind: 'accepted'; by: 'totp' | 'recovery code' }
  | { kind: 'throttled'; wait: number };

const contextOf = (userId: string) => `totp of ${userId}`;
const TOTP_CODE = /^\d{6}$/;

function digestOf(encryption: Encryption, userId: string, code: string): Buffer {
  return encryption.digest(canonicalCode(code), `recovery code of ${userId}`);
}

/**
 * Takes a code, once: the user's row must be held, so that of many tries at once, over all replicas, one has it. A refusal is
 * no exception: it is counted, and that must be committed.
 */
export async function takeCode(
  tx: Queryable,
  encryption: Encryption,
  userId: string,
  code: string | undefined,
): Promise<FactorOutcome> {
  const factor = await readSecondFactor(tx, userId);
  if (factor === null || factor.secret === null) return { kind: 'none' };
  if (code === undefined) return { kind: 'missing' };
  if (factor.wait > 0) return { kind: 'throttled', wait: factor.wait };
  const canonical = canonicalCode(code);
  if (TOTP_CODE.test(canonical)) {
    const step = freshPeriod(factor, encryption.decrypt(factor.secret, contextOf(userId)), canonical);
    if (step !== null) {
      await noteSuccess(tx, userId, step);
      return { kind: 'accepted', by: 'totp' };
    }
  } else if (await takeRecoveryCode(tx, userId, digestOf(encryption, userId, code))) {
    await noteSuccess(tx, userId, null);
    return { kind: 'accepted', by: 'recovery code' };
  }
  await noteFailure(tx, userId);
  return { kind: 'wrong' };
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

/** Takes a code for a change that it has to vouch for. @throws 401, 429. */
async function requireCode(
  tx: Queryable,
  encryption: Encryption,
  userId: string,
  code: string | undefined,
): Promise<void> {
  const refusal = refusalOf(await takeCode(tx, encryption, userId, code));
  if (refusal !== null) throw refusal.error;
}

/** What the caller has, and what is asked of them. */
export async function describeSecondFactor(db: Queryable, principal: Principal): Promise<TotpState> {
  const factor = await readSecondFactor(db, principal.userId);
  return {
    enabled: factor !== null && factor.secret !== null,
    pending: factor !== null && factor.pending_secret !== null,
    required: principal.lacksSecondFactor === true,
    recovery_codes: await countRecoveryCodes(db, principal.userId),
  };
}

/** Counts a wrong code of work that was rolled back because of it. */
export async function countingWrongCodes<T>(db: Database, principal: Principal, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ApplicationError && error.code === 'INVALID_TOTP') await noteFailure(db, principal.userId);
    throw error;
  }
}

/** The caller who has given their password. @throws 401 where it is another one by now. */
async function lockCaller(tx: Queryable, principal: Principal, passwordHash: string): Promise<UserCredentials> {
  const user = await lockUser(tx, principal.userId);
  if (user?.password_hash !== passwordHash) throw errors.invalidCredentials();
  return user;
}

/**
 * Makes a secret for an app, which asks for nothing until a code of it has come back. Where there is one already it stays
 * until then, and has to vouch for the change.
 * @param passwordHash that the given password was checked against.
 */
export async function enrol(
  encryption: Encryption,
  { tx, principal, audit }: Mutation,
  passwordHash: string,
  code: string | undefined,
): Promise<Answer> {
  requireLogin(principal, 'set up a second factor');
  const user = await lockCaller(tx, principal, passwordHash);
  await requireCode(tx, encryption, user.id, code);
  const secret = newTotpSecret();
  await setPendingSecret(tx, user.id, encryption.encrypt(secret, contextOf(user.id)));
  audit({ action: 'auth.totp.enrol', resource: `user:${user.username}` });
  return { body: { secret, otpauth_url: otpauthUrl(secret, user.username) }, secret: true };
}

/** From now on logins ask for a code. @returns recovery codes, in this answer and nowhere else. */
export async function confirmEnrolment(
  auth: Authenticator,
  encryption: Encryption,
  { tx, principal, audit, afterCommit }: Mutation,
  code: string,
): Promise<Answer> {
  requireLogin(principal, 'set up a second factor');
  const { userId } = principal;
  await lockUser(tx, userId);
  const factor = await readSecondFactor(tx, userId);
  if (factor === null || factor.pending_secret === null) {
    throw errors.conflict('There is nothing to confirm. Begin with POST /v1/auth/totp.');
  }
  const secret = encryption.decrypt(factor.pending_secret, contextOf(userId));
  const step = periodOf(secret, canonicalCode(code), factor.now);
  if (step === null) throw errors.invalidTotp();
  await confirmPendingSecret(tx, userId, step);
  const codes = newRecoveryCodes();
  await replaceRecoveryCodes(
    tx,
    userId,
    codes.map((one) => digestOf(encryption, userId, one)),
  );
  await notifyUserChanged(tx, userId);
  audit({ action: 'auth.totp.confirm', resource: `user:${principal.name}` });
  afterCommit(() => auth.forgetUser(userId));
  return { body: { enabled: true, recovery_codes: codes }, secret: true };
}

/** Takes the caller's own second factor off. @throws 409 where they have none. */
export async function removeSecondFactor(
  auth: Authenticator,
  encryption: Encryption,
  { tx, principal, audit, afterCommit }: Mutation,
  passwordHash: string,
  code: string | undefined,
): Promise<Answer> {
  requireLogin(principal, 'take a second factor off');
  const user = await lockCaller(tx, principal, passwordHash);
  await requireCode(tx, encryption, user.id, code);
  if (!(await deleteSecondFactor(tx, user.id))) throw errors.conflict('You have no second factor.');
  await notifyUserChanged(tx, user.id);
  audit({ action: 'auth.totp.remove', resource: `user:${user.username}` });
  afterCommit(() => auth.forgetUser(user.id));
  return { body: { enabled: false } };
}
