/** A job of CI trades the token that its CI gave it for one of a service account, which holds for minutes. */
import { createHash } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import type { Encryption } from '../../access/encryption.ts';
import type { Permission } from '../../access/permissions.ts';
import { claimAt, claimMatches } from '../../access/sso/claims.ts';
import { IssuerError, type Issuers, MAX_JOB_TOKEN_AGE } from '../../access/sso/issuers.ts';
import {
  type ExchangeRule,
  findProvider,
  holdProvider,
  type ProviderRow,
  readExchangeRules,
} from '../../access/sso/provider-store.ts';
import { issuerOfRow } from '../../access/sso/sealing.ts';
import { lockUser } from '../../access/store.ts';
import { narrowBindings } from '../../access/token-roles.ts';
import { countExchanged, deleteEndedExchanges, insertApiToken, noteExchangeUse } from '../../access/token-store.ts';
import { newApiTokenSecret, tokenHash } from '../../access/tokens.ts';
import type { Database, Queryable } from '../../database/pool.ts';
import { uuidv7 } from '../../database/uuid.ts';
import { errors } from '../../errors.ts';
import { insertAudit } from '../../http/mutation.ts';
import type { TryLimit } from '../../http/rate-limit.ts';
import { harmlessText } from '../../util/harmless.ts';
import { noteRefusal } from './sign-in.ts';

/** Of one token of a job: it tries again where an answer was lost, and no more. */
const MAX_USES = 5;
/** Of one rule, that hold at the same time. */
const MAX_EXCHANGED = 500;

/** What of a token goes into the audit log, and how much of it: it may be anybody's. */
const TOLD_CLAIMS = ['iss', 'sub', 'aud', 'jti'];
const MAX_TOLD = 256;

export interface ExchangeTools {
  db: Database;
  encryption: Encryption;
  issuers: Issuers;
  refusals: TryLimit;
}

export interface Exchanged {
  access_token: string;
  issued_token_type: 'urn:ietf:params:oauth:token-type:access_token';
  token_type: 'Bearer';
  expires_in: number;
  service_account: string;
}

/** Why a token is not taken: for the audit log alone. */
class Refusal extends Error {
  override readonly name = 'Refusal';
}

type Rule = ExchangeRule & { account: string };

/** @throws 401 EXCHANGE_REFUSED, whatever is wrong; the audit log has the reason. */
export async function exchange(
  tools: ExchangeTools,
  request: FastifyRequest,
  given: { subject_token: string; service_account?: string },
): Promise<Exchanged> {
  const claimed = unverifiedClaims(given.subject_token);
  const { iss } = claimed;
  const provider =
    typeof iss === 'string' && !iss.includes('\0') ? await findProvider(tools.db, { issuer: iss }) : null;
  try {
    if (provider === null || !provider.enabled) throw new Refusal('no identity provider here has its issuer');
    const claims = await tools.issuers.verifyJob(issuerOfRow(tools.encryption, provider), given.subject_token);
    return await tools.db.transaction().execute(async (tx) => {
      // Whoever changes it meanwhile waits, and revokes what is given here.
      const held = await holdProvider(tx, provider.id);
      if (held === null || !held.enabled) throw new Refusal('the identity provider was switched off meanwhile');
      const rule = ruleFor(held, await readExchangeRules(tx, held.id), claims, given.service_account);
      await spendToken(tx, given.subject_token, claims);
      return giveToken(tx, request, held, rule, claims);
    });
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof IssuerError)) throw error;
    await noteRefusal(tools, request, 'auth.exchange', {
      ...(provider === null ? {} : { provider: provider.name }),
      ...{ reason: error.message, token: told(claimed) },
    });
    throw errors.exchangeRefused();
  }
}

