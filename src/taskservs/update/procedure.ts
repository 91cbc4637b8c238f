import type { Queryable } from '../../database/pool.ts';
import {
  type Compensation,
  defineProcedure,
  type FollowUp,
  type Procedure,
  type ProcedureContext,
} from '../../engine/procedure.ts';
import { leaveTurns } from '../../servers/turn-store.ts';
import type { Round } from '../cluster/members.ts';
import { beginRemoval } from '../guard/begin.ts';
import { displaceFromHosts } from '../host-store.ts';
import { allDone, settleChange, summaries } from '../procedures/change-hosts.ts';
import { installOnHost } from '../procedures/host-install.ts';
import { type RemoveInput, removeFromHost } from '../procedures/host-remove.ts';
import { type HostTools, TASKSERV_QUEUE } from '../procedures/input.ts';
import { inRounds } from '../procedures/rounds.ts';
import { removeOldRevisions, returnToRevision, settleTaskserv } from '../store.ts';

/** What changes the servers, the config or the version of a taskserv, as stored. */
interface UpdateInput extends RemoveInput {
  rounds: Round[];
  /** How it stood before the request. */
  previous: { revision: number; version: string; status: string };
  /** Hosts on which it did not stand before, and those on which it had come along as a requirement. */
  made: string[];
  adopted: string[];
  /** Hosts that it is taken from. */
  leaving: string[];
}

/** Changes a taskserv in place: member by member, where its servers make one service. */
export function updateProcedure(tools: HostTools): Procedure {
  return defineProcedure<UpdateInput>({
    kind: 'taskserv.update',
    queue: () => TASKSERV_QUEUE,
    run: (input, context) => update(tools, input, context),
    compensate: compensateUpdate,
  });
}

async function update(tools: HostTools, input: UpdateInput, context: ProcedureContext) {
  const { workspace } = context;
  if (input.leaving.length > 0 && (await context.patched('taskserv-protection'))) {
    await context.step('begin to remove', () => beginRemoval(tools.db, input.taskserv_id, context.operationId));
  }
  const outcomes = await inRounds<{ removed: string[] } | Awaited<ReturnType<typeof installOnHost>>>(
    context,
    tools,
    input,
    {
      install: {
        what: 'install on',
        work: (host, call, slots) => installOnHost(tools, input, workspace, host, call, slots),
      },
      remove: {
        what: 'remove from',
        work: async (host, call, slots) => ({
          removed: await removeFromHost(tools, input, workspace, host, call, slots, input.leaving),
        }),
      },
    },
  );
  const failed = (hosts: number, all: number) => `${input.name} could not be changed on ${hosts} of ${all} servers`;
  const done = await allDone(tools, input, context, failed, outcomes);
  return context.finish(async (tx) => {
    const status = await settleTaskserv(tx, input.taskserv_id);
    await removeOldRevisions(tx, input.taskserv_id);
    await leaveTurns(tx, context.operationId);
    const results = new Map(done.map(({ host, value }) => [host.server_id, value]));
    return {
      taskserv_id: input.taskserv_id,
      name: input.name,
      status,
      hosts: (await summaries(tx, input)).map((summary) => {
        const value = results.get(summary.server_id);
        return value !== undefined && 'deeds' in value
          ? { ...summary, platform: value.platform, done: value.deeds }
          : summary;
      }),
      left: done.flatMap(({ host, value }) =>
        'removed' in value ? [{ server: host.hostname, server_id: host.server_id, removed: value.removed }] : [],
      ),
    };
  });
}

function compensateUpdate(tx: Queryable, input: UpdateInput, compensation: Compensation): Promise<FollowUp | null> {
  return settleChange(tx, input, compensation, async () => {
    await displaceFromHosts(tx, input.taskserv_id, input.adopted, input.made);
    await returnToRevision(tx, input.taskserv_id, input.previous);
  });
}
