import type { OrphanDeletion } from '../procedures/orphan-delete.ts';
import type { OrphanRecord } from './store.ts';

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
