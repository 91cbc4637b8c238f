import { type Kysely, sql } from 'kysely';

/** Workflows: the graph that a run was submitted with, and how each of its nodes stands. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  // The run's own snapshot: a definition that is edited meanwhile does not touch it. The operation of the same id says
  // how the run stands.
  `create table provisioning.workflows (
    id uuid primary key references provisioning.operations (id) on delete cascade,
    type text,
    parameters jsonb not null,
    definition jsonb not null,
    -- definitions of nested workflows by type
    nested jsonb not null,
    -- steps with their settings, in order
    steps jsonb not null,
    settings jsonb not null,
    -- what workspace.yaml said
    workspace_settings jsonb not null,
    -- on whose behalf its operations are submitted: ids and roles, no secret
    authority jsonb not null,
    retry_of uuid,
    retried_by uuid,
    rollback_operation_id uuid
  )`,
  'create index workflows_type on provisioning.workflows (type)',

  `create table provisioning.workflow_nodes (
    workflow_id uuid not null references provisioning.workflows (id) on delete cascade,
    position integer not null,
    key text not null,
    step text not null,
    item_index integer not null,
    item jsonb,
    -- null until it is known: it needs results of other nodes
    fields jsonb,
    status text not null check (status in
      ('waiting', 'running', 'retrying', 'completed', 'failed', 'cancelled', 'skipped', 'not_run')),
    attempt integer not null default 0,
    operation_id uuid,
    -- the operation that tidies up after a try that failed: the next one waits for it
    cleanup_operation_id uuid,
    started_at timestamptz,
    finished_at timestamptz,
    next_attempt_at timestamptz,
    -- the try was stopped because its time was over
    timed_out boolean not null default false,
    error text,
    decision jsonb,
    undo text check (undo in ('running', 'retrying', 'undone', 'failed', 'nothing', 'kept')),
    undo_attempt integer not null default 0,
    undo_operation_id uuid,
    undo_error text,
    primary key (workflow_id, position),
    unique (workflow_id, key)
  ) with (fillfactor = 70)`,
  'create index workflow_nodes_operation on provisioning.workflow_nodes (operation_id) where operation_id is not null',

  `create table provisioning.workflow_edges (
    workflow_id uuid not null references provisioning.workflows (id) on delete cascade,
    from_step text not null,
    to_step text not null,
    type text not null check (type in ('hard', 'soft')),
    primary key (workflow_id, from_step, to_step)
  )`,

  `create table provisioning.schedules (
    id uuid primary key,
    name text not null,
    workspace text not null references provisioning.workspaces (name) on delete cascade,
    workflow_type text not null,
    parameters jsonb not null,
    cron text not null,
    timezone text not null,
    overlap text not null check (overlap in ('skip', 'allow')),
    missed text not null check (missed in ('skip', 'run_once')),
    -- on whose behalf: ids and roles, no secret
    authority jsonb not null,
    next_run_at timestamptz not null,
    last_run_at timestamptz,
    last_workflow_id uuid,
    last_error text,
    created_by text not null,
    created_at timestamptz not null default now(),
    unique (workspace, name)
  )`,
  'create index schedules_due on provisioning.schedules (next_run_at)',

  `create view provisioning.workflow_runs as
    select w.id, w.type, o.workspace, o.status, o.created_at, o.updated_at, o.finished_at, o.created_by, o.progress,
           o.parent_id, o.result, o.error, o.error_code, o.cancel_requested_at, w.parameters, w.retry_of, w.retried_by,
           w.rollback_operation_id
    from provisioning.workflows w join provisioning.operations o on o.id = w.id`,
];
