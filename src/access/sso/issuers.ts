/**
 * OpenID Connect as a client of it: every request to an issuer, by the egress policy, and every check of what it answers. The
 * protocol is the library's (`openid-client`, certified; `jose`), which is loaded at the first use.
 */
import type { Configuration, TokenEndpointResponse, TokenEndpointResponseHelpers } from 'openid-client';
import type { Egress } from '../../outbound/egress.ts';
import { createEgressFetch, type EgressFetch, isSafeUrl } from '../../outbound/fetch.ts';
import { harmlessText } from '../../util/harmless.ts';
import { claimAt, groupsIn, TooManyGroups } from './claims.ts';

/** How long the description of an issuer is taken for true. Its keys are asked for again after 5 minutes, by the library. */
const METADATA_MS = 600_000;
/** After it could not be read it is not asked again for so long, however many ask us. */
const FAILED_MS = 5_000;
/** A key that is not known is looked for at the issuer at most this often. */
const KEYS_COOLDOWN_MS = 30_000;
const KEYS_MAX_AGE_MS = 600_000;
/** By which an issuer's clock may differ. Seconds. */
const CLOCK_TOLERANCE = 30;
/** A job's token that was made earlier is not taken, however long it holds. Seconds. */
export const MAX_JOB_TOKEN_AGE = 3_600;
/** Tokens with these come of somebody's login. */
const OF_PEOPLE = ['nonce', 'at_hash', 'c_hash', 'sid'];
/** Issuers remembered. */
const MAX_ISSUERS = 1_000;
const MAX_WORDS = 500;
/** Characters of a subject, as OpenID Connect has it, and kept of a name. */
const MAX_SUBJECT = 255;
/** Characters of what is kept of an issuer's tokens for a session. */
const MAX_TOKENS_TEXT = 32_768;
/** Before its end an access token is renewed. Milliseconds. */
const ACCESS_MARGIN_MS = 10_000;
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';
/** Signatures that only the issuer can make: none by a shared secret, and not none. */
const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];

/** An issuer as it is set up, its secret opened. */
export interface Issuer {
  id: string;
  /** Another one after each change. */
  version: number;
  issuer: string;
  /** Null: nobody logs in by it. */
  clientId: string | null;
  clientSecret: string | null;
  scopes: readonly string[];
  groupsClaim: string;
  usernameClaim: string;
  /** What an ID token of a login must say of how they showed who they are: one of each, where there are any. */
  requiredAcr: readonly string[];
  requiredAmr: readonly string[];
}

/** What an issuer gave us to ask it again. */
export interface IssuerTokens {
  access: string;
  /** Milliseconds since 1970; null: it did not say. */
  accessEndsAt: number | null;
  refresh: string | null;
  /** Where it tells the groups. */
  groupsFrom: 'userinfo' | 'id_token';
}

/** Somebody whom an issuer vouches for. */
export interface Vouched {
  subject: string;
  /** What they are called there; null: it does not say. */
  username: string | null;
  groups: string[];
  tokens: IssuerTokens;
}

/** Why nobody is vouched for, in words for the audit log. */
export class IssuerError extends Error {
  override readonly name = 'IssuerError';
  /** `unavailable`: it did not answer, or is set up wrong; the same may succeed later. */
  readonly kind: 'refused' | 'unavailable';
  constructor(kind: 'refused' | 'unavailable', message: string, cause?: unknown) {
    super(harmlessText(message.slice(0, MAX_WORDS)), { cause });
    this.kind = kind;
  }
}

/** What a login by a browser needs to come back with. */
export interface CodeChecks {
  state: string;
  nonce: string;
  codeVerifier: string;
  redirectUri: string;
}

/** As an issuer begins a login by another device (RFC 8628). */
interface DeviceLogin {
  deviceCode: string;
  userCode: string;
  verificationUri: string;
  verificationUriComplete: string | null;
  /** Seconds. */
  expiresIn: number;
  interval: number;
}

