import { readClock } from '../../../database/clock.ts';
import type { Database } from '../../../database/pool.ts';
import { defineProcedure, OperationError, type Procedure, type StepCall } from '../../../engine/procedure.ts';
import type { Provider } from '../../../providers/contract.ts';
import { isOfInstallation, readInstallationId } from '../../../providers/installation.ts';
import { readServer } from '../../../providers/observer.ts';
import type { ProviderRegistry } from '../../../providers/registry.ts';
import { CLEANUP_STEP, deleteAndWait } from '../../delete/procedure.ts';
import { beginOrphanRemoval } from '../../guards/store.ts';
import { lookOptions, queueOf, withOpened } from '../../server-change.ts';
import { dropOrphan, operationsOfOurs, unknownAmong } from '../store.ts';

/** Ids only: what is to be deleted is looked at again. */
export interface OrphanDeletion {
  orphan_id: string;
  provider: string;
  provider_ref: string;
  /** The workspace whose account shows it; null: the installation's. */
  account: string | null;
  /** The operation that its labels named when it was found. */
  operation_label: string | null;
}

/** Deletes a server that nobody here knows, once it was seen again to be just that. */
export function orphanDeleteProcedure(db: Database, providers: ProviderRegistry): Procedure {
  return defineProcedure<OrphanDeletion>({
    kind: 'orphan.delete',
    queue: queueOf,
    async run(input, { operationId, step, finish }) {
      const { orphan_id, provider, provider_ref, account } = input;
      await step(
        'delete the orphan',
        (call) =>
          withOpened(
            () => providers.account(provider, account),
            (opened) => deleteIfStill(db, opened, input, call),
          ),
        CLEANUP_STEP,
      );
      return finish(async (tx) => {
        await dropOrphan(tx, provider, provider_ref, operationId);
        return { orphan_id, provider, provider_id: provider_ref, deleted: true };
      });
    },
    // It stays reported: nothing has to be tidied up.
    compensate: async () => null,
  });
}

async function deleteIfStill(db: Database, provider: Provider, input: OrphanDeletion, call: StepCall): Promise<void> {
  const listedAt = await readClock(db);
  const seen = await readServer(provider, input.provider_ref, lookOptions(call));
  if (seen === null) {
    await call.log(`${input.provider} no longer has ${input.provider_ref}.`);
    return;
  }
  const installation = await readInstallationId(db);
  const ours = isOfInstallation(seen, installation, await operationsOfOurs(db, [seen.operation_id]));
  if (seen.operation_id !== input.operation_label || !ours) {
    throw new OperationError(
      'ORPHAN_CHANGED',
      `The labels of ${seen.ref} at ${input.provider} have changed since it was found. It was not deleted.`,
    );
  }
  const lists = { listedAt, lagMs: provider.listingLagMs ?? 0 };
  if (!(await unknownAmong(db, input.provider, [seen], lists)).has(seen.ref)) {
    throw new OperationError(
      'NO_ORPHAN',
      `${seen.ref} at ${input.provider} now belongs to a server or an operation of this installation. It was not deleted.`,
    );
  }
  await db.transaction().execute((tx) => beginOrphanRemoval(tx, input.orphan_id, call.operationId));
  await call.log(`Deleting ${seen.hostname} (${seen.ref}) at ${input.provider}: nobody knows it.`);
  await deleteAndWait(provider, seen.ref, call);
}
