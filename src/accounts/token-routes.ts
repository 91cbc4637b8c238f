import { Type } from 'typebox';
import type { Authenticator } from '../access/authenticate.ts';
import { principalOf } from '../http/context.ts';
import { listQuerySchema, sendList } from '../http/list.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { createApiToken, removeApiToken, tokensVisibleTo } from './api-tokens.ts';
import { API_TOKEN_LIST, ApiToken, CreateApiToken, CreatedApiToken, DeletedApiToken, IdParams } from './schemas.ts';

const tags = ['Users'];

/** `/v1/tokens` */
export function registerTokenRoutes(app: App, { config, db, mutate }: Services, auth: Authenticator): void {
  app.get(
    '/v1/tokens',
    {
      config: { access: 'authenticated' },
      schema: {
        tags,
        operationId: 'listTokens',
        summary: 'List API tokens',
        description:
          "The caller's own; an API token sees itself. With `user_read`, `?user=` shows those of another user, or `*` of everybody.",
        querystring: listQuerySchema(API_TOKEN_LIST),
        response: { 200: Type.Array(ApiToken), ...errorResponses(400, 401, 403) },
      },
    },
    async (request, reply) => {
      const { user } = request.query as { user?: string };
      return sendList(db, API_TOKEN_LIST, request, reply, tokensVisibleTo(principalOf(request), user));
    },
  );

  app.post(
    '/v1/tokens',
    {
      config: { access: 'authenticated' },
      schema: {
        tags,
        operationId: 'createToken',
        summary: 'Create an API token',
        description:
          'For CI and scripts: sent as `Authorization: Bearer prv_…`. Its secret is in this answer only. Without `roles` it gets those the caller holds now, narrowed to `workspaces` and `permissions` where these are given; later it never has more than its owner has at that moment. Needs a login: an API token cannot make further ones.',
        body: CreateApiToken,
        response: { 200: CreatedApiToken, ...errorResponses(400, 401, 409) },
      },
    },
    async (request, reply) => {
      reply.header('cache-control', 'no-store');
      return mutate(request, reply, (mutation) => createApiToken(config, mutation, request.body));
    },
  );

  app.delete(
    '/v1/tokens/:id',
    {
      config: { access: 'authenticated' },
      schema: {
        tags,
        operationId: 'deleteToken',
        summary: 'Delete an API token',
        description:
          'It ends at once, on every replica. An API token may end itself. One of another user needs `user_write`, one of a service account `service_account_write` in its workspace.',
        params: IdParams,
        response: { 200: DeletedApiToken, ...errorResponses(401, 404) },
      },
    },
    async (request, reply) => mutate(request, reply, (mutation) => removeApiToken(auth, mutation, request.params.id)),
  );
}
