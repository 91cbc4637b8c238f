import { sql } from 'kysely';
import { Type } from 'typebox';
import { permittedWorkspaces } from '../auth/permissions.ts';
import { principalOf, sendJson } from '../http/context.ts';
import { listQuerySchema, sendList } from '../http/list.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { Operation } from '../operations/schemas.ts';
import { checkCreate, createTaskserv } from './installing.ts';
import { deleteTaskserv } from './removing.ts';
import {
  CatalogEntry,
  CatalogQuery,
  CreateTaskserv,
  DeleteTaskservBody,
  DeleteTaskservQuery,
  RetryTaskservBody,
  TASKSERV_LIST,
  Taskserv,
  TaskservId,
} from './schemas.ts';
import { checkTaskserv, getTaskserv, readCatalog, retryTaskserv } from './service.ts';

const tags = ['Taskservs'];

export function registerTaskservRoutes(app: App, services: Services): void {
  const { db, mutate } = services;

  app.get(
    '/v1/taskservs',
    {
      config: { access: 'taskserv_read' },
      schema: {
        tags,
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

  app.post(
    '/v1/taskservs/create',
    {
      config: { access: 'taskserv_create', expensive: true, checkMode: 'operation' },
      schema: {
        tags,
        summary: 'Create a new taskserv',
        description:
          'Installs it with all that it requires on the servers. Where they carry it already, it is changed in place to this version and config.',
        body: CreateTaskserv,
        response: { 200: Operation, ...errorResponses(400, 401, 403, 409) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, {
        prepare: () => checkCreate(services, principalOf(request), request.body),
        work: (mutation, checked) => createTaskserv(services, mutation, checked),
      }),
  );

  app.get(
    '/v1/taskservs/:id',
    {
      config: { access: 'taskserv_read' },
      schema: {
        tags,
        summary: 'Get a taskserv',
        params: TaskservId,
        response: { 200: Taskserv, ...errorResponses(401, 403, 404) },
      },
    },
    async (request, reply) => sendJson(reply, await getTaskserv(services, principalOf(request), request.params.id)),
  );

  app.delete(
    '/v1/taskservs/:id',
    {
      config: { access: 'taskserv_delete', expensive: true },
      schema: {
        tags,
        summary: 'Delete a taskserv',
        description:
          'Removes it from its servers, with what came along and nothing else there requires. The body may be absent; the query parameters then serve.',
        params: TaskservId,
        querystring: DeleteTaskservQuery,
        body: Type.Optional(DeleteTaskservBody),
        response: { 200: Operation, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) =>
        deleteTaskserv(services, mutation, request.params.id, { ...request.query, ...(request.body ?? {}) }),
      ),
  );

  app.post(
    '/v1/taskservs/:id/check',
    {
      config: { access: 'taskserv_update', expensive: true },
      schema: {
        tags,
        summary: 'Check the health of a taskserv now',
        description: 'Completes also where it finds it unhealthy; the result says so for each server.',
        params: TaskservId,
        response: { 200: Operation, ...errorResponses(400, 401, 403, 404) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) => checkTaskserv(services, mutation, request.params.id)),
  );

  app.post(
    '/v1/taskservs/:id/retry',
    {
      config: { access: 'taskserv_update', expensive: true },
      schema: {
        tags,
        summary: 'Try again on the servers where a taskserv does not run',
        params: TaskservId,
        body: RetryTaskservBody,
        response: { 200: Operation, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) => retryTaskserv(services, mutation, request.params.id, request.body ?? {})),
  );

  app.get(
    '/v1/catalog/taskservs',
    {
      config: { access: 'catalog_read' },
      schema: {
        tags: ['Catalog'],
        summary: 'List what can be installed',
        querystring: CatalogQuery,
        response: { 200: Type.Array(CatalogEntry), ...errorResponses(400, 401, 403) },
      },
    },
    async (request) =>
      (await readCatalog(services, principalOf(request), request.query)).map(({ scripts: _, ...entry }) => entry),
  );
}
