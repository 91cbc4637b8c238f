/** Everything that an install does on one host. It may run any number of times: it looks, then acts. */
import { OperationError, type StepCall } from '../../engine/procedure.ts';
import { leaveTurns } from '../../servers/turn-store.ts';
import type { Transport } from '../../transports/contract.ts';
import { isJobBegun } from '../../transports/job.ts';
import type { Slots } from '../../util/slots.ts';
import { type Prepared, prepareMember } from '../cluster/join.ts';
import { lookAt } from '../host-look.ts';
import { type Item, itemsOn } from '../host-plan.ts';
import { checkItem, type HostFacts, installItem, type Outcome, type Output } from '../host-scripts.ts';
import { type CarriedRecord, lastLineOf, noteOnHost } from '../host-store.ts';
import { definitionsOf, type Host, type HostsInput, type HostTools, wantedItem } from './input.ts';
import { inTurn } from './turn.ts';

/** Lines of one script's output that are kept for one host: a script that never stops talking must not fill the database. */
const MAX_LINES = 10_000;

/** What was done with one taskserv on one host. */
interface HostAction {
  taskserv: string;
  version: string;
  action: 'installed' | 'changed' | 'repaired' | 'unchanged';
}

/** The result of a host on which all went well. */
export interface HostInstalled {
  platform: string | null;
  deeds: HostAction[];
}

/** Brings the wanted taskserv with all that it requires onto the host, and notes it. @throws OperationError. */
export async function installOnHost(
  tools: HostTools,
  input: HostsInput,
  workspace: string,
  host: Host,
  call: StepCall,
  slots: Slots,
): Promise<HostInstalled> {
  return inTurn(tools, host, call, slots, async (transport, address) => {
    const definitions = await definitionsOf(tools.db, workspace);
    const wanted = await wantedItem(tools, definitions, input, host.server_id);
    const { items, carried } = await itemsOn(tools.db, tools.encryption, definitions, host.server_id, wanted);
    const facts = { hostname: host.hostname, address };
    const look = await lookAt(transport, items, facts, call.signal);
    const work: HostWork = { tools, transport, host, call, facts, wanted: input };
    const deeds: HostAction[] = [];
    for (const item of items) {
      const { name } = item.definition;
      // What was seen at the look does not count any more once something was changed.
      const untouched = deeds.every(({ action }) => action === 'unchanged');
      deeds.push(
        await ensureItem(work, item, {
          known: carried.find((record) => record.name === name),
          installed: look.installed.get(name),
          health: untouched ? look.health.get(name) : undefined,
        }),
      );
    }
    call.guard();
    // A member may have to act for those that come after it.
    if (input.rounds === undefined) await leaveTurns(tools.db, call.operationId, host.server_id);
    return { platform: look.platform, deeds };
  });
}

interface HostWork {
  tools: HostTools;
  transport: Transport;
  host: Host;
  call: StepCall;
  facts: HostFacts;
  /** The taskserv that the operation is about; the others are what it requires. */
  wanted: HostsInput;
}

/** What is known of one taskserv on the host before anything is done. */
interface Before {
  known: CarriedRecord | undefined;
  installed: { digest: string; version: string } | undefined;
  health: Outcome | undefined;
}

