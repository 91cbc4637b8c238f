import { Type } from 'typebox';
import { permittedWorkspaces } from '../access/permissions.ts';
import { principalOf, sendJson } from '../http/context.ts';
import { sendList } from '../http/list.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { learnSizes } from '../limits/workspace-room.ts';
import {
  changeWorkspaceBody,
  createWorkspaceBody,
  DeletedWorkspaceSchema,
  deleteWorkspaceBody,
  listWorkspacesQuery,
  WorkspaceSchema,
  workspaceList,
  workspaceParams,
} from './schemas.ts';
import { activateWorkspace, changeLimits, createWorkspace, deleteWorkspace, getWorkspace } from './service.ts';
import { withinNames } from './store.ts';

const tags = ['Workspaces'];

export function registerWorkspaceRoutes(app: App, services: Services): void {
  const { config, db, mutate, providers } = services;

  app.get(
    '/v1/workspaces',
    {
      config: { access: 'workspace_read' },
      schema: {
        operationId: 'listWorkspaces',
        summary: 'List workspaces',
        description: 'Returns the workspaces that the caller may see.',
        tags,
        querystring: listWorkspacesQuery,
        response: { 200: Type.Array(WorkspaceSchema), ...errorResponses(400, 401, 403) },
      },
    },
    async (request, reply) =>
      sendList(
        db,
        workspaceList,
        request,
        reply,
        withinNames(permittedWorkspaces(principalOf(request), 'workspace_read')),
      ),
  );

  app.get(
    '/v1/workspaces/:name',
    {
      config: { access: 'workspace_read' },
      schema: {
        operationId: 'getWorkspace',
        summary: 'Get a workspace',
        tags,
        params: workspaceParams,
        response: { 200: WorkspaceSchema, ...errorResponses(401, 403, 404) },
      },
    },
    async (request, reply) => sendJson(reply, await getWorkspace(db, principalOf(request), request.params.name)),
  );

  app.post(
    '/v1/workspaces/create',
    {
      config: { access: 'workspace_create' },
      schema: {
        operationId: 'createWorkspace',
        summary: 'Create a workspace',
        description: 'Creates its directory and a `workspace.yaml` with defaults, if they are missing.',
        tags,
        body: createWorkspaceBody,
        response: { 200: WorkspaceSchema, ...errorResponses(400, 401, 403, 409) },
      },
    },
    async (request, reply) => mutate(request, reply, (mutation) => createWorkspace(config, mutation, request.body)),
  );

  app.post(
    '/v1/workspaces/:name/activate',
    {
      config: { access: 'workspace_update' },
      schema: {
        operationId: 'activateWorkspace',
        summary: 'Activate a workspace',
        tags,
        params: workspaceParams,
        response: { 200: WorkspaceSchema, ...errorResponses(401, 403, 404, 409) },
      },
    },
    async (request, reply) => mutate(request, reply, (mutation) => activateWorkspace(mutation, request.params.name)),
  );

  app.patch(
    '/v1/workspaces/:name',
    {
      config: { access: 'workspace_limit' },
      schema: {
        operationId: 'changeWorkspace',
        summary: 'Change the limits of a workspace',
        description:
          'What its servers may be together. Held against whatever makes a server or gives it a larger plan, over all replicas, with what is under way. What is there stays, also where it is past a new limit.',
        tags,
        params: workspaceParams,
        body: changeWorkspaceBody,
        response: { 200: WorkspaceSchema, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) => {
      const { name } = request.params;
      return mutate(request, reply, {
        // What stands in it has to be known for a limit to hold.
        prepare: async () => {
          await getWorkspace(db, principalOf(request), name);
          await learnSizes(db, providers, name, [], true);
        },
        work: (mutation) => changeLimits(mutation, name, request.body.limits),
      });
    },
  );

  app.delete(
    '/v1/workspaces/:name',
    {
      config: { access: 'workspace_delete' },
      schema: {
        operationId: 'deleteWorkspace',
        summary: 'Delete a workspace',
        description:
          'Refused while it holds servers or unfinished operations. Its files stay. Where it was the active one, `default` or else the oldest takes its place.',
        tags,
        params: workspaceParams,
        body: deleteWorkspaceBody,
        response: { 200: DeletedWorkspaceSchema, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) => deleteWorkspace(mutation, request.params.name, request.body?.name)),
  );
}
