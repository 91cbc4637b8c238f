import type { TaskservDefinition } from '../../catalog/catalog.ts';
import type { Queryable } from '../../database/pool.ts';
import {
  type Compensation,
  defineProcedure,
  type FollowUp,
  OperationError,
  type Procedure,
  type ProcedureContext,
  type StepCall,
} from '../../engine/procedure.ts';
import { leaveTurns } from '../../servers/turn-store.ts';
import type { Slots } from '../../util/slots.ts';
import { defaultItem, type Item, namesToRemove } from '../host-plan.ts';
import { removeItem } from '../host-scripts.ts';
import { type CarriedRecord, carriedOn, forgetOnHost, noteOnHost } from '../host-store.ts';
import { changeHosts, settleChange } from '../procedures/change-hosts.ts';
import { outputOf } from '../procedures/host-install.ts';
import {
  definitionMissing,
  definitionsOf,
  type Host,
  type HostsInput,
  type HostTools,
  TASKSERV_QUEUE,
  wantedItem,
} from '../procedures/input.ts';
import { inTurn } from '../procedures/turn.ts';
import { removeTaskserv, updateTaskserv } from '../store.ts';

interface RemoveInput extends HostsInput {
  /** Also where it is required, and where the catalog no longer knows how to remove it. */
  force: boolean;
  previous_status: string;
}

/** Removes a taskserv from all its hosts, with what came along with it and nobody else there requires. */
export function deleteProcedure(tools: HostTools): Procedure {
  return defineProcedure<RemoveInput>({
    kind: 'taskserv.delete',
    queue: () => TASKSERV_QUEUE,
    run: (input, context) => remove(tools, input, context),
    compensate: compensateRemoval,
  });
}

async function remove(tools: HostTools, input: RemoveInput, context: ProcedureContext) {
  const done = await changeHosts(
    tools,
    input,
    context,
    {
      what: 'remove from',
      failed: (hosts, all) => `${input.name} could not be removed from ${hosts} of ${all} servers`,
    },
    (host, call, slots) => removeFromHost(tools, input, context.workspace, host, call, slots),
  );
  return context.finish(async (tx) => {
    await removeTaskserv(tx, input.taskserv_id);
    await leaveTurns(tx, context.operationId);
    return {
      taskserv_id: input.taskserv_id,
      name: input.name,
      deleted: true,
      hosts: done.map(({ host, value }) => ({ server: host.hostname, server_id: host.server_id, removed: value })),
    };
  });
}

/** @returns the names of what was removed, in that order. */
async function removeFromHost(
  tools: HostTools,
  input: RemoveInput,
  workspace: string,
  host: Host,
  call: StepCall,
  slots: Slots,
): Promise<string[]> {
  return inTurn(tools, host, call, slots, async (transport, address) => {
    const definitions = await definitionsOf(tools.db, workspace);
    const carried = await carriedOn(tools.db, [host.server_id]);
    const removed: string[] = [];
    for (const name of namesToRemove(definitions, carried, input.name)) {
      const record = carried.find((candidate) => candidate.name === name);
      // Gone since: a crash came between its removal and the end of this step.
      if (record === undefined) continue;
      const item = await itemToRemove(tools, definitions, input, name);
      if (item !== null) await removeOne(tools, transport, { host, address, call, item, record });
      removed.push(name);
    }
    call.guard();
    await tools.db.transaction().execute(async (tx) => {
      await forgetOnHost(tx, host.server_id, removed);
      await leaveTurns(tx, call.operationId, host.server_id);
    });
    return removed;
  });
}

/** Null: the catalog has forgotten how, and `force` says to do without. */
async function itemToRemove(
  tools: HostTools,
  definitions: ReadonlyMap<string, TaskservDefinition>,
  input: RemoveInput,
  name: string,
): Promise<Item | null> {
  const definition = definitions.get(name);
  if (definition === undefined) {
    if (input.force) return null;
    throw definitionMissing(name);
  }
  return name === input.name ? wantedItem(tools, definitions, input) : defaultItem(definition);
}

async function removeOne(
  tools: HostTools,
  transport: Parameters<typeof removeItem>[0],
  one: { host: Host; address: string | null; call: StepCall; item: Item; record: CarriedRecord },
): Promise<void> {
  const { host, address, call, item, record } = one;
  const { name } = item.definition;
  const where = { serverId: host.server_id, name, operationId: call.operationId };
  const resumed = record.status === 'removing' && record.operation_id === call.operationId;
  const fields = { host: host.hostname, taskserv: name };
  call.guard();
  await noteOnHost(tools.db, where, { status: 'removing', message: null });
  await call.log(`${host.hostname}: removing ${name}`, fields);
  const output = await outputOf({ tools, host, call }, item, 'remove', resumed);
  const outcome = await removeItem(transport, item, { hostname: host.hostname, address }, call, output);
  if (!outcome.ok) {
    const message = `remove.sh of ${name} ${outcome.message}`;
    call.guard();
    await noteOnHost(tools.db, where, { status: 'failed', message });
    await call.log(`${host.hostname}: ${message}`, { ...fields, verdict: 'failed' });
    throw new OperationError('REMOVE_FAILED', `${host.hostname}: ${message}`);
  }
  await call.log(`${host.hostname}: ${name} is gone.`, { ...fields, verdict: 'removed' });
}

function compensateRemoval(tx: Queryable, input: RemoveInput, compensation: Compensation): Promise<FollowUp | null> {
  return settleChange(tx, input, compensation, () =>
    updateTaskserv(tx, input.taskserv_id, { status: input.previous_status }),
  );
}