async function ensureItem(work: HostWork, item: Item, before: Before): Promise<HostAction> {
  const { known, health: seen } = before;
  const { call, host } = work;
  const { name } = item.definition;
  const member = name === work.wanted.name && item.membership !== null;
  // What was drained to leave, or was never there to the end, is no member, whatever the host carries.
  const installed = member && (known?.version ?? null) === null ? undefined : before.installed;
  const say = (line: string, fields: Record<string, unknown>) =>
    call.log(`${host.hostname}: ${line}`, { host: host.hostname, taskserv: name, ...fields });
  const deed = (action: HostAction['action']): HostAction => ({ taskserv: name, version: item.version, action });
  // Under way when a crash or a lost connection cut it off: not to be judged by what is there, but gone on with.
  const resumed = known?.status === 'installing' && known.operation_id === call.operationId;
  const same = installed?.digest === item.digest && !resumed;
  if (same) {
    const health = seen ?? (await checkItem(work.transport, item, work.facts, call.signal));
    if (health.ok) {
      if (member && known?.status !== 'running') {
        // What failed late may have left it without its work.
        const { after } = await prepare(work, item, installed, false);
        await after();
      }
      await note(work, item, 'running', null);
      await say(`${name} ${item.version} is there already and healthy.`, { verdict: 'unchanged' });
      return deed('unchanged');
    }
    await say(`${name} ${item.version} is there, but its check ${health.message}; installing it again.`, {});
  }
  const action = same ? 'repaired' : installed === undefined ? 'installed' : 'changed';
  await note(work, item, 'installing', null);
  await say(action === 'changed' ? `changing ${name} to ${item.version}` : `installing ${name} ${item.version}`, {});
  const begun = resumed && (await isJobBegun(work.transport, jobIdOf(call, item), call.signal));
  const { item: prepared, after } = await prepare(work, item, installed, begun);
  if (prepared.facts === null) {
    await say(`${name} is being installed already; what it says stays on the host, for it may hold what let it in`, {});
  }
  const outcome = await installItem(
    work.transport,
    prepared,
    work.facts,
    call,
    await outputOf(work, prepared, 'install', resumed),
  );
  if (!outcome.ok) throw await failed(work, item, 'INSTALL_FAILED', `install.sh of ${name} ${outcome.message}`);
  const health = await checkItem(work.transport, prepared, work.facts, call.signal);
  if (!health.ok) {
    const message = `${name} is installed, but its check ${health.message}`;
    throw await failed(work, item, 'UNHEALTHY', message, { version: item.version, revision: known?.revision ?? null });
  }
  await after();
  await note(work, item, 'running', null);
  await say(`${name} ${item.version} runs. ${health.message}`.trim(), { verdict: 'running' });
  return deed(action);
}

/** @throws OperationError; the failure is noted. */
async function prepare(work: HostWork, item: Item, installed: Before['installed'], begun: boolean): Promise<Prepared> {
  if (item.definition.name !== work.wanted.name) return { item, after: async () => {} };
  const noted = async <T>(act: () => Promise<T>): Promise<T> => {
    try {
      return await act();
    } catch (error) {
      if (error instanceof OperationError) throw await failed(work, item, error.code, error.message);
      throw error;
    }
  };
  const { item: prepared, after } = await noted(() =>
    prepareMember(work, item, installed, work.wanted.leaving ?? [], begun),
  );
  return { item: prepared, after: () => noted(after) };
}

/** What is installed now, where that has changed. */
type Applied = { version: string; revision: number | null };

async function note(
  work: HostWork,
  item: Item,
  status: 'installing' | 'running' | 'failed',
  message: string | null,
  applied: Applied | null = status === 'running' ? item : null,
) {
  work.call.guard();
  const where = { serverId: work.host.server_id, name: item.definition.name, operationId: work.call.operationId };
  const now = applied === null ? {} : { version: applied.version, revision: applied.revision };
  await noteOnHost(work.tools.db, where, { status, message, ...now });
}

async function failed(
  work: HostWork,
  item: Item,
  code: string,
  message: string,
  applied: Applied | null = null,
): Promise<OperationError> {
  await note(work, item, 'failed', message, applied);
  await work.call.log(`${work.host.hostname}: ${message}`, {
    host: work.host.hostname,
    taskserv: item.definition.name,
    verdict: 'failed',
  });
  return new OperationError(code, `${work.host.hostname}: ${message}`);
}

function jobIdOf({ operationId }: StepCall, { definition }: Item): string {
  return `${operationId.replaceAll('-', '')}-${definition.name}`;
}

/** Output of a script as events, numbered, so that what a crash cut off goes on with the next line. */
export async function outputOf(
  { tools, host, call }: Pick<HostWork, 'tools' | 'host' | 'call'>,
  item: Item,
  script: 'install' | 'remove',
  resumed: boolean,
): Promise<Output> {
  const { name } = item.definition;
  const job = `${script} ${name}`;
  const seen = resumed ? await lastLineOf(tools.db, call.operationId, { host: host.hostname, job }) : 0;
  return {
    jobId: jobIdOf(call, item),
    fromLine: seen + 1,
    onLine: ({ stream, text }, n) => {
      if (n > MAX_LINES + 1) return;
      const line = n > MAX_LINES ? `(More than ${MAX_LINES} lines. The rest is not kept.)` : text;
      void call.log(line, { host: host.hostname, taskserv: name, job, stream, n });
    },
  };
}
