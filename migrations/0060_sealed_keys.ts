import { type Kysely, sql } from 'kysely';

/** The signing key of tokens rests encrypted, and hashes of requests are keyed. The next start brings over what is there. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const STATEMENTS = [
  'alter table provisioning.settings add column sealed boolean not null default false',
  // A replica of the version before, which may still run, stores plain hashes.
  'alter table provisioning.idempotency_keys add column request_keyed boolean not null default false',
];
