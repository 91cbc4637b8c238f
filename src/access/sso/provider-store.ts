import { sql } from 'kysely';
import type { Queryable } from '../../database/pool.ts';

/** An identity provider as it is kept. */
export interface ProviderRow {
  id: string;
  name: string;
  title: string;
  issuer: string;
  enabled: boolean;
  client_id: string | null;
  /** Encrypted. */
  client_secret: string | null;
  scopes: string[];
  groups_claim: string;
  username_claim: string;
  recheck_seconds: number;
  roles_hold_seconds: number;
  /** Sign-ins by another device. */
  device_login: boolean;
  /** What its ID tokens must say of how somebody showed who they are; empty: anything. */
  required_acr: string[];
  required_amr: string[];
  version: number;
}

export interface GroupRole {
  group: string;
  role: string;
  /** Null: in every workspace. */
  workspace: string | null;
}

/** For which jobs' tokens a service account's is given. */
export interface ExchangeRule {
  name: string;
  audience: string;
  /** Claim → patterns, one of which it must fit. */
  claims: Record<string, string[]>;
  accountId: string;
  permissions: string[] | null;
  /** Seconds. */
  expiresIn: number;
  /** Null: they are gone. */
  createdById: string | null;
  /** Whoever made it may not any more. */
  stopped: boolean;
}

const TIME = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;

const JSON_TEXT = sql.raw<string>(`json_build_object(
  'name', name, 'title', title, 'issuer', issuer, 'enabled', enabled, 'client_id', client_id,
  'has_client_secret', client_secret is not null, 'scopes', scopes, 'groups_claim', groups_claim,
  'username_claim', username_claim, 'recheck_seconds', recheck_seconds, 'roles_hold_seconds', roles_hold_seconds,
  'device_login', device_login, 'required_acr', required_acr, 'required_amr', required_amr,
  'group_roles', (select coalesce(json_agg(json_build_object('group', g.group_name, 'role', g.role, 'workspace', g.workspace)
    order by g.group_name, g.role, g.workspace nulls first), '[]') from provisioning.group_roles g where g.provider_id = p.id),
  'exchange', (select coalesce(json_agg(json_build_object('name', e.name, 'audience', e.audience, 'claims', e.claims,
    'service_account', (select username from provisioning.users u where u.id = e.account_id),
    'permissions', e.permissions, 'expires_in', e.expires_in, 'stopped', e.stopped) order by e.name), '[]')
    from provisioning.exchange_rules e where e.provider_id = p.id),
  'created_at', ${TIME('created_at')}, 'updated_at', ${TIME('updated_at')})::text`);

/** All of them, as JSON text: all but their secrets. */
export async function providersJson(db: Queryable): Promise<string> {
  const { rows } = await sql<{ json: string }>`
    select '[' || coalesce(string_agg(${JSON_TEXT}, ',' order by name), '') || ']' as json
    from provisioning.identity_providers p`.execute(db);
  return rows[0]?.json ?? '[]';
}

/** Null when there is none. */
export async function providerJson(db: Queryable, name: string): Promise<string | null> {
  const { rows } = await sql<{ json: string }>`
    select ${JSON_TEXT} as json from provisioning.identity_providers p where name = ${name}`.execute(db);
  return rows[0]?.json ?? null;
}

/** Those that people log in by, as JSON text. */
export async function loginProvidersJson(db: Queryable): Promise<string> {
  const { rows } = await sql<{ json: string }>`
    select coalesce(json_agg(json_build_object('name', name, 'title', title) order by title, name), '[]')::text as json
    from provisioning.identity_providers where enabled and client_id is not null`.execute(db);
  return rows[0]?.json ?? '[]';
}

/** @param by which of the two is given. */
export async function findProvider(
  db: Queryable,
  by: { name: string } | { id: string } | { issuer: string },
): Promise<ProviderRow | null> {
  const [[column, value] = ['', '']] = Object.entries(by);
  const { rows } = await sql<ProviderRow>`
    select id, name, title, issuer, enabled, client_id, client_secret, scopes, groups_claim, username_claim,
           recheck_seconds, roles_hold_seconds, device_login, required_acr, required_amr, version
    from provisioning.identity_providers where ${sql.ref(column)} = ${value}`.execute(db);
  return rows[0] ?? null;
}

/** Held until the transaction ends, after sign-ins that are under way. */
export async function lockProvider(tx: Queryable, name: string): Promise<ProviderRow | null> {
  await sql`select from provisioning.identity_providers where name = ${name} for no key update`.execute(tx);
  return findProvider(tx, { name });
}

