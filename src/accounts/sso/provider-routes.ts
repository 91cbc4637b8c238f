import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Authenticator } from '../../access/authenticate.ts';
import { requireLogin } from '../../access/permissions.ts';
import { providersJson } from '../../access/sso/provider-store.ts';
import { isChecked } from '../../http/check-mode.ts';
import { principalOf, sendJson } from '../../http/context.ts';
import { errorResponses } from '../../http/schemas.ts';
import type { App, Services } from '../../http/section.ts';
import { type ProofTools, requireProof } from '../proof.ts';
import type { ProofInput } from '../schemas.ts';
import { changeProvider, createProvider, deleteProvider, getProvider, requireIssuer, SET_UP } from './providers.ts';
import { CreateProvider, DeletedProvider, IdentityProvider, NameParams, UpdateProvider } from './schemas.ts';

const tags = ['Users'];

/** `/v1/auth/providers` */
export function registerProviderRoutes(app: App, services: Services, auth: Authenticator, tools: ProofTools): void {
  const { db, mutate, issuers } = services;
  const proven = async (request: FastifyRequest, given: ProofInput | undefined) => {
    const checkMode = isChecked(request);
    return given && requireProof(tools, principalOf(request), given, { what: SET_UP, checkMode });
  };

  app.get(
    '/v1/auth/providers',
    {
      config: { access: 'user_read' },
      schema: {
        tags,
        operationId: 'listIdentityProviders',
        summary: 'List identity providers',
        description: 'Issuers of OpenID Connect that vouch for users and for jobs. Their secrets are never answered.',
        response: { 200: Type.Array(IdentityProvider), ...errorResponses(401, 403) },
      },
    },
    async (_request, reply) => sendJson(reply, await providersJson(db)),
  );

  app.post(
    '/v1/auth/providers',
    {
      config: { access: 'user_write' },
      schema: {
        tags,
        operationId: 'createIdentityProvider',
        summary: 'Set up an identity provider',
        description:
          'The issuer is asked how it describes itself. With a `client_id` it shows on the login page, and whoever has a group of `group_roles` gets in, as a user made at the first login; with `exchange`, jobs trade its tokens. Where it lets anybody in so, it asks for `proof`. Needs a login.',
        body: CreateProvider,
        response: { 200: IdentityProvider, ...errorResponses(400, 401, 403, 409, 429) },
      },
    },
    async (request, reply) => {
      const { proof: given, ...body } = request.body;
      return mutate(request, reply, {
        prepare: async () => {
          requireLogin(principalOf(request), SET_UP);
          await requireIssuer(issuers, body);
          return { proof: await proven(request, given) };
        },
        work: (mutation, { proof }) => createProvider(services, mutation, body, proof),
      });
    },
  );

  app.get(
    '/v1/auth/providers/:name',
    {
      config: { access: 'user_read' },
      schema: {
        tags,
        operationId: 'getIdentityProvider',
        summary: 'Get an identity provider',
        params: NameParams,
        response: { 200: IdentityProvider, ...errorResponses(400, 401, 403, 404) },
      },
    },
    async (request, reply) => sendJson(reply, await getProvider(db, request.params.name)),
  );

  app.patch(
    '/v1/auth/providers/:name',
    {
      config: { access: 'user_write' },
      schema: {
        tags,
        operationId: 'updateIdentityProvider',
        summary: 'Change an identity provider',
        description:
          'Its users have what the new `group_roles` give at once. With `enabled` false its sessions end, and its users have no roles. What may let somebody in asks for `proof`, and so does any change of one by which groups have the role admin in every workspace. Needs a login.',
        params: NameParams,
        body: UpdateProvider,
        response: { 200: IdentityProvider, ...errorResponses(400, 401, 403, 404, 409, 429) },
      },
    },
    async (request, reply) => {
      const { proof: given, ...body } = request.body;
      return mutate(request, reply, {
        prepare: async () => ({ proof: await proven(request, given) }),
        work: (mutation, { proof }) => changeProvider(services, auth, mutation, request.params.name, body, proof),
      });
    },
  );

  app.delete(
    '/v1/auth/providers/:name',
    {
      config: { access: 'user_write' },
      schema: {
        tags,
        operationId: 'deleteIdentityProvider',
        summary: 'Delete an identity provider',
        description:
          'Its sessions end and its users have no roles, at once. They stay, with what is theirs, and are the same again should the issuer come back. Needs a login.',
        params: NameParams,
        response: { 200: DeletedProvider, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) => mutate(request, reply, (mutation) => deleteProvider(auth, mutation, request.params.name)),
  );
}
