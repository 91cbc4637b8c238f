/** What every change of a taskserv on its hosts has in common: its work, how it fails, and what holds when it was interrupted. */
import type { Queryable } from '../../database/pool.ts';
import {
  type Compensation,
  type FollowUp,
  OperationError,
  type ProcedureContext,
  type StepCall,
} from '../../engine/procedure.ts';
import { leaveTurns } from '../../servers/turn-store.ts';
import type { Slots } from '../../util/slots.ts';
import { abandonHosts, failOnHost, hostsOf, leaveOnHost } from '../host-store.ts';
import { reconcileHosts } from '../reconcile/procedure.ts';
import { settleTaskserv } from '../store.ts';
import { type HostOutcome, onEachHost } from './each-host.ts';
import type { Host, HostsInput, HostTools } from './input.ts';
import { inRounds, NOT_BEGUN } from './rounds.ts';

/** Characters of an operation's error at most: a thousand hosts have much to say. */
const MAX_MESSAGE = 4_000;

/** What was done on one host. */
export interface Done<T> {
  host: Host;
  value: T;
}

/**
 * Does the work on all hosts. Those that fail are recorded and give their turn back; what was done on the others stays.
 * @param words `what` as in `onEachHost`: the steps' names are a persisted contract. `failed`: how an error begins.
 *   `goesOn`: as in `inRounds`.
 * @throws HOSTS_FAILED with every failure's words.
 */
export async function changeHosts<T>(
  tools: HostTools,
  input: HostsInput,
  context: ProcedureContext,
  { what, failed, goesOn }: { what: string; failed: (hosts: number, all: number) => string; goesOn?: true },
  work: (host: Host, call: StepCall, slots: Slots) => Promise<T>,
): Promise<Done<T>[]> {
  const { rounds } = input;
  const outcomes =
    rounds === undefined
      ? await onEachHost(context, tools, what, input.hosts, work)
      : await inRounds(
          context,
          tools,
          { ...input, rounds },
          { install: { what, work }, remove: { what, work } },
          goesOn,
        );
  return allDone(tools, input, context, failed, outcomes);
}

/**
 * What was done, where all hosts went well; otherwise the failures are recorded.
 * @throws HOSTS_FAILED with every failure's words.
 */
export async function allDone<T>(
  tools: HostTools,
  input: HostsInput,
  context: ProcedureContext,
  failed: (hosts: number, all: number) => string,
  outcomes: HostOutcome<T>[],
): Promise<Done<T>[]> {
  const failures = outcomes.filter((outcome) => !outcome.ok);
  if (failures.length > 0) {
    await context.step('record the hosts that failed', (call) =>
      recordFailures(tools.db, input, call.operationId, outcomes),
    );
    const why = failures.map(({ message }) => message).join(' ');
    const message = `${failed(failures.length, outcomes.length)}: ${why}`;
    throw new OperationError('HOSTS_FAILED', message.slice(0, MAX_MESSAGE));
  }
  return outcomes.flatMap((outcome) => (outcome.ok ? [{ host: outcome.host, value: outcome.value }] : []));
}

/** The hosts whose step ended with an error know it; what was worked on there does not run. The others are as they were. */
async function recordFailures(
  db: Queryable,
  input: HostsInput,
  operationId: string,
  outcomes: readonly HostOutcome<unknown>[],
): Promise<void> {
  for (const outcome of outcomes) {
    if (outcome.ok) continue;
    const where = { serverId: outcome.host.server_id, taskservId: input.taskserv_id, operationId };
    if (outcome.code === NOT_BEGUN) await leaveOnHost(db, where, outcome.message);
    else await failOnHost(db, where, outcome.message);
    await leaveTurns(db, operationId, outcome.host.server_id);
  }
}

/** The taskserv's hosts as results tell them. */
export async function summaries(db: Queryable, input: HostsInput) {
  const ids = new Set(input.hosts.map(({ server_id }) => server_id));
  return (await hostsOf(db, input.taskserv_id))
    .filter(({ server_id }) => ids.has(server_id))
    .map(({ server_id, hostname, provider, status, version, message }) => ({
      server: hostname,
      server_id,
      provider,
      status,
      version,
      message,
    }));
}

/**
 * Compensates for a change that has failed or was cancelled.
 * @param takeBack when nothing was begun: makes all as it was before the request.
 */
export async function settleChange(
  tx: Queryable,
  input: HostsInput,
  { operationId, started, result }: Compensation,
  takeBack: () => Promise<void>,
): Promise<FollowUp | null> {
  await leaveTurns(tx, operationId);
  if (!started) {
    await takeBack();
    return null;
  }
  const unknown = await abandonHosts(tx, operationId);
  const status = await settleTaskserv(tx, input.taskserv_id);
  const hosts = await summaries(tx, input);
  Object.assign(result, { taskserv_id: input.taskserv_id, name: input.name, status, hosts });
  return reconcileHosts(input, operationId, unknown);
}
