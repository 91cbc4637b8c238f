import { sql } from 'kysely';
import { Type } from 'typebox';
import type { Authenticator } from '../access/authenticate.ts';
import { isPermitted, requireLogin } from '../access/permissions.ts';
import { endSession, readSession } from '../access/session-store.ts';
import { noteLoggedOut } from '../access/sso/identity-store.ts';
import { lockUser, notifyUserChanged } from '../access/store.ts';
import { errors } from '../errors.ts';
import { principalOf } from '../http/context.ts';
import { listQuerySchema, sendList } from '../http/list.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { IdParams } from './schemas.ts';
import { EndedSession, SESSION_LIST, Session } from './session-schemas.ts';
import { idFrom, visibleTo } from './users.ts';

const tags = ['Authentication'];

/** `/v1/auth/sessions` */
export function registerSessionRoutes(app: App, { db, mutate }: Services, auth: Authenticator): void {
  app.get(
    '/v1/auth/sessions',
    {
      config: { access: 'authenticated' },
      schema: {
        tags,
        operationId: 'listSessions',
        summary: 'List sessions',
        description:
          "The caller's logins that have not ended, last used first. With `user_read`, `?user=` shows those of another user, or `*` of everybody; without it an API token sees none.",
        querystring: listQuerySchema(SESSION_LIST),
        response: { 200: Type.Array(Session), ...errorResponses(400, 401, 403, 409) },
      },
    },
    async (request, reply) => {
      const { user } = request.query as { user?: string };
      const principal = principalOf(request);
      // With `user_read` the sessions of all may be read.
      if (!isPermitted(principal, 'user_read')) requireLogin(principal, 'see sessions');
      const scope = visibleTo(principal, user);
      return sendList(db, SESSION_LIST, request, reply, [...scope, sql<boolean>`expires_at > now()`]);
    },
  );

  app.delete(
    '/v1/auth/sessions/:id',
    {
      config: { access: 'authenticated' },
      schema: {
        tags,
        operationId: 'endSession',
        summary: 'End a session',
        description:
          'Its access and refresh tokens end at once, on every replica. One of another user needs `user_write`.',
        params: IdParams,
        response: { 200: EndedSession, ...errorResponses(401, 404, 409) },
      },
    },
    async (request, reply) => mutate(request, reply, (mutation) => removeSession(auth, mutation, request.params.id)),
  );
}

/** @throws 404 also for one of somebody else without `user_write`, 409 for an API token without it. */
async function removeSession(
  auth: Authenticator,
  { tx, principal, audit, afterCommit }: Mutation,
  given: string,
): Promise<Answer> {
  const id = idFrom('session', given);
  const found = await readSession(tx, id);
  const mayEndAny = isPermitted(principal, 'user_write');
  if (found === null) throw errors.notFound('session', given);
  if (found.user_id !== principal.userId && !mayEndAny) throw errors.hidden('session', given);
  // Else whoever finds a token of CI keeps its owner out.
  if (!mayEndAny) requireLogin(principal, 'end sessions');
  await lockUser(tx, found.user_id);
  await endSession(tx, id);
  await noteLoggedOut(tx, found.user_id);
  await notifyUserChanged(tx, found.user_id);
  const record = JSON.parse(found.json) as Record<string, unknown>;
  audit({ action: 'auth.session.end', resource: `session:${id}`, details: { user: record.user } });
  afterCommit(() => auth.forgetUser(found.user_id));
  return { body: { ended: true, ...record } };
}
