import { type Kysely, sql } from 'kysely';

/**
 * The signing key of tokens rests encrypted, and hashes of requests are keyed: the next start brings over what is there.
 * Secrets that users hand in have a place of their own.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const STATEMENTS = [
  'alter table provisioning.settings add column sealed boolean not null default false',
  // A replica of the version before, which may still run, stores plain hashes.
  'alter table provisioning.idempotency_keys add column request_keyed boolean not null default false',
  // What references in the parameters stand for, encrypted. Null: there are none.
  'alter table provisioning.schedules add column secrets text',
];
