import type { FastifyRequest } from 'fastify';
import type { Listener } from '../database/listener.ts';
import type { Database } from '../database/pool.ts';
import { errors } from '../errors.ts';
import type { Principal } from './permissions.ts';
import { waitsForSecondFactor } from './second-factor-rule.ts';
import { readSessionState, type SessionState, touchSession } from './session-store.ts';
import { readUserState, USERS_CHANNEL, type UserState } from './store.ts';
import { intersectBindings } from './token-roles.ts';
import { type ApiTokenState, findApiToken, touchApiToken } from './token-store.ts';
import { createTokens, isApiToken, type Tokens, tokenHash } from './tokens.ts';

export { USERS_CHANNEL };

/** A change is told by NOTIFY at once; this bounds what a lost message could cost. */
const CACHE_TTL_MS = 5_000;
/** Users, sessions and API tokens remembered at most, each. */
const CACHE_SIZE = 10_000;
/** `last_used_at` is kept to the minute. */
const TOUCH_INTERVAL_MS = 60_000;

/** Finds out who is calling. */
export interface Authenticator {
  /** @throws 401 without a token that holds now. */
  authenticate(request: Pick<FastifyRequest, 'headers'>): Promise<Principal>;
  /** The user's next request asks the database again. For the replica that made a change, right after its commit. */
  forgetUser(userId: string): void;
  readonly tokens: Tokens;
}

interface Cache<T> {
  get(key: string, load: () => Promise<T | null>): Promise<T | null>;
  delete(key: string): void;
  deleteWhere(matches: (value: T) => boolean): void;
  clear(): void;
}

/**
 * Holds promises, so that many requests at once ask once. An entry dropped while it loads is seen only by those who
 * waited for it already.
 */
function createCache<T>(trusted: () => boolean): Cache<T> {
  const entries = new Map<string, { loadedAt: number; loading: Promise<T | null>; value: T | null }>();
  return {
    get(key, load) {
      if (!trusted()) return load();
      const known = entries.get(key);
      if (known !== undefined && performance.now() - known.loadedAt < CACHE_TTL_MS) return known.loading;
      const entry = { loadedAt: performance.now(), loading: load(), value: null as T | null };
      entries.delete(key);
      entries.set(key, entry);
      const oldest = entries.keys().next().value;
      if (entries.size > CACHE_SIZE && oldest !== undefined) entries.delete(oldest);
      const drop = () => {
        if (entries.get(key) === entry) entries.delete(key);
      };
      entry.loading.then((value) => {
        entry.value = value;
        // What does not exist is not remembered: guesses must not fill the cache.
        if (value === null) drop();
      }, drop);
      return entry.loading;
    },
    delete: (key) => void entries.delete(key),
    deleteWhere(matches) {
      // One that is still loading may turn out to match: it goes too.
      for (const [key, { value }] of entries) if (value === null || matches(value)) entries.delete(key);
    },
    clear: () => entries.clear(),
  };
}

/**
 * Reads `Authorization: Bearer` with an access token or an API token, and what the user may do at this moment.
 * @param options `adminTotp`: administrators have no roles until they have a second factor. `checkSession` asks the issuer of
 * a session, where that is due; false: it could not for too long.
 */
