import { type Kysely, sql } from 'kysely';

/** Keys, ways into hosts, and the simulated cloud's books of what was run on its servers. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  // The keys that secrets are encrypted with, themselves encrypted under the installation's master key, which is kept
  // elsewhere: another master key means writing these few rows anew, and nothing else.
  `create table provisioning.data_keys (
    name text primary key,
    sealed text not null,
    -- tells which master key, and nothing about it
    master_key_id text not null,
    created_at timestamptz not null default now()
  )`,

  `create table provisioning.ssh_keys (
    workspace text primary key references provisioning.workspaces (name) on delete cascade,
    public_key text not null,
    -- encrypted
    private_key text not null,
    generated boolean not null,
    created_by text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
  )`,

  // How a server is entered over SSH where that is not root on port 22, and the host keys that it showed at first sight.
  `create table provisioning.server_ssh (
    server_id text primary key references provisioning.servers (id) on delete cascade,
    ssh_user text not null default 'root',
    port integer not null default 22,
    host_key text,
    -- {address, port, user}: the machine on the way to it
    jump jsonb,
    jump_host_key text
  )`,

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
