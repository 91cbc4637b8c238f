import type { Queryable } from '../../database/pool.ts';
import {
  defineProcedure,
  type FollowUp,
  OperationError,
  type Procedure,
  type ProcedureContext,
  type Settlement,
} from '../../engine/procedure.ts';
import { leaveTurns } from '../../servers/turn-store.ts';
import { abandonHosts, displaceFromHosts, failOnHost, hostsOf } from '../host-store.ts';
import { removeOldRevisions, removeTaskserv, returnToRevision, settleTaskserv } from '../store.ts';
import { type HostOutcome, onEachHost } from './each-host.ts';
import { installOnHost } from './host-install.ts';
import { type Host, type HostsInput, type HostTools, TASKSERV_QUEUE } from './input.ts';
import { type CheckModeInput, planInstall } from './plan.ts';
import { reconcileHosts } from './reconcile.ts';

/** What brings a taskserv onto hosts, as stored. */
interface InstallInput extends HostsInput {
  check_mode?: false;
  /** How it stood before the request; null: there was none. */
  previous: { revision: number; version: string; status: string } | null;
  /** Hosts on which it did not stand before, and those on which it had come along as a requirement. */
  made: string[];
  adopted: string[];
}

/** Installs or changes a taskserv on all its hosts, or only says what that would do. */
export function createProcedure(tools: HostTools): Procedure {
  return defineProcedure<InstallInput | CheckModeInput>({
    kind: 'taskserv.create',
    queue: () => TASKSERV_QUEUE,
    run: async (input, context) =>
      input.check_mode === true
        ? context.finish(await planInstall(tools, input, context))
        : install(tools, input, context),
    settle: async (tx, input, settlement) => (input.check_mode === true ? null : settleInstall(tx, input, settlement)),
  });
}

/** Installs again on the hosts where a taskserv does not run. */
export function retryProcedure(tools: HostTools): Procedure {
  return defineProcedure<InstallInput>({
    kind: 'taskserv.retry',
    queue: () => TASKSERV_QUEUE,
    run: (input, context) => install(tools, input, context),
    settle: settleInstall,
  });
}

async function install(tools: HostTools, input: InstallInput, context: ProcedureContext) {
  const outcomes = await onEachHost(context, tools, 'install on', input.hosts, (host, call, limiter) =>
    installOnHost(tools, input, context.workspace, host, call, limiter),
  );
  const failures = outcomes.filter((outcome) => !outcome.ok);
  if (failures.length > 0) {
    await context.step('record the hosts that failed', (call) =>
      recordFailures(tools.db, input, call.operationId, outcomes),
    );
    const verb =
      failures.length === outcomes.length ? 'failed' : `failed on ${failures.length} of ${outcomes.length} servers`;
    throw new OperationError(
      'HOSTS_FAILED',
      `${input.name} ${verb}: ${failures.map(({ message }) => message).join(' ')}`.slice(0, MAX_MESSAGE),
    );
  }
  return context.finish(async (tx) => {
    const status = await settleTaskserv(tx, input.taskserv_id);
    await removeOldRevisions(tx, input.taskserv_id);
    await leaveTurns(tx, context.operationId);
    return {
      taskserv_id: input.taskserv_id,
      name: input.name,
      status,
      hosts: (await summaries(tx, input, input.hosts)).map((summary) => ({
        ...summary,
        ...doneOn(outcomes, summary.server_id),
      })),
    };
  });
}

/** Characters of an operation's error at most: a thousand hosts have much to say. */
const MAX_MESSAGE = 4_000;

function doneOn(outcomes: HostOutcome<{ platform: string | null; deeds: unknown[] }>[], serverId: string) {
  const outcome = outcomes.find(({ host }) => host.server_id === serverId);
  return outcome?.ok === true ? { platform: outcome.value.platform, done: outcome.value.deeds } : {};
}

/** The hosts whose step ended with an error know it; what was worked on there does not run. */
export async function recordFailures(
  db: Queryable,
  input: HostsInput,
  operationId: string,
  outcomes: readonly HostOutcome<unknown>[],
): Promise<void> {
  for (const outcome of outcomes) {
    if (outcome.ok) continue;
    const where = { serverId: outcome.host.server_id, taskservId: input.taskserv_id, operationId };
    await failOnHost(db, where, outcome.message);
    await leaveTurns(db, operationId, outcome.host.server_id);
  }
}

/** The taskserv's hosts as results tell them. */
export async function summaries(db: Queryable, input: HostsInput, hosts: readonly Host[]) {
  const ids = new Set(hosts.map(({ server_id }) => server_id));
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

async function settleInstall(
  tx: Queryable,
  input: InstallInput,
  { operationId, started, result }: Settlement,
): Promise<FollowUp | null> {
  await leaveTurns(tx, operationId);
  if (!started) {
    await displaceFromHosts(tx, input.taskserv_id, input.adopted, input.made);
    if (input.previous === null) await removeTaskserv(tx, input.taskserv_id);
    else await returnToRevision(tx, input.taskserv_id, input.previous);
    return null;
  }
  const unknown = await abandonHosts(tx, operationId);
  const status = await settleTaskserv(tx, input.taskserv_id);
  Object.assign(result, {
    taskserv_id: input.taskserv_id,
    name: input.name,
    status,
    hosts: await summaries(tx, input, input.hosts),
  });
  return reconcileHosts(input, operationId, unknown);
}
