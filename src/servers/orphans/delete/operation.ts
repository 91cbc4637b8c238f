import { errors } from '../../../errors.ts';
import type { Mutation } from '../../../http/mutation.ts';
import type { Services } from '../../../http/section.ts';
import { type Accepted, accept } from '../../../operations/accept.ts';
import { defineOperation } from '../../../operations/define.ts';
import { refuseProtected } from '../../../operations/protection.ts';
import type { ServerTools } from '../../tools.ts';
import { OrphanId } from '../schemas.ts';
import { lockPermitted } from '../service.ts';
import { deletionUnderWay, lockRef, noteDeletion, type OrphanRecord } from '../store.ts';
import { type OrphanDeletion, orphanDeleteProcedure } from './procedure.ts';

export const deleteOrphan = defineOperation({
  kind: 'orphan.delete',
  permission: 'server_delete',
  route: {
    method: 'DELETE',
    path: '/v1/orphans/:id',
    tag: 'Orphans',
    summary: 'Delete an orphan',
    description:
      'With its disks. It is looked at once more right before: what belongs to a server or an operation by then is left alone, and the operation fails.',
    params: OrphanId,
    refusals: [400, 404, 409],
    accept: (services, mutation, { params }) => acceptDelete(services, mutation, params.id),
  },
  procedure: ({ db, providers }: ServerTools) => orphanDeleteProcedure(db, providers),
});

/** The operation that deletes an orphan. Lock the orphan and its provider's reference (`lockRef`) before submitting it. */
export function deletionOf({ id, provider, ref, account, operation_id, workspace, hostname }: OrphanRecord) {
  const input: OrphanDeletion = {
    ...{ orphan_id: id, provider, provider_ref: ref, account, operation_label: operation_id },
  };
  return {
    kind: 'orphan.delete',
    title: `Delete the orphaned server ${hostname} (${ref}) at ${provider}`,
    ...{ workspace, resource: `orphan:${id}`, input: { ...input } },
  };
}

/** Accepts the deletion of an orphan. It is looked at again before anything is deleted. */
async function acceptDelete(services: Services, mutation: Mutation, id: string): Promise<Accepted> {
  const { tx } = mutation;
  const orphan = await lockPermitted(mutation, id, 'server_delete');
  if (orphan.protected) refuseProtected([{ type: 'orphan', id, name: orphan.hostname }]);
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
