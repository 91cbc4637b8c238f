import { createHash, randomInt } from 'node:crypto';
import { createSigner, createVerifier } from 'fast-jwt';
import { uuidv7 } from '../database/uuid.ts';

/** What begins an API token: tells it from a JWT, and secret scanners what they have found. */
const API_TOKEN_PREFIX = 'prv_';
const API_TOKEN_PATTERN = /^prv_[0-9A-Za-z]{40}$/;
const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** Access tokens remembered whose signature is right, so that it is checked once and not with every request. */
const VERIFIED_CACHE_SIZE = 10_000;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

type TokenType = 'access' | 'refresh';

/** What a JWT of ours says. */
interface TokenClaims {
  /** User id. */
  sub: string;
  /** Names of the roles at the time it was made. For clients to show; what counts is looked up. */
  roles: string[];
  /** Seconds since 1970. */
  iat: number;
  /** Seconds since 1970. */
  exp: number;
  jti: string;
  typ: TokenType;
  /** The user's token generation when it was made. Another one now: the token has ended. */
  gen: number;
  /** The session's id. Absent in those of versions that knew no sessions. */
  sid?: string;
}

/** Whom a token is for. */
interface TokenSubject {
  id: string;
  roles: readonly string[];
  generation: number;
  sessionId: string;
}

/** Makes and checks the tokens of one installation. */
export interface Tokens {
  /** @param ttl seconds. */
  issue(type: TokenType, subject: TokenSubject, ttl: number): { token: string; expiresAt: Date };
  /** Null unless it is ours, of this type, and not expired. Whether it was ended since, only the database knows. */
  verify(type: TokenType, token: string): TokenClaims | null;
}

/** HS256 and nothing else: a token naming another algorithm, or none, is not ours. */
export function createTokens(secret: string): Tokens {
  const sign = createSigner({ key: secret, algorithm: 'HS256' });
  // Whether it has expired is asked of the clock each time: a refusal that is remembered would outlast a clock set back.
  const verify = createVerifier({
    key: secret,
    algorithms: ['HS256' as const],
    requiredClaims: ['sub', 'roles', 'iat', 'exp', 'jti', 'typ', 'gen'],
    ignoreExpiration: true,
  });
  const verified = new Map<string, TokenClaims>();
  const remember = (token: string, claims: TokenClaims) => {
    verified.set(token, claims);
    const oldest = verified.keys().next().value;
    if (verified.size > VERIFIED_CACHE_SIZE && oldest !== undefined) verified.delete(oldest);
  };
  const signedClaims = (token: string): TokenClaims | null => {
    const known = verified.get(token);
    if (known !== undefined) return known;
    try {
      const claims: unknown = verify(token);
      if (!isClaims(claims)) return null;
      // A refresh token comes once.
      if (claims.typ === 'access') remember(token, claims);
      return claims;
    } catch {
      // Whatever is wrong with it, the answer is the same.
      return null;
    }
  };
  return {
    issue(type, subject, ttl) {
      const iat = Math.floor(Date.now() / 1_000);
      const claims: TokenClaims = {
        sub: subject.id,
        roles: [...new Set(subject.roles)],
        iat,
        exp: iat + ttl,
        jti: uuidv7(),
        typ: type,
        gen: subject.generation,
        sid: subject.sessionId,
      };
      return { token: sign(claims), expiresAt: new Date(claims.exp * 1_000) };
    },
    verify(type, token) {
      const claims = signedClaims(token);
      return claims !== null && claims.typ === type && claims.exp * 1_000 > Date.now() ? claims : null;
    },
  };
}

function isClaims(value: unknown): value is TokenClaims {
  if (typeof value !== 'object' || value === null) return false;
  const { sub, gen, exp, typ, sid } = value as Record<string, unknown>;
  return (
    typeof sub === 'string' &&
    UUID.test(sub) &&
    Number.isSafeInteger(gen) &&
    (sid === undefined || (typeof sid === 'string' && UUID.test(sid))) &&
    typeof exp === 'number' &&
    (typ === 'access' || typ === 'refresh')
  );
}

/** `prv_` and 40 random characters (238 bits). */
export function newApiTokenSecret(): string {
  return `${API_TOKEN_PREFIX}${Array.from({ length: 40 }, () => BASE62[randomInt(BASE62.length)]).join('')}`;
}

export function isApiToken(token: string): boolean {
  return API_TOKEN_PATTERN.test(token);
}

/** All that is kept of a token: enough to know it again, useless to whoever reads it. */
export function tokenHash(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
