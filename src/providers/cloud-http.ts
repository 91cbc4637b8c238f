/**
 * A thin client for the JSON APIs of clouds. Each request has a time limit and a bounded answer, waits for the account's
 * turn, and fails as a ProviderError that carries no credential.
 */
import { retryAfterSeconds } from '../util/retry-after.ts';
import type { Account, RateFacts } from './account.ts';
import { type CallKind, type CallOptions, type MutationOptions, ProviderError } from './contract.ts';
import { ask, change, type Outcome } from './waiting.ts';

/** How long one answer may take. Clouds answer a create within some seconds; past this the connection is half open. */
const DEFAULT_TIMEOUT_MS = 30_000;
/** Bytes of one answer at most: a page of a hundred servers has some 200 KB. */
const MAX_BODY_BYTES = 16 * 1_048_576;
/** What a provider asks for is honoured up to this: a mistaken header must not stop an account for a day. Seconds. */
const MAX_RETRY_AFTER = 600;
/** A provider's words in an error, characters at most. */
const MAX_WORDS = 500;

/** A whole answer with a status. */
export interface CloudAnswer {
  status: number;
  /** Parsed JSON; null where the answer had no body. */
  body: unknown;
}

export interface CloudHttpSettings {
  /** Base address, without a slash at its end. */
  endpoint: string;
  /** Headers with the credentials; sent, and never shown. */
  headers: Record<string, string>;
  /** Texts that must not appear in any error: tokens, passwords, and what they look like encoded. */
  secrets: string[];
  account: Account;
  /** Makes the error of an answer that is no success (429 is dealt with here). */
  refusal(what: string, answer: CloudAnswer): ProviderError;
  timeoutMs?: number;
}

/** @param what the call in a few words, for messages: `list the servers`. */
export interface CloudHttp {
  /** GET, again where an answer is lost. @returns the body. @throws ProviderError; the signal's reason. */
  read(what: string, path: string, options?: CallOptions, kind?: CallKind): Promise<unknown>;
  /**
   * Sends a change, once the guard has let it. It is awaited whatever the signal does.
   * @throws ProviderError, where the change may have taken effect as TIMEOUT or UNAVAILABLE; what the guard throws.
   */
  change(what: string, method: string, path: string, body: unknown, options: MutationOptions): Promise<unknown>;
}

export function createCloudHttp(settings: CloudHttpSettings): CloudHttp {
  const { account } = settings;
  const send = async (what: string, method: string, path: string, body: unknown, signal?: AbortSignal) => {
    const outcome = await exchange(settings, what, method, path, body, signal);
    if ('throttledFor' in outcome) return outcome;
    const { status, body: answer } = outcome.answer;
    if (status >= 200 && status < 300) return { answer };
    throw settings.refusal(what, outcome.answer);
  };
  return {
    read: (what, path, options = {}, kind = 'look') =>
      ask(account, kind, options, () => send(what, 'GET', path, undefined, options.signal)),
    change: (what, method, path, body, options) => change(account, options, () => send(what, method, path, body)),
  };
}

/** One request and its whole answer. */
async function exchange(
  settings: CloudHttpSettings,
  what: string,
  method: string,
  path: string,
  body: unknown,
  signal: AbortSignal | undefined,
): Promise<Outcome<CloudAnswer>> {
  const { account, timeoutMs = DEFAULT_TIMEOUT_MS } = settings;
  const request = new AbortController();
  const late = new Error('late');
  const timer = setTimeout(() => request.abort(late), timeoutMs);
  const abort = () => request.abort(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const response = await fetch(`${settings.endpoint}${path}`, {
      method,
      headers: {
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...settings.headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      // Credentials go to the configured place and nowhere else.
      redirect: 'manual',
      signal: request.signal,
    });
    const text = await readBounded(response);
    const refused = response.status === 429;
    if (response.status >= 500) account.failed();
    else account.answered({ ...rateFacts(response.headers), refused, denied: response.status === 401 });
    if (refused)
      return {
        throttledFor: account.throttled(retryAfterSeconds(response.headers.get('retry-after'), MAX_RETRY_AFTER)),
      };
    return { answer: { status: response.status, body: parse(account.name, what, response.status, text) } };
  } catch (error) {
    if (signal?.aborted) {
      account.released(true);
      throw signal.reason;
    }
    if (error instanceof ProviderError) throw error;
    account.failed();
    throw request.signal.aborted ? timedOut(settings, what, timeoutMs) : connectionFailed(settings, what, error);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  if (response.body === null) return '';
  for await (const chunk of response.body) {
    size += chunk.byteLength;
    if (size > MAX_BODY_BYTES) throw new Error(`the answer is larger than ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** JSON whatever the content type says. An error's body may be anything; a success must be readable. */
function parse(name: string, what: string, status: number, text: string): unknown {
  if (text.trim() === '') return null;
  try {
    return JSON.parse(text);
  } catch {
    if (status >= 300) return null;
    throw new ProviderError('UNAVAILABLE', `${name} answered something unreadable (${what}). Trying again may help.`, {
      retryable: true,
      details: { call: what, status },
    });
  }
}

/** `RateLimit-…` and `X-RateLimit-…`. */
function rateFacts(headers: Headers): RateFacts {
  const value = (name: string) => {
    const text = headers.get(`ratelimit-${name}`) ?? headers.get(`x-ratelimit-${name}`);
    const number = Number(text?.split(/[,;]/)[0]);
    return text === null || !Number.isFinite(number) ? null : number;
  };
  return { limit: value('limit'), remaining: value('remaining') };
}

function timedOut({ account }: CloudHttpSettings, what: string, timeoutMs: number): ProviderError {
  return new ProviderError(
    'TIMEOUT',
    `${account.name} did not answer within ${timeoutMs / 1_000} s (${what}). If it was a change, it may have happened.`,
    { retryable: true, details: { call: what } },
  );
}

function connectionFailed(settings: CloudHttpSettings, what: string, error: unknown): ProviderError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined;
  const words = cause instanceof Error ? cause.message : String(cause);
  const place = new URL(settings.endpoint).host;
  const trust = code !== undefined && /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ERR_TLS/.test(code);
  return new ProviderError(
    trust ? 'AUTHENTICATION_FAILED' : 'UNAVAILABLE',
    trust
      ? `The certificate of ${place} is not trusted (${code}). Check the endpoint of ${settings.account.name}.`
      : `The connection to ${settings.account.name} at ${place} failed (${withoutSecrets(words, settings.secrets)}).`,
    { retryable: !trust, details: { call: what, system_code: code } },
  );
}

/** A provider's words, cut to length, with every secret struck out: some APIs repeat what they were sent. */
export function withoutSecrets(words: string, secrets: readonly string[]): string {
  let clean = words.slice(0, MAX_WORDS * 4);
  for (const secret of secrets) if (secret !== '') clean = clean.replaceAll(secret, '[secret]');
  return clean.slice(0, MAX_WORDS);
}
