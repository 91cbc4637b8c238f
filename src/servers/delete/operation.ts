import { Type } from 'typebox';
import { errors } from '../../errors.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import type { Accepted } from '../../operations/accept.ts';
import { defineInternalOperation, defineOperation } from '../../operations/define.ts';
import { timeText } from '../guards/fields.ts';
import { requireUnprotected } from '../guards/require.ts';
import { serverField, serverOf } from '../node.ts';
import { type DeleteServer, DeleteServerBody, DeleteServerQuery, ServerId } from '../schemas.ts';
import { acceptChange, lockPermitted } from '../service.ts';
import { type ServerRecord, taskservsOn } from '../store.ts';
import type { ServerTools } from '../tools.ts';
import { cleanupProcedure, deleteProcedure } from './procedure.ts';

export const deleteServer = defineOperation({
  kind: 'server.delete',
  permission: 'server_delete',
  route: {
    method: 'DELETE',
    path: '/v1/servers/:id',
    tag: 'Servers',
    summary: 'Delete a server',
    description: 'The body is optional; query parameters can be used instead.',
    params: ServerId,
    query: DeleteServerQuery,
    body: Type.Optional(DeleteServerBody),
    refusals: [400, 404, 409],
    accept: (services, mutation, { params, query, body }) =>
      acceptDelete(services, mutation, params.id, { ...query, ...(body ?? {}) }),
  },
  procedure: ({ db, providers }: ServerTools) => deleteProcedure(db, providers),
  node: {
    with: Type.Object(
      { server: serverField, force: Type.Optional(Type.Boolean({ default: false })) },
      { additionalProperties: false },
    ),
    permission: 'server_delete',
    target: { what: 'server', permission: 'server_delete', field: 'server' },
    accept: async (services, mutation, node) =>
      acceptDelete(services, mutation, await serverOf(mutation, node), { force: node.fields.force === true }),
    undo: ({ status }) =>
      status === 'completed'
        ? { how: 'keep', why: 'A server that was deleted cannot be brought back.' }
        : { how: 'nothing' },
  },
});

/** Deletes what a create that failed or was cancelled has left. */
export const cleanUpServer = defineInternalOperation({
  kind: 'server.cleanup',
  startedBy: 'a `server.create` that failed or was cancelled',
  procedure: ({ db, providers }: ServerTools) => cleanupProcedure(db, providers),
});

async function acceptDelete(
  services: Services,
  mutation: Mutation,
  id: string,
  options: DeleteServer,
): Promise<Accepted> {
  if (options.server_id !== undefined && options.server_id !== id) {
    throw errors.validation([{ field: 'server_id', message: `contradicts the path, which says "${id}"` }]);
  }
  const server = await lockPermitted(mutation, id, 'server_delete');
  if (options.workspace !== undefined && options.workspace !== server.workspace) {
    throw errors.validation([
      { field: 'workspace', message: `server "${id}" does not belong to workspace "${options.workspace}"` },
    ]);
  }
  return acceptDeletion(services, mutation, server, { force: options.force === true });
}

/** Accepts the deletion of a locked server. @param expiredAt its expiry, where it goes for that. @throws 409. */
export async function acceptDeletion(
  services: Services,
  mutation: Mutation,
  server: ServerRecord,
  { force, expiredAt }: { force: boolean; expiredAt?: Date },
): Promise<Accepted> {
  const { id } = server;
  await requireUnprotected(mutation.tx, id);
  const carried = force ? [] : await taskservsOn(mutation.tx, id);
  if (carried.length > 0) {
    throw errors.conflict(
      `Server ${id} still runs ${carried.map(({ name }) => name).join(', ')}. Delete these taskservs first, or delete everything with "force": true.`,
      { taskservs: carried },
    );
  }
  return acceptChange(services, mutation, server, {
    kind: 'server.delete',
    title: `Delete ${server.hostname}${expiredAt === undefined ? '' : `, which expired at ${timeText(expiredAt)}`}`,
    status: 'deleting',
    extra: { force, ...(expiredAt === undefined ? {} : { expired_at: expiredAt.toISOString() }) },
    plan: { delete: [{ type: 'server', id, hostname: server.hostname, provider: server.provider }] },
  });
}
