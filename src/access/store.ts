import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';
import type { RoleBinding } from '../database/tables.ts';
import { REMEMBERED_SECONDS } from './sso/identity-store.ts';

/** Tells every replica that a user changed (payload: the user's id). */
export const USERS_CHANNEL = 'provisioning_users';

/** What decides about a user's requests. */
export interface UserState {
  id: string;
  username: string;
  disabled: boolean;
  token_generation: number;
  bindings: RoleBinding[];
  /** The workspace that owns this service account; null: a person. */
  service_workspace: string | null;
  /** A second factor is asked for at the login. */
  totp: boolean;
  /** An issuer vouches for them: it asks for what it likes, and their roles follow from its groups. */
  sso: boolean;
  /** It must say how they signed in. */
  sso_factor: boolean;
  /** A session of theirs by which the issuer is to be asked again; null: that is not due, or there is none. */
  sso_check: string | null;
}

export interface UserCredentials extends UserState {
  /** Null: no password opens it. */
  password_hash: string | null;
}

const BINDINGS = `(select coalesce(json_agg(json_build_object('role', b.role, 'workspace', b.workspace)
  order by b.role, b.workspace nulls first), '[]'::json) from provisioning.role_bindings b where b.user_id = users.id)`;
const TIME = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;

const HAS_TOTP = `exists (select from provisioning.second_factors f where f.user_id = users.id and f.secret is not null)`;

const HAS_ISSUER = `exists (select from provisioning.identities i where i.user_id = users.id)`;
export const ISSUER_FACTOR = (userId: string) => `exists (select from provisioning.identities i
  join provisioning.identity_providers p on p.issuer = i.issuer
  where i.user_id = ${userId} and (p.required_acr <> '{}' or p.required_amr <> '{}'))`;
/** As `STANDING` of a session says it, for the issuer's last word about the user, by whichever session. */
const CHECK = `(select o.session_id from provisioning.identities i
    join provisioning.sessions s on s.user_id = i.user_id
    join provisioning.sso_sessions o on o.session_id = s.id
    join provisioning.identity_providers p on p.id = o.provider_id
  where i.user_id = users.id and i.vouched_at <= now() - make_interval(secs => p.recheck_seconds - ${REMEMBERED_SECONDS})
    and coalesce(o.retry_at <= now(), true)
  order by o.verified_at desc limit 1)`;
const IDENTITY = `(select json_build_object('issuer', i.issuer, 'subject', i.subject)
  from provisioning.identities i where i.user_id = users.id)`;

/** A user as clients see it, as JSON text. */
export const USER_JSON = sql.raw<string>(`json_build_object(
  'id', id, 'username', username, 'disabled', disabled, 'roles', ${BINDINGS}, 'totp_enabled', ${HAS_TOTP}, 'identity', ${IDENTITY},
  'created_at', ${TIME('created_at')}, 'updated_at', ${TIME('updated_at')})::text`);

const STATE = sql.raw(
  `id, username, disabled, token_generation, service_workspace, ${HAS_TOTP} as totp, ${HAS_ISSUER} as sso, ${ISSUER_FACTOR('users.id')} as sso_factor, ${CHECK} as sso_check, ${BINDINGS} as bindings`,
);

/** Null when there is none. */
export async function readUserState(db: Queryable, id: string): Promise<UserState | null> {
  const { rows } = await sql<UserState>`select ${STATE} from provisioning.users where id = ${id}`.execute(db);
  return rows[0] ?? null;
}

/** Null when there is none. */
export async function findCredentials(db: Queryable, username: string): Promise<UserCredentials | null> {
  const { rows } = await sql<UserCredentials>`
    select ${STATE}, password_hash from provisioning.users where lower(username) = ${username.toLowerCase()}`.execute(
    db,
  );
  return rows[0] ?? null;
}

/**
 * The user, held until the transaction ends. Whatever makes or ends tokens takes this lock first: a login or refresh
 * under way cannot slip past a logout, nor a new refresh token past the revocation of its family.
 */
export async function lockUser(tx: Queryable, id: string): Promise<UserCredentials | null> {
  await sql`select from provisioning.users where id = ${id} for no key update`.execute(tx);
  // A statement of its own, so that it also sees the roles that were committed while this one waited.
  const { rows } = await sql<UserCredentials>`
    select ${STATE}, password_hash from provisioning.users where id = ${id}`.execute(tx);
  return rows[0] ?? null;
}

