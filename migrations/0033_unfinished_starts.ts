import { type Kysely, sql } from 'kysely';

/** How often a run has been begun again and has ended its process before it got anywhere. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql
    .raw('alter table provisioning.workflows add column unfinished_starts smallint not null default 0')
    .execute(db);
}
