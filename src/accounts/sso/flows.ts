/** The ways to sign in by an identity provider: a browser that goes there and comes back, and another device. */
import { createHash, randomBytes } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type CodeChecks, IssuerError, type Issuers, type Vouched } from '../../access/sso/issuers.ts';
import { claimPoll, delayPoll, insertPending, takePending } from '../../access/sso/pending-store.ts';
import { findProvider, type ProviderRow } from '../../access/sso/provider-store.ts';
import { issuerOfRow } from '../../access/sso/sealing.ts';
import { errors } from '../../errors.ts';
import { harmlessText } from '../../util/harmless.ts';
import type { Sessions } from '../login.ts';
import type { TokenPair } from '../schemas.ts';
import { auditRefusal, signIn } from './sign-in.ts';

/** For a person who types a password and a code at the issuer. Seconds. */
const CODE_SECONDS = 600;
/** For a page or a command line to trade what the browser brought back. Seconds. */
const TICKET_SECONDS = 60;
/** An issuer that gives more is not waited for longer. Seconds. */
const MAX_DEVICE_SECONDS = 1_800;
/** Where an issuer says "slow down", it means so much slower (RFC 8628). Seconds. */
const SLOWER_SECONDS = 5;
const MAX_INTERVAL_SECONDS = 60;
const COOKIE = 'provisioning_sso';
const COOKIE_PATH = '/v1/auth/sso';

export interface Flows {
  sessions: Sessions;
  issuers: Issuers;
  publicUrl: string | null;
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
  return `${publicUrl ?? `${request.protocol}://${request.host}`}${COOKIE_PATH}/${provider}/callback`;
}

function cookieOf(request: FastifyRequest): string | null {
  const found = (request.headers.cookie ?? '').split(/; */).find((pair) => pair.startsWith(`${COOKIE}=`));
  return found?.slice(COOKIE.length + 1) ?? null;
}

/** Only this browser has it, and no script: whoever comes back must be who went. */
function setCookie({ publicUrl }: Flows, request: FastifyRequest, reply: FastifyReply, value: string): void {
  const secure = (publicUrl ?? `${request.protocol}:`).startsWith('https:') ? '; Secure' : '';
  reply.header(
    'set-cookie',
    `${COOKIE}=${value}; Path=${COOKIE_PATH}; Max-Age=${CODE_SECONDS}; HttpOnly; SameSite=Lax${secure}`,
  );
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
    await auditRefusal(sessions.db, request, name, error.message);
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
    await auditRefusal(sessions.db, request, name, reason);
    return reply.redirect(failureUrl(destination, code), 302);
  };
  const key = hashOf(query.state ?? '');
  const found = await takePending(sessions.db, key, 'code');
  if (found === null) return refused('unknown, used or expired state', {}, 'expired');
  const { destination, ...checks } = JSON.parse(
    sessions.encryption.decrypt(found.payload, contextOf(key)),
  ) as PendingCode;
  const browser = cookieOf(request);
  if (browser === null || found.binding === null || !hashOf(browser).equals(found.binding)) {
    return refused('begun by another browser', {}, 'expired');
  }
  if (found.provider_id !== provider.id) return refused('begun with another identity provider', {}, 'expired');
  let vouched: Vouched;
  try {
    const search = request.url.slice(request.url.indexOf('?') + 1);
    vouched = await issuers.redeem(issuerOfRow(sessions.encryption, provider), checks, search);
  } catch (error) {
    if (!(error instanceof IssuerError)) throw error;
    return refused(error.message, destination, error.kind);
  }
  const ticket = random();
  const ticketKey = hashOf(ticket);
  const challenge = destination.challenge === undefined ? null : Buffer.from(destination.challenge, 'base64url');
  await insertPending(sessions.db, {
    ...{ key: ticketKey, kind: 'ticket', providerId: provider.id, binding: challenge ?? found.binding },
    payload: sessions.encryption.encrypt(JSON.stringify(vouched), contextOf(ticketKey)),
    ...{ seconds: TICKET_SECONDS, pollAfter: null },
  });
  return reply.redirect(successUrl(destination, ticket), 302);
}

