import { type Kysely, sql } from 'kysely';

/** Secrets that a run of a workflow generated: sealed, and gone with the run. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql
    .raw(`create table provisioning.workflow_secrets (
    workflow_id uuid not null references provisioning.workflows (id) on delete cascade,
    name text not null,
    -- encrypted
    sealed text not null,
    primary key (workflow_id, name)
  )`)
    .execute(db);
}
