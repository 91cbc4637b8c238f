import type { FastifyRequest } from 'fastify';
import type { Authenticator } from '../access/authenticate.ts';
import { isKnownAddress, noteLogin } from '../access/login-addresses.ts';
import { hashPassword, verifyPassword } from '../access/passwords.ts';
import { isPermitted, PERMISSIONS, type Principal } from '../access/permissions.ts';
import {
  endSessions,
  findCredentials,
  insertRefreshToken,
  lockUser,
  notifyUserChanged,
  readUserState,
  revokeFamily,
  spendRefreshToken,
  type UserState,
  updateUser,
} from '../access/store.ts';
import { revokeApiTokens } from '../access/token-store.ts';
import { type Tokens, tokenHash } from '../access/tokens.ts';
import type { Config } from '../config.ts';
import type { Database, Queryable } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';
import { errors } from '../errors.ts';
import { type Answer, insertAudit, type Mutation } from '../http/mutation.ts';
import { addressOf, type TryLimit } from '../http/rate-limit.ts';
import { type ChangePassword, type Login, type TokenPair, USERNAME_PATTERN } from './schemas.ts';

/** Failed logins of one account are counted over this. Milliseconds. */
export const ACCOUNT_WINDOW_MS = 900_000;

/** What logging in and refreshing need. */
export interface Sessions {
  config: Pick<Config, 'tokenTtl' | 'refreshTtl'>;
  db: Database;
  tokens: Tokens;
  /**
   * Failed logins of each user, from addresses where they have not logged in before; and for each name that is nobody's,
   * counted apart, so that a flood of names does not push out the counts of users.
   */
  tries: { user: TryLimit; nobody: TryLimit };
}

const USERNAME = new RegExp(USERNAME_PATTERN);

/**
 * Exchanges name and password for a pair of tokens. Whatever is wrong about them is answered alike and after the same
 * work; the audit log alone has the reason. Too many tries for one name are refused from wherever its user has not logged in
 * before, whether there is such a user or not: guesses from many addresses end there, and the user still gets in.
 * @throws 401 INVALID_CREDENTIALS, 429.
 */
export async function login(sessions: Sessions, request: FastifyRequest, body: Login): Promise<TokenPair> {
  const { db } = sessions;
  const username = body.username.toLowerCase();
  const user = USERNAME.test(username) ? await findCredentials(db, username) : null;
  const denied = (reason: string) =>
    insertAudit(db, request, USERNAME.test(username) ? username : 'anonymous', 'denied', {
      action: 'auth.login',
      details: { reason },
    });
  const tries = sessions.tries[user === null ? 'nobody' : 'user'];
  const address = addressOf(request);
  const counted = !(await isKnownAddress(db, user?.id ?? null, address));
  const tooMany = counted ? tries.begin(username) : null;
  if (tooMany !== null) {
    if (tooMany.first) await denied('too many tries');
    throw errors.rateLimited(tooMany.wait);
  }
  const matches = await verifyPassword(user?.password_hash ?? null, body.password);
  const pair =
    user !== null && matches
      ? await db.transaction().execute(async (tx) => {
          const current = await lockUser(tx, user.id);
          // Disabled, or given another password, while this one was checked.
          if (current === null || current.disabled || current.password_hash !== user.password_hash) return null;
          await insertAudit(tx, request, current.username, 'allowed', {
            action: 'auth.login',
            resource: `user:${current.username}`,
          });
          await noteLogin(tx, current.id, address);
          return issuePair(sessions, tx, current, uuidv7());
        })
      : null;
  if (pair !== null) {
    if (counted) tries.succeeded(username);
    return pair;
  }
  await denied(user === null ? 'unknown user' : matches ? 'disabled user' : 'wrong password');
  throw errors.invalidCredentials();
}

/**
 * Exchanges a refresh token for a new pair, once. Used a second time it has been stolen, or its thief was first:
 * every token that came of the same login can then no longer be refreshed.
 * @throws 401 INVALID_REFRESH_TOKEN.
 */
export async function refresh(sessions: Sessions, request: FastifyRequest, token: string): Promise<TokenPair> {
  const claims = sessions.tokens.verify('refresh', token);
  if (claims === null) throw errors.invalidRefreshToken();
  // A refusal is no exception in here: the revocation must be committed.
  const pair = await sessions.db.transaction().execute(async (tx) => {
    const user = await lockUser(tx, claims.sub);
    if (user === null || user.disabled || user.token_generation !== claims.gen) return null;
    const spent = await spendRefreshToken(tx, tokenHash(token), user.id);
    if (spent === null) return null;
    const entry = { action: 'auth.refresh', resource: `user:${user.username}` };
    if (!spent.fresh) {
      await revokeFamily(tx, spent.family);
      await insertAudit(tx, request, user.username, 'denied', {
        ...entry,
        details: { reason: 'used before; its family is revoked' },
      });
      return null;
    }
    await insertAudit(tx, request, user.username, 'allowed', entry);
    await noteLogin(tx, user.id, addressOf(request));
    return issuePair(sessions, tx, user, spent.family);
  });
  if (pair === null) throw errors.invalidRefreshToken();
  return pair;
}

async function issuePair(
  { config, tokens }: Sessions,
  tx: Queryable,
  user: UserState,
  family: string,
): Promise<TokenPair> {
  const subject = {
    id: user.id,
    roles: user.bindings.map((binding) => binding.role),
    generation: user.token_generation,
  };
  const access = tokens.issue('access', subject, config.tokenTtl);
  const refreshToken = tokens.issue('refresh', subject, config.refreshTtl);
  await insertRefreshToken(tx, {
    hash: tokenHash(refreshToken.token),
    family,
    userId: user.id,
    expiresAt: refreshToken.expiresAt,
  });
  return { token: access.token, refresh_token: refreshToken.token, expires_in: config.tokenTtl };
}

/** Ends every access and refresh token of the caller's user, on every replica. API tokens stay. */
export async function logout(auth: Authenticator, { tx, principal, audit, afterCommit }: Mutation): Promise<Answer> {
  await lockUser(tx, principal.userId);
  await endSessions(tx, principal.userId);
  await notifyUserChanged(tx, principal.userId);
  audit({ action: 'auth.logout', resource: `user:${principal.name}` });
  afterCommit(() => auth.forgetUser(principal.userId));
  return { body: { logged_out: true } };
}

/**
 * Checks the current password and hashes the new one: slow, so before the transaction, which takes what this returns.
 * @throws 401 INVALID_CREDENTIALS.
 */
export async function preparePassword(
  db: Database,
  principal: Principal,
  body: ChangePassword,
): Promise<{ before: string; after: string }> {
  const user = await readUserState(db, principal.userId);
  const credentials = user === null ? null : await findCredentials(db, user.username);
  const before = credentials?.password_hash ?? null;
  if (!(await verifyPassword(before, body.current_password)) || before === null) throw errors.invalidCredentials();
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
  };
}
