import { Type } from 'typebox';
import { principalOf, sendJson } from '../http/context.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { workspaceParams } from './schemas.ts';
import { deleteSecret, getSecret, listSecrets, setSecret } from './secrets.ts';

const tags = ['Workspaces'];
const closed = { additionalProperties: false } as const;
const params = Type.Object(
  {
    ...workspaceParams.properties,
    key: Type.String({
      pattern: '^[a-z][a-z0-9_]{0,62}$',
      description: 'At most 63 lower-case letters, digits and _, a letter first.',
    }),
  },
  closed,
);
const SetSecret = Type.Object(
  {
    value: Type.String({
      minLength: 1,
      maxLength: 65_536,
      writeOnly: true,
      description: 'At most 64 KiB. Stored encrypted and never returned.',
    }),
  },
  closed,
);
const WorkspaceSecret = Type.Object(
  {
    workspace: Type.String(),
    key: Type.String(),
    version: Type.Integer({ description: 'Number of times that the secret has been set.' }),
    created_at: Type.String({ format: 'date-time' }),
    created_by: Type.String(),
    updated_at: Type.String({ format: 'date-time' }),
    updated_by: Type.String(),
  },
  { title: 'WorkspaceSecret' },
);

export function registerSecretsRoutes(app: App, services: Services): void {
  const { mutate } = services;

  app.get(
    '/v1/workspaces/:name/secrets',
    {
      config: { access: 'secret_read' },
      schema: {
        tags,
        operationId: 'listSecrets',
        summary: "List a workspace's secrets",
        description: 'Returns keys and versions, and who set them when. Values are never returned.',
        params: workspaceParams,
        response: { 200: Type.Array(WorkspaceSecret), ...errorResponses(401, 403, 404) },
      },
    },
    async (request, reply) => sendJson(reply, await listSecrets(services, principalOf(request), request.params.name)),
  );

  app.get(
    '/v1/workspaces/:name/secrets/:key',
    {
      config: { access: 'secret_read' },
      schema: {
        tags,
        operationId: 'getSecret',
        summary: 'Get a secret without its value',
        description: 'Returns its version, and who set it when. The value is never returned.',
        params,
        response: { 200: WorkspaceSecret, ...errorResponses(400, 401, 403, 404) },
      },
    },
    async (request, reply) => {
      const { name, key } = request.params;
      return sendJson(reply, await getSecret(services, principalOf(request), name, key));
    },
  );

  app.put(
    '/v1/workspaces/:name/secrets/:key',
    {
      config: { access: 'secret_write' },
      schema: {
        tags,
        operationId: 'setSecret',
        summary: 'Set a secret',
        description:
          'Workflows refer to it as `${{ secrets.workspace.<key> }}`, configs of taskservs as `{"$secret": "<key>"}`. Whatever uses it from then on has the new value.',
        params,
        body: SetSecret,
        response: { 200: WorkspaceSecret, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) => {
      const { name, key } = request.params;
      return mutate(request, reply, (mutation) => setSecret(services, mutation, name, key, request.body.value));
    },
  );

  app.delete(
    '/v1/workspaces/:name/secrets/:key',
    {
      config: { access: 'secret_write' },
      schema: {
        tags,
        operationId: 'deleteSecret',
        summary: 'Delete a secret',
        description:
          'Services that were installed with it keep its value. Workflows and schedules that refer to it fail from then on.',
        params,
        response: {
          200: Type.Object({ workspace: Type.String(), key: Type.String(), deleted: Type.Boolean() }),
          ...errorResponses(400, 401, 403, 404),
        },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) => deleteSecret(mutation, request.params.name, request.params.key)),
  );
}
