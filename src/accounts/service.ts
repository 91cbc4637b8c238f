import type { Authenticator } from '../access/authenticate.ts';
import { requireStrong } from '../access/password-policy.ts';
import { hashPassword, verifyPassword } from '../access/passwords.ts';
import { isPermitted, PERMISSIONS, type Principal } from '../access/permissions.ts';
import {
  endSessions,
  findCredentials,
  lockUser,
  notifyUserChanged,
  readUserState,
  updateUser,
} from '../access/store.ts';
import { revokeApiTokens } from '../access/token-store.ts';
import type { Config } from '../config.ts';
import type { Database, Queryable } from '../database/pool.ts';
import { errors } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import type { ChangePassword } from './schemas.ts';

/** Ends every access and refresh token of the caller's user, on every replica. API tokens stay. */
export async function logout(auth: Authenticator, { tx, principal, audit, afterCommit }: Mutation): Promise<Answer> {
  await lockUser(tx, principal.userId);
  await endSessions(tx, principal.userId);
  await notifyUserChanged(tx, principal.userId);
  audit({ action: 'auth.logout', resource: `user:${principal.name}` });
  afterCommit(() => auth.forgetUser(principal.userId));
  return { body: { logged_out: true } };
}

/** Checks the caller's password. @returns the hash that it was checked against. @throws 401 INVALID_CREDENTIALS. */
export async function requirePassword(db: Database, principal: Principal, password: string): Promise<string> {
  const user = await readUserState(db, principal.userId);
  const credentials = user === null ? null : await findCredentials(db, user.username);
  const hash = credentials?.password_hash ?? null;
  if (!(await verifyPassword(hash, password)) || hash === null) throw errors.invalidCredentials();
  return hash;
}

/**
 * Checks the current password and hashes the new one: slow, so before the transaction, which takes what this returns.
 * @throws 400 for one that is too easy to guess, 401 INVALID_CREDENTIALS.
 */
export async function preparePassword(
  { db, config }: { db: Database; config: Pick<Config, 'passwordMinLength'> },
  principal: Principal,
  body: ChangePassword,
): Promise<{ before: string; after: string }> {
  const before = await requirePassword(db, principal, body.current_password);
  await requireStrong('new_password', body.new_password, principal.name, config.passwordMinLength);
  return { before, after: await hashPassword(body.new_password) };
}

/** Sets the caller's new password, which ends every token of theirs, API tokens too. */
export async function changePassword(
  auth: Authenticator,
  { tx, principal, audit, afterCommit }: Mutation,
  password: { before: string; after: string },
): Promise<Answer> {
  const user = await lockUser(tx, principal.userId);
  if (user?.password_hash !== password.before) throw errors.invalidCredentials();
  await setPassword(tx, principal.userId, password.after);
  await notifyUserChanged(tx, principal.userId);
  audit({ action: 'auth.password', resource: `user:${principal.name}` });
  afterCommit(() => auth.forgetUser(principal.userId));
  return { body: { password_changed: true } };
}

/** A new password ends every token of the user, API tokens too: whoever knew the old one may have made them. */
export async function setPassword(tx: Queryable, userId: string, passwordHash: string): Promise<void> {
  await updateUser(tx, userId, { password_hash: passwordHash });
  await endSessions(tx, userId);
  await revokeApiTokens(tx, userId);
}

/** The caller as they see themselves. */
export function describePrincipal(principal: Principal): object {
  return {
    id: principal.userId,
    username: principal.name,
    roles: principal.bindings,
    permissions: PERMISSIONS.filter((permission) => isPermitted(principal, permission)),
    token_id: principal.tokenId,
    session_id: principal.sessionId ?? null,
  };
}
