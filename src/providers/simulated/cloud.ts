/**
 * The simulated cloud's side of the wire: its servers and its books, one statement a request. Time is the database's.
 */
import { sql } from 'kysely';
import type { Database } from '../../database/pool.ts';
import { shortId } from '../../database/uuid.ts';
import type { ServerLabels, ServerSpec } from '../contract.ts';

export type CloudCall = 'find' | 'create' | 'start' | 'stop' | 'restart' | 'delete' | 'label' | 'resize';
export type CloudChange = Exclude<CloudCall, 'find' | 'label' | 'resize'>;

/** A server as the cloud has it. */
export interface CloudServer {
  ref: string;
  hostname: string;
  plan: string;
  zone: string;
  ip_address: string;
  /** Null: nobody here has made it. */
  operation_id: string | null;
  workspace: string | null;
  /** Which installation has made it; null: this one, to which the cloud belongs. */
  installation: string | null;
  tags: string[];
  power: 'on' | 'off';
  /** A create that half succeeded: switched off, though nobody asked for that. */
  broken: boolean;
  /** The last change. */
  change: CloudChange;
  /** It is still under way. */
  settling: boolean;
}

const COLUMNS = sql`ref, hostname, plan, zone, ip_address, operation_id, workspace,
  installation, tags, power, broken, change,
  settles_at > clock_timestamp() as settling`;
/** A deletion that has settled leaves nothing, though its row may lie there until the next deletion sweeps it out. */
const EXISTS = sql`(change <> 'delete' or (change = 'delete' and settles_at > clock_timestamp()))`;

/**
 * The server labelled with the operation. What is found is entered in the books as `foundAs`, and with `enterMissing`
 * also that nothing was found: without it such a look writes nothing, and `insertServer` enters it.
 */
export async function findServer(
  db: Database,
  operationId: string,
  { foundAs, enterMissing }: { foundAs: 'ok' | 'adopted'; enterMissing: boolean },
): Promise<CloudServer | null> {
  const { rows } = await sql<CloudServer>`
    with found as (
      select ${COLUMNS} from simulated_cloud.servers
      where operation_id = ${operationId} and ${EXISTS}
      order by change = 'delete' limit 1),
    entered as (
      insert into simulated_cloud.calls (call, ref, operation_id, outcome)
      select 'find', found.ref, ${operationId}, case when found.ref is null then 'missing' else ${foundAs} end
      from (select) as asked left join found on true
      where found.ref is not null or ${enterMissing})
    select * from found`.execute(db);
  return rows[0] ?? null;
}

/** Those of the servers that exist. */
export async function readServers(db: Database, refs: readonly string[]): Promise<CloudServer[]> {
  const { rows } = await sql<CloudServer>`
    select ${COLUMNS} from simulated_cloud.servers where ref = any(${[...refs]}::text[]) and ${EXISTS}`.execute(db);
  return rows;
}

/** @param unlabelled also those that carry no operation. */
export async function readAllServers(db: Database, unlabelled: boolean): Promise<CloudServer[]> {
  const { rows } = await sql<CloudServer>`
    select ${COLUMNS} from simulated_cloud.servers
    where ${EXISTS} and (operation_id is not null or ${unlabelled}) order by created_at`.execute(db);
  return rows;
}

/**
 * Makes the server, and enters the look before it (which found nothing) and the create. The cloud notices a second
 * create for one operation and enters it as `refused`.
 * @returns null when it was refused.
 */
export async function insertServer(
  db: Database,
  spec: ServerSpec,
  operationId: string,
  how: { latencyMs: number; half: boolean; stuck: boolean; lost: boolean },
): Promise<CloudServer | null> {
  const { rows } = await sql<CloudServer>`
    with address as (select nextval('simulated_cloud.addresses') as n),
    made as (
      insert into simulated_cloud.servers
        (ref, operation_id, workspace, hostname, plan, zone, ip_address, tags, power, broken, settles_at, change)
      select ${shortId('sim')}, ${operationId}, ${spec.workspace}, ${spec.hostname}, ${spec.plan}, ${spec.zone},
             format('10.%s.%s.%s', n >> 16 & 255, n >> 8 & 255, n & 255), ${spec.tags}::text[],
             ${how.half ? 'off' : 'on'}, ${how.half}, ${settlesAt(how.stuck ? Number.POSITIVE_INFINITY : how.latencyMs)},
             'create'
      from address
      on conflict (operation_id) where change <> 'delete' do nothing
      returning ${COLUMNS}),
    entered as (
      insert into simulated_cloud.calls (call, ref, operation_id, outcome) values
        ('find', null, ${operationId}, 'missing'),
        ('create', (select ref from made), ${operationId},
         case when not exists (select from made) then 'refused' when ${how.lost} then 'lost' else 'ok' end))
    select * from made`.execute(db);
  return rows[0] ?? null;
}

