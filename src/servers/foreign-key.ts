/**
 * Whoever is root on a server can pass our connections on to another one of its workspace, whose key opens both. The host key
 * tells: so nobody's server comes to show the host key of a server that its owner may not reach.
 */
import { mayReachAll, type ReachedServer } from '../access/reach.ts';
import { readUserState } from '../access/store.ts';
import type { Queryable } from '../database/pool.ts';
import { OperationError } from '../engine/procedure.ts';
import { serversShowing } from './ssh-store.ts';

/**
 * Called before a host key that was seen for the first time is kept.
 * @param which the key is the server's own, or that of the machine on the way to it, which others may use as well.
 * @throws OperationError MACHINE_KNOWN.
 */
export async function refuseForeignKey(
  db: Queryable,
  serverId: string,
  which: 'host_key' | 'jump_host_key',
  seen: string,
): Promise<void> {
  const servers = await serversShowing(db, seen, serverId);
  const own = servers.find(({ id }) => id === serverId);
  if (own === undefined) return;
  for (const other of servers) {
    const reached = other === own || (await reaches(db, own.owner_id, other));
    const mutual = which === 'jump_host_key' || other === own || (await reaches(db, other.owner_id, own));
    if (reached && mutual) continue;
    throw new OperationError(
      'MACHINE_KNOWN',
      'The machine has the host key of another server that is recorded here, and the owner of one may not change the other. Somebody may be passing connections on. Ask an operator.',
    );
  }
}

/** Whether the user may reach the server, whoever it is that asks. */
async function reaches(db: Queryable, userId: string | null, server: ReachedServer): Promise<boolean> {
  if (userId === null) return false;
  if (userId === server.owner_id) return true;
  const user = await readUserState(db, userId);
  if (user === null || user.disabled) return false;
  const { id, username: name, bindings } = user;
  return mayReachAll({ userId: id, name, label: name, tokenId: null, bindings }, server.workspace);
}
