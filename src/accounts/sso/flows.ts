/** The ways to sign in by an identity provider: a browser that goes there and comes back, and another device. */
import { createHash, randomBytes } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { presentTime } from '../../access/sso/identity-store.ts';
import { type CodeChecks, IssuerError, type Issuers } from '../../access/sso/issuers.ts';
import { claimPoll, delayPoll, insertPending, takePending } from '../../access/sso/pending-store.ts';
import { findProvider, type ProviderRow } from '../../access/sso/provider-store.ts';
import { issuerOfRow } from '../../access/sso/sealing.ts';
import { errors } from '../../errors.ts';
import type { SharedCounts } from '../../limits/shared-counts.ts';
import { harmlessText } from '../../util/harmless.ts';
import { clientOf, type Sessions } from '../login.ts';
import type { TokenPair } from '../schemas.ts';
import { codeOf, commandLinePage, pagePolicy } from './command-line-page.ts';
import { type Asked, auditRefusal, signIn } from './sign-in.ts';

/** For a person who types a password and a code at the issuer. Seconds. */
const CODE_SECONDS = 600;
/** For a page or a command line to trade what the browser brought back. Seconds. */
const TICKET_SECONDS = 60;
/** For a person to compare a code. Seconds. */
const CONSENT_SECONDS = 300;
/** An issuer that gives more is not waited for longer. Seconds. */
const MAX_DEVICE_SECONDS = 1_800;
/** Where an issuer says "slow down", it means so much slower (RFC 8628). Seconds. */
const SLOWER_SECONDS = 5;
const MAX_INTERVAL_SECONDS = 60;
const MINUTE = 60;
/** Sign-ins by another device that are begun at one provider, by everybody together. */
const MAX_DEVICE_A_MINUTE = 120;
const COOKIE = 'provisioning_sso';
const ROUTES = '/v1/auth/sso';

export interface Flows {
  sessions: Sessions;
  issuers: Issuers;
  publicUrl: string | null;
  counts: Pick<SharedCounts, 'add' | 'endsIn'>;
}

/** Where a browser is sent in the end. */
export interface Destination {
  /** A page of the dashboard. */
  returnTo?: string;
  /** The port of a command line on the same machine as the browser, and the hash of what it will show. */
  port?: number;
  challenge?: string;
}

/** What waits for a browser to come back. */
interface PendingCode extends CodeChecks {
  destination: Destination;
}

const random = () => randomBytes(32).toString('base64url');
const hashOf = (text: string) => createHash('sha256').update(text).digest();
const contextOf = (key: Buffer) => `sign-in ${key.toString('base64url')}`;

/** A provider that people log in by. @throws 404 */
async function loginProvider({ sessions }: Flows, name: string): Promise<ProviderRow> {
  const provider = await findProvider(sessions.db, { name });
  if (provider === null || !provider.enabled || provider.client_id === null) {
    throw errors.notFound('identity provider', name);
  }
  return provider;
}

/** Where browsers reach this server: the issuer compares it with what it was told. */
function callbackUrl({ publicUrl }: Flows, request: FastifyRequest, provider: string): string {
  return `${publicUrl ?? `${request.protocol}://${request.host}`}${ROUTES}/${provider}/callback`;
}

function isSecure({ publicUrl }: Flows, request: FastifyRequest): boolean {
  return (publicUrl ?? `${request.protocol}:`).startsWith('https:');
}

/** With TLS no other host, nor this one without TLS, can plant one of this name. */
function cookieName(flows: Flows, request: FastifyRequest): string {
  return isSecure(flows, request) ? `__Host-${COOKIE}` : COOKIE;
}

function cookieOf(flows: Flows, request: FastifyRequest): string | null {
  const start = `${cookieName(flows, request)}=`;
  const found = (request.headers.cookie ?? '').split(/; */).find((pair) => pair.startsWith(start));
  return found?.slice(start.length) ?? null;
}

/** Only this browser has it, and no script: whoever comes back must be who went. */
function setCookie(flows: Flows, request: FastifyRequest, reply: FastifyReply, value: string): void {
  const secure = isSecure(flows, request) ? '; Secure' : '';
  const pair = `${cookieName(flows, request)}=${value}`;
  const age = CODE_SECONDS + CONSENT_SECONDS;
  reply.header('set-cookie', `${pair}; Path=/; Max-Age=${age}; HttpOnly; SameSite=Lax${secure}`);
}

