import { type Kysely, sql } from 'kysely';

/** Taskservs, what stands on which host, and whose turn it is on a host. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  `create table provisioning.taskservs (
    id text primary key,
    workspace text not null references provisioning.workspaces (name),
    name text not null,
    version text not null,
    -- the revision that is wanted on every host
    revision integer not null default 1,
    status text not null,
    created_by text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
  ) with (fillfactor = 80)`,
  'create index taskservs_created on provisioning.taskservs (created_at, id)',
  'create index taskservs_workspace on provisioning.taskservs (workspace, created_at, id)',
  'create index taskservs_status on provisioning.taskservs (status, created_at, id)',
  'create index taskservs_name on provisioning.taskservs (name, created_at, id)',

  // What a taskserv was asked to be. secrets: encrypted JSON text; secret_names: which fields of the config it holds.
  `create table provisioning.taskserv_revisions (
    taskserv_id text not null references provisioning.taskservs (id) on delete cascade,
    revision integer not null,
    version text not null,
    config jsonb not null,
    secret_names text[] not null default '{}',
    secrets text,
    operation_id uuid not null,
    created_at timestamptz not null default now(),
    primary key (taskserv_id, revision)
  )`,

  // What stands on a host. taskserv_id null: nobody asked for it by itself, it came along because another requires it.
  `create table provisioning.taskserv_hosts (
    server_id text not null references provisioning.servers (id) on delete cascade,
    name text not null,
    taskserv_id text references provisioning.taskservs (id) on delete cascade,
    status text not null check (status in ('pending', 'installing', 'running', 'failed', 'removing', 'unknown', 'absent')),
    -- what was applied last with success; null: nothing yet
    version text,
    revision integer,
    message text,
    operation_id uuid,
    checked_at timestamptz,
    check_due_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (server_id, name)
  ) with (fillfactor = 80)`,
  'create index taskserv_hosts_taskserv on provisioning.taskserv_hosts (taskserv_id)',
  `create index taskserv_hosts_due on provisioning.taskserv_hosts (check_due_at)
    where taskserv_id is not null and status in ('running', 'failed')`,

  `create function provisioning.settled_taskserv_status(id text) returns text language sql stable as $$
    select case when count(*) = count(*) filter (where status = 'running') then 'running'
                when bool_or(status = 'running') then 'degraded' else 'failed' end
    from provisioning.taskserv_hosts where taskserv_id = id
  $$`,

  // A host that is deleted takes its share of every taskserv along; a taskserv without hosts is none. The row is locked
  // first, so that the last two hosts of one may go at the same moment.
  `create function provisioning.taskserv_hosts_are_gone() returns trigger language plpgsql as $$
  begin
    perform from provisioning.taskservs where id in (select taskserv_id from gone) order by id for update;
    delete from provisioning.taskservs t
    where id in (select taskserv_id from gone)
      and not exists (select from provisioning.taskserv_hosts h where h.taskserv_id = t.id);
    update provisioning.taskservs t
    set status = provisioning.settled_taskserv_status(t.id), updated_at = now()
    where id in (select taskserv_id from gone) and status in ('running', 'degraded', 'failed')
      and status <> provisioning.settled_taskserv_status(t.id);
    return null;
  end $$`,
  `create trigger taskserv_hosts_are_gone after delete on provisioning.taskserv_hosts
    referencing old table as gone for each statement execute function provisioning.taskserv_hosts_are_gone()`,

  // One change a host at a time: the unfinished operation with the smallest turn goes first. An operation draws one
  // number for all its hosts while it holds their rows, so the order is the same on every host and nobody waits in a ring.
  'create sequence provisioning.turns',
  `create table provisioning.host_turns (
    server_id text not null references provisioning.servers (id) on delete cascade,
    operation_id uuid not null references provisioning.operations (id) on delete cascade,
    turn bigint not null,
    primary key (server_id, operation_id)
  )`,
  'create index host_turns_operation on provisioning.host_turns (operation_id)',

  // The marks of what is installed on simulated servers (never a config: that may hold secrets), and the scripts that
  // are to fail there.
  `create table simulated_cloud.marks (
    ref text not null,
    name text not null,
    mark text not null,
    primary key (ref, name)
  )`,
  `create table simulated_cloud.failures (
    ref text not null,
    label text not null,
    -- a job that does not fail, but runs for as long as this row is here
    hangs boolean not null default false,
    primary key (ref, label)
  )`,
];