export interface Issuers {
  /** Reads how an issuer describes itself. @throws IssuerError where it cannot, or it calls itself otherwise. */
  describe(issuer: Issuer): Promise<{ deviceLogin: boolean }>;
  /** Where the browser is sent. @throws IssuerError */
  authorizationUrl(issuer: Issuer, checks: CodeChecks): Promise<URL>;
  /** What came back with the browser is traded and checked. @param query as it came. @throws IssuerError */
  redeem(issuer: Issuer, checks: CodeChecks, query: string): Promise<Vouched>;
  /** Null: this issuer has no such logins. @throws IssuerError */
  beginDevice(issuer: Issuer): Promise<DeviceLogin | null>;
  /** One look. A number: not yet, look again so many seconds later than before. @throws IssuerError */
  pollDevice(issuer: Issuer, deviceCode: string): Promise<Vouched | { pending: true; slower: boolean }>;
  /** Asks whether it still vouches for somebody. @param subject who they were. @param keep new tokens, which must not be lost whatever comes then. @throws IssuerError */
  vouchAgain(
    issuer: Issuer,
    tokens: IssuerTokens,
    subject: string,
    keep: (tokens: IssuerTokens) => Promise<void>,
  ): Promise<Vouched>;
  /** Has it forget a token that it gave (RFC 7009), where it can. @throws IssuerError */
  revoke(issuer: Issuer, token: string): Promise<void>;
  /** The claims of a job's token that this issuer has signed and that holds now. @throws IssuerError */
  verifyJob(issuer: Issuer, token: string): Promise<Record<string, unknown>>;
}

type Library = typeof import('openid-client');
type TokenAnswer = TokenEndpointResponse & TokenEndpointResponseHelpers;
type KeySet = ReturnType<typeof import('jose').createRemoteJWKSet>;

interface Known {
  until: number;
  opened: Promise<{ config: Configuration; keys: KeySet | null }>;
}