/** Sends a browser to the issuer. What goes wrong it learns on the login page. */
export async function begin(
  flows: Flows,
  request: FastifyRequest,
  reply: FastifyReply,
  name: string,
  destination: Destination,
): Promise<FastifyReply> {
  const { sessions, issuers } = flows;
  const provider = await loginProvider(flows, name);
  const state = random();
  const browser = random();
  const checks = { state, nonce: random(), codeVerifier: random(), redirectUri: callbackUrl(flows, request, name) };
  const key = hashOf(state);
  const pending: PendingCode = { ...checks, destination };
  try {
    const url = await issuers.authorizationUrl(issuerOfRow(sessions.encryption, provider), checks);
    await insertPending(sessions.db, {
      ...{ key, kind: 'code', providerId: provider.id, binding: hashOf(browser) },
      payload: sessions.encryption.encrypt(JSON.stringify(pending), contextOf(key)),
      ...{ seconds: CODE_SECONDS, pollAfter: null },
    });
    setCookie(flows, request, reply, browser);
    return reply.redirect(url.href, 302);
  } catch (error) {
    if (!(error instanceof IssuerError)) throw error;
    await auditRefusal(sessions, request, name, error.message);
    return reply.redirect(failureUrl(destination, 'unavailable'), 302);
  }
}

/** Takes a browser back from the issuer and sends it on with a ticket. */
export async function comeBack(
  flows: Flows,
  request: FastifyRequest,
  reply: FastifyReply,
  name: string,
  query: { state?: string },
): Promise<FastifyReply> {
  const { sessions, issuers } = flows;
  const provider = await loginProvider(flows, name);
  const refused = async (reason: string, destination: Destination, code: string) => {
    await auditRefusal(sessions, request, name, reason);
    return reply.redirect(failureUrl(destination, code), 302);
  };
  const key = hashOf(query.state ?? '');
  const found = await takePending(sessions.db, key, 'code');
  if (found === null) return refused('unknown, used or expired state', {}, 'expired');
  const { destination, ...checks } = JSON.parse(
    sessions.encryption.decrypt(found.payload, contextOf(key)),
  ) as PendingCode;
  const browser = cookieOf(flows, request);
  if (browser === null || found.binding === null || !hashOf(browser).equals(found.binding)) {
    return refused('begun by another browser', {}, 'expired');
  }
  if (found.provider_id !== provider.id) return refused('begun with another identity provider', {}, 'expired');
  let vouched: Asked;
  try {
    const askedAt = await presentTime(sessions.db);
    const search = request.url.slice(request.url.indexOf('?') + 1);
    vouched = { ...(await issuers.redeem(issuerOfRow(sessions.encryption, provider), checks, search)), askedAt };
  } catch (error) {
    if (!(error instanceof IssuerError)) throw error;
    return refused(error.message, destination, error.kind);
  }
  const { port, challenge, returnTo = '/' } = destination;
  if (port === undefined || challenge === undefined) {
    const ticket = await giveTicket(flows, provider.id, found.binding, vouched);
    return reply.redirect(`/login?from=${encodeURIComponent(returnTo)}#sso=${ticket}`, 302);
  }
  // A link that somebody else made may have led here: whoever sits at the browser says whether it is their command line.
  const consent = random();
  const consentKey = hashOf(consent);
  const asked: PendingConsent = { port, challenge, vouched };
  await insertPending(sessions.db, {
    ...{ key: consentKey, kind: 'consent', providerId: provider.id, binding: found.binding },
    payload: sessions.encryption.encrypt(JSON.stringify(asked), contextOf(consentKey)),
    ...{ seconds: CONSENT_SECONDS, pollAfter: null },
  });
  const page = commandLinePage({
    ...{ name: vouched.username ?? vouched.subject, title: provider.title },
    ...{ code: codeOf(challenge), action: `${ROUTES}/${name}/consent`, consent },
  });
  return reply
    .headers({ 'content-security-policy': pagePolicy(port), 'x-frame-options': 'DENY' })
    .type('text/html; charset=utf-8')
    .send(page);
}

