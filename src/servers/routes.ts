import { sql } from 'kysely';
import { Type } from 'typebox';
import { permittedWorkspaces } from '../auth/permissions.ts';
import { principalOf, sendJson } from '../http/context.ts';
import { listQuerySchema, sendList } from '../http/list.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { Operation } from '../operations/schemas.ts';
import { adoptServers } from './adopting.ts';
import { forgetHostKey, importServer } from './importing.ts';
import { refreshServers } from './refreshing.ts';
import { repairServer } from './repairing.ts';
import {
  CreateServer,
  DeleteServerBody,
  DeleteServerQuery,
  ForgottenHostKey,
  ImportServer,
  RefreshServers,
  RepairServer,
  SERVER_LIST,
  Server,
  ServerId,
} from './schemas.ts';
import { changePower, checkCreate, createServer, deleteServer, getServer } from './service.ts';

const tags = ['Servers'];

export function registerServerRoutes(app: App, services: Services): void {
  const { db, mutate } = services;

  app.get(
    '/v1/servers',
    {
      config: { access: 'server_read' },
      schema: {
        tags,
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

  app.post(
    '/v1/servers/create',
    {
      config: { access: 'server_create', expensive: true, checkMode: 'operation' },
      schema: {
        tags,
        summary: 'Create a new server',
        body: CreateServer,
        response: { 200: Operation, ...errorResponses(400, 401, 403, 409) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, {
        prepare: () => checkCreate(services, principalOf(request), request.body),
        work: (mutation) => createServer(services, mutation, request.body),
      }),
  );

  app.post(
    '/v1/servers/import',
    {
      config: { access: 'server_create', expensive: true, checkMode: 'operation' },
      schema: {
        tags,
        summary: 'Adopt an existing machine, or servers that exist at a provider',
        description:
          "With `provider`, a server there by its id or all with a label are taken over and labelled; they are then servers as any other, and deleting one deletes it there. This needs `credential_write`. Without: a machine that no provider made becomes a server of the provider `existing`, once a connection with the workspace's key has worked. Nothing is written on it; deleting the server forgets it and leaves the machine alone.",
        body: ImportServer,
        response: { 200: Operation, ...errorResponses(400, 401, 403, 409) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) =>
        request.body.provider === undefined
          ? importServer(services, mutation, request.body)
          : adoptServers(services, mutation, request.body),
      ),
  );

  app.post(
    '/v1/servers/refresh',
    {
      config: { access: 'server_update', expensive: true, checkMode: 'operation' },
      schema: {
        tags,
        summary: 'Compare servers with what their providers say',
        description:
          'Status, address, plan, zone and tags. What has changed is entered and shown in `drift`; nothing is changed at a provider. An address is taken over and is no drift. Happens by itself every `SWEEP_INTERVAL` seconds.',
        body: Type.Optional(RefreshServers),
        response: { 200: Operation, ...errorResponses(400, 401, 403, 404) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) => refreshServers(services, mutation, request.body ?? {})),
  );

  app.delete(
    '/v1/servers/:id/host-key',
    {
      config: { access: 'server_update' },
      schema: {
        tags,
        summary: "Forget a server's host key",
        description: 'For a machine that was made anew: the host key that it shows next is kept from then on.',
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
          summary: path.endsWith('status') ? 'Get server status' : 'Get a server',
          params: ServerId,
          response: { 200: Server, ...errorResponses(401, 403, 404) },
        },
      },
      async (request, reply) => sendJson(reply, await getServer(services, principalOf(request), request.params.id)),
    );
  }

  app.delete(
    '/v1/servers/:id',
    {
      config: { access: 'server_delete', expensive: true },
      schema: {
        tags,
        summary: 'Delete a server',
        description: 'The body may be absent; the query parameters then serve.',
        params: ServerId,
        querystring: DeleteServerQuery,
        body: Type.Optional(DeleteServerBody),
        response: { 200: Operation, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) =>
        deleteServer(services, mutation, request.params.id, { ...request.query, ...(request.body ?? {}) }),
      ),
  );

  app.post(
    '/v1/servers/:id/repair',
    {
      config: { access: 'server_update', expensive: true, checkMode: 'operation' },
      schema: {
        tags,
        summary: 'Make a server again as it was left',
        description:
          'Looks what is different, then repairs it: the power state, labels, the plan where the provider can. Where something must be done by hand, nothing is touched and the operation fails naming it; `fields` chooses the rest.',
        params: ServerId,
        body: Type.Optional(RepairServer),
        response: { 200: Operation, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) => repairServer(services, mutation, request.params.id, request.body ?? {})),
  );

  for (const action of ['start', 'stop', 'restart'] as const) {
    app.post(
      `/v1/servers/:id/${action}`,
      {
        config: { access: 'server_update', expensive: true },
        schema: {
          tags,
          summary: `${action.charAt(0).toUpperCase()}${action.slice(1)} a server`,
          params: ServerId,
          response: { 200: Operation, ...errorResponses(401, 403, 404, 409) },
        },
      },
      async (request, reply) =>
        mutate(request, reply, (mutation) => changePower(services, mutation, request.params.id, action)),
    );
  }
}
