import { type Static, Type } from 'typebox';
import { loginProvidersJson } from '../../access/sso/provider-store.ts';
import { sendJson } from '../../http/context.ts';
import { ownLimit } from '../../http/rate-limit.ts';
import { errorResponses } from '../../http/schemas.ts';
import type { App, Services } from '../../http/section.ts';
import type { Sessions } from '../login.ts';
import { TokenPair } from '../schemas.ts';
import { exchange } from './exchange.ts';
import { begin, beginDevice, comeBack, consentTo, type Flows, pollDevice, tradeTicket } from './flows.ts';
import {
  BeginQuery,
  CallbackQuery,
  Consent,
  DeviceSignIn,
  Exchange,
  ExchangedToken,
  LoginProvider,
  NameParams,
  PollDevice,
  TradeTicket,
} from './schemas.ts';

const tags = ['Authentication'];
/** None of these costs a password hash, one sign-in needs several, and one address may hold a whole team or its CI. */
const REQUESTS_PER_LOGIN = 10;
const Redirect = { 302: Type.Null({ description: 'On to where `Location` says.' }) };

/** `/v1/auth/sso`, `/v1/auth/exchange` */
export function registerSsoRoutes(app: App, services: Services, sessions: Sessions): void {
  const { config, db, issuers, limits } = services;
  const flows = { sessions, issuers, publicUrl: config.publicUrl, counts: limits.counts };
  const limited = () => ownLimit(config.loginRateLimit * REQUESTS_PER_LOGIN);
  const open = { access: 'public', checkMode: false } as const;

  app.get(
    '/v1/auth/sso',
    {
      config: { access: 'public', ...limited() },
      schema: {
        tags,
        operationId: 'listLoginProviders',
        summary: 'Identity providers that people log in by',
        response: { 200: Type.Array(LoginProvider), ...errorResponses(429) },
      },
    },
    async (_request, reply) => sendJson(reply, await loginProvidersJson(db)),
  );

  app.get(
    '/v1/auth/sso/:name/start',
    {
      config: { access: 'public', ...limited() },
      schema: {
        tags,
        operationId: 'beginSignIn',
        summary: 'Send a browser to an identity provider',
        description: 'It comes back to `/v1/auth/sso/{name}/callback`, and from there to the login page with a ticket.',
        params: NameParams,
        querystring: BeginQuery,
        response: { ...Redirect, ...errorResponses(400, 404, 429) },
      },
    },
    async (request, reply) => {
      const { return_to: returnTo, port, challenge } = request.query;
      const ofCommandLine = port !== undefined && challenge !== undefined;
      const destination = ofCommandLine ? { port, challenge } : returnTo === undefined ? {} : { returnTo };
      return begin(flows, request, reply.header('cache-control', 'no-store'), request.params.name, destination);
    },
  );

  app.get(
    '/v1/auth/sso/:name/callback',
    {
      config: { access: 'public', ...limited() },
      schema: {
        tags,
        operationId: 'endSignIn',
        summary: 'Where an identity provider sends browsers back to',
        params: NameParams,
        querystring: CallbackQuery,
        response: {
          ...Redirect,
          200: Type.String({ description: 'A page that asks whether a command line is theirs.' }),
          ...errorResponses(400, 404, 429),
        },
      },
    },
    async (request, reply) =>
      comeBack(flows, request, reply.header('cache-control', 'no-store'), request.params.name, request.query),
  );

  registerConsent(app, flows, limited());

  app.post(
    '/v1/auth/sso/token',
    {
      config: { ...open, ...limited() },
      schema: {
        tags,
        operationId: 'tradeTicket',
        summary: 'Trade the ticket of a sign-in for a session',
        description:
          'Only whoever began the sign-in can: the browser that has its cookie, the command line that has the verifier. The user is made at the first sign-in.',
        body: TradeTicket,
        response: { 200: TokenPair, ...errorResponses(400, 401, 403, 429, 503) },
      },
    },
    async (request, reply) => {
      const pair = await tradeTicket(flows, request, request.body);
      return sendJson(reply.header('cache-control', 'no-store'), JSON.stringify(pair));
    },
  );

  app.post(
    '/v1/auth/sso/:name/device',
    {
      config: { ...open, ...limited() },
      schema: {
        tags,
        operationId: 'beginDeviceSignIn',
        summary: 'Begin a sign-in by another device',
        description:
          'For programs without a browser (RFC 8628): somebody opens the address elsewhere and enters the code.',
        params: NameParams,
        response: { 200: DeviceSignIn, ...errorResponses(400, 401, 404, 409, 429) },
      },
    },
    async (request, reply) => {
      const begun = await beginDevice(flows, request, request.params.name);
      return sendJson(reply.header('cache-control', 'no-store'), JSON.stringify(begun));
    },
  );

  app.post(
    '/v1/auth/sso/device/token',
    {
      config: { ...open, ...limited() },
      schema: {
        tags,
        operationId: 'pollDeviceSignIn',
        summary: 'Look whether somebody has signed in on the other device',
        description: '400 `AUTHORIZATION_PENDING`: not yet; ask again after `details.interval` seconds.',
        body: PollDevice,
        response: { 200: TokenPair, ...errorResponses(400, 401, 403, 429, 503) },
      },
    },
    async (request, reply) => {
      const pair = await pollDevice(flows, request, request.body);
      return sendJson(reply.header('cache-control', 'no-store'), JSON.stringify(pair));
    },
  );

  app.post(
    '/v1/auth/exchange',
    {
      config: { ...open, ...limited() },
      schema: {
        tags,
        operationId: 'exchangeToken',
        summary: "Trade a job's token for one of a service account",
        description:
          'As RFC 8693 has it, in JSON. The rules of the identity provider with the issuer of the token (`exchange`) say which are taken. Whatever is wrong is answered alike; the audit log has the reason.',
        body: Exchange,
        response: { 200: ExchangedToken, ...errorResponses(400, 401, 429, 503) },
      },
    },
    async (request, reply) => {
      const given = await exchange({ ...services, refusals: sessions.refusals }, request, request.body);
      return sendJson(reply.header('cache-control', 'no-store'), JSON.stringify(given));
    },
  );
}

/** Of a page without scripts, so it is a form: the one place that takes one. */
function registerConsent(app: App, flows: Flows, limit: ReturnType<typeof ownLimit>): void {
  app.register(async (forms) => {
    forms.addContentTypeParser(
      'application/x-www-form-urlencoded',
      { parseAs: 'string', bodyLimit: 1_024 },
      (_request, body, done) => done(null, Object.fromEntries(new URLSearchParams(String(body)))),
    );
    forms.post<{ Params: Static<typeof NameParams>; Body: Static<typeof Consent> }>(
      '/v1/auth/sso/:name/consent',
      {
        config: { access: 'public', checkMode: false, ...limit },
        schema: { hide: true, params: NameParams, body: Consent },
      },
      async (request, reply) =>
        consentTo(flows, request, reply.header('cache-control', 'no-store'), request.params.name, request.body.consent),
    );
  });
}
