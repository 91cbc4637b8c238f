import type { Authenticator } from '../access/authenticate.ts';
import { requireStrong } from '../access/password-policy.ts';
import { hashPassword } from '../access/passwords.ts';
import { isPermitted, PERMISSIONS, type Principal, requireLogin } from '../access/permissions.ts';
import { noteLoggedOut } from '../access/sso/identity-store.ts';
import { endSessions, lockUser, notifyUserChanged, updateUser } from '../access/store.ts';
import { revokeApiTokens } from '../access/token-store.ts';
import type { Config } from '../config.ts';
import type { Queryable } from '../database/pool.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import { lockCaller, type Proof, type ProofTools, requireProof } from './proof.ts';
import type { ChangePassword } from './schemas.ts';
import { endMadeTokens } from './tokens-of-others.ts';

/** Ends every access and refresh token of the caller's user, on every replica. API tokens stay. */
export async function logout(auth: Authenticator, { tx, principal, audit, afterCommit }: Mutation): Promise<Answer> {
  requireLogin(principal, 'end logins');
  await lockUser(tx, principal.userId);
  await endSessions(tx, principal.userId);
  await noteLoggedOut(tx, principal.userId);
  await notifyUserChanged(tx, principal.userId);
  audit({ action: 'auth.logout', resource: `user:${principal.name}` });
  afterCommit(() => auth.forgetUser(principal.userId));
  return { body: { logged_out: true } };
}

/**
 * Checks what the caller shows and hashes the new password: slow, so before the transaction, which takes what this returns.
 * @throws 400 for one that is too easy to guess, 401, 409, 429.
 */
export async function preparePassword(
  tools: ProofTools & { config: Pick<Config, 'passwordMinLength'> },
  principal: Principal,
  body: ChangePassword,
  checkMode: boolean,
): Promise<{ proof: Proof; after: string }> {
  const { new_password: next, current_password: password, totp } = body;
  // First: it would be a pity for the code.
  await requireStrong('new_password', next, principal.name, tools.config.passwordMinLength);
  const given = { password, ...(totp === undefined ? {} : { totp }) };
  const proof = await requireProof(tools, principal, given, { what: 'change the password', checkMode });
  return { proof, after: await hashPassword(next) };
}

/** Sets the caller's new password, which ends every token of theirs, API tokens too. */
export async function changePassword(
  auth: Authenticator,
  mutation: Mutation,
  password: { proof: Proof; after: string },
): Promise<Answer> {
  const { tx, principal, audit, afterCommit } = mutation;
  const user = await lockCaller(tx, principal, password.proof);
  await setPassword(tx, principal.userId, password.after);
  const revoked = await endMadeTokens(auth, mutation, user, []);
  await notifyUserChanged(tx, principal.userId);
  audit({
    action: 'auth.password',
    resource: `user:${principal.name}`,
    ...(revoked && { details: revoked }),
  });
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