/** @param egress where issuers may be. */
export function createIssuers(egress: Egress): Issuers {
  const fetch = createEgressFetch(egress);
  const known = new Map<string, Known>();

  const open = (issuer: Issuer) => {
    const key = `${issuer.id} ${issuer.version}`;
    const entry = known.get(key);
    if (entry !== undefined && entry.until > performance.now()) return entry.opened;
    const opened = openIssuer(issuer, fetch);
    const fresh = { until: performance.now() + METADATA_MS, opened };
    opened.catch(() => {
      fresh.until = performance.now() + FAILED_MS;
    });
    known.delete(key);
    known.set(key, fresh);
    const oldest = known.keys().next().value;
    if (known.size > MAX_ISSUERS && oldest !== undefined) known.delete(oldest);
    return opened;
  };

  /** What the library throws becomes words. */
  const asking = async <T>(
    issuer: Issuer,
    work: (library: Library, config: Configuration) => Promise<T>,
  ): Promise<T> => {
    try {
      return await work(await import('openid-client'), (await open(issuer)).config);
    } catch (error) {
      throw asIssuerError(error);
    }
  };

  const vouched = async (
    library: Library,
    config: Configuration,
    issuer: Issuer,
    answer: TokenAnswer,
    before: { subject: string; tokens: IssuerTokens; keep: (tokens: IssuerTokens) => Promise<void> } | null,
  ): Promise<Vouched> => {
    const idToken = answer.claims();
    const subject = idToken?.sub ?? before?.subject;
    if (subject === undefined) throw new IssuerError('refused', 'the issuer sent no ID token');
    if (before !== null && before.subject !== subject) {
      throw new IssuerError('refused', 'the issuer answered for somebody else');
    }
    if (before === null) requireFactors(issuer, { acr: idToken?.acr, amr: idToken?.amr });
    const tokens: IssuerTokens = {
      access: answer.access_token,
      accessEndsAt: answer.expires_in === undefined ? null : Date.now() + answer.expires_in * 1_000,
      refresh: answer.refresh_token ?? before?.tokens.refresh ?? null,
      groupsFrom: before?.tokens.groupsFrom ?? 'userinfo',
    };
    if (JSON.stringify(tokens).length > MAX_TOKENS_TEXT) {
      throw new IssuerError('refused', `the issuer's tokens are longer than ${MAX_TOKENS_TEXT} characters`);
    }
    await before?.keep(tokens);
    const asked = config.serverMetadata().userinfo_endpoint !== undefined;
    const userInfo = asked ? await askUserInfo(library, config, answer.access_token, subject) : null;
    return readVouched(issuer, { subject, idToken: idToken ?? null, userInfo, tokens, again: before !== null });
  };

  return {
    describe: (issuer) =>
      asking(issuer, async (_library, config) => ({
        deviceLogin: config.serverMetadata().device_authorization_endpoint !== undefined,
      })),

    authorizationUrl: (issuer, { state, nonce, codeVerifier, redirectUri }) =>
      asking(issuer, async (library, config) =>
        library.buildAuthorizationUrl(config, {
          redirect_uri: redirectUri,
          scope: issuer.scopes.join(' '),
          state,
          nonce,
          ...(issuer.requiredAcr.length > 0 && { acr_values: issuer.requiredAcr.join(' ') }),
          code_challenge: await library.calculatePKCECodeChallenge(codeVerifier),
          code_challenge_method: 'S256',
        }),
      ),

    redeem: (issuer, { state, nonce, codeVerifier, redirectUri }, query) =>
      asking(issuer, async (library, config) => {
        const answer = await library.authorizationCodeGrant(config, new URL(`${redirectUri}?${query}`), {
          ...{ expectedState: state, expectedNonce: nonce },
          ...{ pkceCodeVerifier: codeVerifier, idTokenExpected: true },
        });
        return vouched(library, config, issuer, answer, null);
      }),

    beginDevice: (issuer) =>
      asking(issuer, async (library, config) => {
        if (config.serverMetadata().device_authorization_endpoint === undefined) return null;
        const begun = await library.initiateDeviceAuthorization(config, { scope: issuer.scopes.join(' ') });
        return {
          deviceCode: begun.device_code,
          userCode: begun.user_code,
          verificationUri: begun.verification_uri,
          verificationUriComplete: begun.verification_uri_complete ?? null,
          expiresIn: begun.expires_in,
          interval: begun.interval ?? 5,
        };
      }),

    pollDevice: (issuer, deviceCode) =>
      asking(issuer, async (library, config) => {
        try {
          const answer = await library.genericGrantRequest(config, DEVICE_GRANT, { device_code: deviceCode });
          return await vouched(library, config, issuer, answer, null);
        } catch (error) {
          const code = error instanceof library.ResponseBodyError ? error.error : undefined;
          if (code !== 'authorization_pending' && code !== 'slow_down') throw error;
          return { pending: true, slower: code === 'slow_down' };
        }
      }),

    vouchAgain: (issuer, tokens, subject, keep) =>
      asking(issuer, async (library, config) => {
        const ended = tokens.accessEndsAt !== null && tokens.accessEndsAt - ACCESS_MARGIN_MS <= Date.now();
        const askable = config.serverMetadata().userinfo_endpoint !== undefined;
        if (!ended && askable && (tokens.groupsFrom === 'userinfo' || tokens.refresh === null)) {
          const userInfo = await askUserInfo(library, config, tokens.access, subject).catch((error) => {
            if (tokens.refresh !== null && asIssuerError(error).kind === 'refused') return null;
            throw error;
          });
          if (userInfo !== null) {
            return readVouched(issuer, { subject, idToken: null, userInfo, tokens, again: true });
          }
        }
        if (tokens.refresh === null) {
          throw new IssuerError('refused', 'the access token of the issuer has expired, and it gave no refresh token');
        }
        const answer = await library.refreshTokenGrant(config, tokens.refresh);
        return vouched(library, config, issuer, answer, { subject, tokens, keep });
      }),

    revoke: (issuer, token) =>
      asking(issuer, async (library, config) => {
        if (config.serverMetadata().revocation_endpoint !== undefined) await library.tokenRevocation(config, token);
      }),

    async verifyJob(issuer, token) {
      try {
        const { keys } = await open(issuer);
        if (keys === null) throw new IssuerError('unavailable', 'the issuer names no keys (jwks_uri)');
        const { jwtVerify } = await import('jose');
        const { payload, protectedHeader } = await jwtVerify(token, keys, {
          issuer: issuer.issuer,
          algorithms: ALGORITHMS,
          clockTolerance: CLOCK_TOLERANCE,
          requiredClaims: ['iss', 'sub', 'aud', 'iat', 'exp'],
          maxTokenAge: MAX_JOB_TOKEN_AGE,
        });
        const foreign = OF_PEOPLE.find((claim) => payload[claim] !== undefined);
        if (foreign !== undefined) throw new IssuerError('refused', `the token of a person, by its claim "${foreign}"`);
        const { typ = 'JWT' } = protectedHeader;
        if (!/^(application\/)?jwt$/i.test(typ))
          throw new IssuerError('refused', `not the token of a job, by its type ${typ}`);
        return payload;
      } catch (error) {
        throw asIssuerError(error);
      }
    },
  };
}

