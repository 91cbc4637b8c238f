/** Users whom an issuer vouches for, their sessions, and what their groups give them. */
import { sql } from 'kysely';
import type { Queryable } from '../../database/pool.ts';

/** Null: nobody here is that. */
export async function findIdentity(db: Queryable, issuer: string, subject: string): Promise<string | null> {
  const row = await db
    .selectFrom('provisioning.identities')
    .select('user_id')
    .where('issuer', '=', issuer)
    .where('subject', '=', subject)
    .executeTakeFirst();
  return row?.user_id ?? null;
}

/** Makes logins of one identity queue up, until the transaction ends: only one of them makes its user. */
export async function lockIdentity(tx: Queryable, issuer: string, subject: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`provisioning.identity ${issuer} ${subject}`}, 0))`.execute(
    tx,
  );
}

export async function insertIdentity(
  tx: Queryable,
  identity: { issuer: string; subject: string; userId: string; groups: string[]; vouchedAt: Date },
): Promise<void> {
  const { issuer, subject, userId, groups, vouchedAt } = identity;
  await tx
    .insertInto('provisioning.identities')
    .values({ issuer, subject, user_id: userId, groups, vouched_at: vouchedAt })
    .execute();
}

/** By the clock of the database. */
export async function presentTime(db: Queryable): Promise<Date> {
  const { rows } = await sql<{ now: Date }>`select now()`.execute(db);
  if (rows[0] === undefined) throw new Error('the database does not tell the time');
  return rows[0].now;
}

/** What the issuer said when it was asked then; nothing where it has been asked again since. */
export async function noteVouched(tx: Queryable, userId: string, groups: string[], askedAt: Date): Promise<void> {
  await tx
    .updateTable('provisioning.identities')
    .set({ vouched_at: askedAt, groups })
    .where('user_id', '=', userId)
    .where('vouched_at', '<=', askedAt)
    .execute();
}

/** Seconds that roles hold at most after the issuer refused, or nobody can ask it, however long they do without a word of it. */
const HOLD_AFTER_REFUSAL = 86_400;

/** They are logged out: the issuer cannot be asked about them any more. */
export async function noteLoggedOut(tx: Queryable, userId: string): Promise<void> {
  const { rows } = await sql<{ left: boolean }>`
    select exists (select from provisioning.sso_sessions o join provisioning.sessions s on s.id = o.session_id
      where s.user_id = ${userId}) as left`.execute(tx);
  if (rows[0]?.left !== true) await noteRefused(tx, userId);
}

/** The issuer no longer vouches for a session of theirs. */
export async function noteRefused(tx: Queryable, userId: string): Promise<void> {
  await sql`
    update provisioning.identities i
    set vouched_at = least(i.vouched_at, now() - make_interval(secs => p.roles_hold_seconds - ${HOLD_AFTER_REFUSAL}))
    from provisioning.identity_providers p
    where i.user_id = ${userId} and p.issuer = i.issuer and p.roles_hold_seconds > ${HOLD_AFTER_REFUSAL}`.execute(tx);
}

/** What the issuer said of groups counts no longer: only its next word gives roles again. */
export async function forgetGroups(tx: Queryable, of: { issuer: string } | { userId: string }): Promise<void> {
  await sql`
    update provisioning.identities set groups = '{}'
    where ${'issuer' in of ? sql`issuer = ${of.issuer}` : sql`user_id = ${of.userId}`}`.execute(tx);
}

/** Whether any of these groups gives a role. */
export async function anyRole(tx: Queryable, providerId: string, groups: string[]): Promise<boolean> {
  const { rows } = await sql<{ present: boolean }>`
    select exists (select from provisioning.group_roles
      where provider_id = ${providerId} and group_name = any(${groups}::text[])) as present`.execute(tx);
  return rows[0]?.present === true;
}

/** The users of an issuer, in the order in which they are to be locked. */
export async function usersOf(tx: Queryable, issuer: string): Promise<string[]> {
  const { rows } = await sql<{ user_id: string }>`
    select user_id from provisioning.identities where issuer = ${issuer} order by user_id`.execute(tx);
  return rows.map((row) => row.user_id);
}

/** Users who have roles or groups, but whose issuer has not vouched for them for longer than roles hold. */
export async function usersUnvouched(db: Queryable, limit: number): Promise<string[]> {
  const { rows } = await sql<{ user_id: string }>`
    select i.user_id from provisioning.identities i join provisioning.identity_providers p on p.issuer = i.issuer
    where i.vouched_at <= now() - make_interval(secs => p.roles_hold_seconds)
      and (i.groups <> '{}' or exists (select from provisioning.role_bindings b where b.user_id = i.user_id))
    order by i.user_id limit ${limit}::int`.execute(db);
  return rows.map((row) => row.user_id);
}

/**
 * Gives a user, who must be held, the roles that their groups have now, and takes all others: none without a provider that
 * is enabled and has vouched for them lately. @returns whether anything changed.
 */
export async function applyGroupRoles(tx: Queryable, userId: string): Promise<boolean> {
  const wanted = sql`
    select distinct i.user_id, g.role, g.workspace
    from provisioning.identities i
      join provisioning.identity_providers p on p.issuer = i.issuer and p.enabled and p.client_id is not null
        and i.vouched_at > now() - make_interval(secs => p.roles_hold_seconds)
      join provisioning.group_roles g on g.provider_id = p.id and g.group_name = any(i.groups)
    where i.user_id = ${userId}`;
  const gone = await sql`
    delete from provisioning.role_bindings b where b.user_id = ${userId} and not exists (
      select from (${wanted}) w where w.role = b.role and w.workspace is not distinct from b.workspace)`.execute(tx);
  const come = await sql`
    insert into provisioning.role_bindings (user_id, role, workspace) ${wanted} on conflict do nothing`.execute(tx);
  return (gone.numAffectedRows ?? 0n) + (come.numAffectedRows ?? 0n) > 0n;
}

/** Ends the sessions of a provider's users with their refresh tokens. The access tokens end with the sessions. */
export async function endProviderSessions(tx: Queryable, providerId: string): Promise<void> {
  await sql`
    with ended as (
      delete from provisioning.sessions where id in (
        select session_id from provisioning.sso_sessions where provider_id = ${providerId})
      returning id)
    update provisioning.refresh_tokens set revoked_at = now()
    where family in (select id from ended) and revoked_at is null`.execute(tx);
}

export async function insertSsoSession(
  tx: Queryable,
  session: { id: string; providerId: string; tokens: string; vouchedAt: Date },
): Promise<void> {
  const { id, providerId, tokens, vouchedAt } = session;
  await tx
    .insertInto('provisioning.sso_sessions')
    .values({ session_id: id, provider_id: providerId, tokens, verified_at: vouchedAt })
    .execute();
}

/** Whose turn it is to ask an issuer about a session. */
export interface SessionClaim {
  provider_id: string;
  user_id: string;
  subject: string;
  /** Encrypted. */
  tokens: string;
  asked_at: Date;
}

/** How far what an issuer said of a session may be believed. */
export interface SessionStanding {
  /** It is time to ask the issuer again. */
  due: boolean;
  /** It could not be asked for too long. */
  unvouched: boolean;
}

/** It counts as old so much earlier, as replicas remember it for that long. Seconds. */
export const REMEMBERED_SECONDS = 5;
/** An issuer that does not answer ends no session before. Seconds. */
const GRACE_SECONDS = 900;

/** For a row of `provisioning.sessions`, named s: what a `SessionStanding` has; both false where there is no issuer. */
export const STANDING = sql.raw(`
  coalesce((select o.verified_at <= now() - make_interval(secs => p.recheck_seconds - ${REMEMBERED_SECONDS})
      and coalesce(o.retry_at <= now(), true)
    from provisioning.sso_sessions o join provisioning.identity_providers p on p.id = o.provider_id
    where o.session_id = s.id), false) as due,
  coalesce((select o.verified_at <= now() - make_interval(secs => p.recheck_seconds + ${GRACE_SECONDS})
    from provisioning.sso_sessions o join provisioning.identity_providers p on p.id = o.provider_id
    where o.session_id = s.id), false) as unvouched`);

/** Null: no such session, or none by an issuer. */
export async function readStanding(db: Queryable, sessionId: string): Promise<SessionStanding | null> {
  const { rows } = await sql<SessionStanding>`
    select ${STANDING} from provisioning.sessions s
    where id = ${sessionId} and exists (select from provisioning.sso_sessions o where o.session_id = s.id)`.execute(db);
  return rows[0] ?? null;
}

/** Null: another replica is asking, or there is no such session. @param seconds that asking takes at most. */
export async function claimSession(db: Queryable, sessionId: string, seconds: number): Promise<SessionClaim | null> {
  const { rows } = await sql<SessionClaim>`
    update provisioning.sso_sessions o set claimed_until = now() + make_interval(secs => ${seconds}::float8)
    from provisioning.sessions s join provisioning.identities i on i.user_id = s.user_id
    where o.session_id = ${sessionId} and s.id = o.session_id and coalesce(o.claimed_until <= now(), true)
    returning o.provider_id, s.user_id, i.subject, o.tokens, now() as asked_at`.execute(db);
  return rows[0] ?? null;
}

/** The issuer has vouched for a session's user. */
export async function noteVerified(tx: Queryable, sessionId: string, tokens: string, askedAt: Date): Promise<void> {
  await sql`
    update provisioning.sso_sessions set tokens = ${tokens}, verified_at = ${askedAt}, claimed_until = null, retry_at = null
    where session_id = ${sessionId}`.execute(tx);
}

/** The previous tokens are used up; whether the issuer confirms the user is not known yet. */
export async function noteTokens(db: Queryable, sessionId: string, tokens: string): Promise<void> {
  await sql`update provisioning.sso_sessions set tokens = ${tokens} where session_id = ${sessionId}`.execute(db);
}

/** The issuer did not answer. @param seconds after which it may be asked again, by another session of the user's neither. */
export async function noteUnanswered(db: Queryable, sessionId: string, seconds: number): Promise<void> {
  await sql`
    update provisioning.sso_sessions o
    set retry_at = now() + make_interval(secs => ${seconds}::float8),
        claimed_until = case when o.session_id = ${sessionId} then null else o.claimed_until end
    where o.session_id in (
      select s.id from provisioning.sessions s
      where s.user_id = (select user_id from provisioning.sessions where id = ${sessionId}))`.execute(db);
}
