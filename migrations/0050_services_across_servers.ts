import { type Kysely, sql } from 'kysely';

/** Which part a server has in a service across servers. */
export async function up(db: Kysely<unknown>): Promise<void> {
  // Both null where the servers of a taskserv know nothing of each other. position: the order in which they were named.
  await sql
    .raw('alter table provisioning.taskserv_hosts add column role text, add column position integer')
    .execute(db);
}