/** What waits for whoever sits at the browser to say yes. */
interface PendingConsent {
  port: number;
  challenge: string;
  vouched: Asked;
}

/** They have said yes, in the browser that went to the issuer: the command line gets its ticket. @throws 401 SSO_EXPIRED, 404 */
export async function consentTo(
  flows: Flows,
  request: FastifyRequest,
  reply: FastifyReply,
  name: string,
  given: string,
): Promise<FastifyReply> {
  const { db, encryption } = flows.sessions;
  const provider = await loginProvider(flows, name);
  const key = hashOf(given);
  const found = await takePending(db, key, 'consent');
  const browser = cookieOf(flows, request);
  const isTheirs = browser !== null && found?.binding?.equals(hashOf(browser)) === true;
  if (found === null || !isTheirs || found.provider_id !== provider.id) {
    await auditRefusal(
      flows.sessions,
      request,
      name,
      'a sign-in of a command line that was confirmed late, twice or elsewhere',
    );
    throw errors.ssoExpired();
  }
  const asked = JSON.parse(encryption.decrypt(found.payload, contextOf(key))) as PendingConsent;
  const ticket = await giveTicket(flows, provider.id, Buffer.from(asked.challenge, 'base64url'), asked.vouched);
  return reply.redirect(`http://127.0.0.1:${asked.port}/?ticket=${ticket}`, 303);
}

/** @param binding hash of what must be shown with it. */
async function giveTicket(
  { sessions: { db, encryption } }: Flows,
  providerId: string,
  binding: Buffer | null,
  vouched: Asked,
): Promise<string> {
  const ticket = random();
  const key = hashOf(ticket);
  await insertPending(db, {
    ...{ key, kind: 'ticket', providerId, binding },
    payload: encryption.encrypt(JSON.stringify(vouched), contextOf(key)),
    ...{ seconds: TICKET_SECONDS, pollAfter: null },
  });
  return ticket;
}

/** A page of this server, or the command line that listens on the browser's own machine; nothing else. */
function failureUrl({ returnTo = '/', port }: Destination, code: string): string {
  if (port !== undefined) return `http://127.0.0.1:${port}/?error=${code}`;
  return `/login?from=${encodeURIComponent(returnTo)}#sso_error=${code}`;
}

/**
 * Trades a ticket for a session, once, for who began: the browser by its cookie, a command line by its verifier.
 * @throws 401 SSO_EXPIRED, SSO_REFUSED; 403 SSO_NO_ROLE.
 */
export async function tradeTicket(
  flows: Flows,
  request: FastifyRequest,
  given: { ticket: string; verifier?: string; expires_in?: number },
): Promise<TokenPair> {
  const { sessions } = flows;
  const { db, encryption } = sessions;
  const key = hashOf(given.ticket);
  const found = await takePending(db, key, 'ticket');
  const shown = given.verifier ?? cookieOf(flows, request);
  const provider = found === null ? null : await findProvider(db, { id: found.provider_id });
  if (found === null || provider === null || !provider.enabled || provider.client_id === null)
    throw errors.ssoExpired();
  if (shown === null || found.binding === null || !hashOf(shown).equals(found.binding)) {
    await auditRefusal(sessions, request, provider.name, 'a ticket that was given to somebody else');
    throw errors.ssoExpired();
  }
  const waited = JSON.parse(encryption.decrypt(found.payload, contextOf(key))) as Asked;
  const vouched = { ...waited, askedAt: new Date(waited.askedAt) };
  const way = given.verifier === undefined ? 'browser' : 'command line';
  return signIn(sessions, request, provider, vouched, { expiresIn: given.expires_in, way });
}

interface PendingDevice {
  deviceCode: string;
  interval: number;
  /** The address of whoever began it. */
  begunFrom: string | null;
}

/** What a command line shows, and by which it asks again. */
export interface BegunDevice {
  device: string;
  user_code: string;
  verification_uri: string;
  verification_uri_complete: string | null;
  expires_in: number;
  interval: number;
}

