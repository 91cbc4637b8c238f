/**
 * The client library: the whole API, typed from its description. Works wherever there is `fetch`: Node, browsers, Deno,
 * Bun.
 *
 *     const client = createClient({ url: 'https://provisioning.example', token: process.env.TOKEN });
 *     const operation = await client.post('/v1/servers/create', { body: { workspace: 'default', … } });
 *     for await (const event of client.follow(operation.id)) console.log(event);
 */
import { ConnectionError, OperationFailedError } from './errors.ts';
import { type FeedOptions, type FollowOptions, followFeed, followOperation } from './follow.ts';
import { createHttp, type HttpRequest, mayPass, pause, RECONNECT_MS } from './http.ts';
import { memoryTokens, type TokenStore } from './tokens.ts';
import type { Call, FeedEvent, Filters, ListPath, Method, Operation, OperationEvent, Row } from './types.ts';

export { ApiError, ConnectionError, type FieldProblem, OperationFailedError } from './errors.ts';
export type { FeedOptions, FollowOptions } from './follow.ts';
export type { TokenStore, Tokens } from './tokens.ts';
export type { FeedEvent, Operation, OperationEvent, Schemas, Server } from './types.ts';

export interface ClientOptions {
  /** Where the server is, such as `https://provisioning.example`. */
  url: string;
  /** An API token or an access token. */
  token?: string;
  /** Renews the access token when it has expired. */
  refreshToken?: string;
  /** Where tokens are kept instead, so that they outlive the program. */
  tokens?: TokenStore;
  /** Tries of one request in all; 5. */
  tries?: number;
  fetch?: typeof fetch;
}

export interface LoginOptions {
  /** The code that an authenticator app shows, or a recovery code. */
  totp?: string | undefined;
  /** Seconds that access tokens are to hold; they are renewed by themselves. As the server is set where absent. */
  expiresIn?: number | undefined;
}

export interface PageOptions<P extends ListPath> {
  /** What the path's `{name}`s stand for, where it has some. */
  path?: Record<string, string> | undefined;
  filters?: Filters<P> | undefined;
  cursor?: string | undefined;
  /** Rows at most; 500. */
  perPage?: number;
  signal?: AbortSignal | undefined;
}

export interface Page<R> {
  rows: R[];
  /** Where the next page begins; null at the end. */
  next: string | null;
  /** Rows of the whole list. Where there are very many, at least so many: then `totalCapped`. */
  total: number;
  totalCapped: boolean;
}

export interface Client {
  get: Call<'get'>;
  post: Call<'post'>;
  put: Call<'put'>;
  patch: Call<'patch'>;
  delete: Call<'delete'>;
  /** Any request, for what the types do not know. @throws ApiError, ConnectionError */
  send(request: HttpRequest): Promise<Response>;
  /**
   * Logs in and keeps the tokens.
   * @throws ApiError with the code `TOTP_REQUIRED` where a code of an app is asked for besides.
   */
  login(username: string, password: string, options?: LoginOptions): Promise<void>;
  /** Trades the ticket that a browser brought back from an identity provider for tokens, and keeps them. */
  signIn(ticket: string, options?: Pick<LoginOptions, 'expiresIn'>): Promise<void>;
  /** Ends every login of this user, and forgets the tokens. */
  logout(): Promise<void>;
  /** One page of a list: of the first where no cursor is given. */
  page<P extends ListPath>(path: P, options?: PageOptions<P>): Promise<Page<Row<P>>>;
  /** The rows of a list one by one, fetched page by page. */
  list<P extends ListPath>(path: P, filters?: Filters<P>, options?: { signal?: AbortSignal }): AsyncGenerator<Row<P>>;
  /**
   * The events of an operation as they happen, each once and in order, until its end; a server that restarts meanwhile
   * is waited for.
   */
  follow(operationId: string, options?: FollowOptions): AsyncGenerator<OperationEvent>;
  /** The events of everything the caller may see, from now on, without end. */
  feed(options?: FeedOptions): AsyncGenerator<FeedEvent>;
  /**
   * Resolves when the operation has completed; a server that restarts meanwhile is waited for.
   * @throws OperationFailedError when it failed or was cancelled; ConnectionError when the server is away at the start.
   */
  wait(operationId: string, options?: { signal?: AbortSignal }): Promise<Operation>;
}

