import type { Database } from '../database/pool.ts';

/** The name of this installation in labels: made with the database. */
export async function readInstallationId(db: Database): Promise<string> {
  const { value } = await db
    .selectFrom('provisioning.settings')
    .select('value')
    .where('key', '=', 'installation_id')
    .executeTakeFirstOrThrow();
  return value;
}
