import { isPermitted, type Principal, requirePermission } from '../../auth/permissions.ts';
import { errors } from '../../errors.ts';
import type { Answer, Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { submitDeletion } from './deleting.ts';
import { deletionUnderWay, lockOrphan, readOrphan } from './store.ts';

/** The orphan as JSON text. @throws 404 also where the caller may not see its workspace. */
export async function getOrphan({ db }: Services, principal: Principal, id: string): Promise<string> {
  const orphan = await readOrphan(db, id);
  if (orphan === null || !isPermitted(principal, 'server_read', orphan.workspace)) throw errors.notFound('orphan', id);
  return orphan.json;
}

/** Accepts the deletion of an orphan. It is looked at again before anything is deleted. */
export async function deleteOrphan({ engine }: Services, mutation: Mutation, id: string): Promise<Answer> {
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
  const submitted = await submitDeletion(engine, tx, orphan, principal.name);
  mutation.audit({
    action: 'orphan.delete',
    workspace: orphan.workspace,
    resource: `orphan:${id}`,
    operationId: submitted.id,
    details: { provider: orphan.provider, provider_id: orphan.ref, hostname: orphan.hostname },
  });
  mutation.afterCommit(submitted.afterCommit);
  return { body: submitted.json, location: `/v1/operations/${submitted.id}` };
}
