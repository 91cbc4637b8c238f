import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';
import type { RoleBinding } from '../database/tables.ts';

/** What decides about a request made with an API token. */
export interface ApiTokenState {
  id: string;
  user_id: string;
  name: string;
  roles: RoleBinding[];
  expires_at: Date | null;
  revoked_at: Date | null;
  /** Made for the token of a job by this provider and this rule of it; null: otherwise. */
  exchanged_by: string | null;
  exchanged_rule: string | null;
}

const TIME = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;
/** What a token was given, wherever that is kept. */
const TOKEN_ROLES = sql.raw<RoleBinding[]>('coalesce(narrowed, roles)');
const FIELDS = `'id', id, 'name', name, 'user', (select username from provisioning.users u where u.id = api_tokens.user_id),
  'created_by', (select username from provisioning.users u where u.id = coalesce(api_tokens.created_by_id, api_tokens.user_id)),
  'roles', coalesce(narrowed, roles), 'created_at', ${TIME('created_at')}, 'expires_at', ${TIME('expires_at')},
  'last_used_at', ${TIME('last_used_at')}, 'revoked_at', ${TIME('revoked_at')}`;

/** An API token as clients see it, as JSON text: all but its secret. */
export const API_TOKEN_JSON = sql.raw<string>(`json_build_object(${FIELDS})::text`);

/** By which a job's token was traded for one of ours. */
export interface Exchange {
  /** Its id. */
  provider: string;
  rule: string;
}

/** Null when there is none. */
export async function findApiToken(db: Queryable, hash: Buffer): Promise<ApiTokenState | null> {
  const row = await db
    .selectFrom('provisioning.api_tokens')
    .select(['id', 'user_id', 'name', 'expires_at', 'revoked_at', 'exchanged_by', 'exchanged_rule'])
    .select(TOKEN_ROLES.as('roles'))
    .where('hash', '=', hash)
    .executeTakeFirst();
  return row ?? null;
}

/** Takes the place of one of that name that no longer works. @throws on `api_tokens_user_id_name_key` when it does. */
export async function insertApiToken(
  tx: Queryable,
  token: {
    id: string;
    userId: string;
    /** Who takes the secret into their hands. */
    createdById: string;
    name: string;
    hash: Buffer;
    roles: readonly RoleBinding[];
    /** Seconds; null: it does not expire. */
    expiresIn: number | null;
    /** Made for the token of a job. */
    exchanged?: Exchange;
  },
): Promise<void> {
  const isNarrowed = token.roles.some(({ permissions }) => permissions !== undefined);
  const roles = JSON.stringify(token.roles);
  await sql`
    delete from provisioning.api_tokens where user_id = ${token.userId} and name = ${token.name}
      and (revoked_at is not null or expires_at <= now())`.execute(tx);
  await sql`
    insert into provisioning.api_tokens (id, user_id, created_by_id, name, hash, roles, narrowed, exchanged_by,
                                         exchanged_rule, expires_at)
    values (${token.id}, ${token.userId}, ${token.createdById}, ${token.name}, ${token.hash},
            ${isNarrowed ? '[]' : roles}::jsonb, ${isNarrowed ? roles : null}::jsonb, ${token.exchanged?.provider ?? null}::uuid,
            ${token.exchanged?.rule ?? null}, now() + make_interval(secs => ${token.expiresIn}::float8))`.execute(tx);
}

/** Forgets those of jobs that no longer hold. */
export async function deleteEndedExchanges(tx: Queryable, userId: string): Promise<void> {
  await sql`
    delete from provisioning.api_tokens
    where user_id = ${userId} and exchanged_by is not null and (revoked_at is not null or expires_at <= now())`.execute(
    tx,
  );
}

/** Without those of jobs. */
export async function countApiTokens(tx: Queryable, userId: string): Promise<number> {
  const { rows } = await sql<{ total: number }>`
    select count(*)::int as total from provisioning.api_tokens
    where user_id = ${userId} and exchanged_by is null`.execute(tx);
  return rows[0]?.total ?? 0;
}

