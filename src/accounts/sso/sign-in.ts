/** Whoever an issuer vouches for gets a user, the roles of their groups, and a session. */
import { randomBytes } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { noteLogin } from '../../access/login-addresses.ts';
import { insertSession } from '../../access/session-store.ts';
import {
  anyRole,
  findIdentity,
  insertIdentity,
  insertSsoSession,
  lockIdentity,
  noteVouched,
} from '../../access/sso/identity-store.ts';
import type { Vouched } from '../../access/sso/issuers.ts';
import { holdProvider, type ProviderRow } from '../../access/sso/provider-store.ts';
import { sealTokens } from '../../access/sso/sealing.ts';
import {
  findCredentials,
  insertUser,
  lockUser,
  referencesTo,
  takeDepartedName,
  type UserState,
} from '../../access/store.ts';
import { retryingConflicts } from '../../database/conflicts.ts';
import type { Queryable } from '../../database/pool.ts';
import { uuidv7 } from '../../database/uuid.ts';
import { type ApplicationError, errors } from '../../errors.ts';
import { insertAudit } from '../../http/mutation.ts';
import { addressOf } from '../../http/rate-limit.ts';
import { clientOf, issuePair, type Sessions } from '../login.ts';
import type { TokenPair } from '../schemas.ts';
import { adjustRoles } from './roles.ts';

/** Characters of a name that an issuer gives. */
const MAX_NAME = 60;
/** Users of one issuer with the same name, told apart by numbers. */
const MAX_NUMBERED = 5;

/** Why somebody gets no session, for them and for the audit log. */
interface Refusal {
  error: ApplicationError;
  reason: string;
}

/** Whom an issuer vouches for, as it said when it was asked then, by the clock of the database. */
export type Asked = Vouched & { askedAt: Date };

/** How somebody signed in. */
interface Way {
  way: 'browser' | 'command line' | 'device';
  /** The address of whoever began it, where that may be somebody else. */
  begunFrom?: string | null;
  /** Seconds that access tokens are to hold. */
  expiresIn: number | undefined;
}

/** @throws 401 SSO_EXPIRED, SSO_REFUSED; 403 SSO_NO_ROLE. */
export async function signIn(
  sessions: Sessions,
  request: FastifyRequest,
  provider: ProviderRow,
  vouched: Asked,
  { way, begunFrom, expiresIn }: Way,
): Promise<TokenPair> {
  // A refusal is no exception in here: what it changes must be committed.
  const opened = await retryingConflicts(() =>
    sessions.db.transaction().execute(async (tx): Promise<TokenPair | Refusal> => {
      const held = await holdProvider(tx, provider.id);
      if (held === null || !held.enabled || held.client_id === null) {
        return { error: errors.ssoExpired(), reason: 'the identity provider was switched off meanwhile' };
      }
      const user = await admit(tx, request, held, vouched);
      if ('reason' in user) return user;
      await insertAudit(tx, request, user.username, 'allowed', {
        action: 'auth.login',
        resource: `user:${user.username}`,
        details: { provider: provider.name, way, ...(begunFrom && { begun_from: begunFrom }) },
      });
      const client = clientOf(request);
      await noteLogin(tx, user.id, client.address);
      const session = await insertSession(tx, {
        ...{ id: uuidv7(), userId: user.id, origin: `sso:${provider.name}` },
        ...{ accessTtl: expiresIn ?? null, seconds: sessions.config.sessionTtl, client },
      });
      const tokens = sealTokens(sessions.encryption, session.id, vouched.tokens);
      await insertSsoSession(tx, { id: session.id, providerId: provider.id, tokens, vouchedAt: vouched.askedAt });
      return issuePair(sessions, tx, user, session, client);
    }),
  );
  if ('token' in opened) return opened;
  await auditRefusal(sessions, request, provider.name, opened.reason, vouched);
  throw opened.error;
}

