import { type Kysely, sql } from 'kysely';

/** Service accounts are users that a workspace owns; API tokens can be narrowed to single permissions. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const STATEMENTS = [
  // Null: a person. A service account goes with its workspace, and its tokens with it.
  `alter table provisioning.users
     add column service_workspace text references provisioning.workspaces (name) on delete cascade,
     add column created_by text,
     -- Null: no password opens it.
     alter column password_hash drop not null`,
  'create index users_service_workspace on provisioning.users (service_workspace) where service_workspace is not null',
  // Of a token with bindings to single permissions. Replicas of the version before know none and read roles, which is
  // empty then: they refuse the token rather than let it do more than it may.
  'alter table provisioning.api_tokens add column narrowed jsonb',
  `do $$ begin
     execute 'create or replace view provisioning.name_references as '
       || rtrim(trim(pg_get_viewdef('provisioning.name_references'::regclass)), ';')
       || ' union all select created_by, ''service account'' from provisioning.users where created_by is not null';
   end $$`,
];
