import { type Kysely, sql } from 'kysely';

/** The issuer's tokens of sessions that have ended, however they did: to be revoked there. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const STATEMENTS = [
  // No foreign keys: the session is gone, and the provider may go.
  `create table provisioning.sso_revocations (
     session_id uuid primary key,
     provider_id uuid not null,
     -- Encrypted, as the session had them.
     tokens text not null,
     tries integer not null default 0,
     due_at timestamptz not null default now()
   )`,
  'create index sso_revocations_due on provisioning.sso_revocations (due_at)',
  `create function provisioning.sso_session_ends() returns trigger language plpgsql as $$
   begin
     insert into provisioning.sso_revocations (session_id, provider_id, tokens)
     values (old.session_id, old.provider_id, old.tokens) on conflict do nothing;
     return null;
   end $$`,
  `create trigger sso_session_ends after delete on provisioning.sso_sessions
   for each row execute function provisioning.sso_session_ends()`,
];
