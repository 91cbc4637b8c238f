import { type Kysely, sql } from 'kysely';

/** Keys, ways into hosts, and the simulated cloud's books of what was run on its servers. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  `create table simulated_cloud.runs (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    ref text not null,
    kind text not null check (kind in ('run', 'job', 'upload')),
    -- what the caller says it is: 'install redis'; the path of an upload
    label text,
    job_id text,
    -- until then a job runs
    ends_at timestamptz not null,
    -- null: it was ended from outside, or its answer was lost
    exit_code smallint,
    -- how often somebody attached to the job, its start included
    attached integer not null default 1
  )`,
  // A job's id is its one run, whoever asks.
  'create unique index simulated_runs_job on simulated_cloud.runs (ref, job_id) where job_id is not null',
  'create index simulated_runs_label on simulated_cloud.runs (ref, label)',
];