/** @throws 401 SSO_REFUSED, 404, 409 where the issuer has no such logins. */
export async function beginDevice(flows: Flows, request: FastifyRequest, name: string): Promise<BegunDevice> {
  const { sessions, issuers, counts } = flows;
  const provider = await loginProvider(flows, name);
  if (!provider.device_login) throw errors.noDeviceLogin(provider.title);
  // Each asks the issuer in our name: strangers must not have it turn us all away.
  const key = `sign-ins by another device ${provider.id}`;
  if (counts.add(key, 1, MINUTE) > MAX_DEVICE_A_MINUTE) {
    throw errors.rateLimited(Math.max(1, Math.ceil(counts.endsIn(key) / 1_000)));
  }
  const begun = await issuers.beginDevice(issuerOfRow(sessions.encryption, provider)).catch(async (error) => {
    if (!(error instanceof IssuerError)) throw error;
    await auditRefusal(sessions, request, name, error.message);
    throw errors.ssoRefused();
  });
  if (begun === null) throw errors.noDeviceLogin(provider.title);
  const device = random();
  const deviceKey = hashOf(device);
  const interval = Math.min(MAX_INTERVAL_SECONDS, Math.max(1, Math.ceil(begun.interval)));
  const seconds = Math.min(MAX_DEVICE_SECONDS, Math.max(1, Math.floor(begun.expiresIn)));
  const pending: PendingDevice = { deviceCode: begun.deviceCode, interval, begunFrom: clientOf(request).address };
  await insertPending(sessions.db, {
    ...{ key: deviceKey, kind: 'device', providerId: provider.id, binding: null },
    payload: sessions.encryption.encrypt(JSON.stringify(pending), contextOf(deviceKey)),
    ...{ seconds, pollAfter: 0 },
  });
  return {
    device,
    user_code: harmlessText(begun.userCode),
    verification_uri: harmlessText(begun.verificationUri),
    verification_uri_complete:
      begun.verificationUriComplete === null ? null : harmlessText(begun.verificationUriComplete),
    ...{ expires_in: seconds, interval },
  };
}

/**
 * Looks whether somebody has signed in on the other device.
 * @throws 400 AUTHORIZATION_PENDING, 401 SSO_EXPIRED, SSO_REFUSED; 403 SSO_NO_ROLE.
 */
export async function pollDevice(
  { sessions, issuers }: Flows,
  request: FastifyRequest,
  given: { device: string; expires_in?: number },
): Promise<TokenPair> {
  const { db, encryption } = sessions;
  const key = hashOf(given.device);
  const claimed = await claimPoll(db, key, MAX_INTERVAL_SECONDS);
  if (claimed === null) throw errors.ssoExpired();
  const { deviceCode, interval, begunFrom } = JSON.parse(
    encryption.decrypt(claimed.payload, contextOf(key)),
  ) as PendingDevice;
  if (claimed.early) throw errors.authorizationPending(interval);
  const provider = await findProvider(db, { id: claimed.provider_id });
  if (provider === null || !provider.enabled || provider.client_id === null || !provider.device_login) {
    throw errors.ssoExpired();
  }
  const askedAt = await presentTime(db);
  const seen = await issuers.pollDevice(issuerOfRow(encryption, provider), deviceCode).catch(async (error) => {
    if (!(error instanceof IssuerError)) throw error;
    if (error.kind === 'unavailable') return { pending: true as const, slower: false };
    await takePending(db, key, 'device');
    await auditRefusal(sessions, request, provider.name, error.message);
    throw errors.ssoRefused();
  });
  if ('pending' in seen) {
    const next = Math.min(MAX_INTERVAL_SECONDS, interval + (seen.slower ? SLOWER_SECONDS : 0));
    const pending: PendingDevice = { deviceCode, interval: next, begunFrom };
    await delayPoll(db, key, encryption.encrypt(JSON.stringify(pending), contextOf(key)), next);
    throw errors.authorizationPending(next);
  }
  if ((await takePending(db, key, 'device')) === null) throw errors.ssoExpired();
  const way = { way: 'device', begunFrom, expiresIn: given.expires_in } as const;
  return signIn(sessions, request, provider, { ...seen, askedAt }, way);
}