/** As it is until the transaction ends: whoever changes it waits, and sees what this one has made. */
export async function holdProvider(tx: Queryable, id: string): Promise<ProviderRow | null> {
  await sql`select from provisioning.identity_providers where id = ${id} for share`.execute(tx);
  return findProvider(tx, { id });
}

/** @throws on the unique keys of `name` and `issuer`. */
export async function insertProvider(tx: Queryable, row: Omit<ProviderRow, 'version'>): Promise<void> {
  await tx.insertInto('provisioning.identity_providers').values(row).execute();
}

export async function updateProvider(
  tx: Queryable,
  id: string,
  change: Partial<Omit<ProviderRow, 'id' | 'name' | 'issuer' | 'version'>>,
): Promise<void> {
  await tx
    .updateTable('provisioning.identity_providers')
    .set({ ...change, version: sql`version + 1`, updated_at: sql`now()` })
    .where('id', '=', id)
    .execute();
}

export async function deleteProviderRow(tx: Queryable, id: string): Promise<void> {
  await tx.deleteFrom('provisioning.identity_providers').where('id', '=', id).execute();
}

export async function countProviders(tx: Queryable): Promise<number> {
  const { rows } = await sql<{ total: number }>`
    select count(*)::int as total from provisioning.identity_providers`.execute(tx);
  return rows[0]?.total ?? 0;
}

export async function replaceGroupRoles(tx: Queryable, providerId: string, roles: readonly GroupRole[]): Promise<void> {
  await tx.deleteFrom('provisioning.group_roles').where('provider_id', '=', providerId).execute();
  if (roles.length === 0) return;
  await tx
    .insertInto('provisioning.group_roles')
    .values(
      roles.map(({ group, role, workspace }) => ({ provider_id: providerId, group_name: group, role, workspace })),
    )
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

export async function replaceExchangeRules(
  tx: Queryable,
  providerId: string,
  rules: readonly ExchangeRule[],
): Promise<void> {
  await tx.deleteFrom('provisioning.exchange_rules').where('provider_id', '=', providerId).execute();
  if (rules.length === 0) return;
  await tx
    .insertInto('provisioning.exchange_rules')
    .values(
      rules.map(({ name, audience, claims, accountId, permissions, expiresIn, createdById, stopped }) => ({
        ...{ provider_id: providerId, name, audience, claims: JSON.stringify(claims) },
        ...{ account_id: accountId, permissions, expires_in: expiresIn, created_by_id: createdById, stopped },
      })),
    )
    .execute();
}

/** Whether people get in by it who may do everything. */
export async function givesAdministrators(tx: Queryable, providerId: string): Promise<boolean> {
  const { rows } = await sql<{ given: boolean }>`
    select exists (
      select from provisioning.group_roles g join provisioning.identity_providers p on p.id = g.provider_id
      where p.id = ${providerId} and p.enabled and p.client_id is not null
        and g.role = 'admin' and g.workspace is null) as given`.execute(tx);
  return rows[0]?.given === true;
}

/** The rules of a provider, with the names of their accounts. */
export async function readExchangeRules(
  db: Queryable,
  providerId: string,
): Promise<(ExchangeRule & { account: string })[]> {
  const { rows } = await sql<ExchangeRule & { account: string }>`
    select e.name, e.audience, e.claims, e.account_id as "accountId", e.permissions, e.expires_in as "expiresIn",
           e.created_by_id as "createdById", e.stopped, u.username as account
    from provisioning.exchange_rules e join provisioning.users u on u.id = e.account_id
    where e.provider_id = ${providerId} order by e.name`.execute(db);
  return rows;
}

/** Stops what this user has made, with the tokens that jobs have by it. @returns of each rule, whose tokens these were. */
export async function stopRulesOf(tx: Queryable, userId: string): Promise<{ name: string; accounts: string[] }[]> {
  const { rows } = await sql<{ name: string; accounts: string[] }>`
    with stopped as (
      update provisioning.exchange_rules set stopped = true where created_by_id = ${userId} and not stopped
      returning provider_id, name, account_id),
    revoked as (
      update provisioning.api_tokens t set revoked_at = now() from stopped s
      where t.exchanged_by = s.provider_id and t.exchanged_rule = s.name and t.revoked_at is null
      returning 1)
    select p.name || '/' || s.name as name, array[s.account_id] as accounts
    from stopped s join provisioning.identity_providers p on p.id = s.provider_id order by 1`.execute(tx);
  return rows;
}

/** The id of a service account by its user name; null: there is none. */
export async function findAccount(tx: Queryable, username: string): Promise<string | null> {
  const { rows } = await sql<{ id: string }>`
    select id from provisioning.users where username = ${username} and service_workspace is not null
    for key share`.execute(tx);
  return rows[0]?.id ?? null;
}