/** Makes changes that could take the last administrator away queue up, until the transaction ends. */
export async function lockAdministrators(tx: Queryable): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended('provisioning.administrators', 0))`.execute(tx);
}

/**
 * Whether somebody is left who may do everything; those whose issuer can end that at any time do not count. Call it under
 * `lockAdministrators`.
 */
export async function anyAdministrator(tx: Queryable): Promise<boolean> {
  const { rows } = await sql<{ present: boolean }>`
    select exists (
      select from provisioning.users u join provisioning.role_bindings b on b.user_id = u.id
      where not u.disabled and b.role = 'admin' and b.workspace is null
        and not exists (select from provisioning.identities i where i.user_id = u.id)) as present`.execute(tx);
  return rows[0]?.present === true;
}

export async function anyUser(db: Queryable): Promise<boolean> {
  return (await db.selectFrom('provisioning.users').select('id').limit(1).executeTakeFirst()) !== undefined;
}

/** Null when there is none, or it is a service account. */
export async function readUserJson(db: Queryable, id: string): Promise<string | null> {
  const { rows } = await sql<{ json: string }>`
    select ${USER_JSON} as json from provisioning.users where id = ${id} and service_workspace is null`.execute(db);
  return rows[0]?.json ?? null;
}

/** @throws on the unique index `users_username` when the name is taken. */
export async function insertUser(
  tx: Queryable,
  user: {
    id: string;
    username: string;
    /** Null: no password opens it. */
    passwordHash: string | null;
    bindings: readonly RoleBinding[];
    /** Of a service account. */
    service?: { workspace: string; createdBy: string };
  },
): Promise<void> {
  await tx
    .insertInto('provisioning.users')
    .values({
      ...{ id: user.id, username: user.username, password_hash: user.passwordHash },
      ...(user.service && { service_workspace: user.service.workspace, created_by: user.service.createdBy }),
    })
    .execute();
  await insertBindings(tx, user.id, user.bindings);
}

async function insertBindings(tx: Queryable, userId: string, bindings: readonly RoleBinding[]): Promise<void> {
  if (bindings.length === 0) return;
  await tx
    .insertInto('provisioning.role_bindings')
    .values(bindings.map(({ role, workspace }) => ({ user_id: userId, role, workspace })))
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

export async function replaceBindings(tx: Queryable, userId: string, bindings: readonly RoleBinding[]): Promise<void> {
  await tx.deleteFrom('provisioning.role_bindings').where('user_id', '=', userId).execute();
  await insertBindings(tx, userId, bindings);
}

export async function updateUser(
  tx: Queryable,
  id: string,
  change: { password_hash?: string; disabled?: boolean },
): Promise<void> {
  await tx
    .updateTable('provisioning.users')
    .set({ ...change, updated_at: sql`now()` })
    .where('id', '=', id)
    .execute();
}

/** Forgets, in this transaction, that a user had this name and was deleted. @returns false where nobody had it. */
export async function takeDepartedName(tx: Queryable, username: string): Promise<boolean> {
  const { numDeletedRows } = await tx
    .deleteFrom('provisioning.departed_users')
    .where('username', '=', username)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}

/** What refers to a user by name: the kind of one such thing; empty: nothing does. */
export async function referencesTo(tx: Queryable, username: string): Promise<string[]> {
  const rows = await tx
    .selectFrom('provisioning.name_references')
    .select('what')
    .where('username', '=', username)
    .limit(1)
    .execute();
  return rows.map(({ what }) => what);
}

export async function deleteUserRow(tx: Queryable, id: string): Promise<void> {
  await tx.deleteFrom('provisioning.users').where('id', '=', id).execute();
}

/** Every replica forgets what it knows of the user, once the transaction commits. */
export async function notifyUserChanged(tx: Queryable, id: string): Promise<void> {
  await sql`select pg_notify(${USERS_CHANNEL}, ${id})`.execute(tx);
}

/** Ends every session of the user, with every access and refresh token. */
export async function endSessions(tx: Queryable, userId: string): Promise<void> {
  await sql`update provisioning.users set token_generation = token_generation + 1 where id = ${userId}`.execute(tx);
  await tx.deleteFrom('provisioning.sessions').where('user_id', '=', userId).execute();
  await sql`
    update provisioning.refresh_tokens set revoked_at = now()
    where user_id = ${userId} and revoked_at is null`.execute(tx);
}

export async function insertRefreshToken(
  tx: Queryable,
  token: { hash: Buffer; family: string; userId: string; expiresAt: Date },
): Promise<void> {
  await tx
    .insertInto('provisioning.refresh_tokens')
    .values({ hash: token.hash, family: token.family, user_id: token.userId, expires_at: token.expiresAt })
    .execute();
}

/** What became of a refresh token: used now for the first time, or spent before. Null: it was never given out. */
export async function spendRefreshToken(
  tx: Queryable,
  hash: Buffer,
  userId: string,
): Promise<{ family: string; fresh: boolean } | null> {
  const spent = await sql<{ family: string }>`
    update provisioning.refresh_tokens set used_at = now()
    where hash = ${hash} and user_id = ${userId} and used_at is null and revoked_at is null and expires_at > now()
    returning family`.execute(tx);
  if (spent.rows[0] !== undefined) return { family: spent.rows[0].family, fresh: true };
  const known = await sql<{ family: string }>`
    select family from provisioning.refresh_tokens where hash = ${hash} and user_id = ${userId}`.execute(tx);
  return known.rows[0] === undefined ? null : { family: known.rows[0].family, fresh: false };
}

/** All workspaces; those named go on existing until the transaction ends. */
export async function holdWorkspaces(tx: Queryable, names: readonly string[]): Promise<string[]> {
  if (names.length === 0) return [];
  await sql`select from provisioning.workspaces where name = any(${[...names]}::text[]) for key share`.execute(tx);
  const { rows } = await sql<{ name: string }>`select name from provisioning.workspaces order by name`.execute(tx);
  return rows.map(({ name }) => name);
}

/** A key that secrets are encrypted with, encrypted itself. */
interface DataKey {
  name: string;
  sealed: string;
  /** Which master key it is encrypted under. */
  master_key_id: string;
}

/** Keeps the data key unless there is one of that name. */
export async function insertDataKey(db: Queryable, key: DataKey): Promise<void> {
  await db
    .insertInto('provisioning.data_keys')
    .values(key)
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

export async function readDataKey(db: Queryable, name: string): Promise<DataKey> {
  return db
    .selectFrom('provisioning.data_keys')
    .select(['name', 'sealed', 'master_key_id'])
    .where('name', '=', name)
    .executeTakeFirstOrThrow();
}

/** Writes the data key anew unless another replica has done so in the meantime. */
export async function replaceDataKey(db: Queryable, formerMasterKeyId: string, key: DataKey): Promise<void> {
  await db
    .updateTable('provisioning.data_keys')
    .set({ sealed: key.sealed, master_key_id: key.master_key_id })
    .where('name', '=', key.name)
    .where('master_key_id', '=', formerMasterKeyId)
    .execute();
}
