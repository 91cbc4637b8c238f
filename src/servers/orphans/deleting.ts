import type { Queryable } from '../../database/pool.ts';
import { uuidv7 } from '../../database/uuid.ts';
import { type Engine, OBSERVER } from '../../engine/engine.ts';
import type { OrphanDeletion } from '../procedures/orphan-delete.ts';
import { lockRef, noteDeletion, type OrphanRecord } from './store.ts';

/**
 * Submits the deletion of an orphan whose row the transaction holds.
 * @param by who wants it; null: the settings.
 */
export async function submitDeletion(
  engine: Engine,
  tx: Queryable,
  orphan: OrphanRecord,
  by: string | null,
): Promise<{ id: string; json: string; afterCommit: () => void }> {
  await lockRef(tx, orphan.provider, orphan.ref);
  const id = uuidv7();
  const input: OrphanDeletion = {
    orphan_id: orphan.id,
    provider: orphan.provider,
    provider_ref: orphan.ref,
    account: orphan.account,
    operation_label: orphan.operation_id,
  };
  const submitted = await engine.submit(tx, {
    id,
    kind: 'orphan.delete',
    workspace: orphan.workspace,
    resource: `orphan:${orphan.id}`,
    parentId: null,
    input: { ...input },
    createdBy: by ?? OBSERVER,
  });
  await noteDeletion(tx, orphan.id, id);
  return { id, ...submitted };
}
