import { defineProcedure, type Procedure } from '../../engine/procedure.ts';
import { checkItem } from '../host-scripts.ts';
import { type Health, lastChangeOn, noteHealth } from '../host-store.ts';
import { onEachHost, withTransport } from '../procedures/each-host.ts';
import {
  definitionsOf,
  type Host,
  type HostsInput,
  type HostTools,
  TASKSERV_QUEUE,
  wantedItem,
} from '../procedures/input.ts';
import { requireRunning } from '../procedures/turn.ts';
import { lockTaskserv, settleIdle } from '../store.ts';

/** Looks at the health of a taskserv on all its hosts, and records it. Changes nothing on them. */
export function checkProcedure(tools: HostTools): Procedure {
  return defineProcedure<HostsInput>({
    kind: 'taskserv.check',
    queue: () => TASKSERV_QUEUE,
    async run(input, context) {
      const outcomes = await onEachHost(context, tools, 'check on', input.hosts, (host, call, slots) =>
        slots.run(call.signal, async () => {
          const health = await askHealth(tools, { ...input, workspace: context.workspace }, host, call.signal);
          await call.log(`${host.hostname}: the check of ${input.name} ${health.ok ? 'succeeds' : health.message}`, {
            host: host.hostname,
            taskserv: input.name,
            verdict: health.ok ? 'healthy' : 'unhealthy',
          });
          return health;
        }),
      );
      return context.finish(async (tx) => {
        await lockTaskserv(tx, input.taskserv_id);
        const hosts: Record<string, unknown>[] = [];
        for (const outcome of outcomes) {
          const { hostname: server, server_id: serverId } = outcome.host;
          const health = outcome.ok
            ? outcome.value
            : { ok: false, message: outcome.message, since: await lastChangeOn(tx, serverId, input.name) };
          const noted = await noteHealth(tx, { serverId, taskservId: input.taskserv_id }, health);
          hosts.push({
            server,
            server_id: serverId,
            healthy: health.ok,
            message: health.message,
            ...(noted === null ? {} : { status: noted.status }),
          });
        }
        const status = await settleIdle(tx, input.taskserv_id);
        return { taskserv_id: input.taskserv_id, name: input.name, status, hosts };
      });
    },
  });
}

/** Runs check.sh of what is wanted. @throws OperationError or TransportError where it cannot be asked. */
export async function askHealth(
  tools: HostTools,
  taskserv: { taskserv_id: string; name: string; workspace: string },
  host: Host,
  signal: AbortSignal,
): Promise<Health> {
  const since = await lastChangeOn(tools.db, host.server_id, taskserv.name);
  const { address } = await requireRunning(tools, host);
  const definitions = await definitionsOf(tools.db, taskserv.workspace);
  const item = await wantedItem(tools, definitions, taskserv, host.server_id);
  return withTransport(tools, host, signal, async (transport) => ({
    ...(await checkItem(transport, item, { hostname: host.hostname, address }, signal)),
    since,
  }));
}
