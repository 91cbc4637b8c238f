import type { TaskservDefinition } from '../../catalog/catalog.ts';
import type { Queryable } from '../../database/pool.ts';
import { defineProcedure, type FollowUp, type Procedure, type StepCall } from '../../engine/procedure.ts';
import { lookAt } from '../host-look.ts';
import { type Item, itemsOn } from '../host-plan.ts';
import { checkItem } from '../host-scripts.ts';
import { type CarriedRecord, carriedOn, forgetOnHost, settleUnknown } from '../host-store.ts';
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
import { lockTaskserv, settleTaskserv } from '../store.ts';

interface ReconcileInput extends HostsInput {
  /** The operation that was interrupted: only what it left unknown is looked at. */
  interrupted: string;
}

/** What was found of one taskserv on one host. */
interface Finding {
  name: string;
  status: 'running' | 'failed' | 'absent';
  message: string;
}

/** The follow-up of an interrupted change; null where it left nothing unknown. */
export function reconcileHosts(input: HostsInput, operationId: string, unknown: readonly string[]): FollowUp | null {
  const hosts = input.hosts.filter(({ server_id }) => unknown.includes(server_id));
  if (hosts.length === 0) return null;
  return {
    kind: 'taskserv.reconcile',
    title: `Record the state of ${input.name} on ${hosts.map(({ hostname }) => hostname).join(', ')} after an interrupted change`,
    resource: null,
    input: { taskserv_id: input.taskserv_id, name: input.name, hosts, interrupted: operationId },
  };
}

/** Looks what an interrupted change has left on hosts, and records it. Writes nothing on them. */
export function reconcileProcedure(tools: HostTools): Procedure {
  return defineProcedure<ReconcileInput>({
    kind: 'taskserv.reconcile',
    queue: () => TASKSERV_QUEUE,
    async run(input, context) {
      const outcomes = await onEachHost(context, tools, 'look at', input.hosts, (host, call, slots) =>
        slots.run(call.signal, () => findOut(tools, input, context.workspace, host, call)),
      );
      return context.finish(async (tx) => {
        await lockTaskserv(tx, input.taskserv_id);
        for (const outcome of outcomes) {
          if (outcome.ok) await recordFindings(tx, input, outcome.host, outcome.value);
        }
        const status = await settleTaskserv(tx, input.taskserv_id);
        return {
          taskserv_id: input.taskserv_id,
          status: status ?? 'removed',
          hosts: outcomes.map((outcome) => ({
            server: outcome.host.hostname,
            server_id: outcome.host.server_id,
            ...(outcome.ok ? { found: outcome.value } : { status: 'unknown', message: outcome.message }),
          })),
        };
      });
    },
  });
}

async function findOut(
  tools: HostTools,
  input: ReconcileInput,
  workspace: string,
  host: Host,
  call: StepCall,
): Promise<Finding[]> {
  const { address } = await requireRunning(tools, host);
  const open = (await carriedOn(tools.db, [host.server_id])).filter(
    (record) => record.status === 'unknown' && record.operation_id === input.interrupted,
  );
  if (open.length === 0) return [];
  return withTransport(tools, host, call.signal, async (transport) => {
    const definitions = await definitionsOf(tools.db, workspace);
    const facts = { hostname: host.hostname, address };
    const { installed } = await lookAt(transport, [], facts, call.signal);
    const items = await itemsOf(tools, input, definitions, host);
    const findings: Finding[] = [];
    for (const record of open) {
      const item = items.find(({ definition }) => definition.name === record.name);
      const there = installed.get(record.name);
      const health = item === undefined ? null : await checkItem(transport, item, facts, call.signal);
      findings.push(judge(record, item, there, health));
      const { name, status, message } = findings.at(-1) ?? { name: record.name, status: 'failed', message: '' };
      await call.log(`${host.hostname}: ${name} is ${status}. ${message}`, {
        host: host.hostname,
        taskserv: name,
        verdict: status,
      });
    }
    return findings;
  });
}

async function itemsOf(
  tools: HostTools,
  input: ReconcileInput,
  definitions: Map<string, TaskservDefinition>,
  host: Host,
): Promise<Item[]> {
  const wanted = await wantedItem(tools, definitions, input, host.server_id);
  return (await itemsOn(tools.db, tools.encryption, definitions, host.server_id, wanted)).items;
}

function judge(
  { name }: CarriedRecord,
  item: Item | undefined,
  there: { digest: string; version: string } | undefined,
  health: { ok: boolean; message: string } | null,
): Finding {
  if (there !== undefined && there.digest === item?.digest && health?.ok === true) {
    return { name, status: 'running', message: `Version ${there.version} is installed and healthy.` };
  }
  const works = health?.ok === true ? 'its check succeeds' : `its check ${health?.message ?? 'is not in the catalog'}`;
  if (there !== undefined) {
    return { name, status: 'failed', message: `Version ${there.version} is marked as installed; ${works}.` };
  }
  if (health?.ok === true) {
    return { name, status: 'failed', message: 'Its change was cut off before the end, though its check succeeds.' };
  }
  return { name, status: 'absent', message: 'Its change was cut off; it is not installed, or only in parts.' };
}

async function recordFindings(tx: Queryable, input: ReconcileInput, host: Host, findings: Finding[]): Promise<void> {
  for (const { name, status, message } of findings) {
    const where = { serverId: host.server_id, name, operationId: input.interrupted };
    // What came along and is not there is nothing to be remembered.
    const known = await settleUnknown(tx, where, { status, message: status === 'running' ? null : message });
    if (known?.taskserv_id === null && status === 'absent') await forgetOnHost(tx, host.server_id, [name]);
  }
}
