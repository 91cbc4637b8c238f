import { errors } from '../../errors.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import type { Accepted } from '../../operations/accept.ts';
import { defineOperation } from '../../operations/define.ts';
import { installRounds, placesAmong, roundsOf } from '../cluster/members.ts';
import { retryProcedure } from '../create/procedure.ts';
import type { Definitions } from '../host-plan.ts';
import type { HostTools } from '../procedures/input.ts';
import { RetryTaskservBody, TaskservId } from '../schemas.ts';
import { acceptOnHosts, definitionsFor, lockWithHosts, requireFree } from '../service.ts';
import { stillLeaving, updateTaskserv } from '../store.ts';

export const retryTaskserv = defineOperation({
  kind: 'taskserv.retry',
  permission: 'taskserv_update',
  route: {
    method: 'POST',
    path: '/v1/taskservs/:id/retry',
    tag: 'Taskservs',
    summary: 'Retry a taskserv on the servers where it failed',
    description:
      'Also on those that the last change has not reached. Refused while servers are still to leave: send that change again.',
    params: TaskservId,
    body: RetryTaskservBody,
    refusals: [400, 404, 409],
    prepare: ({ db }, principal, { params }) => definitionsFor(db, principal, params.id),
    accept: (services, mutation, { params, body }, definitions) =>
      acceptRetry(services, mutation, params.id, body ?? {}, definitions),
  },
  procedure: (tools: HostTools) => retryProcedure(tools),
});

/**
 * Accepts another try on the hosts where it does not run, or not as it is wanted.
 * @throws 409 where it runs on all, and where servers are still to leave it: they would be installed again.
 */
async function acceptRetry(
  services: Services,
  mutation: Mutation,
  id: string,
  { wait }: { wait?: boolean },
  definitions: Definitions,
): Promise<Accepted> {
  const { tx } = mutation;
  const { taskserv, hosts } = await lockWithHosts(mutation, id, 'taskserv_update');
  const failed = hosts.filter(({ status, revision }) => status !== 'running' || revision !== taskserv.revision);
  if (failed.length === 0) {
    throw errors.conflict(`Taskserv ${id} runs on all of its servers. There is nothing to retry.`);
  }
  const leaving = (await stillLeaving(tx, id)).map(({ hostname }) => hostname);
  if (leaving.length > 0) {
    throw errors.conflict(
      `The last change of ${taskserv.name} did not finish removing ${leaving.join(', ')}. Send that change again, or one that lists the servers to keep: PATCH /v1/taskservs/${id}.`,
      { leaving_servers: leaving },
    );
  }
  const places = placesAmong(hosts);
  const held = places.length > 0 ? hosts : failed;
  await requireFree(tx, held, wait);
  const cluster = definitions.get(taskserv.name)?.cluster ?? null;
  const rounds = cluster === null ? [] : roundsOf(installRounds(cluster, places), failed);
  const { version, revision, status } = taskserv;
  const servers = failed.map(({ hostname }) => hostname);
  const accepted = await acceptOnHosts(services, mutation, {
    kind: 'taskserv.retry',
    doing: `Install ${taskserv.name} again on`,
    workspace: taskserv.workspace,
    resource: `taskserv:${id}`,
    hosts: failed,
    turns: true,
    holds: held,
    input: {
      ...{ taskserv_id: id, name: taskserv.name, previous: { revision, version, status }, made: [], adopted: [] },
      ...(rounds.length === 0 ? {} : { rounds }),
    },
    details: { name: taskserv.name, servers },
    plan: { change: [{ type: 'taskserv', id, name: taskserv.name, version, servers }] },
  });
  await updateTaskserv(tx, id, { status: 'installing' });
  return accepted;
}
