import { Type } from 'typebox';
import type { Authenticator } from '../access/authenticate.ts';
import { ROLE_NAMES } from '../access/permissions.ts';
import { principalOf, sendJson } from '../http/context.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { ApiToken, CreateApiToken, CreatedApiToken } from './schemas.ts';
import {
  changeServiceAccount,
  createAccountToken,
  createServiceAccount,
  deleteServiceAccount,
  getServiceAccount,
  listAccountTokens,
  listServiceAccounts,
} from './service-accounts.ts';

const tags = ['Users'];
const closed = { additionalProperties: false } as const;
const AccountName = Type.String({
  pattern: '^[a-z0-9][a-z0-9._-]{0,62}$',
  description: 'At most 63 lower-case letters, digits and . _ -, a letter or digit first.',
  examples: ['deploy'],
});
const workspaceParams = Type.Object({ name: Type.String({ description: 'Name of the workspace.' }) }, closed);
const params = Type.Object({ ...workspaceParams.properties, account: AccountName }, closed);
const Roles = Type.Array(Type.Enum(ROLE_NAMES), {
  maxItems: ROLE_NAMES.length,
  description: 'In its workspace. None that the caller does not hold there.',
});

const ServiceAccount = Type.Object(
  {
    id: Type.String({ format: 'uuid' }),
    name: Type.String(),
    username: Type.String({
      description: 'What `created_by` and the audit log show.',
      examples: ['deploy@production'],
    }),
    workspace: Type.String({ description: 'That owns it.' }),
    roles: Type.Array(Type.Enum(ROLE_NAMES)),
    disabled: Type.Boolean(),
    created_at: Type.String({ format: 'date-time' }),
    created_by: Type.String(),
    updated_at: Type.String({ format: 'date-time' }),
  },
  { title: 'ServiceAccount' },
);
const CreateServiceAccount = Type.Object({ name: AccountName, roles: Roles }, closed);
const UpdateServiceAccount = Type.Object(
  { roles: Type.Optional(Roles), disabled: Type.Optional(Type.Boolean()) },
  { ...closed, minProperties: 1 },
);
const { name, permissions, expires_in } = CreateApiToken.properties;
const CreateAccountToken = Type.Object({ name, permissions, expires_in }, closed);

/** `/v1/workspaces/{name}/service-accounts` */
export function registerServiceAccountRoutes(app: App, { config, db, mutate }: Services, auth: Authenticator): void {
  app.get(
    '/v1/workspaces/:name/service-accounts',
    {
      config: { access: 'service_account_read' },
      schema: {
        tags,
        operationId: 'listServiceAccounts',
        summary: 'List the service accounts of a workspace',
        params: workspaceParams,
        response: { 200: Type.Array(ServiceAccount), ...errorResponses(401, 403, 404) },
      },
    },
    async (request, reply) => sendJson(reply, await listServiceAccounts(db, principalOf(request), request.params.name)),
  );

  app.post(
    '/v1/workspaces/:name/service-accounts',
    {
      config: { access: 'service_account_write' },
      schema: {
        tags,
        operationId: 'createServiceAccount',
        summary: 'Create a service account',
        description:
          'A user for programs that no person owns: it has no password and cannot log in, API tokens alone open it. Its roles hold in its workspace, with which it goes. Needs a login: an API token cannot make one.',
        params: workspaceParams,
        body: CreateServiceAccount,
        response: { 200: ServiceAccount, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) => createServiceAccount(mutation, request.params.name, request.body)),
  );

  app.get(
    '/v1/workspaces/:name/service-accounts/:account',
    {
      config: { access: 'service_account_read' },
      schema: {
        tags,
        operationId: 'getServiceAccount',
        summary: 'Get a service account',
        params,
        response: { 200: ServiceAccount, ...errorResponses(400, 401, 403, 404) },
      },
    },
    async (request, reply) => {
      const { name, account } = request.params;
      return sendJson(reply, await getServiceAccount(db, principalOf(request), name, account));
    },
  );

  app.patch(
    '/v1/workspaces/:name/service-accounts/:account',
    {
      config: { access: 'service_account_write' },
      schema: {
        tags,
        operationId: 'updateServiceAccount',
        summary: 'Change a service account',
        description: 'New roles hold from the next request on. Its API tokens rest while it is disabled.',
        params,
        body: UpdateServiceAccount,
        response: { 200: ServiceAccount, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) => {
      const { name, account } = request.params;
      return mutate(request, reply, (mutation) => changeServiceAccount(auth, mutation, name, account, request.body));
    },
  );

  app.delete(
    '/v1/workspaces/:name/service-accounts/:account',
    {
      config: { access: 'service_account_write' },
      schema: {
        tags,
        operationId: 'deleteServiceAccount',
        summary: 'Delete a service account',
        description: 'With its API tokens, which end at once. What it created stays.',
        params,
        response: {
          200: Type.Object({ deleted: Type.Literal(true), ...ServiceAccount.properties }),
          ...errorResponses(400, 401, 403, 404),
        },
      },
    },
    async (request, reply) => {
      const { name, account } = request.params;
      return mutate(request, reply, (mutation) => deleteServiceAccount(auth, mutation, name, account));
    },
  );

  app.get(
    '/v1/workspaces/:name/service-accounts/:account/tokens',
    {
      config: { access: 'service_account_read' },
      schema: {
        tags,
        operationId: 'listServiceAccountTokens',
        summary: 'List the API tokens of a service account',
        params,
        response: { 200: Type.Array(ApiToken), ...errorResponses(400, 401, 403, 404) },
      },
    },
    async (request, reply) => {
      const { name, account } = request.params;
      return sendJson(reply, await listAccountTokens(db, principalOf(request), name, account));
    },
  );

  app.post(
    '/v1/workspaces/:name/service-accounts/:account/tokens',
    {
      config: { access: 'service_account_write' },
      schema: {
        tags,
        operationId: 'createServiceAccountToken',
        summary: 'Create an API token of a service account',
        description:
          'Its secret is in this answer only. It has the roles that the account has now, narrowed to `permissions` where these are given; later never more than the account has at that moment. It is ended by `DELETE /v1/tokens/{id}`. Needs a login.',
        params,
        body: CreateAccountToken,
        response: { 200: CreatedApiToken, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) => {
      const { name, account } = request.params;
      reply.header('cache-control', 'no-store');
      return mutate(request, reply, (mutation) => createAccountToken(config, mutation, name, account, request.body));
    },
  );
}
