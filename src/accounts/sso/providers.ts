/** Identity providers as administrators set them up. */
import { isDeepStrictEqual } from 'node:util';
import type { Authenticator } from '../../access/authenticate.ts';
import type { Encryption } from '../../access/encryption.ts';
import { requireLogin } from '../../access/permissions.ts';
import {
  isSpecific,
  MAX_WILDCARDS,
  OWNER_CLAIMS,
  SELF_WRITTEN_CLAIMS,
  saysWhose,
  wildcardsIn,
} from '../../access/sso/claims.ts';
import { endProviderSessions, forgetGroups, usersOf } from '../../access/sso/identity-store.ts';
import { type Issuer, IssuerError, type Issuers } from '../../access/sso/issuers.ts';
import {
  countProviders,
  deleteProviderRow,
  type ExchangeRule,
  findAccount,
  givesAdministrators,
  insertProvider,
  lockProvider,
  type ProviderRow,
  providerJson,
  readExchangeRules,
  replaceExchangeRules,
  replaceGroupRoles,
  updateProvider,
} from '../../access/sso/provider-store.ts';
import { sealSecret } from '../../access/sso/sealing.ts';
import { lockUser, notifyUserChanged } from '../../access/store.ts';
import { revokeExchanged } from '../../access/token-store.ts';
import { isUniqueViolation, type Queryable } from '../../database/pool.ts';
import { uuidv7 } from '../../database/uuid.ts';
import { errors, type FieldProblem } from '../../errors.ts';
import type { Answer, Mutation } from '../../http/mutation.ts';
import { isSafeUrl } from '../../outbound/fetch.ts';
import { lockCaller, type Proof } from '../proof.ts';
import { bindingsFrom } from '../users.ts';
import { adjustRoles } from './roles.ts';
import type { CreateProvider, RuleInput, UpdateProvider } from './schemas.ts';

/** All are shown at once, on the login page too. */
const MAX_PROVIDERS = 50;
const DEFAULTS = {
  enabled: true,
  client_id: null,
  scopes: ['openid', 'profile', 'email'],
  groups_claim: 'groups',
  username_claim: 'preferred_username',
  recheck_seconds: 60,
  /** A day. */
  roles_hold_seconds: 86_400,
  device_login: false,
  required_acr: [],
  required_amr: [],
};
/** A provider has its name and its issuer alone. */
const UNIQUE = ['identity_providers_name_key', 'identity_providers_issuer_key'];
/** Of a token for a job. */
const DEFAULT_EXPIRES_IN = 900;

const TOO_WIDE = `let in too many: one at least must say whose the jobs are, exactly or up to the owner ("acme/**", in sub "repo:acme/**"). An issuer that is open to all needs one of ${OWNER_CLAIMS.join(', ')} for that`;

/** Which an API token cannot do. */
export const SET_UP = 'set up identity providers';

export interface ProviderTools {
  encryption: Encryption;
  issuers: Issuers;
}

/** JSON text. @throws 404 */
export async function getProvider(db: Queryable, name: string): Promise<string> {
  const json = await providerJson(db, name);
  if (json === null) throw errors.notFound('identity provider', name);
  return json;
}

/** Asks the issuer how it describes itself: a wrong address shows here and not at the first login. @throws 400 */
export async function requireIssuer(
  issuers: Issuers,
  { issuer, scopes, client_id }: Omit<CreateProvider, 'proof'>,
): Promise<void> {
  const refuse = (message: string) => errors.validation([{ field: 'issuer', message }]);
  const url = URL.canParse(issuer) ? new URL(issuer) : null;
  if (
    url === null ||
    !isSafeUrl(url) ||
    url.search !== '' ||
    url.hash !== '' ||
    url.username !== '' ||
    url.password !== ''
  ) {
    throw refuse('must be an address that begins with https:// and has no query, as the issuer writes it');
  }
  const asked: Issuer = {
    ...{ id: uuidv7(), version: 0, issuer, clientId: client_id ?? null, clientSecret: null },
    ...{ scopes: scopes ?? DEFAULTS.scopes, groupsClaim: '', usernameClaim: '', requiredAcr: [], requiredAmr: [] },
  };
  await issuers.describe(asked).catch((error) => {
    throw error instanceof IssuerError ? refuse(`cannot be used: ${error.message}`) : error;
  });
}