/** Those of a rule that hold. */
export async function countExchanged(tx: Queryable, { provider, rule }: Exchange): Promise<number> {
  const { rows } = await sql<{ total: number }>`
    select count(*)::int as total from provisioning.api_tokens
    where exchanged_by = ${provider} and exchanged_rule = ${rule} and revoked_at is null and expires_at > now()`.execute(
    tx,
  );
  return rows[0]?.total ?? 0;
}

/** Counts a use of a job's token. @param until when it expires, seconds since 1970. @returns how many these are. */
export async function noteExchangeUse(tx: Queryable, key: Buffer, until: number): Promise<number> {
  await sql`
    delete from provisioning.exchange_uses where key in (
      select key from provisioning.exchange_uses where expires_at <= now() limit 1000 for update skip locked)`.execute(
    tx,
  );
  const { rows } = await sql<{ uses: number }>`
    insert into provisioning.exchange_uses (key, uses, expires_at) values (${key}, 1, to_timestamp(${until}))
    on conflict (key) do update set uses = exchange_uses.uses + 1 returning uses`.execute(tx);
  return rows[0]?.uses ?? 1;
}

/** Revokes those of a provider that other rules than these gave. @returns the accounts whose they were. */
export async function revokeExchanged(tx: Queryable, provider: string, but: readonly string[]): Promise<string[]> {
  const { rows } = await sql<{ user_id: string }>`
    with revoked as (
      update provisioning.api_tokens set revoked_at = now()
      where exchanged_by = ${provider} and exchanged_rule <> all(${[...but]}::text[]) and revoked_at is null
      returning user_id)
    select distinct user_id from revoked order by user_id`.execute(tx);
  return rows.map((row) => row.user_id);
}

export async function readApiToken(db: Queryable, id: string): Promise<{ json: string; user_id: string } | null> {
  const { rows } = await sql<{ json: string; user_id: string }>`
    select ${API_TOKEN_JSON} as json, user_id from provisioning.api_tokens where id = ${id}`.execute(db);
  return rows[0] ?? null;
}

export async function deleteApiToken(tx: Queryable, id: string): Promise<void> {
  await tx.deleteFrom('provisioning.api_tokens').where('id', '=', id).execute();
}

/** They stay in the list, so that their owner sees why they no longer work. */
export async function revokeApiTokens(tx: Queryable, userId: string): Promise<void> {
  await sql`
    update provisioning.api_tokens set revoked_at = now() where user_id = ${userId} and revoked_at is null`.execute(tx);
}

/** A token that somebody made for a service account. */
export interface MadeToken {
  id: string;
  user_id: string;
  /** Of the account. */
  workspace: string;
  roles: RoleBinding[];
}

/** Those that hold, of service accounts, made by this user. */
export async function tokensMadeBy(tx: Queryable, userId: string): Promise<MadeToken[]> {
  const { rows } = await sql<MadeToken>`
    select t.id, t.user_id, u.service_workspace as workspace, ${TOKEN_ROLES} as roles
    from provisioning.api_tokens t join provisioning.users u on u.id = t.user_id
    where t.created_by_id = ${userId} and t.created_by_id <> t.user_id and u.service_workspace is not null
      and t.revoked_at is null and (t.expires_at is null or t.expires_at > now())
    order by t.id`.execute(tx);
  return rows;
}

export async function revokeTokens(tx: Queryable, ids: readonly string[]): Promise<void> {
  await sql`
    update provisioning.api_tokens set revoked_at = now()
    where id = any(${[...ids]}::uuid[]) and revoked_at is null`.execute(tx);
}

/** To the minute. */
export async function touchApiToken(db: Queryable, id: string): Promise<void> {
  await sql`
    update provisioning.api_tokens set last_used_at = now()
    where id = ${id} and (last_used_at is null or last_used_at < now() - interval '1 minute')`.execute(db);
}
