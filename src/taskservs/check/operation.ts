import { requireReach } from '../../access/reach.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import type { Accepted } from '../../operations/accept.ts';
import { defineOperation } from '../../operations/define.ts';
import { hostsOf, serversOf } from '../host-store.ts';
import type { HostTools } from '../procedures/input.ts';
import { TaskservId } from '../schemas.ts';
import { acceptOnHosts, lockPermitted } from '../service.ts';
import { checkProcedure } from './procedure.ts';

export const checkTaskserv = defineOperation({
  kind: 'taskserv.check',
  permission: 'taskserv_update',
  route: {
    method: 'POST',
    path: '/v1/taskservs/:id/check',
    tag: 'Taskservs',
    summary: 'Check the health of a taskserv now',
    description: 'Also completes if a service is unhealthy; the result has the health on each server.',
    params: TaskservId,
    refusals: [400, 404],
    accept: (services, mutation, { params }) => acceptCheck(services, mutation, params.id),
  },
  procedure: (tools: HostTools) => checkProcedure(tools),
});

/** Accepts a look at the health on all hosts. */
async function acceptCheck(services: Services, mutation: Mutation, id: string): Promise<Accepted> {
  const taskserv = await lockPermitted(mutation, id, 'taskserv_update');
  requireReach(mutation.principal, await serversOf(mutation.tx, id));
  const hosts = await hostsOf(mutation.tx, id);
  return acceptOnHosts(services, mutation, {
    kind: 'taskserv.check',
    doing: `Check ${taskserv.name} on`,
    workspace: taskserv.workspace,
    resource: null,
    hosts,
    turns: false,
    input: { taskserv_id: id, name: taskserv.name },
    details: { name: taskserv.name, taskserv: id },
    plan: {},
  });
}
