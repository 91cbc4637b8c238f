/** Logins that have been begun and wait for an answer: kept in the database, so that any replica can end them. */
import { sql } from 'kysely';
import type { Queryable } from '../../database/pool.ts';

/** At once, of everybody: with more the oldest go. Beginning one needs no login, what follows does. */
const MAX_PENDING = { code: 10_000, device: 1_000, consent: 10_000, ticket: 10_000 };

/**
 * `code`: at the issuer, in a browser; `consent`: back from there, asked whether a command line is theirs; `ticket`: to be
 * traded for a session; `device`: at the issuer, elsewhere.
 */
type PendingKind = 'code' | 'consent' | 'ticket' | 'device';

interface Pending {
  provider_id: string;
  binding: Buffer | null;
  /** Encrypted. */
  payload: string;
}

export async function insertPending(
  db: Queryable,
  pending: {
    key: Buffer;
    kind: PendingKind;
    providerId: string;
    binding: Buffer | null;
    payload: string;
    seconds: number;
    /** Before the first look; null: nobody looks. */
    pollAfter: number | null;
  },
): Promise<void> {
  const { key, kind, providerId, binding, payload, seconds, pollAfter } = pending;
  await sql`
    insert into provisioning.sso_logins (key, kind, provider_id, binding, payload, expires_at, next_poll_at)
    values (${key}, ${kind}, ${providerId}, ${binding}, ${payload}, now() + make_interval(secs => ${seconds}::float8),
            now() + make_interval(secs => ${pollAfter}::float8))`.execute(db);
  await sql`delete from provisioning.sso_logins where expires_at <= now()`.execute(db);
  await sql`
    delete from provisioning.sso_logins where key in (
      select key from provisioning.sso_logins where kind = ${kind}
      order by created_at desc, key offset ${MAX_PENDING[kind]}::int)`.execute(db);
}

/** Takes it, once over all replicas. Null: there is none, or its time is over. */
export async function takePending(db: Queryable, key: Buffer, kind: PendingKind): Promise<Pending | null> {
  const { rows } = await sql<Pending>`
    delete from provisioning.sso_logins where key = ${key} and kind = ${kind} and expires_at > now()
    returning provider_id, binding, payload`.execute(db);
  return rows[0] ?? null;
}

/** The right to look at the issuer now. Null: there is none; `early`: not yet. @param seconds that the look takes at most. */
export async function claimPoll(
  db: Queryable,
  key: Buffer,
  seconds: number,
): Promise<(Pending & { early: boolean }) | null> {
  const { rows } = await sql<Pending & { early: boolean }>`
    with found as (
      select key, next_poll_at > now() as early from provisioning.sso_logins
      where key = ${key} and kind = 'device' and expires_at > now() for update)
    update provisioning.sso_logins p
    set next_poll_at = case when f.early then p.next_poll_at else now() + make_interval(secs => ${seconds}::float8) end
    from found f where p.key = f.key
    returning p.provider_id, p.binding, p.payload, f.early`.execute(db);
  return rows[0] ?? null;
}

/** Nobody has signed in yet. @param seconds until the next look. */
export async function delayPoll(db: Queryable, key: Buffer, payload: string, seconds: number): Promise<void> {
  await sql`
    update provisioning.sso_logins
    set payload = ${payload}, next_poll_at = now() + make_interval(secs => ${seconds}::float8)
    where key = ${key} and kind = 'device'`.execute(db);
}
