import type { Queryable } from '../../database/pool.ts';
import { type Compensation, defineProcedure, type FollowUp, type Procedure } from '../../engine/procedure.ts';
import type { ProviderServer, ProviderServerStatus } from '../../providers/contract.ts';
import { untilObserved } from '../../providers/observer.ts';
import type { ProviderRegistry } from '../../providers/registry.ts';
import { sleep } from '../../util/sleep.ts';
import { EXISTING } from '../existing.ts';
import { expiresAtStill } from '../guards/store.ts';
import { findRef, queueOf, type ServerChange, tellOf, withAccount } from '../server-change.ts';
import { hostnameOf, removeServer, updateServer } from '../store.ts';

interface ReconcileInput extends ServerChange {
  /** The interrupted change was a deletion: a server that is gone is what was wanted. */
  deleting: boolean;
}

const IN_BETWEEN: readonly ProviderServerStatus[] = ['creating', 'starting', 'stopping', 'deleting'];
/** How long a state may stay in between before it is recorded as it is. Seconds. */
const SETTLE_DEADLINE = 86_400;

/** Records how a server really stands after a change was interrupted. Writes nothing to the provider. */
export function reconcileProcedure(providers: ProviderRegistry): Procedure {
  return defineProcedure<ReconcileInput>({
    kind: 'server.reconcile',
    queue: queueOf,
    async run(input, { workspace, step, finish }) {
      const server = await step(
        'look how the server stands',
        (call) =>
          withAccount(providers, input.provider, workspace, async (provider): Promise<ProviderServer | null> => {
            const ref = await findRef(provider, input, call);
            if (ref === null) return null;
            // A deletion that was accepted may not show yet.
            if (input.deleting) await sleep(provider.listingLagMs ?? 0, call.signal);
            return untilObserved(
              provider,
              ref,
              (now) => now === null || !IN_BETWEEN.includes(now.status),
              call.signal,
              tellOf(call),
            );
          }),
        { deadline: SETTLE_DEADLINE, attempts: 10_000 },
      );
      return finish(async (tx) => {
        const { server_id: serverId } = input;
        if (server === null && input.deleting) {
          await removeServer(tx, serverId);
          return { server_id: serverId, status: 'deleted' };
        }
        const status = server?.status ?? 'missing';
        await updateServer(tx, serverId, { status, ipAddress: server?.ip_address ?? null });
        return { server_id: serverId, status };
      });
    },
    async compensate(tx, input) {
      await updateServer(tx, input.server_id, { status: 'unknown' });
      return null;
    },
  });
}

/** The compensation of every change of an existing server: as before where nothing was begun, else look and record. */
export async function reconcileAfter(
  tx: Queryable,
  input: ServerChange & { expired_at?: string },
  { started }: Compensation,
): Promise<FollowUp | null> {
  // There is nobody to ask how an existing machine stands: it was not touched.
  if (!started || input.provider === EXISTING) {
    await updateServer(tx, input.server_id, { status: input.previous_status });
    return null;
  }
  const { server_id, provider, provider_ref, create_operation_id, previous_status } = input;
  return {
    kind: 'server.reconcile',
    title: `Record the state of ${(await hostnameOf(tx, server_id)) ?? server_id} after an interrupted change`,
    resource: `server:${server_id}`,
    input: {
      server_id,
      provider,
      provider_ref,
      create_operation_id,
      previous_status,
      deleting: await isBeingDeleted(tx, server_id, input.expired_at),
    },
  };
}

/** Not where its deletion was refused because it is protected, or has another expiry by now. */
async function isBeingDeleted(tx: Queryable, serverId: string, expiredAt: string | undefined): Promise<boolean> {
  if (expiredAt !== undefined && !(await expiresAtStill(tx, 'servers', serverId, expiredAt))) return false;
  const row = await tx
    .selectFrom('provisioning.servers')
    .select(['status', 'protected'])
    .where('id', '=', serverId)
    .executeTakeFirst();
  return row?.status === 'deleting' && !row.protected;
}
