import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';
import type { OperationStatus } from '../database/tables.ts';
import type { Json, JsonObject } from '../documents/json.ts';
import { taskservSecret } from './secrets/reference.ts';

/** Servers that expressions may choose from at most. */
const MAX_SERVERS = 20_000;
/** Taskservs likewise. */
const MAX_TASKSERVS = 20_000;

/** How many nodes the run and all that belong to the same outermost run have by now. */
export async function countNodesAround(tx: Queryable, workflowId: string): Promise<number> {
  const outermost = await sql<{ id: string }>`
    with recursive outwards as (
      select id, parent_id from provisioning.operations where id = ${workflowId}::uuid
      union all
      select o.id, o.parent_id from provisioning.operations o join outwards on o.id = outwards.parent_id)
    select id, pg_advisory_xact_lock(hashtextextended('nodes of ' || id, 0)) from outwards where parent_id is null`.execute(
    tx,
  );
  const { rows } = await sql<{ nodes: number }>`
    with recursive runs as (
      select id from unnest(${outermost.rows.map(({ id }) => id)}::uuid[]) as outermost (id)
      union all
      select o.id from provisioning.operations o join runs on o.parent_id = runs.id where o.kind = 'workflow.run')
    select count(*)::int as nodes from provisioning.workflow_nodes n join runs on n.workflow_id = runs.id`.execute(tx);
  return rows[0]?.nodes ?? 0;
}

/** The workspace's servers as expressions see them, oldest first. */
export async function serversForExpressions(db: Queryable, workspace: string): Promise<Json[]> {
  return db
    .selectFrom('provisioning.servers')
    .select(['id', 'hostname', 'ip_address', 'status', 'provider', 'plan', 'zone', 'tags'])
    .where('workspace', '=', workspace)
    .where('status', '<>', 'deleting')
    .orderBy('created_at')
    .orderBy('id')
    .limit(MAX_SERVERS)
    .execute();
}

/** A taskserv as expressions see it. */
interface TaskservRow {
  id: string;
  name: string;
  version: string;
  status: string;
  servers: string[];
  config: JsonObject;
  secretNames: string[];
}

/**
 * The workspace's taskservs as expressions see them, oldest first. Their config is whole: with its version, and with
 * references in the place of secrets, so that it can be given to another host.
 */
export async function taskservsForExpressions(db: Queryable, workspace: string): Promise<Json[]> {
  const { rows } = await sql<TaskservRow>`
    select t.id, t.name, t.version, t.status, r.config, r.secret_names as "secretNames",
           coalesce((select array_agg(s.hostname order by s.created_at, s.id)
                     from provisioning.taskserv_hosts h join provisioning.servers s on s.id = h.server_id
                     where h.taskserv_id = t.id), '{}') as servers
    from provisioning.taskservs t
      join provisioning.taskserv_revisions r on r.taskserv_id = t.id and r.revision = t.revision
    where t.workspace = ${workspace} order by t.created_at, t.id limit ${MAX_TASKSERVS}::int`.execute(db);
  return rows.map(({ secretNames, config, ...row }) => ({
    ...row,
    config: {
      ...config,
      ...Object.fromEntries(secretNames.map((name) => [name, taskservSecret(row.id, name)])),
      version: row.version,
    },
  }));
}

const TIME = `'YYYY-MM-DD"T"HH24:MI:SS"Z"'`;
const time = (column: string) => `to_char(${column} at time zone 'UTC', ${TIME})`;

/** A run as JSON text: the reference's fields first. Of the view `workflow_runs`. */
export const WORKFLOW_JSON = sql.raw<string>(`json_build_object(
  'id', id, 'workflow_type', type, 'status', status, 'created_at', ${time('created_at')}, 'updated_at', ${time('updated_at')},
  'workspace', workspace, 'parameters', parameters, 'progress', progress,
  'nodes', (select coalesce(json_object_agg(s.status, s.count), '{}') from (
      select n.status, count(*) from provisioning.workflow_nodes n where n.workflow_id = workflow_runs.id group by n.status) s),
  'result', result, 'error', error, 'error_code', error_code, 'created_by', created_by, 'parent_id', parent_id,
  'retry_of', retry_of, 'retried_by', retried_by, 'rollback_operation_id', rollback_operation_id,
  'cancel_requested_at', ${time('cancel_requested_at')})::text`);

