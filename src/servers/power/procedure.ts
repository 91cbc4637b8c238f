import { defineProcedure, OperationError, type Procedure } from '../../engine/procedure.ts';
import { untilObserved } from '../../providers/observer.ts';
import type { ProviderRegistry } from '../../providers/registry.ts';
import { reconcileAfter } from '../reconcile/procedure.ts';
import { callOptions, findRef, queueOf, type ServerChange, tellOf, withAccount } from '../server-change.ts';
import { forgetDrift, updateServer } from '../store.ts';

export type PowerAction = 'start' | 'stop' | 'restart';

/** Starts, stops or restarts a server and waits until it is so. */
export function powerProcedure(providers: ProviderRegistry, action: PowerAction): Procedure {
  const goal = action === 'stop' ? 'stopped' : 'running';
  return defineProcedure<ServerChange>({
    kind: `server.${action}`,
    queue: queueOf,
    async run(input, { workspace, step, finish }) {
      const server = await step(`${action} the server`, (call) =>
        withAccount(providers, input.provider, workspace, async (provider) => {
          const ref = await findRef(provider, input, call);
          if (ref === null) throw vanished(input);
          await provider[`${action}Server`](ref, callOptions(call));
          return untilObserved(
            provider,
            ref,
            (seen) => seen === null || [goal, 'error'].includes(seen.status),
            call.signal,
            tellOf(call),
          );
        }),
      );
      if (server === null) throw vanished(input);
      if (server.status !== goal) {
        throw new OperationError('SERVER_ERROR', `${input.provider} reports the server ${server.ref} as broken.`);
      }
      return finish(async (tx) => {
        await updateServer(tx, input.server_id, { status: server.status, ipAddress: server.ip_address });
        await forgetDrift(tx, input.server_id, ['status']);
        return { server_id: input.server_id, status: server.status, ip_address: server.ip_address };
      });
    },
    compensate: reconcileAfter,
  });
}

function vanished(input: ServerChange): OperationError {
  return new OperationError('SERVER_MISSING', `${input.provider} no longer has the server ${input.server_id}.`);
}
