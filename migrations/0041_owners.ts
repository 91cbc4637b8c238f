import { type Kysely, sql } from 'kysely';

/** What is made on somebody's behalf, by name so far. */
const TABLES = ['operations', 'servers', 'taskservs', 'schedules'] as const;

/**
 * Things are owned by a user's id; `created_by` goes on saying the name. What was made before the present bearer of its
 * name existed is nobody's own. Of operations only those are filled that somebody can still act on as their owner.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const STATEMENTS = [
  ...TABLES.map((table) => `alter table provisioning.${table} add column owner_id uuid`),
  ...(['servers', 'taskservs'] as const).map(
    (table) =>
      `update provisioning.${table} t set owner_id = u.id from provisioning.users u
       where u.username = t.created_by and u.created_at <= t.created_at`,
  ),
  `update provisioning.schedules set owner_id = (authority ->> 'userId')::uuid`,
  `update provisioning.operations o set owner_id = (w.authority ->> 'userId')::uuid
   from provisioning.workflows w where w.id = o.id`,
  `update provisioning.operations o set owner_id = u.id from provisioning.users u
   where o.status in ('pending', 'running') and o.owner_id is null
     and u.username = o.created_by and u.created_at <= o.created_at`,
  // A replica of the version before, which may still run, gives names alone.
  `create function provisioning.owner_from_name() returns trigger language plpgsql as $$
   begin
     new.owner_id := (select id from provisioning.users where lower(username) = new.created_by);
     return new;
   end $$`,
  ...TABLES.map(
    (table) =>
      `create trigger owner_from_name before insert on provisioning.${table}
       for each row when (new.owner_id is null) execute function provisioning.owner_from_name()`,
  ),
  `create view provisioning.name_references as
     select created_by as username, 'server' as what from provisioning.servers
     union all select created_by, 'taskserv' from provisioning.taskservs
     union all select created_by, 'schedule' from provisioning.schedules
     union all select created_by, 'webhook' from provisioning.webhooks
     union all select created_by, 'SSH key' from provisioning.ssh_keys
     union all select updated_by, 'set of credentials' from provisioning.provider_credentials
     union all select decision ->> 'by', 'approval' from provisioning.workflow_nodes where decision is not null
     union all select created_by, 'operation' from provisioning.operations
     union all select cancel_requested_by, 'operation' from provisioning.operations
               where cancel_requested_by is not null`,
  `create table provisioning.departed_users (username text primary key, departed_at timestamptz not null default now())`,
  `insert into provisioning.departed_users (username)
   select distinct username from provisioning.name_references r
   where username ~ '^[a-z0-9][a-z0-9._-]{0,62}$'
     and not exists (select from provisioning.users u where u.username = r.username)`,
  `create function provisioning.user_departs() returns trigger language plpgsql as $$
   begin
     insert into provisioning.departed_users (username) values (old.username)
     on conflict (username) do update set departed_at = now();
     return null;
   end $$`,
  `create trigger user_departs after delete on provisioning.users
   for each row execute function provisioning.user_departs()`,
  `create or replace view provisioning.workflow_runs as
     select w.id, w.type, o.workspace, o.status, o.created_at, o.updated_at, o.finished_at, o.created_by, o.progress,
            o.parent_id, o.result, o.error, o.error_code, o.cancel_requested_at, w.parameters, w.retry_of, w.retried_by,
            w.rollback_operation_id, o.owner_id
     from provisioning.workflows w join provisioning.operations o on o.id = w.id`,
  // On whose behalf a webhook is told; null: it was made by the version before, for all that its owner may read.
  'alter table provisioning.webhooks add column authority jsonb',
  // Why a node failed, where no operation can say so.
  'alter table provisioning.workflow_nodes add column error_code text',
  `alter table provisioning.schedules add column state text not null default 'active'
     check (state in ('active', 'authority_ended'))`,
];