/** A run for the client, and what decides who may have it. */
export interface WorkflowRecord {
  id: string;
  json: string;
  status: OperationStatus;
  workspace: string;
  ownerId: string | null;
  type: string | null;
  retriedBy: string | null;
  rollbackId: string | null;
  rollbackStatus: OperationStatus | null;
  /** It ran in a workspace that has been deleted, after which another one got its name. */
  ofFormerWorkspace: boolean;
}

/** Keeps others from retrying or undoing the run until the caller's transaction ends. */
export async function lockWorkflow(tx: Queryable, id: string): Promise<void> {
  await tx.selectFrom('provisioning.workflows').select('id').where('id', '=', id).forUpdate().execute();
}

/** The unfinished operation that carries a run out or undoes it. */
export async function holderOfWorkflow(db: Queryable, id: string): Promise<{ id: string; kind: string } | null> {
  const row = await db
    .selectFrom('provisioning.operations')
    .select(['id', 'kind'])
    .where('resource', '=', `workflow:${id}`)
    .where('status', 'in', ['pending', 'running'])
    .executeTakeFirst();
  return row ?? null;
}

export async function findWorkflow(db: Queryable, id: string): Promise<WorkflowRecord | null> {
  const { rows } = await sql<WorkflowRecord>`
    select id, ${WORKFLOW_JSON} as json, status, workspace, owner_id as "ownerId", type, retried_by as "retriedBy",
           rollback_operation_id as "rollbackId",
           (select o.status from provisioning.operations o where o.id = rollback_operation_id) as "rollbackStatus",
           coalesce(created_at < (select w.created_at from provisioning.workspaces w where w.name = workspace), false)
             as "ofFormerWorkspace"
    from provisioning.workflow_runs where id = ${id}`.execute(db);
  return rows[0] ?? null;
}

/** A node as JSON text. `brief`: without what may be long. */
const nodeJson = (brief: boolean) =>
  sql.raw<string>(`json_build_object(
  'id', n.key, 'step', n.step, 'kind', s.kind, 'depends_on', s.depends_on, 'status', n.status, 'attempt', n.attempt,
  'with', ${brief ? 'null' : 'n.fields'}, 'operation_id', n.operation_id, 'progress', o.progress,
  'result', ${brief ? 'null' : "case when n.status = 'completed' then o.result end"},
  'error', n.error, 'error_code', n.error_code, 'started_at', ${time('n.started_at')}, 'finished_at', ${time('n.finished_at')},
  'next_attempt_at', ${time('n.next_attempt_at')}, 'cleanup_operation_id', n.cleanup_operation_id,
  'follow_up_operation_id', n.cleanup_operation_id, 'decision', n.decision,
  'undo', n.undo, 'undo_operation_id', n.undo_operation_id, 'undo_error', n.undo_error)::text`);

/** The nodes of a run as a JSON array in the order of the graph, from one position on; `full`: there may be more behind `last`. */
export async function listNodes(
  db: Queryable,
  workflowId: string,
  page: { after: number; limit: number; brief: boolean; status?: string | undefined; step?: string | undefined },
): Promise<{ json: string; last: number | null; full: boolean }> {
  const { rows } = await sql<{ json: string; last: number | null; count: number }>`
    with page as (
      select n.position, ${nodeJson(page.brief)} as json
      from provisioning.workflow_nodes n
      join (select s.value ->> 'id' as id, s.value ->> 'kind' as kind,
                   (select coalesce(json_agg(json_build_object('id', e.from_step, 'type', e.type) order by e.from_step), '[]')
                    from provisioning.workflow_edges e where e.workflow_id = w.id and e.to_step = s.value ->> 'id') as depends_on
            from provisioning.workflows w, jsonb_array_elements(w.steps) s where w.id = ${workflowId}) s on s.id = n.step
      left join provisioning.operations o on o.id = n.operation_id
      where n.workflow_id = ${workflowId} and n.position > ${page.after}::int
        and (${page.status ?? null}::text is null or n.status = ${page.status ?? null})
        and (${page.step ?? null}::text is null or n.step = ${page.step ?? null})
      order by n.position limit ${page.limit}::int)
    select '[' || coalesce(string_agg(json, ',' order by position), '') || ']' as json, max(position) as last,
           count(*)::int as count from page`.execute(db);
  const { json = '[]', last = null, count = 0 } = rows[0] ?? {};
  return { json, last, full: count === page.limit };
}