/** A page of this server, or the command line that listens on the browser's own machine; nothing else. */
function successUrl({ returnTo = '/', port }: Destination, ticket: string): string {
  if (port !== undefined) return `http://127.0.0.1:${port}/?ticket=${ticket}`;
  return `/login?from=${encodeURIComponent(returnTo)}#sso=${ticket}`;
}

function failureUrl({ returnTo = '/', port }: Destination, code: string): string {
  if (port !== undefined) return `http://127.0.0.1:${port}/?error=${code}`;
  return `/login?from=${encodeURIComponent(returnTo)}#sso_error=${code}`;
}

/**
 * Trades a ticket for a session, once, for who began: the browser by its cookie, a command line by its verifier.
 * @throws 401 SSO_EXPIRED, SSO_REFUSED; 403 SSO_NO_ROLE.
 */
export async function tradeTicket(
  { sessions }: Flows,
  request: FastifyRequest,
  given: { ticket: string; verifier?: string; expires_in?: number },
): Promise<TokenPair> {
  const { db, encryption } = sessions;
  const key = hashOf(given.ticket);
  const found = await takePending(db, key, 'ticket');
  const shown = given.verifier ?? cookieOf(request);
  const provider = found === null ? null : await findProvider(db, { id: found.provider_id });
  if (found === null || provider === null || !provider.enabled || provider.client_id === null)
    throw errors.ssoExpired();
  if (shown === null || found.binding === null || !hashOf(shown).equals(found.binding)) {
    await auditRefusal(db, request, provider.name, 'a ticket that was given to somebody else');
    throw errors.ssoExpired();
  }
  const vouched = JSON.parse(encryption.decrypt(found.payload, contextOf(key))) as Vouched;
  return signIn(sessions, request, provider, vouched, given.expires_in);
}

interface PendingDevice {
  deviceCode: string;
  interval: number;
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
  const { sessions, issuers } = flows;
  const provider = await loginProvider(flows, name);
  const begun = await issuers.beginDevice(issuerOfRow(sessions.encryption, provider)).catch(async (error) => {
    if (!(error instanceof IssuerError)) throw error;
    await auditRefusal(sessions.db, request, name, error.message);
    throw errors.ssoRefused();
  });
  if (begun === null) throw errors.noDeviceLogin(provider.title);
  const device = random();
  const key = hashOf(device);
  const interval = Math.min(MAX_INTERVAL_SECONDS, Math.max(1, Math.ceil(begun.interval)));
  const seconds = Math.min(MAX_DEVICE_SECONDS, Math.max(1, Math.floor(begun.expiresIn)));
  const pending: PendingDevice = { deviceCode: begun.deviceCode, interval };
  await insertPending(sessions.db, {
    ...{ key, kind: 'device', providerId: provider.id, binding: null },
    payload: sessions.encryption.encrypt(JSON.stringify(pending), contextOf(key)),
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
  const { deviceCode, interval } = JSON.parse(encryption.decrypt(claimed.payload, contextOf(key))) as PendingDevice;
  if (claimed.early) throw errors.authorizationPending(interval);
  const provider = await findProvider(db, { id: claimed.provider_id });
  if (provider === null || !provider.enabled || provider.client_id === null) throw errors.ssoExpired();
  const seen = await issuers.pollDevice(issuerOfRow(encryption, provider), deviceCode).catch(async (error) => {
    if (!(error instanceof IssuerError)) throw error;
    if (error.kind === 'unavailable') return { pending: true as const, slower: false };
    await takePending(db, key, 'device');
    await auditRefusal(db, request, provider.name, error.message);
    throw errors.ssoRefused();
  });
  if ('pending' in seen) {
    const next = Math.min(MAX_INTERVAL_SECONDS, interval + (seen.slower ? SLOWER_SECONDS : 0));
    const pending: PendingDevice = { deviceCode, interval: next };
    await delayPoll(db, key, encryption.encrypt(JSON.stringify(pending), contextOf(key)), next);
    throw errors.authorizationPending(next);
  }
  if ((await takePending(db, key, 'device')) === null) throw errors.ssoExpired();
  return signIn(sessions, request, provider, seen, given.expires_in);
}
