/** A job of CI trades the token that its CI gave it for one of a service account, which holds for minutes. */
import type { FastifyRequest } from 'fastify';
import type { Encryption } from '../../access/encryption.ts';
import type { Permission } from '../../access/permissions.ts';
import { claimAt, claimMatches } from '../../access/sso/claims.ts';
import { IssuerError, type Issuers } from '../../access/sso/issuers.ts';
import {
  type ExchangeRule,
  findProvider,
  type ProviderRow,
  readExchangeRules,
} from '../../access/sso/provider-store.ts';
import { issuerOfRow } from '../../access/sso/sealing.ts';
import { lockUser } from '../../access/store.ts';
import { narrowBindings } from '../../access/token-roles.ts';
import { countApiTokens, deleteEndedExchanges, insertApiToken } from '../../access/token-store.ts';
import { newApiTokenSecret, tokenHash } from '../../access/tokens.ts';
import type { Database, Queryable } from '../../database/pool.ts';
import { uuidv7 } from '../../database/uuid.ts';
import { errors } from '../../errors.ts';
import { insertAudit } from '../../http/mutation.ts';
import { harmlessText } from '../../util/harmless.ts';
import { MAX_TOKENS } from '../api-tokens.ts';

/** What of a token goes into the audit log, and how much of it: it may be anybody's. */
const TOLD_CLAIMS = ['iss', 'sub', 'aud', 'jti'];
const MAX_TOLD = 256;

export interface ExchangeTools {
  db: Database;
  encryption: Encryption;
  issuers: Issuers;
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
    const rule = ruleFor(await readExchangeRules(tools.db, provider.id), claims, given.service_account);
    return await tools.db.transaction().execute((tx) => giveToken(tx, request, provider, rule, claims));
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof IssuerError)) throw error;
    await insertAudit(tools.db, request, 'anonymous', 'denied', {
      action: 'auth.exchange',
      details: {
        ...(provider === null ? {} : { provider: provider.name }),
        reason: error.message,
        token: told(claimed),
      },
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
    TOLD_CLAIMS.filter((name) => claims[name] !== undefined).map((name) => [
      name,
      harmlessText(String(claims[name]).slice(0, MAX_TOLD)),
    ]),
  );
}

/** The one rule that a token fits. */
function ruleFor(rules: readonly Rule[], claims: Record<string, unknown>, account: string | undefined): Rule {
  const wanted = account === undefined ? rules : rules.filter((rule) => rule.account === account);
  if (wanted.length === 0) throw new Refusal('no rule gives a token of this service account');
  const forThem = wanted.filter(({ audience }) => [claims.aud].flat().includes(audience));
  if (forThem.length === 0) throw new Refusal('no rule has its audience');
  const wrong = (rule: Rule) =>
    Object.entries(rule.claims).find(([name, patterns]) => !claimMatches(claimAt(claims, name), patterns))?.[0];
  const fitting = forThem.filter((rule) => wrong(rule) === undefined);
  const [rule, ...others] = fitting;
  if (rule === undefined) {
    const reasons = forThem.map((one) => `${one.name}: the claim "${String(wrong(one))}" does not fit`);
    throw new Refusal(reasons.join('; ').slice(0, 1_000));
  }
  if (others.some((other) => other.account !== rule.account)) {
    const accounts = [...new Set(fitting.map((one) => one.account))].join(', ');
    throw new Refusal(`it fits rules of several service accounts (${accounts}), and none was asked for`);
  }
  return rule;
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
  if ((await countApiTokens(tx, account.id)) >= MAX_TOKENS) {
    throw new Refusal(`${rule.account} has ${MAX_TOKENS} API tokens already`);
  }
  const id = uuidv7();
  const secret = newApiTokenSecret();
  await insertApiToken(tx, {
    ...{ id, userId: account.id, createdById: account.id, name: `${provider.name}/${rule.name} ${id}` },
    ...{ hash: tokenHash(secret), roles, expiresIn: rule.expiresIn, exchanged: true },
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