async function openIssuer(issuer: Issuer, fetch: EgressFetch): Promise<{ config: Configuration; keys: KeySet | null }> {
  const library = await import('openid-client');
  const url = new URL(issuer.issuer);
  const insecure = url.protocol === 'http:' && isSafeUrl(url);
  const secret = issuer.clientSecret;
  const config = await library.discovery(
    url,
    // One that nobody logs in by has no client.
    issuer.clientId ?? 'none',
    { [library.clockTolerance]: CLOCK_TOLERANCE, ...(secret === null ? {} : { client_secret: secret }) },
    secret === null ? library.None() : clientAuth(library, secret),
    { [library.customFetch]: fetch, execute: insecure ? [library.allowInsecureRequests] : [] },
  );
  const described = config.serverMetadata();
  // The library lets some issuers call themselves otherwise.
  if (described.issuer !== issuer.issuer) {
    throw new IssuerError('unavailable', `it calls itself "${described.issuer}", not "${issuer.issuer}"`);
  }
  library.enableNonRepudiationChecks(config);
  const { jwks_uri: keys } = described;
  if (keys === undefined) return { config, keys: null };
  const { createRemoteJWKSet, customFetch } = await import('jose');
  let failedUntil = 0;
  const options = {
    cooldownDuration: KEYS_COOLDOWN_MS,
    cacheMaxAge: KEYS_MAX_AGE_MS,
    [customFetch]: async (address: string, request: { headers: Headers; signal: AbortSignal }) => {
      if (performance.now() < failedUntil) throw new Error('the keys of the issuer could not be read a moment ago');
      // The other library sees to that for all other addresses.
      if (!insecure && !address.startsWith('https:')) throw new Error('jwks_uri of the issuer is without TLS');
      failedUntil = performance.now() + FAILED_MS;
      const answer = await fetch(address, request);
      if (answer.ok) failedUntil = 0;
      return answer;
    },
  };
  return { config, keys: createRemoteJWKSet(new URL(keys), options) };
}

/** @throws IssuerError `refused` where the issuer does not take its own token any more. */
async function askUserInfo(library: Library, config: Configuration, token: string, subject: string): Promise<object> {
  try {
    return await library.fetchUserInfo(config, token, subject);
  } catch (error) {
    const { name, error: code, status, cause } = error as Error & { error?: unknown; status?: unknown };
    const answered = cause instanceof Response ? cause.status : status;
    const taken = name !== 'WWWAuthenticateChallengeError' && code !== 'invalid_token';
    if (taken && answered !== 401 && answered !== 403) throw error;
    throw new IssuerError(
      'refused',
      `the issuer answered ${String(answered)}: it does not take its own token any more`,
      error,
    );
  }
}

/** As the issuer takes it; `client_secret_basic` where it does not say (RFC 8414). */
function clientAuth(library: Library, secret: string) {
  return (...given: Parameters<ReturnType<Library['ClientSecretBasic']>>) => {
    const [{ token_endpoint_auth_methods_supported: taken = ['client_secret_basic'] }] = given;
    const way = taken.includes('client_secret_basic') ? library.ClientSecretBasic : library.ClientSecretPost;
    return way(secret)(...given);
  };
}

/** @throws IssuerError where somebody has not shown as much as is asked for. */
function requireFactors({ requiredAcr, requiredAmr }: Issuer, { acr, amr }: { acr?: unknown; amr?: unknown }): void {
  const says = (value: unknown, wanted: readonly string[]) =>
    wanted.length === 0 || [value].flat().some((one) => typeof one === 'string' && wanted.includes(one));
  if (says(acr, requiredAcr) && says(amr, requiredAmr)) return;
  const told = harmlessText(JSON.stringify({ acr, amr }).slice(0, MAX_SUBJECT));
  throw new IssuerError('refused', `the ID token does not say that they signed in as this provider asks: ${told}`);
}

