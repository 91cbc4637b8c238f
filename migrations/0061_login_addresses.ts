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
}
