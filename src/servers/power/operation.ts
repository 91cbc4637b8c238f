import { Type } from 'typebox';
import { errors } from '../../errors.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import type { Accepted } from '../../operations/accept.ts';
import { defineOperation } from '../../operations/define.ts';
import { capitalized } from '../../util/capitalized.ts';
import { EXISTING } from '../existing.ts';
import { serverField, serverOf } from '../node.ts';
import { ServerId } from '../schemas.ts';
import { acceptChange, lockPermitted } from '../service.ts';
import type { ServerTools } from '../tools.ts';
import { type PowerAction, powerProcedure } from './procedure.ts';

/** What the server shows meanwhile. */
const STATUS: Record<PowerAction, string> = { start: 'starting', stop: 'stopping', restart: 'restarting' };
/** Undone by its opposite, where the server was in another state before. */
const OPPOSITE = { start: 'server.stop', stop: 'server.start', restart: null } as const;
const BEFORE = { start: 'stopped', stop: 'running', restart: null } as const;

export const startServer = power('start');
export const stopServer = power('stop');
export const restartServer = power('restart');

function power(action: PowerAction) {
  return defineOperation({
    kind: `server.${action}`,
    permission: 'server_update',
    route: {
      method: 'POST',
      path: `/v1/servers/:id/${action}`,
      tag: 'Servers',
      summary: `${capitalized(action)} a server`,
      params: ServerId,
      refusals: [400, 404, 409],
      accept: (services, mutation, { params }) => acceptPower(services, mutation, params.id, action),
    },
    procedure: ({ providers }: ServerTools) => powerProcedure(providers, action),
    node: {
      with: Type.Object({ server: serverField }, { additionalProperties: false }),
      permission: 'server_update',
      target: { what: 'server', permission: 'server_update', field: 'server' },
      accept: async (services, mutation, node) =>
        acceptPower(services, mutation, await serverOf(mutation, node), action),
      undo({ status, input }) {
        const kind = OPPOSITE[action];
        if (kind === null || status !== 'completed' || input.previous_status !== BEFORE[action])
          return { how: 'nothing' };
        return { how: 'node', kind, fields: { server: String(input.server_id) } };
      },
    },
  });
}

async function acceptPower(services: Services, mutation: Mutation, id: string, action: PowerAction): Promise<Accepted> {
  const server = await lockPermitted(mutation, id, 'server_update');
  if (server.provider === EXISTING) {
    throw errors.conflict(
      `Server ${id} is an imported machine without a provider: ${action} it on the machine itself.`,
      { provider: EXISTING },
    );
  }
  return acceptChange(services, mutation, server, {
    kind: `server.${action}`,
    title: `${capitalized(action)} ${server.hostname}`,
    status: STATUS[action],
    plan: { change: [{ type: 'server', id, hostname: server.hostname, status: server.status, action }] },
  });
}
