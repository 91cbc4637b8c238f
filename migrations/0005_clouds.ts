import { type Kysely, sql } from 'kysely';

/** Accounts of workspaces at clouds, what stands there without being ours, and what has changed there behind our back. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  // Told apart by it: servers of other installations in the same account.
  `insert into provisioning.settings (key, value) values ('installation_id', replace(gen_random_uuid()::text, '-', ''))
   on conflict do nothing`,

  `create table provisioning.provider_credentials (
    workspace text not null references provisioning.workspaces (name) on delete cascade,
    provider text not null,
    -- encrypted
    credentials text not null,
    -- names of what they consist of, for showing
    fields text[] not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    updated_by text not null,
    primary key (workspace, provider)
  )`,

  `create table provisioning.orphans (
    provider text not null,
    ref text not null,
    -- whose credentials see it; null: the installation's
    account text,
    -- what its labels say
    operation_id text,
    workspace text,
    hostname text not null,
    plan text not null,
    zone text not null,
    status text not null,
    ip_address text,
    first_seen_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    -- the operation that deletes it, once there is one
    deletion_id uuid,
    primary key (provider, ref)
  )`,

  // [{field, expected, actual, since}]: what the provider says otherwise than we left it.
  `alter table provisioning.servers add column drift jsonb not null default '[]',
    add column observed_at timestamptz`,
];