/** @param proof of the caller, where it lets somebody in. @throws 400, 403, 409. */
export async function createProvider(
  tools: ProviderTools,
  mutation: Mutation,
  body: Omit<CreateProvider, 'proof'>,
  proof: Proof | undefined,
): Promise<Answer> {
  const { tx, principal, audit } = mutation;
  requireLogin(principal, SET_UP);
  const { name, issuer, client_secret: secret = null, group_roles: groups = [], exchange = [], ...fields } = body;
  if ((await countProviders(tx)) >= MAX_PROVIDERS) {
    throw errors.conflict(`There are ${MAX_PROVIDERS} identity providers already. Delete some first.`);
  }
  const id = uuidv7();
  const row = {
    ...{ ...DEFAULTS, title: name, ...fields },
    ...{ id, name, issuer, client_secret: secret === null ? null : sealSecret(tools.encryption, id, secret) },
  };
  requireSense(row);
  try {
    await insertProvider(tx, row);
  } catch (error) {
    if (!UNIQUE.some((constraint) => isUniqueViolation(error, constraint))) throw error;
    throw errors.conflict(`There is an identity provider "${name}", or one of the issuer ${issuer}, already.`);
  }
  await setRules(tx, row, groups, exchange, principal.userId);
  if (letsSomebodyIn(body) || (await givesAdministrators(tx, id))) await lockCaller(tx, principal, proof);
  await adjustAll(mutation, issuer, `the set-up of ${name}`);
  audit({ action: 'identity_provider.create', resource: `identity_provider:${name}`, details: shown(body) });
  return { body: await getProvider(tx, name), location: `/v1/auth/providers/${name}` };
}

/**
 * What changes about the roles of its users is carried out at once.
 * @param proof of the caller, where it lets somebody in, or gives administrators: any of its settings may decide who these are.
 * @throws 400, 403, 404, 409.
 */
export async function changeProvider(
  tools: ProviderTools,
  auth: Authenticator,
  mutation: Mutation,
  name: string,
  body: Omit<UpdateProvider, 'proof'>,
  proof: Proof | undefined,
): Promise<Answer> {
  const { tx, principal, audit, afterCommit } = mutation;
  requireLogin(principal, SET_UP);
  const provider = await lockProvider(tx, name);
  if (provider === null) throw errors.notFound('identity provider', name);
  const { client_secret: secret, group_roles: groups, exchange, ...fields } = body;
  const changed = { ...provider, ...fields };
  requireSense(changed);
  await updateProvider(tx, provider.id, {
    ...fields,
    ...(secret === undefined
      ? {}
      : { client_secret: secret === null ? null : sealSecret(tools.encryption, provider.id, secret) }),
  });
  const before = await readExchangeRules(tx, provider.id);
  const taken = exchange === undefined && before.find(({ audience }) => audience === changed.client_id);
  if (taken) {
    const message = `is the audience of the rule "${taken.name}": a token of a person would do for a job`;
    throw errors.validation([{ field: 'client_id', message }]);
  }
  await setRules(tx, changed, groups, exchange, principal.userId);
  if (letsSomebodyIn(body) || (await givesAdministrators(tx, provider.id))) await lockCaller(tx, principal, proof);
  const isOff = !changed.enabled || changed.client_id === null;
  // Those that began under another rule about the second factor end as well.
  const asksOtherwise = fields.required_acr !== undefined || fields.required_amr !== undefined;
  if (isOff || asksOtherwise) await endProviderSessions(tx, provider.id);
  if (isOff) await forgetGroups(tx, { issuer: provider.issuer });
  const kept = changed.enabled ? await unchangedRules(tx, provider.id, before) : [];
  const accounts = await revokeExchanged(tx, provider.id, kept);
  for (const account of accounts) await notifyUserChanged(tx, account);
  const users = await adjustAll(mutation, provider.issuer, `the set-up of ${name}`);
  if (asksOtherwise) for (const user of users) await notifyUserChanged(tx, user);
  audit({ action: 'identity_provider.update', resource: `identity_provider:${name}`, details: shown(body) });
  afterCommit(() => [...users, ...accounts].forEach(auth.forgetUser));
  return { body: await getProvider(tx, name) };
}

/** Its sessions end, and its users have no roles; they stay, with what is theirs. @throws 404, 409. */
export async function deleteProvider(auth: Authenticator, mutation: Mutation, name: string): Promise<Answer> {
  const { tx, principal, audit, afterCommit } = mutation;
  requireLogin(principal, SET_UP);
  const provider = await lockProvider(tx, name);
  if (provider === null) throw errors.notFound('identity provider', name);
  const record = JSON.parse(await getProvider(tx, name)) as Record<string, unknown>;
  await endProviderSessions(tx, provider.id);
  await forgetGroups(tx, { issuer: provider.issuer });
  const accounts = await revokeExchanged(tx, provider.id, []);
  for (const account of accounts) await notifyUserChanged(tx, account);
  await deleteProviderRow(tx, provider.id);
  const users = await adjustAll(mutation, provider.issuer, `${name} is deleted`);
  audit({ action: 'identity_provider.delete', resource: `identity_provider:${name}` });
  afterCommit(() => [...users, ...accounts].forEach(auth.forgetUser));
  return { body: { deleted: true, ...record } };
}

/** For the audit log: all but the secret. */
function shown({
  client_secret: secret,
  ...rest
}: Omit<CreateProvider | UpdateProvider, 'proof'>): Record<string, unknown> {
  return { ...rest, ...(secret === undefined ? {} : { client_secret_changed: true }) };
}