/** What a token says of itself, before anything of it is believed; nothing where it is none. */
function unverifiedClaims(token: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

/** For administrators to see whose token it was. */
function told(claims: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(
    TOLD_CLAIMS.filter((name) => claims[name] !== undefined).map((name) => {
      const parts = [claims[name]].flat();
      const isText = parts.every((part) => typeof part === 'string' || typeof part === 'number');
      return [name, isText ? harmlessText(parts.join(', ').slice(0, MAX_TOLD)) : '(not a text)'];
    }),
  );
}

/** The one rule that a token fits. */
function ruleFor(
  provider: ProviderRow,
  rules: readonly Rule[],
  claims: Record<string, unknown>,
  account: string | undefined,
): Rule {
  if (provider.client_id !== null && [claims.aud].flat().includes(provider.client_id)) {
    throw new Refusal('its audience is that of logins (client_id)');
  }
  const wanted = account === undefined ? rules : rules.filter((rule) => rule.account === account);
  if (wanted.length === 0) throw new Refusal('no rule gives a token of this service account');
  const forThem = wanted.filter(({ audience }) => [claims.aud].flat().includes(audience));
  if (forThem.length === 0) throw new Refusal('no rule has its audience');
  const wrong = (rule: Rule) =>
    Object.entries(rule.claims).find(([name, patterns]) => !claimMatches(claimAt(claims, name), patterns))?.[0];
  const matching = forThem.filter((rule) => wrong(rule) === undefined);
  const working = matching.filter(({ stopped }) => !stopped);
  const fitting = working.length > 0 ? working : matching;
  const [rule, ...others] = fitting;
  if (rule === undefined) {
    const reasons = forThem.map((one) => `${one.name}: the claim "${String(wrong(one))}" does not fit`);
    throw new Refusal(reasons.join('; ').slice(0, 1_000));
  }
  if (rule.stopped) {
    throw new Refusal(`the rule ${rule.name} is stopped: whoever made it is no administrator any more. Set it anew`);
  }
  if (others.some((other) => other.account !== rule.account)) {
    const accounts = [...new Set(fitting.map((one) => one.account))].join(', ');
    throw new Refusal(`it fits rules of several service accounts (${accounts}), and none was asked for`);
  }
  return rule;
}

/** Counts a use. A signature can be written in several ways, so what is signed counts where there is no `jti`. */
async function spendToken(tx: Queryable, token: string, claims: Record<string, unknown>): Promise<void> {
  const { iss, jti, exp } = claims;
  const own = typeof jti === 'string' ? JSON.stringify([iss, jti]) : token.slice(0, token.lastIndexOf('.'));
  const key = createHash('sha256').update(own).digest();
  // Longer than it is taken, whatever the clocks.
  const until = Math.min(Number(exp), Date.now() / 1_000 + MAX_JOB_TOKEN_AGE) + 120;
  const uses = await noteExchangeUse(tx, key, until);
  if (uses > MAX_USES) throw new Refusal(`the token has been traded ${MAX_USES} times already`);
}

async function giveToken(
  tx: Queryable,
  request: FastifyRequest,
  provider: ProviderRow,
  rule: Rule,
  claims: Record<string, unknown>,
): Promise<Exchanged> {
  const account = await lockUser(tx, rule.accountId);
  if (account === null || account.disabled) throw new Refusal(`the service account ${rule.account} is disabled`);
  const roles = narrowBindings(
    account.bindings,
    undefined,
    (rule.permissions ?? undefined) as Permission[] | undefined,
  );
  if (roles.length === 0)
    throw new Refusal(`nothing that the rule ${rule.name} gives is in the roles of ${rule.account}`);
  await deleteEndedExchanges(tx, account.id);
  const exchanged = { provider: provider.id, rule: rule.name };
  if ((await countExchanged(tx, exchanged)) >= MAX_EXCHANGED) {
    throw new Refusal(`jobs have ${MAX_EXCHANGED} tokens by the rule ${rule.name} already`);
  }
  const id = uuidv7();
  const secret = newApiTokenSecret();
  await insertApiToken(tx, {
    ...{ id, userId: account.id, createdById: account.id, name: `${provider.name}/${rule.name} ${id}` },
    ...{ hash: tokenHash(secret), roles, expiresIn: rule.expiresIn, exchanged },
  });
  await insertAudit(tx, request, account.username, 'allowed', {
    ...{ action: 'auth.exchange', resource: `token:${id}` },
    details: { provider: provider.name, rule: rule.name, expires_in: rule.expiresIn, token: told(claims) },
  });
  return {
    access_token: secret,
    issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    token_type: 'Bearer',
    expires_in: rule.expiresIn,
    service_account: account.username,
  };
}
