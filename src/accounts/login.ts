/** Logging in and staying in: passwords and refresh tokens become the tokens of a session. */
import type { FastifyRequest } from 'fastify';
import type { Encryption } from '../access/encryption.ts';
import { isKnownAddress, noteLogin } from '../access/login-addresses.ts';
import { verifyPassword } from '../access/passwords.ts';
import {
  endSession,
  findSession,
  insertSession,
  noteSession,
  type Session,
  type SessionClient,
} from '../access/session-store.ts';
import {
  findCredentials,
  insertRefreshToken,
  lockUser,
  notifyUserChanged,
  spendRefreshToken,
  type UserCredentials,
  type UserState,
} from '../access/store.ts';
import { type Tokens, tokenHash } from '../access/tokens.ts';
import type { Config } from '../config.ts';
import type { Database, Queryable } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';
import { type ApplicationError, errors } from '../errors.ts';
import { insertAudit } from '../http/mutation.ts';
import { addressOf, type TryLimit } from '../http/rate-limit.ts';
import { harmlessText } from '../util/harmless.ts';
import { refusalOf, takeCode } from './factor-codes.ts';
import { type Login, type TokenPair, USERNAME_PATTERN } from './schemas.ts';
import type { SessionCheck } from './sso/session-check.ts';

/** Failed logins of one account are counted over this. Milliseconds. */
export const ACCOUNT_WINDOW_MS = 900_000;

/** What vouches for a session: this, or an identity provider. */
const PASSWORD = 'password';

/** Characters kept of what a client calls itself. */
const MAX_USER_AGENT = 200;

/** What logging in and refreshing need. */
export interface Sessions {
  config: Pick<Config, 'tokenTtl' | 'refreshTtl' | 'sessionTtl'>;
  db: Database;
  encryption: Encryption;
  tokens: Tokens;
  /**
   * Failed logins of each user, from addresses where they have not logged in before; and for each name that is nobody's,
   * counted apart, so that a flood of names does not push out the counts of users.
   */
  tries: { user: TryLimit; nobody: TryLimit };
  /** Refusals of single sign-on that are written down of each address. */
  refusals: TryLimit;
  /** Asks the issuer of a session, where that is due. */
  checkSession: SessionCheck;
}

const USERNAME = new RegExp(USERNAME_PATTERN);

/**
 * Exchanges name and password for a pair of tokens. Whatever is wrong about them is answered alike and after the same
 * work; the audit log alone has the reason. Too many tries for one name are refused from wherever its user has not logged in
 * before, whether there is such a user or not: guesses from many addresses end there, and the user still gets in. Only whoever
 * has the right password learns whether a code is asked for besides.
 * @throws 401 INVALID_CREDENTIALS, TOTP_REQUIRED, INVALID_TOTP; 429.
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
  const opened =
    user !== null && matches
      ? await db.transaction().execute((tx) => openSession(sessions, tx, user, request, body))
      : null;
  if (opened === null) {
    await denied(user === null ? 'unknown user' : matches ? 'disabled user' : 'wrong password');
    throw errors.invalidCredentials();
  }
  if (counted) tries.succeeded(username);
  if ('token' in opened) return opened;
  await denied(opened.reason);
  throw opened.error;
}

/**
 * The tokens of a new session, or why the second factor keeps it shut. Null: the user has been disabled or given another
 * password while this one was checked. A wrong code is no exception in here: its count must be committed.
 */
async function openSession(
  sessions: Sessions,
  tx: Queryable,
  { id, password_hash: checked }: UserCredentials,
  request: FastifyRequest,
  { totp, expires_in: expiresIn }: Login,
): Promise<TokenPair | { error: ApplicationError; reason: string } | null> {
  const user = await lockUser(tx, id);
  if (user === null || user.disabled || user.password_hash !== checked) return null;
  const factor = await takeCode(tx, sessions.encryption, id, totp);
  const refusal = refusalOf(factor);
  if (refusal !== null) return refusal;
  await insertAudit(tx, request, user.username, 'allowed', {
    action: 'auth.login',
    resource: `user:${user.username}`,
    ...(factor.kind === 'accepted' ? { details: { second_factor: factor.by } } : {}),
  });
  const client = clientOf(request);
  await noteLogin(tx, id, client.address);
  const seconds = sessions.config.sessionTtl;
  const accessTtl = expiresIn ?? null;
  const begun = { id: uuidv7(), userId: id, origin: PASSWORD, accessTtl, seconds, client };
  const session = await insertSession(tx, begun);
  return issuePair(sessions, tx, user, session, client);
}

