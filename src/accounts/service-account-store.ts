import { type RawBuilder, sql } from 'kysely';
import { lockUser, type UserCredentials } from '../access/store.ts';
import type { Queryable } from '../database/pool.ts';

const TIME = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;

/** A service account as clients see it, as JSON. */
const SERVICE_ACCOUNT = sql.raw<string>(`json_build_object(
  'id', id, 'name', split_part(username, '@', 1), 'username', username, 'workspace', service_workspace,
  'roles', (select coalesce(json_agg(b.role order by b.role), '[]') from provisioning.role_bindings b where b.user_id = users.id),
  'disabled', disabled, 'created_at', ${TIME('created_at')}, 'created_by', created_by, 'updated_at', ${TIME('updated_at')})`);

/** All of a workspace, as JSON text. */
export async function serviceAccountsJson(db: Queryable, workspace: string): Promise<string> {
  const { rows } = await sql<{ json: string }>`
    select coalesce(json_agg(${SERVICE_ACCOUNT} order by username), '[]')::text as json
    from provisioning.users where service_workspace = ${workspace}`.execute(db);
  return rows[0]?.json ?? '[]';
}

/** Null when there is none. */
export async function findServiceAccount(
  db: Queryable,
  workspace: string,
  username: string,
): Promise<{ id: string; json: string } | null> {
  const { rows } = await sql<{ id: string; json: string }>`
    select id, ${SERVICE_ACCOUNT}::text as json from provisioning.users
    where service_workspace = ${workspace} and username = ${username}`.execute(db);
  return rows[0] ?? null;
}

/** The same, held until the transaction ends. */
export async function lockServiceAccount(
  tx: Queryable,
  workspace: string,
  username: string,
): Promise<UserCredentials | null> {
  const found = await findServiceAccount(tx, workspace, username);
  return found === null ? null : lockUser(tx, found.id);
}

export async function countServiceAccounts(tx: Queryable, workspace: string): Promise<number> {
  const { rows } = await sql<{ total: number }>`
    select count(*)::int as total from provisioning.users where service_workspace = ${workspace}`.execute(tx);
  return rows[0]?.total ?? 0;
}

/** The tokens of a user, as JSON text. @param token one of them as JSON text. */
export async function tokensJson(db: Queryable, userId: string, token: RawBuilder<string>): Promise<string> {
  const { rows } = await sql<{ json: string }>`
    select coalesce(json_agg((${token})::json order by created_at), '[]')::text as json
    from provisioning.api_tokens where user_id = ${userId}`.execute(db);
  return rows[0]?.json ?? '[]';
}