/** Seconds of one long poll. */
const POLL_SECONDS = 30;
const PER_PAGE = 500;

export function createClient(options: ClientOptions): Client {
  const { url, token, refreshToken, tries } = options;
  if (!/^https?:\/\//.test(url)) throw new TypeError(`The address must begin with http:// or https://, not "${url}".`);
  const tokens =
    options.tokens ?? memoryTokens(token === undefined ? null : { token, refreshToken: refreshToken ?? null });
  const http = createHttp({ url, tokens, tries, fetch: options.fetch ?? ((input, init) => fetch(input, init)) });

  const call = (method: Method) =>
    (async (path: string, given: Record<string, unknown> = {}) => {
      const { body } = await http.read({
        method: method.toUpperCase(),
        path,
        parameters: given.path as Record<string, unknown> | undefined,
        query: given.query as Record<string, unknown> | undefined,
        body: given.body,
        signal: given.signal as AbortSignal | undefined,
        idempotencyKey: given.idempotencyKey as string | undefined,
      });
      return body;
    }) as unknown;

  const client: Client = {
    get: call('get') as Call<'get'>,
    post: call('post') as Call<'post'>,
    put: call('put') as Call<'put'>,
    patch: call('patch') as Call<'patch'>,
    delete: call('delete') as Call<'delete'>,
    send: (request) => http.send(request),
    async login(username, password, { totp, expiresIn } = {}) {
      const body = {
        ...{ username, password },
        ...(totp === undefined ? {} : { totp }),
        ...(expiresIn === undefined ? {} : { expires_in: expiresIn }),
      };
      const pair = await client.post('/v1/auth/login', { body });
      await tokens.update(async () => ({ token: pair.token, refreshToken: pair.refresh_token }));
    },
    async signIn(ticket, { expiresIn } = {}) {
      const body = { ticket, ...(expiresIn === undefined ? {} : { expires_in: expiresIn }) };
      const pair = await client.post('/v1/auth/sso/token', { body });
      await tokens.update(async () => ({ token: pair.token, refreshToken: pair.refresh_token }));
    },
    async logout() {
      await client.post('/v1/auth/logout');
      await tokens.update(async () => null);
    },
    async page(path, { path: parameters, filters, cursor = '', perPage = PER_PAGE, signal } = {}) {
      const query = { ...filters, per_page: perPage, cursor };
      const { headers, body } = await http.read({ method: 'GET', path, parameters, query, signal });
      return {
        rows: body as never[],
        next: nextCursor(headers.get('link')),
        total: Number(headers.get('x-total-count')),
        totalCapped: headers.get('x-total-count-capped') === 'true',
      };
    },
    async *list(path, filters, { signal } = {}) {
      let cursor: string | null = '';
      while (cursor !== null) {
        const page: Page<Row<typeof path>> = await client.page(path, { filters, cursor, signal });
        yield* page.rows;
        cursor = page.next;
      }
    },
    follow: (operationId, followOptions = {}) => followOperation(http, operationId, followOptions),
    feed: (feedOptions = {}) => followFeed(http, feedOptions),
    async wait(operationId, { signal } = {}) {
      let reached = false;
      for (;;) {
        const operation = await client
          .post('/v1/operations/{id}/wait', {
            path: { id: operationId },
            query: { timeout: POLL_SECONDS },
            ...(signal === undefined ? {} : { signal }),
          })
          .catch((error) => {
            if (!mayPass(error) || (!reached && error instanceof ConnectionError)) throw error;
          });
        if (operation === undefined) {
          await pause(RECONNECT_MS, signal);
          continue;
        }
        reached = true;
        if (operation.status === 'completed') return operation;
        if (operation.status === 'failed' || operation.status === 'cancelled')
          throw new OperationFailedError(operation);
      }
    },
  };
  return client;
}

/** The cursor of the next page in a Link header; null at the end. */
function nextCursor(link: string | null): string | null {
  const target = /<([^>]*)>;\s*rel="next"/.exec(link ?? '')?.[1];
  return target === undefined ? null : new URL(target, 'http://localhost').searchParams.get('cursor');
}
