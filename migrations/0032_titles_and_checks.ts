import { type Kysely, sql } from 'kysely';

/**
 * What an operation does in words, and whether it only checks. Null and false for operations of earlier versions and for
 * those that a replica of the version before accepts meanwhile.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql
    .raw(
      `alter table provisioning.operations
         add column title text,
         add column check_mode boolean not null default false`,
    )
    .execute(db);
  // Checks of earlier versions said so in their input alone.
  await sql
    .raw(`update provisioning.operations set check_mode = true where (input ->> 'check_mode')::boolean`)
    .execute(db);
}