export function createAuthenticator(options: {
  db: Database;
  listener: Listener;
  secret: string;
  adminTotp: boolean;
  checkSession: (sessionId: string) => Promise<boolean>;
}): Authenticator {
  const { db, listener, adminTotp, checkSession } = options;
  const tokens = createTokens(options.secret);
  const trusted = () => listener.connected;
  const users = createCache<UserState>(trusted);
  const sessions = createCache<SessionState>(trusted);
  const apiTokens = createCache<ApiTokenState>(trusted);
  const touched = new Map<string, number>();

  const forgetUser = (userId: string) => {
    users.delete(userId);
    sessions.deleteWhere((session) => session.user_id === userId);
    apiTokens.deleteWhere((token) => token.user_id === userId);
  };
  listener.listen(USERS_CHANNEL, forgetUser, () => {
    users.clear();
    sessions.clear();
    apiTokens.clear();
  });

  const enabledUser = async (id: string): Promise<UserState> => {
    const user = await users.get(id, () => readUserState(db, id));
    if (user === null || user.disabled) throw errors.unauthenticated();
    return user;
  };

  /** The session, once its issuer has been asked where that is due. Null: it has ended. */
  const standingSession = async (id: string, userId: string): Promise<SessionState | null> => {
    const find = () => sessions.get(id, () => readSessionState(db, id));
    const session = await find();
    if (session === null || session.standing === null) return session;
    if (!(await checkSession(id))) throw errors.issuerAway();
    forgetUser(userId);
    return find();
  };

  const byAccessToken = async (token: string): Promise<Principal> => {
    const claims = tokens.verify('access', token);
    if (claims === null) throw errors.unauthenticated('The token is invalid or has expired. Log in again.');
    const { sub, sid } = claims;
    const session = sid === undefined ? undefined : await standingSession(sid, sub);
    const user = await enabledUser(sub);
    // A token without a session is of a version that asked for no second factor.
    const vouched = session !== null && (session !== undefined || !user.totp);
    if (claims.gen !== user.token_generation || !vouched) {
      throw errors.unauthenticated('The token has ended. Log in again.');
    }
    if (session !== undefined) touch(session.id, touchSession);
    const who = { userId: user.id, name: user.username, label: user.username, tokenId: null };
    return { ...who, ...(session && { sessionId: session.id }), ...rolesOf(user) };
  };

  /** The user, once their issuer has been asked, where that is due and they have a session by which to ask. */
  const vouchedUser = async (id: string): Promise<UserState> => {
    const user = await enabledUser(id);
    if (user.sso_check === null) return user;
    await checkSession(user.sso_check);
    forgetUser(id);
    return enabledUser(id);
  };

  /** What the user may do by themselves. */
  const rolesOf = (user: UserState): Pick<Principal, 'bindings' | 'lacksSecondFactor'> => {
    return adminTotp && waitsForSecondFactor(user)
      ? { bindings: [], lacksSecondFactor: true }
      : { bindings: user.bindings };
  };

  const byApiToken = async (secret: string): Promise<Principal> => {
    const hash = tokenHash(secret);
    const token = await apiTokens.get(hash.toString('base64'), () => findApiToken(db, hash));
    if (token === null || token.revoked_at !== null || isPast(token.expires_at)) {
      throw errors.unauthenticated('The API token is unknown, expired or revoked.');
    }
    const user = await vouchedUser(token.user_id);
    touch(token.id, touchApiToken);
    const held = rolesOf(user);
    return {
      userId: user.id,
      name: user.username,
      label: `${user.username} (token ${token.name})`,
      tokenId: token.id,
      ...(token.exchanged_by !== null && {
        exchanged: { provider: token.exchanged_by, rule: token.exchanged_rule ?? '' },
      }),
      ...held,
      bindings: intersectBindings(token.roles, held.bindings),
    };
  };

  /** Not on the request's way: nobody waits for it, and a failure costs a minute of precision. */
  const touch = (id: string, note: (db: Database, id: string) => Promise<void>) => {
    const now = performance.now();
    if (now - (touched.get(id) ?? Number.NEGATIVE_INFINITY) < TOUCH_INTERVAL_MS) return;
    if (touched.size >= CACHE_SIZE) touched.clear();
    touched.set(id, now);
    note(db, id).catch(() => touched.delete(id));
  };

  return {
    async authenticate(request) {
      const token = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
      if (token === undefined) throw errors.unauthenticated();
      return isApiToken(token) ? byApiToken(token) : byAccessToken(token);
    },
    forgetUser,
    tokens,
  };
}

function isPast(time: Date | null): boolean {
  return time !== null && time.getTime() <= Date.now();
}