/** A sign-in that came to nothing, in words for administrators. */
export async function auditRefusal(
  sessions: Pick<Sessions, 'db' | 'refusals'>,
  request: FastifyRequest,
  provider: string,
  reason: string,
  who?: Pick<Vouched, 'subject' | 'username'>,
): Promise<void> {
  await noteRefusal(sessions, request, 'auth.login', {
    ...{ provider, reason },
    ...(who === undefined ? {} : { subject: who.subject, username: who.username }),
  });
}

/** Of each address some in a minute, and then that there were more: strangers must not fill the audit log. */
export async function noteRefusal(
  { db, refusals }: Pick<Sessions, 'db' | 'refusals'>,
  request: FastifyRequest,
  action: 'auth.login' | 'auth.exchange',
  details: Record<string, unknown>,
): Promise<void> {
  const tooMany = refusals.begin(addressOf(request));
  if (tooMany !== null && !tooMany.first) return;
  const more = { reason: 'further refusals of this address are left out for a minute' };
  await insertAudit(db, request, 'anonymous', 'denied', { action, details: tooMany === null ? details : more });
}

/** The user whom this identity is bound to, made at the first time, held, with the roles of their groups. */
async function admit(
  tx: Queryable,
  request: FastifyRequest,
  provider: ProviderRow,
  vouched: Asked,
): Promise<UserState | Refusal> {
  const { issuer, name, title } = provider;
  const { subject } = vouched;
  const { groups } = vouched;
  const noRole: Refusal = { error: errors.ssoNoRole(title), reason: 'none of their groups gives a role' };
  await lockIdentity(tx, issuer, subject);
  const known = await findIdentity(tx, issuer, subject);
  const user = known === null ? null : await lockUser(tx, known);
  if (user === null) {
    if (!(await anyRole(tx, provider.id, groups))) return noRole;
    return make(tx, request, provider, vouched);
  }
  if (user.disabled) return { error: errors.ssoRefused(), reason: 'disabled user' };
  await noteVouched(tx, user.id, groups, vouched.askedAt);
  const adjusted = await adjustRoles(tx, request, user.username, user, `their groups at ${name}`);
  return adjusted.bindings.length === 0 ? noRole : adjusted;
}

async function make(
  tx: Queryable,
  request: FastifyRequest,
  provider: ProviderRow,
  { subject, username: called, groups, askedAt }: Asked,
): Promise<UserState> {
  // Namesakes get their names one after the other.
  await lockIdentity(tx, provider.issuer, '');
  const username = await freeName(tx, `${provider.name}:${nameFrom(called ?? subject)}`);
  const id = uuidv7();
  await insertUser(tx, { id, username, passwordHash: null, bindings: [] });
  await insertIdentity(tx, { issuer: provider.issuer, subject, userId: id, groups, vouchedAt: askedAt });
  await insertAudit(tx, request, username, 'allowed', {
    ...{ action: 'user.create', resource: `user:${username}` },
    details: { provider: provider.name, subject },
  });
  const user = await lockUser(tx, id);
  if (user === null) throw new Error('the user who was just made is not there');
  return adjustRoles(tx, request, username, user, `their groups at ${provider.name}`);
}

/** What may stand behind the name of the provider. No user of this server alone has a name with a colon. */
function nameFrom(called: string): string {
  const plain = called.toLowerCase().replaceAll(/[^a-z0-9._@+-]+/g, '-');
  return plain.slice(0, MAX_NAME).replace(/^[^a-z0-9]+/, '') || 'user';
}

/** The name, with a number or else something random behind it: nobody has it, nor is anything called after somebody who had it. */
async function freeName(tx: Queryable, wanted: string): Promise<string> {
  for (let tries = 1; ; tries += 1) {
    const end = tries <= MAX_NUMBERED ? String(tries) : randomBytes(6).toString('hex');
    const name = tries === 1 ? wanted : `${wanted}-${end}`;
    if ((await findCredentials(tx, name)) !== null || (await referencesTo(tx, name)).length > 0) continue;
    await takeDepartedName(tx, name);
    return name;
  }
}
