import { errors } from '../../errors.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { CreateServer } from '../../servers/schemas.ts';
import { changePower, createServer, deleteServer } from '../../servers/service.ts';
import { serverIdOf } from '../../servers/store.ts';
import type { Deed, KindWork, NodeRequest, Undo } from './kind.ts';

/** A server of the workspace by id or hostname. @throws 404. */
async function serverOf(mutation: Mutation, { workspace, fields }: NodeRequest): Promise<string> {
  const name = String(fields.server);
  const id = await serverIdOf(mutation.tx, workspace, name);
  if (id === null) throw errors.notFound(`server in workspace "${workspace}"`, name);
  return id;
}

export const serverCreate: KindWork = {
  // Its resource is the new server.
  gathers: true,
  // The fields were held against the schema of this very request.
  submit: (services, mutation, { workspace, fields }) =>
    createServer(services, mutation, { ...fields, workspace } as unknown as CreateServer),
  undo({ status, input, result, leftover }) {
    if (status !== 'completed' && !leftover) return { how: 'nothing' };
    const server = String(leftover ? input.server_id : result.server_id);
    return { how: 'node', kind: 'server.delete', fields: { server, force: true } };
  },
};

export const serverDelete: KindWork = {
  submit: async (services, mutation, node) =>
    deleteServer(services, mutation, await serverOf(mutation, node), { force: node.fields.force === true }),
  undo: ({ status }) =>
    status === 'completed'
      ? { how: 'keep', why: 'A server that was deleted cannot be brought back.' }
      : { how: 'nothing' },
};

/** Undone by its opposite, where the server stood otherwise before. */
export function serverPower(action: 'start' | 'stop' | 'restart'): KindWork {
  const opposite = { start: 'server.stop', stop: 'server.start', restart: null } as const;
  const before = { start: 'stopped', stop: 'running', restart: null } as const;
  return {
    submit: async (services, mutation, node) => changePower(services, mutation, await serverOf(mutation, node), action),
    undo({ status, input }: Deed): Undo {
      const kind = opposite[action];
      if (kind === null || status !== 'completed' || input.previous_status !== before[action])
        return { how: 'nothing' };
      return { how: 'node', kind, fields: { server: String(input.server_id) } };
    },
  };
}
