/** Everything that a removal does on one host. It may run any number of times: what is gone already is no error. */
import type { TaskservDefinition } from '../../catalog/catalog.ts';
import { OperationError, type StepCall } from '../../engine/procedure.ts';
import { leaveTurns } from '../../servers/turn-store.ts';
import { TransportError } from '../../transports/contract.ts';
import type { Slots } from '../../util/slots.ts';
import { goesOn } from '../cluster/members.ts';
import { coordinate } from '../cluster/peer-scripts.ts';
import { defaultItem, type Item, namesToRemove } from '../host-plan.ts';
import { removeItem, unmarkItem } from '../host-scripts.ts';
import { type CarriedRecord, carriedOn, forgetOnHost, membersOf, noteOnHost } from '../host-store.ts';
import { withTransport } from './each-host.ts';
import { outputOf } from './host-install.ts';
import { definitionMissing, definitionsOf, type Host, type HostsInput, type HostTools, wantedItem } from './input.ts';
import { requireRunning, waitForTurn } from './turn.ts';

/** What a removal is given. */
export interface RemoveInput extends HostsInput {
  /** Also where it is required, and where the catalog no longer knows how to remove it. */
  force: boolean;
}

/**
 * Removes the taskserv from the host, with what came along with it and nobody else there requires.
 * @param leaving servers that leave a service which goes on without them: a member that stays drains this one first, and
 *   with `force` it is forgotten where it cannot be reached. Absent: the whole service goes.
 * @returns the names of what was removed, in that order.
 */
export async function removeFromHost(
  tools: HostTools,
  input: RemoveInput,
  workspace: string,
  host: Host,
  call: StepCall,
  slots: Slots,
  leaving?: readonly string[],
): Promise<string[]> {
  await waitForTurn(tools, host, call);
  if (leaving === undefined) await requireRunning(tools, host);
  return slots.run(call.signal, async () => {
    const definitions = await definitionsOf(tools.db, workspace);
    if (leaving !== undefined) await drainHost(tools, input, definitions, host, call, leaving);
    const carried = await carriedOn(tools.db, [host.server_id]);
    const names = namesToRemove(definitions, carried, input.name);
    const removed = await reachable(tools, input, host, call, leaving, () =>
      removeNames(tools, input, definitions, { host, call, carried, names, leaves: leaving !== undefined }),
    );
    call.guard();
    await tools.db.transaction().execute(async (tx) => {
      await forgetOnHost(tx, host.server_id, removed ?? names);
      if (input.rounds === undefined) await leaveTurns(tx, call.operationId, host.server_id);
    });
    return removed ?? [];
  });
}

/**
 * @throws OperationError LAST_MEMBER where the service would go with this server, also with `force`; and where the member
 *   cannot be drained, and `force` does not say to do without.
 */
async function drainHost(
  tools: HostTools,
  input: RemoveInput,
  definitions: ReadonlyMap<string, TaskservDefinition>,
  host: Host,
  call: StepCall,
  leaving: readonly string[],
): Promise<void> {
  const item = await itemToRemove(tools, definitions, input, input.name, host);
  if (item?.membership == null || item.definition.cluster === null) return;
  const members = await membersOf(tools.db, input.taskserv_id);
  const stay = members.filter(({ server_id }) => !leaving.includes(server_id));
  if (!goesOn(item.definition.cluster, stay)) {
    throw new OperationError(
      'LAST_MEMBER',
      `${host.hostname}: ${input.name} is on no server yet that stays, so it would be lost with this one. Let a server join first, or delete the taskserv.`,
    );
  }
  const { contact } = item.membership;
  if (contact === null || item.definition.scripts.drain === undefined) return;
  try {
    await coordinate({ tools, item, contact, peer: item.membership.self, leaves: true, call }, 'drain');
  } catch (error) {
    if (!input.force || !(error instanceof OperationError) || call.signal.aborted) throw error;
    await call.log(`${error.message} It leaves all the same, as the request says "force": true.`, {
      host: host.hostname,
    });
  }
  const { self } = item.membership;
  if (self.version === null) return;
  // Whether it can be removed or not: to stay, it has to be let in again.
  call.guard();
  const where = { serverId: host.server_id, name: input.name, operationId: call.operationId };
  const message = 'It was drained to leave and is no member any more.';
  await noteOnHost(tools.db, where, { status: 'absent', message, version: null, revision: null });
}

/** What was removed; null: the host cannot be reached, and `force` says to forget it. */
async function reachable(
  tools: HostTools,
  input: RemoveInput,
  host: Host,
  call: StepCall,
  leaving: readonly string[] | undefined,
  work: () => Promise<string[]>,
): Promise<string[] | null> {
  const mayForget = leaving !== undefined && input.force;
  try {
    await requireRunning(tools, host);
    return await work();
  } catch (error) {
    const away =
      (error instanceof TransportError && error.code !== 'FAILED') ||
      (error instanceof OperationError && ['SERVER_MISSING', 'SERVER_NOT_RUNNING'].includes(error.code));
    if (!mayForget || !away || call.signal.aborted) throw error;
    await call.log(
      `${error.message} ${host.hostname} is forgotten, as the request says "force": true; what it carries stays on it.`,
      { host: host.hostname },
    );
    return null;
  }
}

async function removeNames(
  tools: HostTools,
  input: RemoveInput,
  definitions: ReadonlyMap<string, TaskservDefinition>,
  {
    host,
    call,
    carried,
    names,
    leaves,
  }: { host: Host; call: StepCall; carried: CarriedRecord[]; names: string[]; leaves: boolean },
): Promise<string[]> {
  const { address } = await requireRunning(tools, host);
  return withTransport(tools, host, call.signal, async (transport) => {
    const removed: string[] = [];
    for (const name of names) {
      const record = carried.find((candidate) => candidate.name === name);
      // Gone since: a crash came between its removal and the end of this step.
      if (record === undefined) continue;
      const item = await itemToRemove(tools, definitions, input, name, host);
      // Cut off from here on, it must not be taken for a member that has lost nothing.
      if (item?.membership != null && leaves) await unmarkItem(transport, item, call.signal);
      if (item !== null) await removeOne(tools, transport, { host, address, call, item, record });
      removed.push(name);
    }
    return removed;
  });
}

/** Null: the catalog has forgotten how, and `force` says to do without. */
async function itemToRemove(
  tools: HostTools,
  definitions: ReadonlyMap<string, TaskservDefinition>,
  input: RemoveInput,
  name: string,
  host: Host,
): Promise<Item | null> {
  const definition = definitions.get(name);
  if (definition === undefined) {
    if (input.force) return null;
    throw definitionMissing(name);
  }
  return name === input.name ? wantedItem(tools, definitions, input, host.server_id) : defaultItem(definition);
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
