/** The simulated cloud's books of what was run on its servers. Time is the database's. */
import { sql } from 'kysely';
import type { Database } from '../../database/pool.ts';

/** Whether the server is there and switched on. */
export async function isOn(db: Database, ref: string): Promise<boolean> {
  const { rows } = await sql`
    select from simulated_cloud.servers
    where ref = ${ref} and power = 'on' and not broken and change <> 'delete' and settles_at <= clock_timestamp()`.execute(
    db,
  );
  return rows.length > 0;
}

/** Enters a script that has run, or a file that was written. */
export async function enterRun(
  db: Database,
  run: { ref: string; kind: 'run' | 'upload'; label: string | null; exitCode: number | null },
): Promise<void> {
  await sql`
    insert into simulated_cloud.runs (ref, kind, label, ends_at, exit_code)
    values (${run.ref}, ${run.kind}, ${run.label}, clock_timestamp(), ${run.exitCode})`.execute(db);
}

/**
 * Starts the job, or attaches to it where its id has run on this server before.
 * @returns `age` and `left` in milliseconds; `exitCode` null: it was ended from outside.
 */
export async function attachJob(
  db: Database,
  job: { ref: string; jobId: string; label: string | null; durationMs: number; exitCode: number },
): Promise<{ age: number; left: number; exitCode: number | null }> {
  const { rows } = await sql<{ age: number; left: number; exit_code: number | null }>`
    insert into simulated_cloud.runs as run (ref, kind, job_id, label, ends_at, exit_code)
    values (${job.ref}, 'job', ${job.jobId}, ${job.label},
            clock_timestamp() + make_interval(secs => ${job.durationMs / 1_000}::float8), ${job.exitCode})
    on conflict (ref, job_id) where job_id is not null do update set attached = run.attached + 1
    returning (extract(epoch from clock_timestamp() - at) * 1000)::float8 as age,
              greatest(0, (extract(epoch from ends_at - clock_timestamp()) * 1000))::float8 as left, exit_code`.execute(
    db,
  );
  const [row] = rows;
  if (row === undefined) throw new Error('an insert that returns nothing');
  return { age: row.age, left: row.left, exitCode: row.exit_code };
}

/** Whether a job of that id was ever started on the server. */
export async function isJobEntered(db: Database, ref: string, jobId: string): Promise<boolean> {
  const { rows } = await sql`
    select from simulated_cloud.runs where ref = ${ref} and job_id = ${jobId}`.execute(db);
  return rows.length > 0;
}

/** Ends a job that still runs. */
export async function endJob(db: Database, ref: string, jobId: string): Promise<void> {
  await sql`
    update simulated_cloud.runs set ends_at = clock_timestamp(), exit_code = null
    where ref = ${ref} and job_id = ${jobId} and ends_at > clock_timestamp()`.execute(db);
}

/** Whether the last of `install NAME` and `remove NAME` that succeeded on the server was the install. */
export async function isInstalled(db: Database, ref: string, name: string): Promise<boolean> {
  const { rows } = await sql<{ label: string }>`
    select label from simulated_cloud.runs
    where ref = ${ref} and label in (${`install ${name}`}, ${`remove ${name}`}) and exit_code = 0
      and ends_at <= clock_timestamp()
    order by id desc limit 1`.execute(db);
  return rows[0]?.label.startsWith('install ') ?? false;
}

/** Whether somebody has said that this script is to fail on this server. */
export async function isToFail(db: Database, ref: string, label: string): Promise<boolean> {
  const { rows } = await sql`
    select from simulated_cloud.failures where ref = ${ref} and label = ${label} and not hangs`.execute(db);
  return rows.length > 0;
}

/** Whether somebody has said that this job is to run on for now. */
export async function isToHang(db: Database, ref: string, label: string): Promise<boolean> {
  const { rows } = await sql`
    select from simulated_cloud.failures where ref = ${ref} and label = ${label} and hangs`.execute(db);
  return rows.length > 0;
}

/** Lets a job end now, as it was to end. */
export async function finishJob(db: Database, ref: string, jobId: string): Promise<void> {
  await sql`
    update simulated_cloud.runs set ends_at = clock_timestamp()
    where ref = ${ref} and job_id = ${jobId} and ends_at > clock_timestamp()`.execute(db);
}

/** Keeps the mark that a taskserv leaves on its host. */
export async function keepMark(db: Database, ref: string, name: string, mark: string): Promise<void> {
  await sql`
    insert into simulated_cloud.marks (ref, name, mark) values (${ref}, ${name}, ${mark})
    on conflict (ref, name) do update set mark = excluded.mark`.execute(db);
}

/** The marks on a server, by name. */
export async function readMarks(db: Database, ref: string): Promise<{ name: string; mark: string }[]> {
  const { rows } = await sql<{ name: string; mark: string }>`
    select name, mark from simulated_cloud.marks where ref = ${ref} order by name`.execute(db);
  return rows;
}

export async function dropMark(db: Database, ref: string, name: string): Promise<void> {
  await sql`delete from simulated_cloud.marks where ref = ${ref} and name = ${name}`.execute(db);
}
