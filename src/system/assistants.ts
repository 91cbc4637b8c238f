/** `/mcp`: the server for assistants over streamable HTTP, with the caller's own token. */
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest, InjectOptions } from 'fastify';
import { errors } from '../errors.ts';
import type { App } from '../http/section.ts';
import { createClient } from '../sdk/client.ts';
import { VERSION } from '../version.ts';

/**
 * Each tool's requests go through the application as any others do, in memory: with the caller's token, address, rate
 * limits and audit rows. Nothing is kept between two requests, so that any replica may answer.
 * @param origins browsers' origins that may call, besides this server's own.
 */
export function installAssistants(app: App, origins: readonly string[]): void {
  let handler: ReturnType<typeof createHandler> | undefined;
  app.addHook('preClose', async () => (await handler)?.close());

  app.route({
    method: ['POST', 'GET', 'DELETE'],
    url: '/mcp',
    config: { access: 'authenticated' },
    schema: { hide: true },
    handler: async (request, reply) => {
      refuseForeignOrigin(request, origins);
      const token = (request.headers.authorization ?? '').replace(/^bearer +/i, '');
      handler ??= createHandler(app);
      const answer = await (await handler).fetch(webRequest(request), {
        authInfo: { token, clientId: 'bearer', scopes: [] },
        ...(request.method === 'POST' ? { parsedBody: request.body } : {}),
      });
      return send(reply, answer);
    },
  });
}

/** The protocol's library is loaded by the first request: a start does without it. */
async function createHandler(app: App) {
  const [{ createMcpHandler }, { createAssistantServer }] = await Promise.all([
    import('@modelcontextprotocol/server'),
    import('../mcp/server.ts'),
  ]);
  return createMcpHandler(async ({ authInfo, requestInfo }) => {
    const address = requestInfo?.headers.get(ADDRESS_HEADER) ?? '127.0.0.1';
    const client = createClient({
      url: 'http://provisioning.invalid',
      token: authInfo?.token ?? '',
      // A limit is told at once: the assistant decides when to come back.
      tries: 1,
      fetch: throughTheApp(app, address),
    });
    return createAssistantServer(client, VERSION);
  });
}

/** Ours alone: what a client sends under this name is overwritten. */
const ADDRESS_HEADER = 'x-provisioning-address';

/** A page of another site, open in the browser of somebody who is logged in, has no business here. */
function refuseForeignOrigin({ headers, host }: FastifyRequest, origins: readonly string[]): void {
  const { origin } = headers;
  if (origin === undefined || origins.includes('*') || origins.includes(origin)) return;
  if (URL.canParse(origin) && new URL(origin).host === host) return;
  throw errors.foreignOrigin(origin);
}

function webRequest({ headers, method, ip, url }: FastifyRequest): Request {
  const own = new Headers();
  for (const name of ['accept', 'content-type', 'mcp-protocol-version', 'mcp-session-id', 'mcp-method', 'mcp-name']) {
    const value = headers[name];
    if (typeof value === 'string') own.set(name, value);
  }
  own.set(ADDRESS_HEADER, ip);
  return new Request(`http://provisioning.invalid${url}`, { method, headers: own });
}

async function send(reply: FastifyReply, answer: Response): Promise<FastifyReply> {
  reply.status(answer.status);
  for (const [name, value] of answer.headers) reply.header(name, value);
  if (answer.body === null) return reply.send();
  const type = answer.headers.get('content-type') ?? '';
  if (!type.startsWith('text/event-stream')) return reply.send(Buffer.from(await answer.arrayBuffer()));
  return reply.send(Readable.fromWeb(answer.body as Parameters<typeof Readable.fromWeb>[0]));
}

/** `fetch` for the client library that stays in this process. */
function throughTheApp(app: App, remoteAddress: string): typeof fetch {
  return async (input, init = {}) => {
    const url = new URL(String(input));
    const answer = await app.inject({
      method: (init.method ?? 'GET') as InjectOptions['method'],
      url: `${url.pathname}${url.search}`,
      headers: Object.fromEntries(new Headers(init.headers)),
      remoteAddress,
      ...(typeof init.body === 'string' ? { payload: init.body } : {}),
    } as InjectOptions);
    const headers = new Headers();
    for (const [name, value] of Object.entries(answer.headers)) headers.set(name, String(value));
    const empty = answer.statusCode === 204 || answer.statusCode === 304;
    return new Response(empty ? null : new Uint8Array(answer.rawPayload), { status: answer.statusCode, headers });
  };
}
