import { type Kysely, sql } from 'kysely';

/**
 * Checkpoints of the audit log's chain under a key that the database does not have, how far the log has been exported and
 * deleted under the same key, and triggers that let rows go only when that says so and they are about a day old (clocks are set). What
 * keeps whoever writes these tables from deleting is the key: triggers cannot ask for it, verification does.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const STATEMENTS = [
  `create table provisioning.audit_checkpoints (
    number bigint primary key,
    since bigint not null,
    position bigint not null unique,
    hash bytea not null,
    at timestamptz not null,
    previous bytea,
    mac bytea not null
  )`,
  `create table provisioning.audit_exports (
    destination text primary key,
    position bigint not null,
    hash bytea not null,
    exported_at timestamptz not null,
    mac bytea not null
  )`,
  // What retention has said last: the rows up to here are gone, and had been exported.
  `create table provisioning.audit_retention (
    one boolean primary key default true check (one),
    through bigint not null,
    hash bytea not null,
    at timestamptz not null,
    exported_to text not null,
    mac bytea not null
  )`,
  // A replica of the version before calls it by this name as well, when it seals.
  `create or replace function provisioning.audit_log_is_append_only() returns trigger language plpgsql as $$
  begin
    if tg_op = 'UPDATE' and old.position is null and new.position is not null and new.hash is not null
      and row(new.id, new.at, new.principal, new.action, new.workspace, new.resource, new.outcome, new.address,
              new.request_id, new.operation_id, new.details)
        is not distinct from
          row(old.id, old.at, old.principal, old.action, old.workspace, old.resource, old.outcome, old.address,
              old.request_id, old.operation_id, old.details) then
      return new;
    end if;
    if tg_op = 'DELETE' and old.at < now() - interval '20 hours'
      and old.position <= (select r.through from provisioning.audit_retention r
        join provisioning.audit_exports e on e.destination = r.exported_to and e.position >= r.through)
      and old.position < (select max(position) from provisioning.audit_checkpoints) then
      return old;
    end if;
    -- A restore empties what it has just made.
    if tg_op = 'TRUNCATE' and not exists (select from provisioning.audit_log) then
      return null;
    end if;
    raise exception 'the audit log is append-only';
  end $$`,
  `create trigger audit_log_is_not_truncated before truncate on provisioning.audit_log
     for each statement execute function provisioning.audit_log_is_append_only()`,
  `create function provisioning.audit_checkpoints_are_append_only() returns trigger language plpgsql as $$
  begin
    if tg_op = 'DELETE' and old.position < (select through from provisioning.audit_retention)
      and old.position < (select max(position) from provisioning.audit_checkpoints) then
      return old;
    end if;
    if tg_op = 'TRUNCATE' and not exists (select from provisioning.audit_checkpoints) then
      return null;
    end if;
    raise exception 'checkpoints of the audit log are append-only';
  end $$`,
  `create trigger audit_checkpoints_are_append_only before update or delete on provisioning.audit_checkpoints
     for each row execute function provisioning.audit_checkpoints_are_append_only()`,
  `create trigger audit_checkpoints_are_not_truncated before truncate on provisioning.audit_checkpoints
     for each statement execute function provisioning.audit_checkpoints_are_append_only()`,
];
