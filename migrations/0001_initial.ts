import { type Kysely, sql } from 'kysely';

/**
 * The tables of the server itself. The engine keeps its own in schema `dbos`, the simulated cloud in
 * `simulated_cloud`: three schemas of one database, so that one transaction can span them.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  'create schema if not exists provisioning',

  `create table provisioning.settings (
    key text primary key,
    value text not null
  )`,

  `create table provisioning.replicas (
    id text primary key,
    lock_key bigint not null,
    role text not null,
    version text not null,
    host text not null,
    pid integer not null,
    started_at timestamptz not null default now(),
    heartbeat_at timestamptz not null default now()
  )`,

  `create table provisioning.workspaces (
    name text primary key,
    path text not null unique,
    active boolean not null default false,
    last_used timestamptz,
    created_at timestamptz not null default now()
  )`,
  'create unique index workspaces_one_active on provisioning.workspaces (active) where active',

  `create table provisioning.operations (
    id uuid primary key,
    kind text not null,
    status text not null default 'pending' check (status in ('pending', 'running', 'completed', 'failed', 'cancelled')),
    workspace text not null,
    resource text,
    parent_id uuid,
    input jsonb not null,
    result jsonb,
    error text,
    error_code text,
    progress smallint not null default 0,
    last_seq integer not null default 0,
    created_by text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    finished_at timestamptz,
    cancel_requested_at timestamptz,
    cancel_requested_by text
  ) with (fillfactor = 80)`,
  // One mutation a resource at a time.
  `create unique index operations_one_active on provisioning.operations (resource)
    where status in ('pending', 'running') and resource is not null`,
  'create index operations_created on provisioning.operations (created_at, id)',
  'create index operations_status on provisioning.operations (status, created_at, id)',
  'create index operations_workspace on provisioning.operations (workspace, created_at, id)',
  'create index operations_kind on provisioning.operations (kind, created_at, id)',
  'create index operations_parent on provisioning.operations (parent_id) where parent_id is not null',
  'create index operations_finished on provisioning.operations (finished_at) where finished_at is not null',

  // xid orders events over all operations by commit: a reader that takes only rows below its snapshot's xmin
  // never meets a smaller one later.
  `create table provisioning.operation_events (
    operation_id uuid not null references provisioning.operations (id) on delete cascade,
    seq integer not null,
    at timestamptz not null default clock_timestamp(),
    type text not null check (type in ('status', 'progress', 'log')),
    data jsonb not null,
    xid xid8 not null default pg_current_xact_id(),
    primary key (operation_id, seq)
  )`,
  `create index operation_events_feed on provisioning.operation_events (xid, operation_id, seq) where type <> 'log'`,

  `create table provisioning.servers (
    id text primary key,
    workspace text not null references provisioning.workspaces (name),
    hostname text not null,
    provider text not null,
    plan text not null,
    zone text not null,
    ip_address text,
    status text not null,
    tags text[] not null default '{}',
    provider_ref text,
    operation_id uuid not null,
    created_by text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (workspace, hostname)
  ) with (fillfactor = 80)`,
  'create index servers_created on provisioning.servers (created_at, id)',
  'create index servers_workspace on provisioning.servers (workspace, created_at, id)',
  'create index servers_status on provisioning.servers (status, created_at, id)',
  'create index servers_provider on provisioning.servers (provider, created_at, id)',
  'create index servers_zone on provisioning.servers (zone, created_at, id)',
  'create index servers_hostname on provisioning.servers (hostname)',
  'create index servers_tags on provisioning.servers using gin (tags)',

  `create table provisioning.users (
    id uuid primary key,
    username text not null,
    password_hash text not null,
    disabled boolean not null default false,
    -- every token carries the generation it was made in; raising it ends them all
    token_generation integer not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
  )`,
  'create unique index users_username on provisioning.users (lower(username))',

  // workspace null = every workspace
  `create table provisioning.role_bindings (
    user_id uuid not null references provisioning.users (id) on delete cascade,
    role text not null,
    workspace text references provisioning.workspaces (name) on delete cascade,
    unique nulls not distinct (user_id, role, workspace)
  )`,

  `create table provisioning.refresh_tokens (
    hash bytea primary key,
    family uuid not null,
    user_id uuid not null references provisioning.users (id) on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz,
    revoked_at timestamptz
  )`,
  'create index refresh_tokens_family on provisioning.refresh_tokens (family)',
  'create index refresh_tokens_user on provisioning.refresh_tokens (user_id)',
  'create index refresh_tokens_expires on provisioning.refresh_tokens (expires_at)',

  // roles: [{"role": "operator", "workspace": "production" | null}]; never more than the owner has at the moment of use
  `create table provisioning.api_tokens (
    id uuid primary key,
    user_id uuid not null references provisioning.users (id) on delete cascade,
    name text not null,
    hash bytea not null unique,
    roles jsonb not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    unique (user_id, name)
  )`,

  `create table provisioning.idempotency_keys (
    principal text not null,
    key text not null,
    request_hash bytea not null,
    response_status smallint,
    -- encrypted where the answer holds a secret (a new API token), plain JSON text otherwise
    response_body text,
    response_sealed boolean not null default false,
    response_location text,
    created_at timestamptz not null default now(),
    primary key (principal, key)
  )`,
  'create index idempotency_keys_created on provisioning.idempotency_keys (created_at)',

  // Rows are written unsealed inside the transaction they tell of; a sealer then chains them in batches
  // (position, hash over the row and the hash before it), so that accepting requests never queues on one row.
  `create table provisioning.audit_log (
    id uuid primary key,
    at timestamptz not null default clock_timestamp(),
    principal text not null,
    action text not null,
    workspace text,
    resource text,
    outcome text not null check (outcome in ('allowed', 'denied', 'failed')),
    address text,
    request_id text,
    operation_id uuid,
    details jsonb,
    position bigint unique,
    hash bytea
  )`,
  'create index audit_log_at on provisioning.audit_log (at, id)',
  'create index audit_log_unsealed on provisioning.audit_log (at) where position is null',
  'create index audit_log_principal on provisioning.audit_log (principal, at)',
  `create function provisioning.audit_log_is_append_only() returns trigger language plpgsql as $$
  begin
    if tg_op = 'UPDATE' and old.position is null and new.position is not null and new.hash is not null
      and row(new.id, new.at, new.principal, new.action, new.workspace, new.resource, new.outcome, new.address,
              new.request_id, new.operation_id, new.details)
        is not distinct from
          row(old.id, old.at, old.principal, old.action, old.workspace, old.resource, old.outcome, old.address,
              old.request_id, old.operation_id, old.details) then
      return new;
    end if;
    raise exception 'the audit log is append-only';
  end $$`,
  `create trigger audit_log_is_append_only before update or delete on provisioning.audit_log
    for each row execute function provisioning.audit_log_is_append_only()`,

  'create schema if not exists simulated_cloud',
  `create table simulated_cloud.servers (
    ref text primary key,
    operation_id text not null,
    workspace text not null,
    hostname text not null,
    plan text not null,
    zone text not null,
    ip_address text not null,
    tags text[] not null default '{}',
    power text not null check (power in ('on', 'off')),
    -- a half-succeeded create: it exists and is billed, but never comes up
    broken boolean not null default false,
    -- until then the last change (create, start, stop, restart, delete) is still under way
    settles_at timestamptz not null,
    change text not null check (change in ('create', 'start', 'stop', 'restart', 'delete')),
    created_at timestamptz not null default clock_timestamp()
  )`,
  // A cloud that notices a second create for one operation: it refuses, and tests see the refusal.
  "create unique index simulated_servers_operation on simulated_cloud.servers (operation_id) where change <> 'delete'",
  "create index simulated_servers_deleting on simulated_cloud.servers (operation_id) where change = 'delete'",
  'create sequence simulated_cloud.addresses minvalue 1 maxvalue 16777214 cycle',
  `create table simulated_cloud.calls (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    call text not null,
    ref text,
    operation_id text,
    outcome text not null
  )`,
  'create index simulated_calls_operation on simulated_cloud.calls (operation_id)',
];
