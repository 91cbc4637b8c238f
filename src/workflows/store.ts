import type { Queryable } from '../database/pool.ts';
import type { Json } from './json.ts';

/** Servers that expressions may choose from at most. */
const MAX_SERVERS = 20_000;

/** The workspace's servers as expressions see them, oldest first. */
export async function serversForExpressions(db: Queryable, workspace: string): Promise<Json[]> {
  return db
    .selectFrom('provisioning.servers')
    .select(['id', 'hostname', 'ip_address', 'status', 'provider', 'plan', 'zone', 'tags'])
    .where('workspace', '=', workspace)
    .where('status', '<>', 'deleting')
    .orderBy('created_at')
    .orderBy('id')
    .limit(MAX_SERVERS)
    .execute();
}
