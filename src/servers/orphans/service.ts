import { isPermitted, type Principal, requirePermission } from '../../access/permissions.ts';
import { errors } from '../../errors.ts';
import type { Answer, Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { removalUnderWay } from '../guards/store.ts';
import { lockOrphan, type OrphanRecord, protectOrphan, readOrphan } from './store.ts';

/** The orphan as JSON text. @throws 404 also where the caller may not see its workspace. */
export async function getOrphan({ db }: Services, principal: Principal, id: string): Promise<string> {
  const orphan = await readOrphan(db, id);
  if (orphan === null) throw errors.notFound('orphan', id);
  if (!isPermitted(principal, 'server_read', orphan.workspace)) throw errors.hidden('orphan', id);
  return orphan.json;
}

/** Sets whether deleting an orphan is refused. @throws 404, 403, 409 while an operation has begun to delete it. */
export async function setOrphanProtection(mutation: Mutation, id: string, protect: boolean): Promise<Answer> {
  const { tx, principal } = mutation;
  const orphan = await lockPermitted(mutation, id, 'server_update');
  const { workspace, hostname, provider, ref } = orphan;
  if (protect && !orphan.protected) {
    const removal = await removalUnderWay(tx, 'orphans', [id]);
    if (removal !== null) throw errors.resourceBusy(`Orphan ${id}`, removal.id, removal.kind);
  }
  if (!protect && orphan.protected && !isPermitted(principal, 'protection_remove', workspace)) {
    throw errors.forbidden('protection_remove', workspace);
  }
  await protectOrphan(tx, id, protect);
  const details = { hostname, provider, provider_id: ref, protect: { from: orphan.protected, to: protect } };
  mutation.audit({ action: 'orphan.guard', workspace, resource: `orphan:${id}`, details });
  return { body: (await readOrphan(tx, id))?.json ?? '' };
}

/** The orphan, locked until the transaction ends. @throws 404 or 403 where the caller may not. */
export async function lockPermitted(
  { tx, principal }: Mutation,
  id: string,
  permission: 'server_update' | 'server_delete',
): Promise<OrphanRecord> {
  const orphan = await lockOrphan(tx, id);
  if (orphan === null) throw errors.notFound('orphan', id);
  requirePermission(principal, permission, {
    ...{ what: 'orphan', id, workspace: orphan.workspace, read: 'server_read' },
    // Nobody's: whoever may only over what they made themselves may not.
    ownerId: null,
  });
  return orphan;
}
