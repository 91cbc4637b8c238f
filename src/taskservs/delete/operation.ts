import { Type } from 'typebox';
import { errors } from '../../errors.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import type { Accepted } from '../../operations/accept.ts';
import { defineOperation } from '../../operations/define.ts';
import { placesAmong, removeRounds } from '../cluster/members.ts';
import { requireRemovable } from '../guard/guarded.ts';
import { closureOf, type Definitions } from '../host-plan.ts';
import { carriedOn } from '../host-store.ts';
import { definitionsOf, type HostTools } from '../procedures/input.ts';
import { type DeleteTaskserv, DeleteTaskservBody, DeleteTaskservQuery, TaskservId } from '../schemas.ts';
import { acceptOnHosts, definitionsFor, lockWithHosts, requireFree, taskservIdOf } from '../service.ts';
import { updateTaskserv } from '../store.ts';
import { deleteProcedure } from './procedure.ts';

export const deleteTaskserv = defineOperation({
  kind: 'taskserv.delete',
  permission: 'taskserv_delete',
  route: {
    method: 'DELETE',
    path: '/v1/taskservs/:id',
    tag: 'Taskservs',
    summary: 'Delete a taskserv',
    description:
      'Removes it from its servers, with what came along and nothing else there requires. The body may be absent; the query parameters then serve.',
    params: TaskservId,
    query: DeleteTaskservQuery,
    body: Type.Optional(DeleteTaskservBody),
    refusals: [400, 404, 409],
    prepare: ({ db }, principal, { params }) => definitionsFor(db, principal, params.id),
    accept: (services, mutation, { params, query, body }, definitions) =>
      acceptDelete(services, mutation, params.id, { ...query, ...(body ?? {}) }, definitions),
  },
  procedure: (tools: HostTools) => deleteProcedure(tools),
  node: {
    with: Type.Object(
      {
        taskserv: Type.String({
          minLength: 1,
          maxLength: 63,
          description: 'Id of a taskserv, or its name where the workspace has one of that name.',
        }),
        force: Type.Optional(Type.Boolean({ default: false })),
      },
      { additionalProperties: false },
    ),
    permission: 'taskserv_delete',
    target: { what: 'taskserv', permission: 'taskserv_delete', field: 'taskserv' },
    prepare: ({ db }, _principal, { workspace }) => definitionsOf(db, workspace),
    async accept(services, mutation, { workspace, fields }, prepared) {
      const id = await taskservIdOf(mutation.tx, workspace, String(fields.taskserv));
      return acceptDelete(services, mutation, id, { force: fields.force === true }, prepared as Definitions);
    },
    undo: ({ status }) =>
      status === 'completed'
        ? { how: 'keep', why: 'A taskserv that was removed is not installed again.' }
        : { how: 'nothing' },
  },
});

/**
 * Accepts the removal of a taskserv from all its hosts. @throws 409 while another one on a host requires it.
 * @param expiredAt its expiry, where it goes for that.
 */
export async function acceptDelete(
  services: Services,
  mutation: Mutation,
  id: string,
  options: DeleteTaskserv,
  definitions: Definitions,
  expiredAt?: Date,
): Promise<Accepted> {
  const { tx } = mutation;
  if (options.taskserv_id !== undefined && options.taskserv_id !== id) {
    throw errors.validation([{ field: 'taskserv_id', message: `contradicts the path, which says "${id}"` }]);
  }
  const { taskserv, hosts } = await lockWithHosts(mutation, id, 'taskserv_delete');
  const { name, workspace } = taskserv;
  if (options.workspace !== undefined && options.workspace !== workspace) {
    throw errors.validation([
      { field: 'workspace', message: `taskserv "${id}" does not belong to workspace "${options.workspace}"` },
    ]);
  }
  requireRemovable(taskserv);
  const serverIds = hosts.map(({ server_id }) => server_id);
  if (options.force !== true) await requireUnneeded(mutation, definitions, { name, serverIds });
  await requireFree(tx, hosts, options.wait);
  const servers = hosts.map(({ hostname }) => hostname);
  const cluster = definitions.get(name)?.cluster ?? null;
  const rounds = cluster === null ? [] : removeRounds(cluster, placesAmong(hosts));
  const accepted = await acceptOnHosts(services, mutation, {
    kind: 'taskserv.delete',
    doing: `Remove ${name}${expiredAt === undefined ? '' : ', which has expired,'} from`,
    workspace,
    resource: `taskserv:${id}`,
    hosts,
    turns: true,
    input: {
      ...{ taskserv_id: id, name, force: options.force === true, previous_status: taskserv.status },
      ...(rounds.length === 0 ? {} : { rounds }),
      ...(expiredAt === undefined ? {} : { expired_at: expiredAt.toISOString() }),
    },
    details: { name, servers, force: options.force === true },
    plan: { delete: [{ type: 'taskserv', id, name, servers }] },
  });
  await updateTaskserv(tx, id, { status: 'removing' });
  return accepted;
}

async function requireUnneeded(
  { tx }: Mutation,
  definitions: Definitions,
  taskserv: { name: string; serverIds: string[] },
): Promise<void> {
  const needing = (await carriedOn(tx, taskserv.serverIds)).filter(
    (record) =>
      record.taskserv_id !== null &&
      record.name !== taskserv.name &&
      closureOf(definitions, record.name).has(taskserv.name),
  );
  if (needing.length === 0) return;
  throw errors.conflict(
    `${taskserv.name} is required by ${needing.map(({ name, hostname }) => `${name} on ${hostname}`).join(', ')}. Delete those first, or send "force": true.`,
    {
      required_by: needing.map((record) => ({
        taskserv_id: record.taskserv_id,
        name: record.name,
        server: record.hostname,
      })),
    },
  );
}
