import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';

/** A row as JSON text: never the credentials themselves. */
const CREDENTIALS_JSON = sql.raw<string>(`json_build_object(
  'workspace', workspace, 'provider', provider, 'fields', fields,
  'created_at', to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
  'updated_at', to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
  'updated_by', updated_by)::text`);

/** Encrypted credentials of one workspace at one provider; null where it has none. */
export async function encryptedCredentials(db: Queryable, provider: string, workspace: string): Promise<string | null> {
  const row = await db
    .selectFrom('provisioning.provider_credentials')
    .select('credentials')
    .where('workspace', '=', workspace)
    .where('provider', '=', provider)
    .executeTakeFirst();
  return row?.credentials ?? null;
}

/** All encrypted credentials. */
export async function allEncryptedCredentials(
  db: Queryable,
): Promise<{ provider: string; workspace: string; credentials: string }[]> {
  return db
    .selectFrom('provisioning.provider_credentials')
    .select(['provider', 'workspace', 'credentials'])
    .orderBy('workspace')
    .orderBy('provider')
    .execute();
}

/** JSON texts of a workspace's accounts. */
export async function listCredentials(db: Queryable, workspace: string): Promise<string[]> {
  const { rows } = await sql<{ json: string }>`
    select ${CREDENTIALS_JSON} as json from provisioning.provider_credentials
    where workspace = ${workspace} order by provider`.execute(db);
  return rows.map(({ json }) => json);
}

/** @returns the row as JSON text. */
export async function putCredentials(
  tx: Queryable,
  row: { workspace: string; provider: string; encrypted: string; fields: string[]; by: string },
): Promise<string> {
  const { rows } = await sql<{ json: string }>`
    insert into provisioning.provider_credentials (workspace, provider, credentials, fields, updated_by)
    values (${row.workspace}, ${row.provider}, ${row.encrypted}, ${row.fields}::text[], ${row.by})
    on conflict (workspace, provider) do update
      set credentials = excluded.credentials, fields = excluded.fields, updated_by = excluded.updated_by, updated_at = now()
    returning ${CREDENTIALS_JSON} as json`.execute(tx);
  return rows[0]?.json ?? '';
}

/** @returns false where there were none. */
export async function deleteCredentials(tx: Queryable, workspace: string, provider: string): Promise<boolean> {
  const { numDeletedRows } = await tx
    .deleteFrom('provisioning.provider_credentials')
    .where('workspace', '=', workspace)
    .where('provider', '=', provider)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}

/** The workspace's servers at a provider. */
interface ServersAt {
  count: number;
  /** What the provider calls them. */
  refs: string[];
  /** Of these, the ones that are being deleted: they may be gone there already. */
  going: string[];
  /** Those that are made or tidied up, and have no name there yet. */
  making: number;
}

export async function serversAt(db: Queryable, workspace: string, provider: string): Promise<ServersAt> {
  const rows = await db
    .selectFrom('provisioning.servers')
    .select(['provider_ref', 'status'])
    .where('workspace', '=', workspace)
    .where('provider', '=', provider)
    .execute();
  const making = rows.filter(({ provider_ref: ref, status }) => ref === null && /^(creating|deleting)$/.test(status));
  const refsOf = (some: typeof rows) => some.flatMap(({ provider_ref: ref }) => ref ?? []);
  const going = rows.filter(({ status }) => status === 'deleting');
  return { count: rows.length, refs: refsOf(rows), going: refsOf(going), making: making.length };
}
