import type { Queryable } from '../../database/pool.ts';
import {
  type Compensation,
  defineProcedure,
  type FollowUp,
  type Procedure,
  type ProcedureContext,
} from '../../engine/procedure.ts';
import { leaveTurns } from '../../servers/turn-store.ts';
import { displaceFromHosts } from '../host-store.ts';
import { changeHosts, type Done, settleChange, summaries } from '../procedures/change-hosts.ts';
import { type HostInstalled, installOnHost } from '../procedures/host-install.ts';
import { type HostsInput, type HostTools, TASKSERV_QUEUE } from '../procedures/input.ts';
import { removeOldRevisions, removeTaskserv, returnToRevision, settleTaskserv } from '../store.ts';
import { type CheckModeInput, planInstall } from './plan.ts';

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
    compensate: async (tx, input, compensation) =>
      input.check_mode === true ? null : compensateInstall(tx, input, compensation),
  });
}

/** Installs again on the hosts where a taskserv does not run. */
export function retryProcedure(tools: HostTools): Procedure {
  return defineProcedure<InstallInput>({
    kind: 'taskserv.retry',
    queue: () => TASKSERV_QUEUE,
    run: (input, context) => install(tools, input, context),
    compensate: compensateInstall,
  });
}

async function install(tools: HostTools, input: InstallInput, context: ProcedureContext) {
  const done = await changeHosts(
    tools,
    input,
    context,
    {
      what: 'install on',
      failed: (hosts, all) => `${input.name} failed${hosts === all ? '' : ` on ${hosts} of ${all} servers`}`,
    },
    (host, call, slots) => installOnHost(tools, input, context.workspace, host, call, slots),
  );
  return context.finish(async (tx) => {
    const status = await settleTaskserv(tx, input.taskserv_id);
    await removeOldRevisions(tx, input.taskserv_id);
    await leaveTurns(tx, context.operationId);
    return {
      taskserv_id: input.taskserv_id,
      name: input.name,
      status,
      hosts: (await summaries(tx, input)).map((summary) => ({ ...summary, ...doneOn(done, summary.server_id) })),
    };
  });
}

function doneOn(done: readonly Done<HostInstalled>[], serverId: string) {
  const one = done.find(({ host }) => host.server_id === serverId);
  return one === undefined ? {} : { platform: one.value.platform, done: one.value.deeds };
}

function compensateInstall(tx: Queryable, input: InstallInput, compensation: Compensation): Promise<FollowUp | null> {
  return settleChange(tx, input, compensation, async () => {
    await displaceFromHosts(tx, input.taskserv_id, input.adopted, input.made);
    if (input.previous === null) await removeTaskserv(tx, input.taskserv_id);
    else await returnToRevision(tx, input.taskserv_id, input.previous);
  });
}
