import cors from '@fastify/cors';
import swagger from '@fastify/swagger';
import Fastify, {
  type FastifyBaseLogger,
  type FastifyReply,
  type LightMyRequestResponse,
  LogController,
} from 'fastify';
import type { Pool } from 'pg';
import type { Authenticator } from './access/authenticate.ts';
import { isPermitted } from './access/permissions.ts';
import { registerAuthRoutes } from './accounts/routes.ts';
import type { Config } from './config.ts';
import { uuidv7 } from './database/uuid.ts';
import { ApplicationError, errors } from './errors.ts';
import { installCheckMode } from './http/check-mode.ts';
import { type Access, maybePrincipalOf, principalOf, setPrincipal } from './http/context.ts';
import { createDenials } from './http/denials.ts';
import { errorBody, installErrorHandler } from './http/error-handler.ts';
import {
  acceptJsonOnly,
  answerUnreadable,
  answerWhatNodeWould,
  refuseUnknownInput,
  refuseUnreadableAddress,
  requireHost,
} from './http/input.ts';
import { finishOpenApi } from './http/openapi.ts';
import { createAddressLimit, installRateLimit } from './http/rate-limit.ts';
import { answersOf } from './http/schemas.ts';
import type { App, Services } from './http/section.ts';
import { pagePolicyFor, securityHeaders } from './http/security-headers.ts';
import type { ServerTls } from './http/tls.ts';
import { installValidation } from './http/validation.ts';
import { OPERATION_KINDS } from './operation-kinds.ts';
import type { Follower } from './operations/follow.ts';
import { registerOperationRoutes } from './operations/routes.ts';
import { registerOrphanRoutes } from './servers/orphans/routes.ts';
import { registerServerRoutes } from './servers/routes.ts';
import { installAssistants } from './system/assistants.ts';
import { installDashboard } from './system/dashboard.ts';
import { registerLimitRoutes } from './system/limit-routes.ts';
import { registerProviderRoutes } from './system/provider-routes.ts';
import type { Readiness } from './system/readiness.ts';
import { registerSystemRoutes } from './system/routes.ts';
import { registerKubeconfigRoutes } from './taskservs/kubeconfig/routes.ts';
import { registerTaskservRoutes } from './taskservs/routes.ts';
import { VERSION } from './version.ts';
import { registerWebhookRoutes } from './webhooks/routes.ts';
import { registerWorkflowRoutes } from './workflows/routes.ts';
import { registerScheduleRoutes } from './workflows/schedules/routes.ts';
import { registerCredentialsRoutes } from './workspaces/credentials-routes.ts';
import { registerWorkspaceRoutes } from './workspaces/routes.ts';
import { registerSecretsRoutes } from './workspaces/secrets-routes.ts';
import { registerSshKeyRoutes } from './workspaces/ssh-key-routes.ts';

/** A request must arrive whole within this. Milliseconds. */
const REQUEST_TIMEOUT_MS = 30_000;
/** Longer than a load balancer keeps its end (60 s is usual), so that it is never us who cut an idle connection. */
const KEEP_ALIVE_MS = 72_000;
const REQUEST_ID = /^[\x21-\x7e]{1,128}$/;

/** The HTTP application: the only list of sections. It does not listen yet. */
export async function buildApp(
  services: Services,
  auth: Authenticator,
  options: { logger: FastifyBaseLogger; readiness: Readiness; pool: Pool; follower: Follower; tls: ServerTls | null },
): Promise<App> {
  const { config } = services;
  const app: App = Fastify({
    loggerInstance: options.logger,
    logController: new LogController({ disableRequestLogging: true }),
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    bodyLimit: config.bodyLimit,
    trustProxy: trustedProxies(config.trustProxy),
    forceCloseConnections: 'idle',
    // Said by the hook below, in our format.
    return503OnClosing: false,
    clientErrorHandler: answerUnreadable,
    // A request without a Host is answered by the hook below: Node's own answer has no body.
    http: { requireHostHeader: false },
    ...(options.tls === null ? {} : { serverFactory: options.tls.serverFactory }),
    routerOptions: { maxParamLength: 512, ignoreTrailingSlash: false },
    genReqId: (request) => {
      const given = request.headers['x-request-id'];
      return typeof given === 'string' && REQUEST_ID.test(given) ? given : uuidv7();
    },
    frameworkErrors: (error, request, reply: FastifyReply) => {
      const known = new ApplicationError(400, 'BAD_REQUEST', error.message);
      void reply
        .status(400)
        .type('application/json; charset=utf-8')
        .send(JSON.stringify(errorBody(known, request.id)));
    },
  });

  answerWhatNodeWould(app.server);
  installValidation(app);
  app.decorate('limits', services.limits);
  const denials = createDenials(services.db, app.log);
  app.addHook('onClose', () => denials.stop());
  installErrorHandler(app, denials.note, options.readiness.disk);
  acceptJsonOnly(app);
  if (config.corsOrigins.length > 0) {
    await app.register(cors, {
      origin: config.corsOrigins.includes('*') ? true : config.corsOrigins,
      exposedHeaders: ['link', 'location', 'x-total-count', 'x-request-id', 'retry-after'],
    });
  }
  requireAccess(app);
  refuseUnknownInput(app);
  installCheckMode(app);
  refuseUnreadableAddress(app);
  const limitAddress = createAddressLimit(services.limits.counts, config.addressRateLimit);
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(securityHeaders(request.url)).header('x-request-id', request.id);
    requireHost(request);
    const access = request.routeOptions.config.access;
    if (access !== 'public') limitAddress(request);
    if (access === undefined || access === 'public') return;
    if (options.readiness.draining) throw errors.unavailable('The server is shutting down. Try again in a moment.');
    setPrincipal(request, await auth.authenticate(request));
    const principal = principalOf(request);
    if (access === 'authenticated' || isPermitted(principal, access)) return;
    throw principal.lacksSecondFactor ? errors.secondFactorNeeded() : errors.forbidden(access);
  });
  app.addHook('onSend', (_request, reply, payload, done) => {
    // A connection kept alive would hold the stop up for as long as it may idle.
    if (options.readiness.leaving) reply.header('connection', 'close');
    done(null, payload);
  });
  await installRateLimit(app, services.limits.counts, config.rateLimit);
  const readsAreLogged = ['debug', 'trace'].includes(config.logLevel);
  app.addHook('onResponse', (request, reply, done) => {
    const isRead = request.method === 'GET';
    if (isRead && !readsAreLogged) return done();
    const line = {
      request_id: request.id,
      method: request.method,
      path: request.url.split('?')[0],
      status: reply.statusCode,
      ms: Math.round(reply.elapsedTime * 10) / 10,
      user: maybePrincipalOf(request)?.label,
    };
    request.log[isRead ? 'debug' : 'info'](line, 'request');
    done();
  });
  await installDocumentation(app);
  await installDashboard(app);
  installAssistants(app, config.corsOrigins);
  registerSystemRoutes(app, services, options.readiness, options);

  await app.register(async (api) => {
    registerAuthRoutes(api as App, services, auth);
    registerWorkspaceRoutes(api as App, services);
    registerCredentialsRoutes(api as App, services);
    registerSecretsRoutes(api as App, services);
    registerSshKeyRoutes(api as App, services);
    registerProviderRoutes(api as App, services);
    registerLimitRoutes(api as App, services);
    for (const { endpoints } of OPERATION_KINDS) {
      for (const endpoint of endpoints) endpoint.register(api as App, services);
    }
    registerServerRoutes(api as App, services);
    registerOrphanRoutes(api as App, services);
    registerTaskservRoutes(api as App, services);
    registerKubeconfigRoutes(api as App, services);
    registerWorkflowRoutes(api as App, services, options.follower);
    registerScheduleRoutes(api as App, services);
    registerOperationRoutes(api as App, services, options.follower, auth.authenticate);
    registerWebhookRoutes(api as App, services);
  });
  return app;
}

