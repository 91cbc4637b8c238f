/** The authenticator app that a login asks for besides the password. */
import type { Authenticator } from '../access/authenticate.ts';
import type { Encryption } from '../access/encryption.ts';
import { type Principal, requireLogin } from '../access/permissions.ts';
import {
  confirmPendingSecret,
  countRecoveryCodes,
  deleteSecondFactor,
  noteFailure,
  readSecondFactor,
  replaceRecoveryCodes,
  setPendingSecret,
} from '../access/second-factor-store.ts';
import { endOtherSessions } from '../access/session-store.ts';
import { lockUser, notifyUserChanged } from '../access/store.ts';
import { canonicalCode, newRecoveryCodes, newTotpSecret, otpauthUrl, periodOf } from '../access/totp.ts';
import type { Database, Queryable } from '../database/pool.ts';
import { ApplicationError, errors } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import { contextOf, digestOf } from './factor-codes.ts';
import { lockCaller, type Proof } from './proof.ts';
import type { TotpState } from './schemas.ts';

const NOTHING_TO_CONFIRM = 'There is nothing to confirm. Begin with POST /v1/auth/totp, and confirm within 15 minutes.';

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
