import { type Kysely, sql } from 'kysely';

/** What is under way, by workspace and by user: how many are counted where a limit is near. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const UNDER_WAY = "where status in ('pending', 'running')";
const STATEMENTS = [
  `create index operations_under_way_workspace on provisioning.operations (workspace, kind) ${UNDER_WAY}`,
  `create index operations_under_way_owner on provisioning.operations (owner_id, kind) ${UNDER_WAY}`,
];
