import { isPermitted, type Principal, requirePermission } from '../../auth/permissions.ts';
import { errors } from '../../errors.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { type Accepted, accept } from '../../operations/accept.ts';
import { deletionOf } from './deleting.ts';
import { deletionUnderWay, lockOrphan, lockRef, noteDeletion, readOrphan } from './store.ts';

/** The orphan as JSON text. @throws 404 also where the caller may not see its workspace. */
export async function getOrphan({ db }: Services, principal: Principal, id: string): Promise<string> {
  const orphan = await readOrphan(db, id);
  if (orphan === null || !isPermitted(principal, 'server_read', orphan.workspace)) throw errors.notFound('orphan', id);
  return orphan.json;
}

/** Accepts the deletion of an orphan. It is looked at again before anything is deleted. */
export async function deleteOrphan(services: Services, mutation: Mutation, id: string): Promise<Accepted> {
  const { tx, principal } = mutation;
  const orphan = await lockOrphan(tx, id);
  if (orphan === null) throw errors.notFound('orphan', id);
  requirePermission(principal, 'server_delete', {
    ...{ what: 'orphan', id, workspace: orphan.workspace, read: 'server_read' },
    // Nobody's: whoever may delete only what they made themselves may not delete it.
    createdBy: '',
  });
  const holder = await deletionUnderWay(tx, id);
  if (holder !== null) throw errors.resourceBusy(`Orphan ${id}`, holder.id, holder.kind);
  const { provider, ref, hostname } = orphan;
  await lockRef(tx, provider, ref);
  const accepted = await accept(services, mutation, {
    ...deletionOf(orphan),
    audit: { details: { provider, provider_id: ref, hostname } },
    plan: { delete: [{ type: 'orphan', id, hostname, provider, provider_id: ref }] },
  });
  await noteDeletion(tx, id, accepted.id);
  return accepted;
}
