import { type Kysely, sql } from 'kysely';

/** The authenticator apps of users (RFC 6238), and what stands in for one that is lost. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const STATEMENTS = [
  `create table provisioning.second_factors (
     user_id uuid primary key references provisioning.users on delete cascade,
     -- Encrypted. Null: none is confirmed yet.
     secret text,
     -- Encrypted: the one that the next right code puts in its place.
     pending_secret text,
     confirmed_at timestamptz,
     -- The period of the last code that was taken: none of it or before is taken again.
     last_step bigint,
     failures integer not null default 0,
     failing_since timestamptz
   )`,
  `create table provisioning.recovery_codes (
     user_id uuid not null references provisioning.users on delete cascade,
     digest bytea not null,
     primary key (user_id, digest)
   )`,
];