/** Who somebody is by what an issuer says in both places; the endpoint is asked at the moment, so it counts more. */
function readVouched(
  issuer: Issuer,
  said: {
    subject: string;
    /** Null: not asked, or not answered. */
    idToken: object | null;
    userInfo: object | null;
    tokens: IssuerTokens;
    /** They were vouched for before. */
    again: boolean;
  },
): Vouched {
  const { subject, idToken, userInfo, tokens, again } = said;
  if (subject.length > MAX_SUBJECT || harmlessText(subject) !== subject) {
    throw new IssuerError('refused', 'the subject is too long, or holds control characters');
  }
  const places = { userinfo: { ...userInfo }, id_token: { ...idToken } };
  const name = claimAt({ ...places.id_token, ...places.userinfo }, issuer.usernameClaim);
  const username = typeof name === 'string' && name !== '' ? harmlessText(name.slice(0, MAX_SUBJECT)) : null;
  for (const place of ['userinfo', 'id_token'] as const) {
    const groups = groupsIn(places[place], issuer.groupsClaim);
    if (groups !== null) return { subject, username, groups, tokens: { ...tokens, groupsFrom: place } };
  }
  // Many leave the claim out for somebody without groups. Where it told them before it must be asked, or nothing is known.
  const asked = (tokens.groupsFrom === 'userinfo' ? userInfo : idToken) !== null;
  if (again && !asked) {
    throw new IssuerError(
      'refused',
      'the issuer tells the groups in its ID token alone, and gave no new one: allow refresh tokens (offline_access), or have it add the groups to the user info',
    );
  }
  return { subject, username, groups: [], tokens };
}

/** Answers of OAuth that say no; any other is a fault of the set-up or of the moment. */
const REFUSALS = ['invalid_grant', 'access_denied', 'expired_token', 'login_required', 'interaction_required'];
/** What the library and the one for keys call an answer that never came, or none that is one. */
const UNAVAILABLE = [
  'OAUTH_TIMEOUT',
  'OAUTH_ABORT',
  'OAUTH_RESPONSE_IS_NOT_CONFORM',
  'OAUTH_RESPONSE_IS_NOT_JSON',
  'ERR_JWKS_TIMEOUT',
  'ERR_JOSE_GENERIC',
];

/** The library's errors differ by name and fields; none of what they carry but these goes into words. */
function asIssuerError(error: unknown): IssuerError {
  if (error instanceof IssuerError) return error;
  if (!(error instanceof Error)) return new IssuerError('unavailable', String(error));
  const fields = error as Error & { code?: unknown; error?: unknown; error_description?: unknown; status?: unknown };
  if (typeof fields.error === 'string') {
    const description = typeof fields.error_description === 'string' ? `: ${fields.error_description}` : '';
    const kind = REFUSALS.includes(fields.error) ? 'refused' : 'unavailable';
    return new IssuerError(kind, `the issuer answered ${fields.error}${description}`, error);
  }
  if (error instanceof TooManyGroups) return new IssuerError('refused', error.message, error);
  if (error.name === 'WWWAuthenticateChallengeError') {
    return new IssuerError(
      'unavailable',
      `the issuer answered ${String(fields.status)}: it does not take this client`,
      error,
    );
  }
  const cause = error.cause instanceof Error ? error.cause : undefined;
  const detail = cause === undefined || cause.message === error.message ? '' : `: ${cause.message}`;
  const claim = claimNamed(error.cause) ?? claimNamed(cause?.cause);
  const words = `${error.message}${detail}${claim === undefined ? '' : ` (${claim})`}`;
  // Not an error of either library: of the connection, or of the policy.
  const foreign = fields.code === undefined || !/^(OAUTH_|ERR_J)/.test(String(fields.code));
  const kind = foreign || UNAVAILABLE.includes(String(fields.code)) ? 'unavailable' : 'refused';
  return new IssuerError(kind, words, error);
}

/** Which claim or field was not as it should be. */
function claimNamed(cause: unknown): string | undefined {
  if (typeof cause !== 'object' || cause === null) return undefined;
  const { claim, attribute } = cause as { claim?: unknown; attribute?: unknown };
  return [claim, attribute].find((name): name is string => typeof name === 'string');
}
