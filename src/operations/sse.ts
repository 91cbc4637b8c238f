import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Principal } from '../access/permissions.ts';
import { isDatabaseUnavailable } from '../database/pool.ts';
import { ApplicationError } from '../errors.ts';
import { principalOf } from '../http/context.ts';
import type { Limits } from '../limits/limits.ts';

/** Proxies cut a connection that is silent for 30 to 60 s. */
const HEARTBEAT_MS = 15_000;
/** A client that takes nothing for so long is gone. */
const STALLED_MS = 60_000;
/** A stream's life. The client comes back where it was, and its token is looked at anew. */
const MAX_AGE_MS = 10 * 60_000;
/** Changes are gathered so long between two looks at the database. */
const MIN_LOOK_INTERVAL_MS = 50;
/** Before looking again when the database is away. */
const DATABASE_RETRY_MS = 500;

/** Requests that stay open. All end when the server closes. */
export interface OpenRequests {
  /** A signal that aborts when the client leaves, the server closes or `timeoutMs` are over; `release` must be called. */
  open(reply: FastifyReply, timeoutMs: number): OpenRequest;
  /**
   * The same for an event stream, of which a user may have only so many.
   * @throws 429 when the caller has too many.
   */
  openStream(request: FastifyRequest, reply: FastifyReply): Promise<OpenRequest>;
  /** Whether the caller still is who they were when the request came, with the same roles. */
  stillHolds(request: FastifyRequest): Promise<boolean>;
  closeAll(): void;
}

/** Looks at the token of a request again. @throws 401 where it holds no more. */
export type Recheck = (request: FastifyRequest) => Promise<Principal>;

interface OpenRequest {
  signal: AbortSignal;
  release(): void;
}

export function createOpenRequests(
  limits: Pick<Limits, 'open'>,
  recheck: Recheck = async (request) => principalOf(request),
): OpenRequests {
  const requests = new Map<AbortController, FastifyReply>();
  let closed = false;

  const open = (reply: FastifyReply, timeoutMs: number): OpenRequest => {
    const controller = new AbortController();
    const abort = () => controller.abort();
    requests.set(controller, reply);
    const timer = setTimeout(abort, timeoutMs);
    reply.raw.once('close', abort);
    if (closed) leave(reply);
    if (closed || reply.raw.destroyed) abort();
    return {
      signal: controller.signal,
      release() {
        clearTimeout(timer);
        reply.raw.off('close', abort);
        requests.delete(controller);
      },
    };
  };

  return {
    open,
    async openStream(request, reply) {
      const close = await limits.open('streams', principalOf(request).userId);
      const { signal, release } = open(reply, MAX_AGE_MS);
      return {
        signal,
        release() {
          release();
          close();
        },
      };
    },
    async stillHolds(request) {
      try {
        const before = principalOf(request).bindings;
        return isDeepStrictEqual((await recheck(request)).bindings, before);
      } catch (error) {
        // With the database away nobody can be asked; the stream has nothing to send either.
        return !(error instanceof ApplicationError && error.status === 401);
      }
    },
    closeAll() {
      closed = true;
      for (const [controller, reply] of requests) {
        leave(reply);
        controller.abort();
      }
    },
  };
}

/** Kept alive, the connection would hold the closing up. */
function leave(reply: FastifyReply): void {
  if (!reply.sent && !reply.raw.headersSent) reply.header('connection', 'close');
}

/** One server-sent event. `data` is JSON text, which has no line breaks. */
export function formatEvent(event: { id?: string; event: string; data: string }): string {
  return `${event.id === undefined ? '' : `id: ${event.id}\n`}event: ${event.event}\ndata: ${event.data}\n\n`;
}

/** Sets the client's `Last-Event-ID` without giving it an event. */
export function formatPosition(id: string): string {
  return `id: ${id}\n\n`;
}

/** Whether the client asks for a stream rather than a list. */
export function wantsStream(request: FastifyRequest): boolean {
  return request.headers.accept?.includes('text/event-stream') === true;
}

/** What was found at one look: text to send, and whether there is more at once, nothing for now, or never again. */
interface Look {
  text: string;
  next: 'more' | 'wait' | 'end';
}

/** What a stream sends. */
export interface StreamSource {
  /** The next piece. Called again only when the client has taken the last one. */
  look: () => Promise<Look>;
  /** Says when there may be something new. Returns the unsubscribe. */
  onChange: (callback: () => void) => () => void;
  /** Sent first. */
  greeting?: string;
  /** Sent with a heartbeat. */
  heartbeat?: () => string;
}

/** Takes the connection over and streams until the source ends, the client leaves or the server closes. */
export async function stream(
  request: FastifyRequest,
  reply: FastifyReply,
  source: StreamSource,
  openRequests: OpenRequests,
): Promise<FastifyReply> {
  const { signal, release } = await openRequests.openStream(request, reply);
  reply.hijack();
  const { raw } = reply;
  for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) raw.setHeader(name, value);
  raw.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache, no-transform',
    'x-accel-buffering': 'no',
    // A stream ends when the server closes; an idle connection would hold that up.
    connection: 'close',
  });
  // Written at once, so that the client knows that it is connected.
  raw.write(`retry: 1000\n\n${source.greeting ?? ''}`);
  const heartbeat = setInterval(() => {
    if (!raw.writableNeedDrain) raw.write(`: \n\n${source.heartbeat?.() ?? ''}`);
    void openRequests.stillHolds(request).then((holds) => holds || raw.destroy());
  }, HEARTBEAT_MS);
  // A token that has ended gets no further event, however long its stream has been open.
  const look = async (): Promise<Look> => {
    const found = await source.look();
    return found.text === '' || (await openRequests.stillHolds(request)) ? found : { text: '', next: 'end' };
  };
  pump(raw, { ...source, look }, signal)
    .then(
      () => raw.end(),
      (error: unknown) => {
        if (!signal.aborted) request.log.warn({ err: error }, 'an event stream ended unexpectedly');
        raw.destroy();
      },
    )
    .finally(() => {
      clearInterval(heartbeat);
      release();
    });
  return reply;
}

async function pump(raw: ServerResponse, source: StreamSource, signal: AbortSignal): Promise<void> {
  let changed = true;
  let wake: (() => void) | undefined;
  const notice = () => {
    changed = true;
    wake?.();
  };
  signal.addEventListener('abort', notice, { once: true });
  const unsubscribe = source.onChange(notice);
  try {
    while (!signal.aborted) {
      changed = false;
      const looked = performance.now();
      const { text, next } = await lookPatiently(source);
      if (text !== '' && !signal.aborted) await write(raw, text, signal);
      if (next === 'end') return;
      if (next === 'more') continue;
      if (!changed) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const early = MIN_LOOK_INTERVAL_MS - (performance.now() - looked);
      if (early > 0 && !signal.aborted) await delay(early);
    }
  } finally {
    unsubscribe();
  }
}

async function lookPatiently(source: StreamSource): Promise<Look> {
  try {
    return await source.look();
  } catch (error) {
    if (!isDatabaseUnavailable(error)) throw error;
    await delay(DATABASE_RETRY_MS);
    return { text: '', next: 'more' };
  }
}

/** Resolves when the client has room again. */
async function write(raw: ServerResponse, text: string, signal: AbortSignal): Promise<void> {
  if (raw.write(text)) return;
  const stalled = new AbortController();
  const give = () => stalled.abort();
  const timer = setTimeout(give, STALLED_MS);
  signal.addEventListener('abort', give, { once: true });
  try {
    await once(raw, 'drain', { signal: stalled.signal });
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', give);
  }
}
