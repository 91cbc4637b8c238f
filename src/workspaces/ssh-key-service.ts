import type { Encryption } from '../access/encryption.ts';
import { isPermitted, type Principal } from '../access/permissions.ts';
import { mayReachAll } from '../access/reach.ts';
import type { Queryable } from '../database/pool.ts';
import { errors } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import { fingerprintOf, readSshKey, type SshKeyPair } from '../transports/keys.ts';
import { getWorkspace, requireWorkspace } from './service.ts';
import { readSshKeyRow, replaceSshKey, type SshKeyRow, serversLettingIn } from './ssh-key-store.ts';
import { commentOf, contextOf, ensureSshKeyRow } from './ssh-keys.ts';

/** What clients see of a workspace's key. @throws 404 also where the caller may not see the workspace. */
export async function getSshKey(db: Queryable, encryption: Encryption, principal: Principal, workspace: string) {
  await getWorkspace(db, principal, workspace);
  return publicPart(await ensureSshKeyRow(db, encryption, workspace, principal.name));
}

function publicPart(row: SshKeyRow) {
  return {
    workspace: row.workspace,
    public_key: row.public_key,
    fingerprint: fingerprintOf(row.public_key),
    generated: row.generated,
    created_at: `${row.created_at.toISOString().slice(0, 19)}Z`,
    updated_at: `${row.updated_at.toISOString().slice(0, 19)}Z`,
  };
}

/**
 * Takes a key of the caller's for the workspace.
 * @throws 409 where servers let the present one in: they would let nobody in from then on. `force` does it all the same.
 */
export async function putSshKey(
  encryption: Encryption,
  { tx, principal, audit }: Mutation,
  workspace: string,
  body: { private_key: string; force?: boolean },
): Promise<Answer> {
  await getWorkspace(tx, principal, workspace);
  if (!isPermitted(principal, 'workspace_update', workspace)) throw errors.forbidden('workspace_update', workspace);
  // Whoever holds the key enters the servers with it.
  if (!mayReachAll(principal, workspace)) throw errors.forbidden('server_update', workspace);
  await requireWorkspace(tx, principal, 'workspace_update', workspace);
  const { publicKey, privateKey } = await parse(body.private_key, workspace);
  const present = await readSshKeyRow(tx, workspace);
  const servers = await serversLettingIn(tx, workspace);
  const changes = present !== null && fingerprintOf(present.public_key) !== fingerprintOf(publicKey);
  if (changes && servers.length > 0 && body.force !== true) {
    throw errors.conflict(
      `These servers of workspace "${workspace}" accept only the present key: ${servers.join(', ')}. Add the new public key to their authorized_keys, then send "force": true.`,
      { servers },
    );
  }
  await replaceSshKey(tx, {
    workspace,
    public_key: publicKey,
    private_key: encryption.encrypt(privateKey, contextOf(workspace)),
    generated: false,
    created_by: principal.name,
  });
  audit({
    action: 'workspace.ssh_key',
    workspace,
    resource: `workspace:${workspace}`,
    details: { fingerprint: fingerprintOf(publicKey) },
  });
  const row = await readSshKeyRow(tx, workspace);
  if (row === null) throw errors.notFound('workspace', workspace);
  return { body: publicPart(row) };
}

async function parse(text: string, workspace: string): Promise<SshKeyPair> {
  try {
    return await readSshKey(text, commentOf(workspace));
  } catch (error) {
    throw errors.validation([
      { field: 'private_key', message: error instanceof Error ? error.message : 'cannot be read' },
    ]);
  }
}
