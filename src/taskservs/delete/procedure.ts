import type { Queryable } from '../../database/pool.ts';
import {
  type Compensation,
  defineProcedure,
  type FollowUp,
  type Procedure,
  type ProcedureContext,
} from '../../engine/procedure.ts';
import { leaveTurns } from '../../servers/turn-store.ts';
import { beginRemoval } from '../guard/begin.ts';
import { changeHosts, settleChange } from '../procedures/change-hosts.ts';
import { type RemoveInput as HostRemoveInput, removeFromHost } from '../procedures/host-remove.ts';
import { type HostTools, TASKSERV_QUEUE } from '../procedures/input.ts';
import { removeTaskserv, updateTaskserv } from '../store.ts';

interface RemoveInput extends HostRemoveInput {
  previous_status: string;
  /** The expiry for which it is removed; absent: somebody asked for it. */
  expired_at?: string;
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
  if (await context.patched('taskserv-protection')) {
    await context.step('begin to remove', () =>
      beginRemoval(tools.db, input.taskserv_id, context.operationId, input.expired_at),
    );
  }
  const done = await changeHosts(
    tools,
    input,
    context,
    {
      what: 'remove from',
      failed: (hosts, all) => `${input.name} could not be removed from ${hosts} of ${all} servers`,
      goesOn: true,
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

function compensateRemoval(tx: Queryable, input: RemoveInput, compensation: Compensation): Promise<FollowUp | null> {
  return settleChange(tx, input, compensation, () =>
    updateTaskserv(tx, input.taskserv_id, { status: input.previous_status }),
  );
}
