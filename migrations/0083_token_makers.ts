import { type Kysely, sql } from 'kysely';

/** Who made an API token, for those of service accounts; and when the secret of an app was made that waits for a code. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const STATEMENTS = [
  // Null: the owner. No foreign key: a user who goes takes the tokens along first.
  'alter table provisioning.api_tokens add column created_by_id uuid',
  `create index api_tokens_made_for_others on provisioning.api_tokens (created_by_id) where created_by_id <> user_id`,
  'alter table provisioning.second_factors add column pending_at timestamptz',
];
