import type { Database } from '../database/pool.ts';
import type { ProviderServer } from './contract.ts';

/** The name of this installation in labels: made with the database. */
export async function readInstallationId(db: Database): Promise<string> {
  const { value } = await db
    .selectFrom('provisioning.settings')
    .select('value')
    .where('key', '=', 'installation_id')
    .executeTakeFirstOrThrow();
  return value;
}

/**
 * Whether this installation has made the server, by its labels. One without the label of an installation is ours where
 * it names one of our operations; another installation's, in the same account, never is.
 * @param known ids of operations of this installation.
 */
export function isOfInstallation(
  { installation: label, operation_id: id }: Pick<ProviderServer, 'installation' | 'operation_id'>,
  installation: string,
  known: ReadonlySet<string>,
): boolean {
  // A provider that sets no such label belongs to this installation alone.
  if (label === undefined) return true;
  return label === null ? id !== null && known.has(id) : label === installation;
}
