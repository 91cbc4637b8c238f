/**
 * Where the secrets of workspaces come from (docs/contracts/secret-source.md). The database is the only source so far; a store
 * outside of it implements the same.
 */
import type { Encryption } from '../access/encryption.ts';
import type { Queryable } from '../database/pool.ts';
import { findSecret, secretKeys } from './secrets-store.ts';

/** A secret at the moment of its use. */
export interface SourcedSecret {
  /** Never stored or told as it is. */
  value: string;
  version: number;
  /** Who may use it although they may only use their own: the id of a user. */
  ownerId: string | null;
}

/** A place that keeps secrets of workspaces. */
export interface SecretSource {
  /** The secret as it is now; null: there is none of this key. */
  read(workspace: string, key: string): Promise<SourcedSecret | null>;
  /** The keys that there are, for those who have misspelt one. */
  keys(workspace: string): Promise<string[]>;
}

export const secretContext = (workspace: string, key: string) => `secret ${key} of workspace ${workspace}`;

/** The secrets in the database. */
export function databaseSecrets(db: Queryable, encryption: Encryption): SecretSource {
  return {
    async read(workspace, key) {
      const row = await findSecret(db, workspace, key);
      if (row === null) return null;
      const { version, ownerId } = row;
      return { value: encryption.decrypt(row.value, secretContext(workspace, key)), version, ownerId };
    },
    keys: (workspace) => secretKeys(db, workspace),
  };
}
