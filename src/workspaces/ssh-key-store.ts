import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';

/** A workspace's key pair as it is kept. */
export interface SshKeyRow {
  workspace: string;
  public_key: string;
  /** Encrypted. */
  private_key: string;
  /** Made here, rather than given to us. */
  generated: boolean;
  created_by: string;
  created_at: Date;
  updated_at: Date;
}

export async function readSshKeyRow(db: Queryable, workspace: string): Promise<SshKeyRow | null> {
  const row = await db
    .selectFrom('provisioning.ssh_keys')
    .selectAll()
    .where('workspace', '=', workspace)
    .executeTakeFirst();
  return row ?? null;
}

type NewKey = Pick<SshKeyRow, 'workspace' | 'public_key' | 'private_key' | 'generated' | 'created_by'>;

/** Keeps the key unless the workspace has one. */
export async function insertSshKey(db: Queryable, key: NewKey): Promise<void> {
  await db
    .insertInto('provisioning.ssh_keys')
    .values(key)
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** Keeps the key in place of the one that the workspace may have. */
export async function replaceSshKey(tx: Queryable, key: NewKey): Promise<void> {
  const { workspace: _same, ...changed } = key;
  await tx
    .insertInto('provisioning.ssh_keys')
    .values(key)
    .onConflict((conflict) => conflict.column('workspace').doUpdateSet({ ...changed, updated_at: sql`now()` }))
    .execute();
}

/** Hostnames of the workspace's servers that let this key in, as far as we know: at most ten. */
export async function serversLettingIn(tx: Queryable, workspace: string): Promise<string[]> {
  const rows = await tx
    .selectFrom('provisioning.servers')
    .select('hostname')
    .where('workspace', '=', workspace)
    .where('provider', 'not in', ['simulated', 'docker'])
    .orderBy('hostname')
    .limit(10)
    .execute();
  return rows.map(({ hostname }) => hostname);
}
