import { normalizeIP } from '@fastify/rate-limit';
import { type Kysely, sql } from 'kysely';

/** Where users have logged in from: the limit of tries for an account does not count there, so that nobody is locked out. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table provisioning.login_addresses (
      user_id uuid not null references provisioning.users on delete cascade,
      address text not null,
      last_login_at timestamptz not null default now(),
      primary key (user_id, address)
    )`.execute(db);
  // Those who logged in before this upgrade are known as well: guesses at their names must not lock them out.
  const { rows } = await sql<{ user_id: string; address: string; at: Date }>`
    select user_id, address, at from (
      select u.id as user_id, a.address, max(a.at) as at,
             row_number() over (partition by u.id order by max(a.at) desc) as place
      from provisioning.audit_log a join provisioning.users u on u.username = a.principal
      where a.action = 'auth.login' and a.outcome = 'allowed' and a.address is not null
        and a.at > now() - interval '90 days' and a.at >= u.created_at
      group by u.id, a.address) as known
    where place <= 50`.execute(db);
  const addresses = rows.map(({ address }) => normalizeIP(address));
  await sql`
    insert into provisioning.login_addresses (user_id, address, last_login_at)
    select user_id, address, max(at)
    from unnest(${rows.map(({ user_id: id }) => id)}::uuid[], ${addresses}::text[], ${rows.map(({ at }) => at)}::timestamptz[])
      as known (user_id, address, at)
    group by user_id, address`.execute(db);
}
