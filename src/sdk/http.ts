import { ApiError, ConnectionError } from './errors.ts';
import type { TokenStore } from './tokens.ts';

/** Tries of one request in all: a lost connection, a server that restarts, a limit that passes. */
const DEFAULT_TRIES = 5;
/** Longest wait before another try, also where the server asks for more. Milliseconds. */
const MAX_WAIT_MS = 30_000;
/** Renewals for one request: the token that somebody else renewed may have expired while we waited for our turn. */
const MAX_RENEWALS = 3;
const FIRST_WAIT_MS = 250;
/** Between a connection that was lost and the next try, where one is waited for without end. Milliseconds. */
export const RECONNECT_MS = 500;
/** Answers after which the same request may succeed. */
const PASSING = [429, 502, 503, 504];
/** The requests that the server remembers by their `Idempotency-Key`; the others may be repeated as they are. */
const KEYED = ['POST', 'DELETE'];

/** By these one gets a token. */
const WITHOUT_TOKEN = [
  '/v1/auth/login',
  '/v1/auth/refresh',
  '/v1/auth/exchange',
  '/v1/auth/sso',
  '/v1/auth/sso/token',
  '/v1/auth/sso/{name}/device',
  '/v1/auth/sso/device/token',
];

export interface HttpOptions {
  url: string;
  tokens: TokenStore;
  fetch: typeof fetch;
  tries: number | undefined;
}

export interface HttpRequest {
  method: string;
  /** With `{name}` for what `parameters` fill in. */
  path: string;
  parameters?: Record<string, unknown> | undefined;
  query?: Record<string, unknown> | undefined;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
  idempotencyKey?: string | undefined;
}

/** Sends requests with the present token, renews it when it has expired, and tries again what may pass. */
export interface Http {
  /** @throws ApiError, ConnectionError, or the signal's reason. */
  send(request: HttpRequest): Promise<Response>;
  /** The same with the whole body, which is asked for again where the connection is lost inside it. */
  read(request: HttpRequest): Promise<{ headers: Headers; body: unknown }>;
}

export function createHttp({ url, tokens, fetch, tries = DEFAULT_TRIES }: HttpOptions): Http {
  const once = async (request: HttpRequest, token: string | null): Promise<Response> => {
    const target = addressOf(url, request);
    const headers: Record<string, string> = { accept: 'application/json', ...request.headers };
    if (token !== null) headers.authorization = `Bearer ${token}`;
    if (request.idempotencyKey !== undefined) headers['idempotency-key'] = request.idempotencyKey;
    if (request.body !== undefined) headers['content-type'] = 'application/json';
    const init: RequestInit = { method: request.method, headers };
    if (request.body !== undefined) init.body = JSON.stringify(request.body);
    if (request.signal !== undefined) init.signal = request.signal;
    try {
      return await fetch(target, init);
    } catch (error) {
      request.signal?.throwIfAborted();
      throw new ConnectionError(url, error);
    }
  };

  const renew = (expired: string) =>
    tokens.update(async (current) => {
      // Somebody else sharing the store has renewed it meanwhile.
      if (current === null || current.token !== expired || current.refreshToken === null) return current;
      const response = await once(
        { method: 'POST', path: '/v1/auth/refresh', body: { refresh_token: current.refreshToken } },
        null,
      );
      if (response.status === 401) return null;
      if (!response.ok) throw await apiError(response);
      const pair = (await response.json()) as { token: string; refresh_token: string };
      return { token: pair.token, refreshToken: pair.refresh_token };
    });

  const authorised = async (request: HttpRequest): Promise<Response> => {
    if (WITHOUT_TOKEN.includes(request.path)) return once(request, null);
    let current = await tokens.read();
    for (let renewals = 0; ; renewals += 1) {
      const response = await once(request, current?.token ?? null);
      if (response.status !== 401 || current === null || current.refreshToken === null || renewals === MAX_RENEWALS) {
        return response;
      }
      if (!(await isTokenRefused(response.clone()))) return response;
      await response.body?.cancel();
      current = await renew(current.token);
    }
  };

  const attempt = async <T>(given: HttpRequest, read: (response: Response) => Promise<T>): Promise<T> => {
    const keyed = KEYED.includes(given.method) && !given.path.startsWith('/v1/auth/');
    const request = keyed ? { ...given, idempotencyKey: given.idempotencyKey ?? randomKey() } : given;
    for (let count = 1; ; count += 1) {
      try {
        const response = await authorised(request);
        if (response.ok) return await read(response);
        if (!PASSING.includes(response.status) || count >= tries) throw await apiError(response);
        await response.body?.cancel();
        await pause(waitBefore(count, response.headers.get('retry-after')), request.signal);
      } catch (error) {
        if (!(error instanceof ConnectionError) || count >= tries) throw error;
        await pause(waitBefore(count, null), request.signal);
      }
    }
  };

  return {
    send: (request) => attempt(request, async (response) => response),
    read: (request) =>
      attempt(request, async (response) => {
        try {
          return { headers: response.headers, body: await bodyOf(response) };
        } catch (error) {
          request.signal?.throwIfAborted();
          throw new ConnectionError(url, error);
        }
      }),
  };
}

/** Not so where a password or a code that the request carries is what was wrong: sent again, it would count again. */
async function isTokenRefused(response: Response): Promise<boolean> {
  const { code } = await apiError(response);
  return !['INVALID_CREDENTIALS', 'TOTP_REQUIRED', 'INVALID_TOTP'].includes(code);
}

async function bodyOf(response: Response): Promise<unknown> {
  if (response.status === 204) return undefined;
  const text = await response.text();
  return response.headers.get('content-type')?.includes('json') === true ? JSON.parse(text) : text;
}

function addressOf(url: string, { path, parameters = {}, query = {} }: HttpRequest): string {
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const value = parameters[name];
    if (value === undefined || value === '') throw new TypeError(`${path}: "${name}" is missing`);
    return encodeURIComponent(String(value));
  });
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value));
  const text = search.toString();
  return `${url.replace(/\/+$/, '')}${filled}${text === '' ? '' : `?${text}`}`;
}

async function apiError(response: Response): Promise<ApiError> {
  const text = await response.text();
  const json = response.headers.get('content-type')?.includes('json') === true;
  return new ApiError(response.status, json ? JSON.parse(text) : {}, response.headers.get('x-request-id'));
}

function waitBefore(attempt: number, retryAfter: string | null): number {
  const asked = retryAfter !== null && /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1_000 : 0;
  const own = FIRST_WAIT_MS * 2 ** (attempt - 1) * (0.5 + Math.random() / 2);
  return Math.min(MAX_WAIT_MS, Math.max(asked, own));
}

/** Whether the server was away, or said that it is busy or about to go, so that the same request may succeed later. */
export function mayPass(error: unknown): boolean {
  return error instanceof ConnectionError || (error instanceof ApiError && PASSING.includes(error.status));
}

/** 128 random bits. `crypto.randomUUID` is missing in browsers on pages without TLS. */
function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Waits, or rejects with the signal's reason. */
export function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', abort, { once: true });
  });
}
