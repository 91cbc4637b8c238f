/** What a caller shows besides their session, for what a session found by somebody else must not do alone. */
import type { Encryption } from '../access/encryption.ts';
import { verifyPassword } from '../access/passwords.ts';
import { type Principal, requireLogin } from '../access/permissions.ts';
import { readSecondFactor } from '../access/second-factor-store.ts';
import { findCredentials, lockUser, readUserState, type UserCredentials } from '../access/store.ts';
import type { Database, Queryable } from '../database/pool.ts';
import { errors } from '../errors.ts';
import type { TryLimit } from '../http/rate-limit.ts';
import { refusalOf, takeCode } from './factor-codes.ts';
import type { ProofInput } from './schemas.ts';

/** What checking a proof needs. */
export interface ProofTools {
  db: Database;
  encryption: Encryption;
  /** Wrong passwords of each caller. */
  proofTries: TryLimit;
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
  tools: ProofTools,
  principal: Principal,
  given: ProofInput,
  { what, checkMode }: { what: string; checkMode: boolean },
): Promise<Proof> {
  requireLogin(principal, what);
  const { userId } = principal;
  const passwordHash = await requirePassword(tools, userId, given.password);
  const { outcome, secret } = await tools.db.transaction().execute(async (tx) => {
    await lockUser(tx, userId);
    const outcome = await takeCode(tx, tools.encryption, userId, given.totp, !checkMode);
    return { outcome, secret: (await readSecondFactor(tx, userId))?.secret ?? null };
  });
  const refusal = refusalOf(outcome);
  if (refusal !== null) throw refusal.error;
  return { passwordHash, secret };
}

/** @returns the hash that it was checked against. @throws 401 INVALID_CREDENTIALS, 429. */
async function requirePassword({ db, proofTries }: ProofTools, userId: string, password: string): Promise<string> {
  const tooMany = proofTries.begin(userId);
  if (tooMany !== null) {
    // Not looked at, so it has not failed.
    proofTries.succeeded(userId);
    throw errors.rateLimited(tooMany.wait);
  }
  const user = await readUserState(db, userId);
  const credentials = user === null ? null : await findCredentials(db, user.username);
  const hash = credentials?.password_hash ?? null;
  if (!(await verifyPassword(hash, password)) || hash === null) throw errors.invalidCredentials();
  proofTries.succeeded(userId);
  return hash;
}

/**
 * The caller, held, whose proof still is one.
 * @throws 401 where password or app are others by now, 403 where there is no proof.
 */
export async function lockCaller(
  tx: Queryable,
  principal: Principal,
  proof: Proof | undefined,
): Promise<UserCredentials> {
  if (proof === undefined) throw errors.proofRequired();
  const user = await lockUser(tx, principal.userId);
  if (user?.password_hash !== proof.passwordHash) throw errors.invalidCredentials();
  if (((await readSecondFactor(tx, user.id))?.secret ?? null) !== proof.secret) throw errors.totpRequired();
  return user;
}
