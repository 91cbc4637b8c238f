import { defineProcedure, OperationError, type Procedure } from '../../engine/procedure.ts';
import type { ProviderRegistry } from '../../providers/registry.ts';
import { EXISTING } from '../existing.ts';
import { changePlan, lookOnce } from '../plan-change.ts';
import { reconcileAfter } from '../reconcile/procedure.ts';
import { callOptions, findRef, queueOf, type ServerChange, withAccount } from '../server-change.ts';
import { forgetDrift, setPlanAndTags, updateServer } from '../store.ts';

export interface ResizeInput extends ServerChange {
  /** As the server is to be; null: as it is. */
  plan: string | null;
  tags: string[] | null;
  zone: string;
  /** As it was, for undoing it. */
  previous_plan: string;
  previous_tags: string[];
}

/** Gives a server another plan, for which it is stopped and started again, or other tags, which interrupt nothing. */
export function resizeProcedure(providers: ProviderRegistry): Procedure {
  return defineProcedure<ResizeInput>({
    kind: 'server.resize',
    queue: queueOf,
    async run(input, { workspace, step, finish }) {
      const { server_id, plan, tags, zone, previous_status } = input;
      const changed = [...(tags === null ? [] : ['tags']), ...(plan === null ? [] : ['plan'])];
      const end = (status: string, ipAddress?: string | null) =>
        finish(async (tx) => {
          await setPlanAndTags(tx, server_id, { plan, tags });
          await updateServer(tx, server_id, { status, ...(ipAddress === undefined ? {} : { ipAddress }) });
          await forgetDrift(tx, server_id, changed);
          return { server_id, status, ...(plan === null ? {} : { plan }), ...(tags === null ? {} : { tags }) };
        });
      // The tags of a machine that no provider made are ours alone.
      if (input.provider === EXISTING) return end(previous_status);
      const ref = await step('look for the server', (call) =>
        withAccount(providers, input.provider, workspace, async (provider) => findRef(provider, input, call)),
      );
      if (ref === null) throw missing(input);
      if (tags !== null) {
        await step('set its labels', (call) =>
          withAccount(providers, input.provider, workspace, async (provider) =>
            provider.labelServer?.(ref, { operationId: input.create_operation_id, workspace, tags }, callOptions(call)),
          ),
        );
      }
      if (plan !== null) {
        await step('change the plan', (call) =>
          withAccount(providers, input.provider, workspace, (provider) =>
            changePlan(provider, ref, { plan, zone }, previous_status === 'running', call),
          ),
        );
      }
      const seen = await step('look at the outcome', (call) =>
        withAccount(providers, input.provider, workspace, (provider) => lookOnce(provider, ref, call)),
      );
      if (seen === null) throw missing(input);
      return end(seen.status, seen.ip_address);
    },
    compensate: reconcileAfter,
  });
}

function missing({ provider, server_id }: ResizeInput): OperationError {
  return new OperationError('SERVER_MISSING', `${provider} no longer has the server ${server_id}.`);
}
