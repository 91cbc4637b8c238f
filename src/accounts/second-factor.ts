/** The authenticator app that a login asks for besides the password. */
import type { Authenticator } from '../access/authenticate.ts';
import type { Encryption } from '../access/encryption.ts';
import { verifyPassword } from '../access/passwords.ts';
import { type Principal, requireLogin } from '../access/permissions.ts';
import {
  confirmPendingSecret,
  countRecoveryCodes,
  deleteSecondFactor,
  hasRecoveryCode,
  noteFailure,
  noteSuccess,
  readSecondFactor,
  replaceRecoveryCodes,
  type SecondFactor,
  setPendingSecret,
  takeRecoveryCode,
} from '../access/second-factor-store.ts';
import { endOtherSessions } from '../access/session-store.ts';
import { findCredentials, lockUser, notifyUserChanged, readUserState, type UserCredentials } from '../access/store.ts';
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
const NOTHING_TO_CONFIRM = 'There is nothing to confirm. Begin with POST /v1/auth/totp, and confirm within 15 minutes.';

function digestOf(encryption: Encryption, userId: string, code: string): Buffer {
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

/** Checks the caller's password. @returns the hash that it was checked against. @throws 401 INVALID_CREDENTIALS. */
async function requirePassword(db: Database, principal: Principal, password: string): Promise<string> {
  const user = await readUserState(db, principal.userId);
  const credentials = user === null ? null : await findCredentials(db, user.username);
  const hash = credentials?.password_hash ?? null;
  if (!(await verifyPassword(hash, password)) || hash === null) throw errors.invalidCredentials();
  return hash;
}

/** What a caller has shown: their password, and a code where logins ask for one. */
export interface Proof {
  passwordHash: string;
  /** The secret that the code was of, as it is stored; null: none was asked for. */
  secret: string | null;
}

/**
 * Checks the password of a caller who has logged in and takes a code, before the change that these vouch for: a wrong code
 * counts, and a right one is used, whatever becomes of the change.
 * @param what which an API token cannot do. @param checkMode the change is only to be checked.
 * @throws 401, 409, 429.
 */
export async function requireProof(
  { db, encryption }: { db: Database; encryption: Encryption },
  principal: Principal,
  given: { password: string; totp?: string },
  { what, checkMode }: { what: string; checkMode: boolean },
): Promise<Proof> {
  const passwordHash = await requirePassword(db, principal, given.password);
  requireLogin(principal, what);
  const { userId } = principal;
  const { outcome, secret } = await db.transaction().execute(async (tx) => {
    await lockUser(tx, userId);
    const outcome = await takeCode(tx, encryption, userId, given.totp, !checkMode);
    return { outcome, secret: (await readSecondFactor(tx, userId))?.secret ?? null };
  });
  const refusal = refusalOf(outcome);
  if (refusal !== null) throw refusal.error;
  return { passwordHash, secret };
}

/** The caller, held, whose proof still is one. @throws 401 where password or app are others by now. */
export async function lockCaller(tx: Queryable, principal: Principal, proof: Proof): Promise<UserCredentials> {
  const user = await lockUser(tx, principal.userId);
  if (user?.password_hash !== proof.passwordHash) throw errors.invalidCredentials();
  if (((await readSecondFactor(tx, user.id))?.secret ?? null) !== proof.secret) throw errors.totpRequired();
  return user;
}

/** What the caller has, and what is asked of them. */
export async function describeSecondFactor(db: Queryable, principal: Principal): Promise<TotpState> {
  requireLogin(principal, 'see the second factor');
  const factor = await readSecondFactor(db, principal.userId);
  return {
    enabled: factor !== null && factor.secret !== null,
    pending: factor !== null && factor.pending_secret !== null,
    required: principal.lacksSecondFactor === true,
    recovery_codes: await countRecoveryCodes(db, principal.userId),
  };
}

/**
 * Makes a secret for an app, which asks for nothing until a code of it has come back. Where there is one already it stays
 * until then, and has to vouch for the change.
 */
export async function enrol(encryption: Encryption, { tx, principal, audit }: Mutation, proof: Proof): Promise<Answer> {
  const user = await lockCaller(tx, principal, proof);
  const secret = newTotpSecret();
  await setPendingSecret(tx, user.id, encryption.encrypt(secret, contextOf(user.id)));
  audit({ action: 'auth.totp.enrol', resource: `user:${user.username}` });
  return { body: { secret, otpauth_url: otpauthUrl(secret, user.username) }, secret: true };
}

/** A right code of the app that is being set up. */
export interface Confirmation {
  /** The secret that it is of, as it is stored. */
  pending: string;
  step: number;
}

/** Checks a code of the app that is being set up; a wrong one counts. @throws 401, 409, 429. */
export async function checkPendingCode(
  { db, encryption }: { db: Database; encryption: Encryption },
  principal: Principal,
  code: string,
): Promise<Confirmation> {
  requireLogin(principal, 'set up a second factor');
  const { userId } = principal;
  const found = await db.transaction().execute(async (tx) => {
    await lockUser(tx, userId);
    const factor = await readSecondFactor(tx, userId);
    if (factor === null || factor.pending_secret === null) return errors.conflict(NOTHING_TO_CONFIRM);
    if (factor.wait > 0) return errors.rateLimited(factor.wait);
    const { pending_secret: pending } = factor;
    const step = periodOf(encryption.decrypt(pending, contextOf(userId)), canonicalCode(code), factor.now);
    if (step !== null) return { pending, step };
    await noteFailure(tx, userId);
    return errors.invalidTotp();
  });
  if (found instanceof ApplicationError) throw found;
  return found;
}

/**
 * From now on logins ask for a code. Sessions that began without one end, the caller's excepted.
 * @returns recovery codes, in this answer and nowhere else.
 */
export async function confirmEnrolment(
  auth: Authenticator,
  encryption: Encryption,
  { tx, principal, audit, afterCommit }: Mutation,
  { pending, step }: Confirmation,
): Promise<Answer> {
  const { userId } = principal;
  await lockUser(tx, userId);
  if ((await readSecondFactor(tx, userId))?.pending_secret !== pending) throw errors.conflict(NOTHING_TO_CONFIRM);
  await confirmPendingSecret(tx, userId, step);
  await endOtherSessions(tx, userId, principal.sessionId);
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
  { tx, principal, audit, afterCommit }: Mutation,
  proof: Proof,
): Promise<Answer> {
  const user = await lockCaller(tx, principal, proof);
  if (!(await deleteSecondFactor(tx, user.id))) throw errors.conflict('You have no second factor.');
  await notifyUserChanged(tx, user.id);
  audit({ action: 'auth.totp.remove', resource: `user:${user.username}` });
  afterCommit(() => auth.forgetUser(user.id));
  return { body: { enabled: false } };
}
