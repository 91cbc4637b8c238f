import { type Kysely, sql } from 'kysely';

/** What happened to one server (or taskserv, workflow, …) is asked by its page, however much happened elsewhere. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql
    .raw(
      `create index operations_resource on provisioning.operations (resource, created_at, id)
       where resource is not null`,
    )
    .execute(db);
}
