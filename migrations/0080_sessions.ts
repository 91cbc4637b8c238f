import { type Kysely, sql } from 'kysely';

/** A login makes a session; the family of its refresh tokens has the same id. Those that go on get theirs. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const STATEMENTS = [
  `create table provisioning.sessions (
     id uuid primary key,
     user_id uuid not null references provisioning.users on delete cascade,
     -- What vouched for the user.
     origin text not null default 'password',
     created_at timestamptz not null default now(),
     last_used_at timestamptz not null default now(),
     address text,
     user_agent text,
     -- Seconds that its access tokens hold; null: as the server is set.
     access_ttl integer,
     -- Unless it is renewed before, and at the latest.
     expires_at timestamptz not null,
     ends_at timestamptz not null
   )`,
  'create index sessions_user on provisioning.sessions (user_id, last_used_at)',
  `insert into provisioning.sessions (id, user_id, created_at, last_used_at, expires_at, ends_at)
   select family, user_id, min(created_at), max(created_at), max(expires_at),
          greatest(max(expires_at), now() + interval '30 days')
   from provisioning.refresh_tokens group by family, user_id
   having bool_or(used_at is null and revoked_at is null and expires_at > now())`,
];
