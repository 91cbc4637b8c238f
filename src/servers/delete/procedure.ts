import type { Database } from '../../database/pool.ts';
import { defineProcedure, type Procedure, type StepCall } from '../../engine/procedure.ts';
import type { Provider } from '../../providers/contract.ts';
import { untilObserved } from '../../providers/observer.ts';
import type { ProviderRegistry } from '../../providers/registry.ts';
import { sleep } from '../../util/sleep.ts';
import { EXISTING } from '../existing.ts';
import { beginServerRemoval } from '../guards/store.ts';
import { reconcileAfter } from '../reconcile/procedure.ts';
import {
  callOptions,
  findRef,
  lookOptions,
  queueOf,
  type ServerChange,
  tellOf,
  withAccount,
} from '../server-change.ts';
import { type RecreatedServer, removeServer, restoreAfterRecreation, updateServer } from '../store.ts';

/** A provider that is away for long must not leave a server behind: try for a day. */
export const CLEANUP_STEP = { deadline: 86_400, attempts: 10_000, retryDelay: 2 };
/** A create whose answer was lost may show up late: look again after this before believing that there is nothing. */
const SECOND_LOOK_MS = 500;

interface Deletion extends ServerChange {
  /** The expiry for which it is deleted; absent: somebody asked for it. */
  expired_at?: string;
}

/**
 * Deletes a server and waits until it is gone; an existing machine is forgotten and left alone. Interrupted, `server.reconcile` records
 * what is true.
 */
export function deleteProcedure(db: Database, providers: ProviderRegistry): Procedure {
  return defineProcedure<Deletion>({
    kind: 'server.delete',
    queue: queueOf,
    async run(input, { operationId, workspace, step, finish }) {
      if (input.provider === EXISTING) {
        return finish(async (tx) => {
          await beginServerRemoval(tx, input.server_id, operationId, input.expired_at);
          await removeServer(tx, input.server_id);
          return { server_id: input.server_id, deleted: true, forgotten: true };
        });
      }
      await step('delete the server', async (call) => {
        await db.transaction().execute((tx) => beginServerRemoval(tx, input.server_id, operationId, input.expired_at));
        await withAccount(providers, input.provider, workspace, async (provider) => {
          const ref = await findRef(provider, input, call);
          if (ref !== null) await deleteAndWait(provider, ref, call);
        });
      });
      return finish(async (tx) => {
        await removeServer(tx, input.server_id);
        return { server_id: input.server_id, deleted: true };
      });
    },
    compensate: reconcileAfter,
  });
}

interface Cleanup extends ServerChange {
  /** The server was to be made anew: it stays, as it was before. */
  restore?: RecreatedServer;
}

/** Deletes whatever a create that failed or was cancelled has left at the provider. */
export function cleanupProcedure(db: Database, providers: ProviderRegistry): Procedure {
  return defineProcedure<Cleanup>({
    kind: 'server.cleanup',
    queue: queueOf,
    async run(input, { workspace, step, finish }) {
      const deleted = await step(
        'delete what was half made',
        (call) =>
          withAccount(providers, input.provider, workspace, (provider) => deleteAllOf(db, provider, input, call)),
        CLEANUP_STEP,
      );
      return finish(async (tx) => {
        if (input.restore === undefined) await removeServer(tx, input.server_id);
        else await restoreAfterRecreation(tx, input.server_id, input.restore);
        return { server_id: input.server_id, deleted };
      });
    },
    async compensate(tx, input) {
      // It may still exist and cost money: keep it in sight, to be deleted again.
      await updateServer(tx, input.server_id, { status: 'error' });
      return null;
    },
  });
}

/** @returns refs of what was deleted. */
async function deleteAllOf(
  db: Database,
  provider: Provider,
  { server_id: serverId, provider_ref: ref, create_operation_id: operationId, restore }: Cleanup,
  call: StepCall,
): Promise<string[]> {
  const deleted = new Set<string>();
  const remove = async (found: string) => {
    // What was made in the place of a server that is gone is not that server.
    if (restore === undefined) {
      await db.transaction().execute((tx) => beginServerRemoval(tx, serverId, call.operationId));
    }
    await call.log(`Deleting ${found} at ${provider.name}.`);
    await deleteAndWait(provider, found, call);
    deleted.add(found);
  };
  // By itself: a list may not show it yet.
  if (ref !== null) await remove(ref);
  for (let absent = 0; absent < 2; ) {
    const found = await provider.findServer(operationId, lookOptions(call));
    // Where lists lag, one may still show what is gone. What one shows after that is there, and is deleted again.
    if (found === null || (deleted.has(found.ref) && absent === 0)) {
      absent += 1;
      if (absent < 2) await sleep(Math.max(SECOND_LOOK_MS, provider.listingLagMs ?? 0), call.signal);
      continue;
    }
    absent = 0;
    await remove(found.ref);
  }
  return [...deleted];
}

/** Deletes a server and waits until the provider shows it no more. */
export async function deleteAndWait(provider: Provider, ref: string, call: StepCall): Promise<void> {
  await provider.deleteServer(ref, callOptions(call));
  await untilObserved(provider, ref, (server) => server === null, call.signal, tellOf(call));
}
