import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';

const time = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;

/** What may be told of a secret, as JSON text: never its value. */
const SECRET_JSON = sql.raw<string>(`json_build_object(
  'workspace', workspace, 'key', key, 'version', version, 'created_at', ${time('created_at')}, 'created_by', created_by,
  'updated_at', ${time('updated_at')}, 'updated_by', updated_by)::text`);

/** A secret as it is kept. */
interface SecretRow {
  json: string;
  version: number;
  /** Encrypted. */
  value: string;
  /** Id of who set it last. */
  ownerId: string;
}

export async function findSecret(db: Queryable, workspace: string, key: string): Promise<SecretRow | null> {
  const { rows } = await sql<SecretRow>`
    select ${SECRET_JSON} as json, version, value, owner_id as "ownerId" from provisioning.workspace_secrets
    where workspace = ${workspace} and key = ${key}`.execute(db);
  return rows[0] ?? null;
}

/** The secrets of a workspace as a JSON array, by their keys. */
export async function secretsJson(db: Queryable, workspace: string): Promise<string> {
  const { rows } = await sql<{ json: string }>`
    select ${SECRET_JSON} as json from provisioning.workspace_secrets where workspace = ${workspace} order by key`.execute(
    db,
  );
  return `[${rows.map(({ json }) => json).join(',')}]`;
}

export async function secretKeys(db: Queryable, workspace: string): Promise<string[]> {
  const rows = await db
    .selectFrom('provisioning.workspace_secrets')
    .select('key')
    .where('workspace', '=', workspace)
    .orderBy('key')
    .execute();
  return rows.map(({ key }) => key);
}

/** Stores a new secret or the next version of one. @returns what may be told of it, as JSON text. */
export async function putSecret(
  tx: Queryable,
  row: { workspace: string; key: string; version: number; value: string; by: string; ownerId: string },
): Promise<string> {
  const { rows } = await sql<{ json: string }>`
    insert into provisioning.workspace_secrets (workspace, key, version, value, created_by, updated_by, owner_id)
    values (${row.workspace}, ${row.key}, ${row.version}, ${row.value}, ${row.by}, ${row.by}, ${row.ownerId})
    on conflict (workspace, key) do update
      set version = excluded.version, value = excluded.value, updated_by = excluded.updated_by,
          owner_id = excluded.owner_id, updated_at = now()
    returning ${SECRET_JSON} as json`.execute(tx);
  return rows[0]?.json ?? '';
}

export async function deleteSecretRow(tx: Queryable, workspace: string, key: string): Promise<void> {
  await tx
    .deleteFrom('provisioning.workspace_secrets')
    .where('workspace', '=', workspace)
    .where('key', '=', key)
    .execute();
}
