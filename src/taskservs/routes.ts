import { sql } from 'kysely';
import { Type } from 'typebox';
import { permittedWorkspaces } from '../access/permissions.ts';
import { principalOf, sendJson } from '../http/context.ts';
import { listQuerySchema, sendList } from '../http/list.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { CatalogEntry, CatalogQuery, TASKSERV_LIST, Taskserv, TaskservId } from './schemas.ts';
import { getTaskserv, readCatalog } from './service.ts';

const tags = ['Taskservs'];

export function registerTaskservRoutes(app: App, services: Services): void {
  const { db } = services;

  app.get(
    '/v1/taskservs',
    {
      config: { access: 'taskserv_read' },
      schema: {
        tags,
        operationId: 'listTaskservs',
        summary: 'List all taskservs',
        querystring: listQuerySchema(TASKSERV_LIST),
        response: { 200: Type.Array(Taskserv), ...errorResponses(400, 401, 403) },
      },
    },
    async (request, reply) => {
      const visible = permittedWorkspaces(principalOf(request), 'taskserv_read');
      const scope = visible === null ? [] : [sql<boolean>`workspace = any(${visible}::text[])`];
      return sendList(db, TASKSERV_LIST, request, reply, scope);
    },
  );

  app.get(
    '/v1/taskservs/:id',
    {
      config: { access: 'taskserv_read' },
      schema: {
        tags,
        operationId: 'getTaskserv',
        summary: 'Get a taskserv',
        params: TaskservId,
        response: { 200: Taskserv, ...errorResponses(401, 403, 404) },
      },
    },
    async (request, reply) => sendJson(reply, await getTaskserv(services, principalOf(request), request.params.id)),
  );

  app.get(
    '/v1/catalog/taskservs',
    {
      config: { access: 'catalog_read' },
      schema: {
        tags: ['Catalog'],
        operationId: 'listCatalog',
        summary: 'List the services that can be installed',
        querystring: CatalogQuery,
        response: { 200: Type.Array(CatalogEntry), ...errorResponses(400, 401, 403) },
      },
    },
    async (request) =>
      (await readCatalog(services, principalOf(request), request.query)).map(({ scripts: _, ...entry }) => entry),
  );
}
