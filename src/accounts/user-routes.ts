import type { FastifyRequest } from 'fastify';
import { sql } from 'kysely';
import { Type } from 'typebox';
import type { Authenticator } from '../access/authenticate.ts';
import { requireStrong } from '../access/password-policy.ts';
import { hashPassword } from '../access/passwords.ts';
import { isChecked } from '../http/check-mode.ts';
import { principalOf, sendJson } from '../http/context.ts';
import { listQuerySchema, sendList } from '../http/list.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { type ProofTools, requireProof } from './proof.ts';
import { CreateUser, DeletedUser, IdParams, ProofInput, UpdateUser, USER_LIST, User } from './schemas.ts';
import { changeUser, createUser, deleteUser, getUser, resetSecondFactor } from './users.ts';

const tags = ['Users'];

/** `/v1/users` */
export function registerUserRoutes(app: App, services: Services, auth: Authenticator, tools: ProofTools): void {
  const { config, db, mutate } = services;
  const proven = async (request: FastifyRequest, given: ProofInput, id?: string) => {
    // First: it would be a pity for the code.
    if (id !== undefined) await getUser(db, id);
    return requireProof(tools, principalOf(request), given, { what: 'do this', checkMode: isChecked(request) });
  };
  const hashForUser = async (id: string, password: string) => {
    const { username } = JSON.parse(await getUser(db, id)) as { username: string };
    await requireStrong('password', password, username, config.passwordMinLength);
    return hashPassword(password);
  };

  app.get(
    '/v1/users',
    {
      config: { access: 'user_read' },
      schema: {
        tags,
        operationId: 'listUsers',
        summary: 'List users',
        querystring: listQuerySchema(USER_LIST),
        response: { 200: Type.Array(User), ...errorResponses(400, 401, 403) },
      },
    },
    async (request, reply) => sendList(db, USER_LIST, request, reply, [sql<boolean>`service_workspace is null`]),
  );

  app.get(
    '/v1/users/:id',
    {
      config: { access: 'user_read' },
      schema: {
        tags,
        operationId: 'getUser',
        summary: 'Get a user',
        params: IdParams,
        response: { 200: User, ...errorResponses(401, 403, 404) },
      },
    },
    async (request, reply) => sendJson(reply, await getUser(db, request.params.id)),
  );

  app.post(
    '/v1/users',
    {
      config: { access: 'user_write' },
      schema: {
        tags,
        operationId: 'createUser',
        summary: 'Create a user',
        description:
          'For an administrator of the installation it asks for `proof`: the password of the caller, and a code where their logins ask for one.',
        body: CreateUser,
        response: { 200: User, ...errorResponses(400, 401, 403, 409, 429) },
      },
    },
    async (request, reply) => {
      const { password, proof: given, ...user } = request.body;
      return mutate(request, reply, {
        prepare: async () => {
          await requireStrong('password', password, user.username, config.passwordMinLength);
          const proof = given === undefined ? undefined : await proven(request, given);
          return { proof, passwordHash: await hashPassword(password) };
        },
        work: (mutation, { proof, passwordHash }) => createUser(mutation, user, passwordHash, proof),
      });
    },
  );

  app.patch(
    '/v1/users/:id',
    {
      config: { access: 'user_write' },
      schema: {
        tags,
        operationId: 'updateUser',
        summary: 'Change a user',
        description:
          'A new password, and what makes the user an administrator of the installation, asks for `proof`: the password of the caller, and a code where their logins ask for one. A new password ends every token of the user, API tokens too. Disabling ends their logins; API tokens rest until the user is enabled again. New roles hold from the next request on. The last enabled administrator can be neither disabled nor demoted.',
        params: IdParams,
        body: UpdateUser,
        response: { 200: User, ...errorResponses(400, 401, 403, 404, 409, 429) },
      },
    },
    async (request, reply) => {
      const { password, proof: given, ...change } = request.body;
      const { id } = request.params;
      return mutate(request, reply, {
        prepare: async () => {
          const hashed = password === undefined ? {} : { passwordHash: await hashForUser(id, password) };
          return { ...change, ...hashed, ...(given && { proof: await proven(request, given, id) }) };
        },
        work: (mutation, prepared) => changeUser(auth, mutation, id, prepared),
      });
    },
  );

  app.post(
    '/v1/users/:id/totp/remove',
    {
      config: { access: 'user_write' },
      schema: {
        tags,
        operationId: 'removeTotpOfUser',
        summary: "Take a user's second factor off",
        description:
          'For somebody who has lost the app and the recovery codes. Their sessions end. The password of the caller vouches for it, and a code where their logins ask for one.',
        params: IdParams,
        body: ProofInput,
        response: { 200: User, ...errorResponses(400, 401, 403, 404, 409, 429) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, {
        prepare: () => proven(request, request.body, request.params.id),
        work: (mutation, proof) => resetSecondFactor(auth, mutation, request.params.id, proof),
      }),
  );

  app.delete(
    '/v1/users/:id',
    {
      config: { access: 'user_write' },
      schema: {
        tags,
        operationId: 'deleteUser',
        summary: 'Delete a user',
        description: 'With every token of theirs. What they created stays. The last enabled administrator cannot go.',
        params: IdParams,
        response: { 200: DeletedUser, ...errorResponses(401, 403, 404, 409) },
      },
    },
    async (request, reply) => mutate(request, reply, (mutation) => deleteUser(auth, mutation, request.params.id)),
  );
}
