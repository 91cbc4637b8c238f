import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';
import { type SessionStanding, STANDING } from './sso/identity-store.ts';
import { endSessions } from './store.ts';

/** Of one user at most; those unused for longest end first. */
const MAX_SESSIONS = 1_000;

/** What decides about a request made with an access token. */
export interface SessionState {
  id: string;
  user_id: string;
  /** Null: nothing is to be asked of an issuer. */
  standing: SessionStanding | null;
}

/** From where a session is used. */
export interface SessionClient {
  address: string;
  /** What the client calls itself, bounded; null: nothing. */
  userAgent: string | null;
}

/** A session as its tokens are made for. */
export interface Session {
  id: string;
  /** Seconds that its access tokens hold; null: as the server is set. */
  accessTtl: number | null;
  /** It ends then, however often it is renewed. */
  endsAt: Date;
}

const TIME = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;

/** A session as clients see it, as JSON text. */
export const SESSION_JSON = sql.raw<string>(`json_build_object(
  'id', id, 'user', (select username from provisioning.users u where u.id = sessions.user_id), 'origin', origin,
  'address', address, 'user_agent', user_agent, 'created_at', ${TIME('created_at')},
  'last_used_at', ${TIME('last_used_at')}, 'expires_at', ${TIME('expires_at')}, 'ends_at', ${TIME('ends_at')})::text`);

/** Makes a session, in the transaction that holds its user's row. @param seconds from now to its end at the latest. */
export async function insertSession(
  tx: Queryable,
  session: {
    id: string;
    userId: string;
    /** What vouched for the user. */
    origin: string;
    accessTtl: number | null;
    seconds: number;
    client: SessionClient;
  },
): Promise<Session> {
  const { id, userId, origin, accessTtl, seconds, client } = session;
  const { rows } = await sql<{ ends_at: Date }>`
    insert into provisioning.sessions (id, user_id, origin, access_ttl, address, user_agent, expires_at, ends_at)
    values (${id}, ${userId}, ${origin}, ${accessTtl}, ${client.address}, ${client.userAgent}, now(),
            now() + make_interval(secs => ${seconds}::float8))
    returning ends_at`.execute(tx);
  await sql`
    with ended as (
      delete from provisioning.sessions where user_id = ${userId} and id in (
        select id from provisioning.sessions where user_id = ${userId}
        order by last_used_at desc, id desc offset ${MAX_SESSIONS}::int)
      returning id)
    update provisioning.refresh_tokens set revoked_at = now()
    where user_id = ${userId} and family in (select id from ended) and revoked_at is null`.execute(tx);
  const [row] = rows;
  if (row === undefined) throw new Error('the database answered no session');
  return { id, accessTtl, endsAt: row.ends_at };
}

/** The session that is to be renewed; null: a version that knew no sessions made its token. */
export async function findSession(tx: Queryable, id: string): Promise<Session | null> {
  const row = await tx
    .selectFrom('provisioning.sessions')
    .select(['access_ttl', 'ends_at'])
    .where('id', '=', id)
    .executeTakeFirst();
  return row === undefined ? null : { id, accessTtl: row.access_ttl, endsAt: row.ends_at };
}

/** Notes from where the session got new tokens, and when the last of these expires. */
export async function noteSession(tx: Queryable, id: string, expiresAt: Date, client: SessionClient): Promise<void> {
  await sql`
    update provisioning.sessions
    set last_used_at = now(), expires_at = ${expiresAt}, address = ${client.address}, user_agent = ${client.userAgent}
    where id = ${id}`.execute(tx);
}

/** Null: there is none, or it has ended. */
export async function readSessionState(db: Queryable, id: string): Promise<SessionState | null> {
  const { rows } = await sql<{ user_id: string } & SessionStanding>`
    select user_id, ${STANDING} from provisioning.sessions s where id = ${id} and ends_at > now()`.execute(db);
  const [row] = rows;
  if (row === undefined) return null;
  const { user_id, due, unvouched } = row;
  return { id, user_id, standing: due || unvouched ? { due, unvouched } : null };
}

export async function readSession(db: Queryable, id: string): Promise<{ json: string; user_id: string } | null> {
  const { rows } = await sql<{ json: string; user_id: string }>`
    select ${SESSION_JSON} as json, user_id from provisioning.sessions where id = ${id}`.execute(db);
  return rows[0] ?? null;
}

/** Ends a session with its access and refresh tokens. The user's row must be held. */
export async function endSession(tx: Queryable, id: string): Promise<void> {
  const ended = await tx
    .deleteFrom('provisioning.sessions')
    .where('id', '=', id)
    .returning(['user_id', 'address'])
    .executeTakeFirst();
  // Of a version that knew no sessions: its access tokens name none, and end only with all others of the user.
  if (ended?.address === null) await endSessions(tx, ended.user_id);
  await sql`
    update provisioning.refresh_tokens set revoked_at = now() where family = ${id} and revoked_at is null`.execute(tx);
}

/** Ends the user's sessions, this one excepted, if any. The user's row must be held. */
export async function endOtherSessions(tx: Queryable, userId: string, kept: string | undefined): Promise<void> {
  const id = kept ?? null;
  await sql`
    delete from provisioning.sessions where user_id = ${userId} and id is distinct from ${id}::uuid`.execute(tx);
  await sql`
    update provisioning.refresh_tokens set revoked_at = now()
    where user_id = ${userId} and family is distinct from ${id}::uuid and revoked_at is null`.execute(tx);
}

/** To the minute. */
export async function touchSession(db: Queryable, id: string): Promise<void> {
  await sql`
    update provisioning.sessions set last_used_at = now()
    where id = ${id} and last_used_at < now() - interval '1 minute'`.execute(db);
}
