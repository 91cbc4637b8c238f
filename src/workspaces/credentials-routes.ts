import { Type } from 'typebox';
import { principalOf, sendJson } from '../http/context.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { AWS_REGION } from '../providers/cloud-settings.ts';
import { checkCredentials, readCredentials, removeCredentials, setCredentials } from './credentials.ts';
import { workspaceParams } from './schemas.ts';

const tags = ['Workspaces'];
const params = Type.Object(
  { ...workspaceParams.properties, provider: Type.String({ minLength: 1, maxLength: 63 }) },
  { additionalProperties: false },
);
const secret = (description: string) =>
  Type.Optional(Type.String({ minLength: 1, maxLength: 4_096, writeOnly: true, description }));
const CredentialsBody = Type.Object(
  {
    token: secret('UpCloud, Hetzner: API token.'),
    username: secret('UpCloud, with `password`, instead of a token.'),
    password: secret('UpCloud.'),
    access_key_id: secret('AWS.'),
    secret_access_key: secret('AWS.'),
    session_token: secret('AWS, for temporary keys.'),
    region: Type.Optional(
      Type.String({
        maxLength: 63,
        pattern: AWS_REGION,
        description: "AWS, such as eu-central-1. Default: the installation's.",
      }),
    ),
  },
  { additionalProperties: false, minProperties: 1 },
);
const CredentialsSchema = Type.Object(
  {
    workspace: Type.String(),
    provider: Type.String(),
    fields: Type.Array(Type.String(), { description: 'Names of the stored fields. Their values are never shown.' }),
    created_at: Type.String({ format: 'date-time' }),
    updated_at: Type.String({ format: 'date-time' }),
    updated_by: Type.String(),
  },
  { title: 'ProviderCredentials' },
);

export function registerCredentialsRoutes(app: App, services: Services): void {
  const { mutate } = services;

  app.get(
    '/v1/workspaces/:name/credentials',
    {
      config: { access: 'workspace_read' },
      schema: {
        tags,
        operationId: 'listCredentials',
        summary: "List a workspace's cloud credentials",
        params: workspaceParams,
        response: { 200: Type.Array(CredentialsSchema), ...errorResponses(401, 403, 404) },
      },
    },
    async (request, reply) =>
      sendJson(reply, await readCredentials(services, principalOf(request), request.params.name)),
  );

  app.put(
    '/v1/workspaces/:name/credentials/:provider',
    {
      config: { access: 'credential_write', expensive: true },
      schema: {
        tags,
        operationId: 'setCredentials',
        summary: "Set a workspace's credentials for a cloud",
        description:
          "Tried at the cloud first, then kept encrypted and never shown. The workspace's servers are made in this account from then on; those that it has already must stand in it.",
        params,
        body: CredentialsBody,
        response: { 200: CredentialsSchema, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) => {
      const { name, provider } = request.params;
      return mutate(request, reply, {
        prepare: () => checkCredentials(services, principalOf(request), name, provider, request.body),
        work: (mutation, seen) => setCredentials(services, mutation, name, provider, request.body, seen),
      });
    },
  );

  app.delete(
    '/v1/workspaces/:name/credentials/:provider',
    {
      config: { access: 'credential_write' },
      schema: {
        tags,
        operationId: 'deleteCredentials',
        summary: "Delete a workspace's credentials for a cloud",
        params,
        response: {
          200: Type.Object({ workspace: Type.String(), provider: Type.String(), deleted: Type.Boolean() }),
          ...errorResponses(401, 403, 404, 409),
        },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) => removeCredentials(mutation, request.params.name, request.params.provider)),
  );
}
