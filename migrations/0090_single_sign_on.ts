import { type Kysely, sql } from 'kysely';

/** Issuers that vouch for users and for jobs of CI, whom they vouch for, and logins that wait for an answer of theirs. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const STATEMENTS = [
  `create table provisioning.identity_providers (
     id uuid primary key,
     name text not null unique,
     title text not null,
     -- It never changes: users are bound to it.
     issuer text not null unique,
     enabled boolean not null default true,
     -- Null: nobody logs in by it, jobs exchange their tokens.
     client_id text,
     -- Encrypted. Null: the client has none.
     client_secret text,
     scopes text[] not null,
     groups_claim text not null,
     username_claim text not null,
     recheck_seconds integer not null,
     roles_hold_seconds integer not null,
     device_login boolean not null,
     -- What ID tokens must say of how their users showed who they are. Empty: anything.
     required_acr text[] not null,
     required_amr text[] not null,
     -- Raised by each change, so that replicas ask the issuer anew.
     version integer not null default 1,
     created_at timestamptz not null default now(),
     updated_at timestamptz not null default now()
   )`,
  `create table provisioning.group_roles (
     provider_id uuid not null references provisioning.identity_providers on delete cascade,
     group_name text not null,
     role text not null,
     workspace text references provisioning.workspaces on delete cascade,
     unique nulls not distinct (provider_id, group_name, role, workspace)
   )`,
  'create index group_roles_workspace on provisioning.group_roles (workspace)',
  `create table provisioning.exchange_rules (
     provider_id uuid not null references provisioning.identity_providers on delete cascade,
     name text not null,
     audience text not null,
     claims jsonb not null,
     account_id uuid not null references provisioning.users on delete cascade,
     permissions text[],
     expires_in integer not null,
     -- Null: they are gone, so that it is stopped.
     created_by_id uuid references provisioning.users on delete set null,
     -- Whoever made it may not give out tokens of the account any more.
     stopped boolean not null default false,
     primary key (provider_id, name)
   )`,
  'create index exchange_rules_created_by on provisioning.exchange_rules (created_by_id)',
  'create index exchange_rules_account on provisioning.exchange_rules (account_id)',
  `create table provisioning.identities (
     issuer text not null,
     subject text not null,
     user_id uuid not null unique references provisioning.users on delete cascade,
     groups text[] not null,
     -- When the issuer last said who this is and in which groups.
     vouched_at timestamptz not null default now(),
     primary key (issuer, subject)
   )`,
  `create table provisioning.sso_sessions (
     session_id uuid primary key references provisioning.sessions on delete cascade,
     provider_id uuid not null references provisioning.identity_providers on delete cascade,
     -- The issuer's tokens, encrypted.
     tokens text not null,
     verified_at timestamptz not null default now(),
     -- A replica is asking the issuer until then at the latest.
     claimed_until timestamptz,
     -- The issuer did not answer: it is not asked again before.
     retry_at timestamptz
   )`,
  'create index sso_sessions_provider on provisioning.sso_sessions (provider_id)',
  `create table provisioning.sso_logins (
     -- Hash of what its bearer shows.
     key bytea primary key,
     kind text not null,
     provider_id uuid not null references provisioning.identity_providers on delete cascade,
     -- Hash of what only the browser or the command line that began it knows. Null: the key itself is that.
     binding bytea,
     -- Encrypted.
     payload text not null,
     next_poll_at timestamptz,
     created_at timestamptz not null default now(),
     expires_at timestamptz not null
   )`,
  'create index sso_logins_created on provisioning.sso_logins (kind, created_at)',
  'create index sso_logins_provider on provisioning.sso_logins (provider_id)',
  `create table provisioning.exchange_uses (
     -- Hash of what tells a job's token from all others.
     key bytea primary key,
     uses integer not null,
     expires_at timestamptz not null
   )`,
  'create index exchange_uses_expires on provisioning.exchange_uses (expires_at)',
  // Made for the token of a job, by this provider and this rule: it is gone soon, and what the job began goes on.
  'alter table provisioning.api_tokens add column exchanged_by uuid, add column exchanged_rule text',
  'create index api_tokens_exchanged on provisioning.api_tokens (exchanged_by) where exchanged_by is not null',
];