/** What became of a change: `lost` took effect as `ok` did. */
export type ChangeOutcome = 'ok' | 'lost' | 'missing' | 'deleting';

/** Starts, stops, restarts or deletes, and enters it. What is already so stays as it is. */
export async function changeServer(
  db: Database,
  call: Exclude<CloudChange, 'create'>,
  ref: string,
  operationId: string,
  { latencyMs, lost }: { latencyMs: number; lost: boolean },
): Promise<ChangeOutcome> {
  const { rows } = await sql<{ outcome: ChangeOutcome }>`
    with target as (select ref, change from simulated_cloud.servers where ref = ${ref} and ${EXISTS} for update),
    ${call === 'delete' ? deletion(latencyMs) : powerChange(call, latencyMs)},
    answer as (
      select case when not exists (select from target) then 'missing'
                  when exists (select from target where change = 'delete') then 'deleting'
                  when ${lost} then 'lost' else 'ok' end as outcome),
    entered as (
      insert into simulated_cloud.calls (call, ref, operation_id, outcome)
      select ${call}, ${ref}, ${operationId}, outcome from answer)
    select outcome from answer`.execute(db);
  return rows[0]?.outcome ?? 'missing';
}

/** Gives a server other labels, or a switched off one another plan, and enters it. */
export async function modifyServer(
  db: Database,
  ref: string,
  operationId: string,
  change: { call: 'label'; labels: ServerLabels } | { call: 'resize'; plan: string },
  lost: boolean,
): Promise<ChangeOutcome | 'on'> {
  const set =
    change.call === 'label'
      ? sql`operation_id = ${change.labels.operationId}, workspace = ${change.labels.workspace}, installation = null,
            tags = ${change.labels.tags}::text[]`
      : sql`plan = ${change.plan}`;
  const fits = change.call === 'label' ? sql`true` : sql`power = 'off' and settles_at <= clock_timestamp()`;
  const { rows } = await sql<{ outcome: ChangeOutcome | 'on' }>`
    with target as (
      select ref, change, ${fits} as fits from simulated_cloud.servers where ref = ${ref} and ${EXISTS} for update),
    changed as (
      update simulated_cloud.servers set ${set}
      where ref = (select ref from target where fits) and change <> 'delete'),
    answer as (
      select case when not exists (select from target) then 'missing'
                  when exists (select from target where change = 'delete') then 'deleting'
                  when not (select fits from target) then 'on'
                  when ${lost} then 'lost' else 'ok' end as outcome),
    entered as (
      insert into simulated_cloud.calls (call, ref, operation_id, outcome)
      select ${change.call}, ${ref}, ${operationId}, outcome from answer)
    select outcome from answer`.execute(db);
  return rows[0]?.outcome ?? 'missing';
}

/** A server that is stuck in its creation answers, and stays as it is. */
function powerChange(call: 'start' | 'stop' | 'restart', latencyMs: number) {
  const needed = { start: sql`power = 'off'`, stop: sql`(power = 'on' or broken)`, restart: sql`true` }[call];
  return sql`changed as (
    update simulated_cloud.servers
    set change = ${call}, power = ${call === 'stop' ? 'off' : 'on'}, broken = false, settles_at = ${settlesAt(latencyMs)}
    where ref = (select ref from target) and change <> 'delete' and settles_at < 'infinity' and ${needed})`;
}

function deletion(latencyMs: number) {
  if (latencyMs === 0)
    return sql`changed as (delete from simulated_cloud.servers where ref = (select ref from target))`;
  return sql`changed as (
      update simulated_cloud.servers set change = 'delete', settles_at = ${settlesAt(latencyMs)}
      where ref = (select ref from target) and change <> 'delete'),
    swept as (
      delete from simulated_cloud.servers where ref in (
        select ref from simulated_cloud.servers
        where change = 'delete' and settles_at <= clock_timestamp() for update skip locked))`;
}

function settlesAt(latencyMs: number) {
  if (latencyMs === Number.POSITIVE_INFINITY) return sql`'infinity'::timestamptz`;
  return sql`clock_timestamp() + make_interval(secs => ${latencyMs / 1_000}::float8)`;
}

/** Enters a call that the cloud turned away before it had any effect. */
export async function enterRefusal(
  db: Database,
  call: CloudCall,
  ref: string | null,
  operationId: string,
  outcome: 'rate_limited' | 'error',
): Promise<void> {
  await db.insertInto('simulated_cloud.calls').values({ call, ref, operation_id: operationId, outcome }).execute();
}