/** Whether a change decides who gets in, otherwise than by letting nobody. */
function letsSomebodyIn(change: Omit<UpdateProvider, 'proof'>): boolean {
  const { group_roles: groups = [], exchange = [], client_id: clientId, enabled, device_login: device } = change;
  const others = [change.groups_claim, change.required_acr, change.required_amr, change.roles_hold_seconds];
  return (
    groups.length > 0 ||
    exchange.length > 0 ||
    typeof clientId === 'string' ||
    enabled === true ||
    device === true ||
    others.some((value) => value !== undefined)
  );
}

/** The names of the rules that are as they were. */
async function unchangedRules(tx: Queryable, providerId: string, before: readonly ExchangeRule[]): Promise<string[]> {
  const now = await readExchangeRules(tx, providerId);
  return now.filter((rule) => before.some((other) => isDeepStrictEqual(rule, other))).map(({ name }) => name);
}

function requireSense({
  scopes,
  client_id: clientId,
  groups_claim: groupsClaim,
}: Pick<ProviderRow, 'scopes' | 'client_id' | 'groups_claim'>): void {
  if (SELF_WRITTEN_CLAIMS.includes(groupsClaim)) {
    const message = 'is what users of many issuers write themselves: name a claim that the issuer fills with groups';
    throw errors.validation([{ field: 'groups_claim', message }]);
  }
  if (clientId === null || scopes.includes('openid')) return;
  throw errors.validation([
    { field: 'scopes', message: 'must hold "openid": without it an issuer tells nothing of the user' },
  ]);
}

/** Whether a rule that works is asked for again: it stays its maker's. */
function isAsBefore(
  { createdById: _maker, stopped, account: _account, ...rule }: ExchangeRule & { account: string },
  asked: Omit<ExchangeRule, 'createdById' | 'stopped'>,
): boolean {
  return !stopped && isDeepStrictEqual(rule, asked);
}

/** @param groups undefined: as before; so with the rules. @param makerId who makes the rules that are new. */
async function setRules(
  tx: Queryable,
  provider: Pick<ProviderRow, 'id' | 'issuer' | 'client_id'>,
  groups: CreateProvider['group_roles'],
  exchange: readonly RuleInput[] | undefined,
  makerId: string,
): Promise<void> {
  if (groups !== undefined) {
    // Their workspaces exist, and go on existing until the transaction ends.
    await bindingsFrom(tx, groups, 'group_roles');
    const roles = groups.map(({ group, role, workspace = null }) => ({ group, role, workspace }));
    await replaceGroupRoles(tx, provider.id, roles);
  }
  if (exchange === undefined) return;
  const problems: FieldProblem[] = [];
  const rules: ExchangeRule[] = [];
  const before = await readExchangeRules(tx, provider.id);
  for (const [index, rule] of exchange.entries()) {
    const at = (field: string, message: string) => problems.push({ field: `exchange.${index}.${field}`, message });
    const claims = Object.fromEntries(Object.entries(rule.claims).map(([claim, given]) => [claim, [given].flat()]));
    for (const [claim, patterns] of Object.entries(claims)) {
      if (!patterns.every(isSpecific)) at(`claims.${claim}`, 'fits anything: say what it must be');
      if (patterns.some((pattern) => wildcardsIn(pattern) > MAX_WILDCARDS)) {
        at(`claims.${claim}`, `must have at most ${MAX_WILDCARDS} wildcards in one pattern`);
      }
    }
    if (!saysWhose(provider.issuer, claims)) at('claims', TOO_WIDE);
    if (exchange.findIndex(({ name }) => name === rule.name) !== index) at('name', 'is the name of another rule');
    if (rule.audience === provider.client_id) {
      at('audience', 'is that of logins (client_id): a token of a person would do. Have jobs ask for one of their own');
    }
    const accountId = await findAccount(tx, rule.service_account);
    if (accountId === null) at('service_account', `there is no service account "${rule.service_account}"`);
    else {
      const asked = {
        ...{ name: rule.name, audience: rule.audience, claims, accountId },
        permissions: rule.permissions ?? null,
        expiresIn: rule.expires_in ?? DEFAULT_EXPIRES_IN,
      };
      rules.push(before.find((one) => isAsBefore(one, asked)) ?? { ...asked, createdById: makerId, stopped: false });
    }
  }
  if (problems.length > 0) throw errors.validation(problems);
  await replaceExchangeRules(tx, provider.id, rules);
}

/** The roles of all users of an issuer, as they follow from the groups that it last told. @returns their ids. */
async function adjustAll({ tx, principal }: Mutation, issuer: string, reason: string): Promise<string[]> {
  const users = await usersOf(tx, issuer);
  for (const id of users) {
    const user = await lockUser(tx, id);
    if (user !== null) await adjustRoles(tx, { ip: null, id: null }, principal.label, user, reason);
  }
  return users;
}