/** From where, and with what, a request comes. */
export function clientOf(request: FastifyRequest): SessionClient {
  const { 'user-agent': given } = request.headers;
  return {
    address: addressOf(request),
    userAgent: given === undefined ? null : harmlessText(given.slice(0, MAX_USER_AGENT)),
  };
}

/**
 * Exchanges a refresh token for a new pair, once. Used a second time it has been stolen, or its thief was first:
 * the session ends.
 * @throws 401 INVALID_REFRESH_TOKEN; 503 where an issuer could not be asked for too long.
 */
export async function refresh(sessions: Sessions, request: FastifyRequest, token: string): Promise<TokenPair> {
  const claims = sessions.tokens.verify('refresh', token);
  if (claims === null) throw errors.invalidRefreshToken();
  if (claims.sid !== undefined && !(await sessions.checkSession(claims.sid))) throw errors.issuerAway();
  // A refusal is no exception in here: the revocation must be committed.
  const pair = await sessions.db.transaction().execute(async (tx) => {
    const user = await lockUser(tx, claims.sub);
    if (user === null || user.disabled || user.token_generation !== claims.gen) return null;
    const spent = await spendRefreshToken(tx, tokenHash(token), user.id);
    if (spent === null) return null;
    const entry = { action: 'auth.refresh', resource: `user:${user.username}` };
    if (!spent.fresh) {
      await endSession(tx, spent.family);
      await notifyUserChanged(tx, user.id);
      await insertAudit(tx, request, user.username, 'denied', {
        ...entry,
        details: { reason: 'used before; its session has ended' },
      });
      return null;
    }
    const client = clientOf(request);
    const seconds = sessions.config.sessionTtl;
    const known = await findSession(tx, spent.family);
    // Of a login at a replica of a version that knew no sessions, nor second factors.
    if (known === null && (user.totp || user.sso)) return null;
    const session =
      known ??
      (await insertSession(tx, {
        ...{ id: spent.family, userId: user.id, origin: PASSWORD },
        ...{ accessTtl: null, seconds, client },
      }));
    if (session.endsAt.getTime() <= Date.now()) return null;
    await insertAudit(tx, request, user.username, 'allowed', entry);
    await noteLogin(tx, user.id, client.address);
    return issuePair(sessions, tx, user, session, client);
  });
  if (pair === null) throw errors.invalidRefreshToken();
  return pair;
}

/** The first or next tokens of a session, in the transaction that holds its user. None of them outlives the session. */
export async function issuePair(
  { config, tokens }: Pick<Sessions, 'config' | 'tokens'>,
  tx: Queryable,
  user: UserState,
  session: Session,
  client: SessionClient,
): Promise<TokenPair> {
  const left = Math.max(1, Math.floor((session.endsAt.getTime() - Date.now()) / 1_000));
  const expiresIn = Math.min(session.accessTtl ?? config.tokenTtl, config.tokenTtl, left);
  const subject = {
    id: user.id,
    roles: user.bindings.map((binding) => binding.role),
    generation: user.token_generation,
    sessionId: session.id,
  };
  const access = tokens.issue('access', subject, expiresIn);
  const refreshToken = tokens.issue('refresh', subject, Math.min(config.refreshTtl, left));
  await insertRefreshToken(tx, {
    hash: tokenHash(refreshToken.token),
    family: session.id,
    userId: user.id,
    expiresAt: refreshToken.expiresAt,
  });
  const last = Math.max(access.expiresAt.getTime(), refreshToken.expiresAt.getTime());
  await noteSession(tx, session.id, new Date(last), client);
  return { token: access.token, refresh_token: refreshToken.token, expires_in: expiresIn };
}
