import { sql } from 'kysely';
import { Type } from 'typebox';
import { permittedWorkspaces } from '../access/permissions.ts';
import { principalOf, sendJson } from '../http/context.ts';
import { listQuerySchema, sendList } from '../http/list.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { ForgottenHostKey, SERVER_LIST, Server, ServerId } from './schemas.ts';
import { forgetHostKey, getServer } from './service.ts';

const tags = ['Servers'];

export function registerServerRoutes(app: App, services: Services): void {
  const { db, mutate } = services;

  app.get(
    '/v1/servers',
    {
      config: { access: 'server_read' },
      schema: {
        tags,
        operationId: 'listServers',
        summary: 'List all servers',
        querystring: listQuerySchema(SERVER_LIST),
        response: { 200: Type.Array(Server), ...errorResponses(400, 401, 403) },
      },
    },
    async (request, reply) => {
      const visible = permittedWorkspaces(principalOf(request), 'server_read');
      return sendList(
        db,
        SERVER_LIST,
        request,
        reply,
        visible === null ? [] : [sql<boolean>`workspace = any(${visible}::text[])`],
      );
    },
  );

  app.delete(
    '/v1/servers/:id/host-key',
    {
      config: { access: 'server_update' },
      schema: {
        tags,
        operationId: 'forgetHostKey',
        summary: "Forget a server's host key",
        description: 'For a reinstalled machine: the next host key that it presents is recorded and trusted.',
        params: ServerId,
        response: { 200: ForgottenHostKey, ...errorResponses(401, 403, 404) },
      },
    },
    async (request, reply) => mutate(request, reply, (mutation) => forgetHostKey(mutation, request.params.id)),
  );

  for (const path of ['/v1/servers/:id', '/v1/servers/:id/status'] as const) {
    app.get(
      path,
      {
        config: { access: 'server_read' },
        schema: {
          tags,
          operationId: path.endsWith('status') ? 'getServerStatus' : 'getServer',
          summary: path.endsWith('status') ? 'Get server status' : 'Get a server',
          params: ServerId,
          response: { 200: Server, ...errorResponses(401, 403, 404) },
        },
      },
      async (request, reply) => sendJson(reply, await getServer(services, principalOf(request), request.params.id)),
    );
  }
}
