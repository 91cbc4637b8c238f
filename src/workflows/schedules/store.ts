import { sql } from 'kysely';
import type { Authority } from '../../access/authority.ts';
import type { Encryption } from '../../access/encryption.ts';
import type { Queryable } from '../../database/pool.ts';
import type { Json, JsonObject } from '../../documents/json.ts';
import type { Given } from '../secrets/given.ts';

const time = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;

/** A schedule as JSON text. */
export const SCHEDULE_JSON = sql.raw<string>(`json_build_object(
  'id', id, 'name', name, 'workspace', workspace, 'workflow_type', workflow_type, 'parameters', parameters,
  'cron', cron, 'timezone', timezone, 'overlap', overlap, 'missed', missed, 'next_run_at', ${time('next_run_at')},
  'last_run_at', ${time('last_run_at')}, 'last_workflow_id', last_workflow_id, 'last_error', last_error, 'state', state,
  'created_by', created_by, 'created_at', ${time('created_at')})::text`);

/** A schedule whose time has come, locked. */
export interface DueSchedule {
  id: string;
  name: string;
  workspace: string;
  workflow_type: string;
  parameters: JsonObject;
  /** What references to given secrets in the parameters stand for, encrypted; null: there are none. */
  secrets: string | null;
  cron: string;
  timezone: string;
  overlap: 'skip' | 'allow';
  missed: 'skip' | 'run_once';
  authority: Authority;
  next_run_at: Date;
  /** Its last workflow has not ended. */
  busy: boolean;
}

/** @throws on the unique constraint `schedules_workspace_name_key`. @returns the schedule as JSON text. */
export async function insertSchedule(tx: Queryable, schedule: Omit<DueSchedule, 'busy'>): Promise<string> {
  const { parameters, authority, ...columns } = schedule;
  const row = await tx
    .insertInto('provisioning.schedules')
    .values({
      ...columns,
      created_by: authority.name,
      owner_id: authority.userId,
      parameters: JSON.stringify(parameters),
      authority: JSON.stringify(authority),
      last_workflow_id: null,
      last_error: null,
    })
    .returning(SCHEDULE_JSON.as('json'))
    .executeTakeFirstOrThrow();
  return row.json;
}

/** A schedule as JSON text, and what decides who may have it. */
export async function findSchedule(db: Queryable, id: string) {
  const row = await db
    .selectFrom('provisioning.schedules')
    .select([SCHEDULE_JSON.as('json'), 'workspace', 'owner_id as ownerId', 'name'])
    .where('id', '=', id)
    .executeTakeFirst();
  return row ?? null;
}

export async function countSchedules(db: Queryable, workspace: string): Promise<number> {
  const { rows } = await sql<{ total: number }>`
    select count(*)::int as total from provisioning.schedules where workspace = ${workspace}`.execute(db);
  return rows[0]?.total ?? 0;
}

export async function deleteScheduleRow(tx: Queryable, id: string): Promise<void> {
  await tx.deleteFrom('provisioning.schedules').where('id', '=', id).execute();
}

/** Ids of schedules whose time has come, but for those that are under way. */
export async function dueSchedules(db: Queryable, underWay: readonly string[]): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select id from provisioning.schedules where next_run_at <= now() and id <> all(${underWay}::uuid[])
    order by next_run_at limit 100`.execute(db);
  return rows.map(({ id }) => id);
}

/** Locks a schedule whose time has come; null where another process has it. */
export async function lockDue(tx: Queryable, id: string): Promise<DueSchedule | null> {
  const { rows } = await sql<DueSchedule>`
    select s.id, s.name, s.workspace, s.workflow_type, s.parameters, s.secrets, s.cron, s.timezone, s.overlap, s.missed, s.authority, s.next_run_at,
           exists (select from provisioning.operations o
                   where o.id = s.last_workflow_id and o.status in ('pending', 'running')) as busy
    from provisioning.schedules s where s.id = ${id} and s.next_run_at <= now() for update skip locked`.execute(tx);
  return rows[0] ?? null;
}

/** The secrets that a schedule's parameters refer to, encrypted for this schedule alone; null: there are none. */
export function sealScheduleSecrets(encryption: Encryption, id: string, given: Given): string | null {
  return given.size === 0 ? null : encryption.encrypt(JSON.stringify([...given]), contextOf(id));
}

/** The same, opened. */
export function openScheduleSecrets(
  encryption: Encryption,
  { id, secrets }: Pick<DueSchedule, 'id' | 'secrets'>,
): Given {
  return new Map(secrets === null ? [] : (JSON.parse(encryption.decrypt(secrets, contextOf(id))) as [string, Json][]));
}

const contextOf = (id: string) => `secrets of schedule ${id}`;

/** Puts references in the place of secrets that an earlier version stored as they were. */
export async function replaceParameters(
  tx: Queryable,
  { id, parameters, secrets }: Pick<DueSchedule, 'id' | 'parameters' | 'secrets'>,
): Promise<void> {
  await tx
    .updateTable('provisioning.schedules')
    .set({ parameters: JSON.stringify(parameters), secrets })
    .where('id', '=', id)
    .execute();
}

/** Sets when a schedule is due next, and what came of this time. `workflowId` null: nothing was started. */
export async function advance(
  tx: Queryable,
  id: string,
  next: Date,
  outcome: { workflowId: string | null; error: string | null; state: 'active' | 'authority_ended' },
): Promise<void> {
  await tx
    .updateTable('provisioning.schedules')
    .set({
      next_run_at: next,
      last_error: outcome.error,
      state: outcome.state,
      ...(outcome.workflowId === null ? {} : { last_workflow_id: outcome.workflowId, last_run_at: sql`now()` }),
    })
    .where('id', '=', id)
    .execute();
}
