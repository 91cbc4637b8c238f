/** Each workspace's SSH key pair: its servers let the public part in, the private part is kept encrypted. */

import type { Encryption } from '../access/encryption.ts';
import type { Queryable } from '../database/pool.ts';
import { errors } from '../errors.ts';
import { generateSshKey, type SshKeyPair } from '../transports/keys.ts';
import { insertSshKey, readSshKeyRow, type SshKeyRow } from './ssh-key-store.ts';

/** What a private key is encrypted for. */
export const contextOf = (workspace: string) => `ssh key of ${workspace}`;
/** The comment in a public key. */
export const commentOf = (workspace: string) => `provisioning-${workspace}`;

/** The workspace's key pair, made now where it has none. Any number of callers at once get the same. */
export async function workspaceSshKey(
  db: Queryable,
  encryption: Encryption,
  workspace: string,
  createdBy: string,
): Promise<SshKeyPair> {
  return keyPairOf(await ensureSshKeyRow(db, encryption, workspace, createdBy), encryption);
}

/** The same for a look alone: where the workspace has none yet, one that nothing lets in and that is not kept. */
export async function workspaceSshKeyToTry(
  db: Queryable,
  encryption: Encryption,
  workspace: string,
): Promise<SshKeyPair> {
  const row = await readSshKeyRow(db, workspace);
  return row === null ? generateSshKey(commentOf(workspace)) : keyPairOf(row, encryption);
}

function keyPairOf({ workspace, public_key, private_key }: SshKeyRow, encryption: Encryption): SshKeyPair {
  return { publicKey: public_key, privateKey: encryption.decrypt(private_key, contextOf(workspace)) };
}

/** The public part alone. */
export async function workspacePublicKey(
  db: Queryable,
  encryption: Encryption,
  workspace: string,
  createdBy: string,
): Promise<string> {
  return (await ensureSshKeyRow(db, encryption, workspace, createdBy)).public_key;
}

/** The row of the workspace's key, made now where it has none. @throws 404 where the workspace has gone. */
export async function ensureSshKeyRow(
  db: Queryable,
  encryption: Encryption,
  workspace: string,
  createdBy: string,
): Promise<SshKeyRow> {
  const known = await readSshKeyRow(db, workspace);
  if (known !== null) return known;
  const { publicKey, privateKey } = generateSshKey(commentOf(workspace));
  await insertSshKey(db, {
    workspace,
    public_key: publicKey,
    private_key: encryption.encrypt(privateKey, contextOf(workspace)),
    generated: true,
    created_by: createdBy,
  });
  const row = await readSshKeyRow(db, workspace);
  if (row === null) throw errors.notFound('workspace', workspace);
  return row;
}
