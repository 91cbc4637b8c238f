import { Type } from 'typebox';
import type { Authenticator } from '../access/authenticate.ts';
import { isChecked } from '../http/check-mode.ts';
import { principalOf, sendJson } from '../http/context.ts';
import { createTryLimit, ownLimit } from '../http/rate-limit.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { registerAuditRoutes } from './audit-routes.ts';
import { ACCOUNT_WINDOW_MS, login, refresh } from './login.ts';
import { ChangePassword, Login, Me, Refresh, TokenPair } from './schemas.ts';
import { changePassword, describePrincipal, logout, preparePassword } from './service.ts';
import { registerServiceAccountRoutes } from './service-account-routes.ts';
import { registerSessionRoutes } from './session-routes.ts';
import { registerSsoRoutes } from './sso/login-routes.ts';
import { registerProviderRoutes } from './sso/provider-routes.ts';
import { registerTokenRoutes } from './token-routes.ts';
import { registerTotpRoutes } from './totp-routes.ts';
import { registerUserRoutes } from './user-routes.ts';

const tags = ['Authentication'];
/** A refresh costs no password hash, and one address may hold a whole team. */
const REFRESHES_PER_LOGIN = 10;

/** Logging in and out, users, API tokens and the audit log. */
export function registerAuthRoutes(app: App, services: Services, auth: Authenticator): void {
  const { config, db, encryption, mutate, checkSession } = services;
  const limit = () => createTryLimit(config.accountLoginLimit, ACCOUNT_WINDOW_MS);
  const tries = { user: limit(), nobody: limit() };
  const refusals = createTryLimit(config.loginRateLimit, 60_000);
  const sessions = { config, db, encryption, tokens: auth.tokens, tries, refusals, checkSession };
  const tools = { ...services, proofTries: limit() };

  app.post(
    '/v1/auth/login',
    {
      config: { access: 'public', ...ownLimit(config.loginRateLimit) },
      schema: {
        tags,
        operationId: 'login',
        summary: 'Login and receive access token',
        description:
          'Begins a session. Where the user has a second factor, the code goes with it: without one the answer is 401 `TOTP_REQUIRED`. Tries are limited for each address, failed tries for each user name from addresses where the user has not logged in before, and wrong codes for each user.',
        body: Login,
        response: { 200: TokenPair, ...errorResponses(400, 401, 429, 503) },
      },
    },
    async (request, reply) => {
      const pair = await login(sessions, request, request.body);
      return sendJson(reply.header('cache-control', 'no-store'), JSON.stringify(pair));
    },
  );

  app.post(
    '/v1/auth/refresh',
    {
      config: { access: 'public', ...ownLimit(config.loginRateLimit * REFRESHES_PER_LOGIN) },
      schema: {
        tags,
        operationId: 'refreshTokens',
        summary: 'Refresh access token using refresh token',
        description:
          'A refresh token is good for one use and answers with the next. Using one again means that it was stolen: the session ends.',
        body: Refresh,
        response: { 200: TokenPair, ...errorResponses(400, 401, 429, 503) },
      },
    },
    async (request, reply) => {
      const pair = await refresh(sessions, request, request.body.refresh_token);
      return sendJson(reply.header('cache-control', 'no-store'), JSON.stringify(pair));
    },
  );

  app.post(
    '/v1/auth/logout',
    {
      config: { access: 'authenticated' },
      schema: {
        tags,
        operationId: 'logout',
        summary: 'End every login of the caller',
        description:
          'Every access and refresh token of the user ends at once, on every replica. API tokens stay; they end when deleted, when they expire, or with a new password. Needs a login.',
        response: { 200: Type.Object({ logged_out: Type.Literal(true) }), ...errorResponses(401, 409) },
      },
    },
    async (request, reply) => mutate(request, reply, (mutation) => logout(auth, mutation)),
  );

  app.get(
    '/v1/auth/me',
    {
      config: { access: 'authenticated' },
      schema: {
        tags,
        operationId: 'getCaller',
        summary: 'Who the caller is',
        response: { 200: Me, ...errorResponses(401) },
      },
    },
    async (request, reply) => sendJson(reply, JSON.stringify(describePrincipal(principalOf(request)))),
  );

  app.post(
    '/v1/auth/password',
    {
      config: { access: 'authenticated', ...ownLimit(config.loginRateLimit) },
      schema: {
        tags,
        operationId: 'changePassword',
        summary: 'Change the own password',
        description:
          'Every token of the user ends at once, on every replica: access, refresh and API tokens, those of this request too, and those that they have made for service accounts. Log in again afterwards. Needs a login and, where logins ask for one, a code.',
        body: ChangePassword,
        response: {
          200: Type.Object({ password_changed: Type.Literal(true) }),
          ...errorResponses(400, 401, 409, 429),
        },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request);
      return mutate(request, reply, {
        prepare: () => preparePassword(tools, principal, request.body, isChecked(request)),
        work: (mutation, password) => changePassword(auth, mutation, password),
      });
    },
  );

  registerSessionRoutes(app, services, auth);
  registerSsoRoutes(app, services, sessions);
  registerProviderRoutes(app, services, auth, tools);
  registerTotpRoutes(app, services, auth, tools);
  registerUserRoutes(app, services, auth, tools);
  registerServiceAccountRoutes(app, services, auth);
  registerTokenRoutes(app, services, auth);
  registerAuditRoutes(app, services);
}
