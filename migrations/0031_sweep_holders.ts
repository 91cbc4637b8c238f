import { type Kysely, sql } from 'kysely';

/** Which replica looks at an account: when it is no longer on the list of replicas, another one takes over at once. */
export async function up(db: Kysely<unknown>): Promise<void> {
  // Null: nobody looks at the moment.
  await sql.raw('alter table provisioning.account_sweeps add column holder text').execute(db);
}
