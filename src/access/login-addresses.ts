/** Where users have logged in from, as the limits count addresses. */
import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';

/** An address is forgotten so long after the last login from there. Days. */
const KEEP_DAYS = 90;
/** Of one user at most; the longest unused go first. */
const MAX_ADDRESSES = 50;

/** Whether this user has logged in from there. @param userId null: there is no such user; asked for all the same. */
export async function isKnownAddress(db: Queryable, userId: string | null, address: string): Promise<boolean> {
  const { rows } = await sql<{ known: boolean }>`
    select exists (
      select from provisioning.login_addresses
      where user_id = ${userId}::uuid and address = ${address}
        and last_login_at > now() - make_interval(days => ${KEEP_DAYS}::int)) as known`.execute(db);
  return rows[0]?.known === true;
}

/** Notes a login or its renewal, in the transaction that makes its tokens and holds the user's row. */
export async function noteLogin(tx: Queryable, userId: string, address: string): Promise<void> {
  await sql`
    insert into provisioning.login_addresses as known (user_id, address) values (${userId}, ${address})
    on conflict (user_id, address) do update set last_login_at = now()
    where known.last_login_at < now() - interval '1 hour'`.execute(tx);
  await sql`
    delete from provisioning.login_addresses
    where user_id = ${userId} and (user_id, address) not in (
      select user_id, address from provisioning.login_addresses
      where user_id = ${userId} order by last_login_at desc, address limit ${MAX_ADDRESSES}::int)`.execute(tx);
}