/** Refuses to start with a route that does not say who may call it. */
function requireAccess(app: App): void {
  app.addHook('onRoute', (route) => {
    if (route.config?.access === undefined)
      throw new Error(`${String(route.method)} ${route.url} does not say who may call it.`);
  });
}

async function installDocumentation(app: App): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Provisioning',
        version: VERSION,
        description: [
          'Creates servers, installs services on them and runs whole-cluster workflows, durably.',
          'A request that never becomes one of an endpoint is refused in the same error format: 405 (a method that the path',
          'does not take), 408 (not sent in time), 417 (an unknown Expect) and 431 (headers that are too large).',
        ].join(' '),
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
    },
    transform: ({ schema, url, route }) => {
      const access: Access | undefined = route.config?.access;
      const security = access === 'public' ? [] : [{ bearer: [] }];
      const permission = access === 'public' || access === 'authenticated' ? {} : { 'x-permission': access };
      const { method, config } = route;
      const own = schema?.response as Record<string, unknown> | undefined;
      const response = { ...answersOf({ method, url, access, changes: config?.checkMode !== false }), ...own };
      return { schema: { ...schema, response, security, ...permission }, url };
    },
  });
  // Anybody may ask for it, and making it takes a while.
  let document: Buffer | undefined;
  app.get('/openapi.json', { config: { access: 'public' }, schema: { hide: true } }, (_request, reply) => {
    document ??= Buffer.from(JSON.stringify(finishOpenApi(app.swagger())));
    return reply.type('application/json; charset=utf-8').send(document);
  });
  installDocsPage(app);
}

/** Fastify takes a number of proxies for none: it cannot tell whether somebody went past them. That is for the network to keep. */
function trustedProxies(trusted: Config['trustProxy']): false | string[] | ((address: string, hop: number) => boolean) {
  return typeof trusted === 'number' ? (_address, hop) => hop < trusted : trusted;
}

/**
 * The page at `/docs`, for anyone. Its plugin holds a script of 4 MB: loaded, in an application of its own, once asked for.
 * All who are being sent it share one copy, however slowly they take it.
 */
function installDocsPage(app: App): void {
  let opened: Promise<(url: string) => Promise<LightMyRequestResponse>> | undefined;
  const answers = new Map<string, Promise<LightMyRequestResponse>>();
  const open = async () => {
    const { default: scalar } = await import('@scalar/fastify-api-reference');
    const page = Fastify();
    await page.register(scalar, {
      routePrefix: '/docs',
      configuration: { url: '/openapi.json', withDefaultFonts: false, telemetry: false } as object,
    });
    return (url: string) => page.inject(url);
  };
  for (const url of ['/docs', '/docs/', '/docs/js/scalar.js']) {
    app.get(url, { config: { access: 'public' }, schema: { hide: true } }, async (_request, reply) => {
      opened ??= open();
      const answer = answers.get(url) ?? opened.then((inject) => inject(url));
      answers.set(url, answer);
      const { statusCode, headers, rawPayload } = await answer;
      if (headers.location !== undefined) reply.header('location', headers.location);
      if (url === '/docs/') reply.header('content-security-policy', pagePolicyFor(rawPayload.toString()));
      return reply.status(statusCode).header('content-type', headers['content-type']).send(rawPayload);
    });
  }
}
