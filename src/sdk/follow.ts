import { EventSourceParserStream } from 'eventsource-parser/stream';
import { ConnectionError } from './errors.ts';
import { type Http, type HttpRequest, mayPass, pause, RECONNECT_MS } from './http.ts';
import type { FeedEvent, OperationEvent } from './types.ts';

const FINAL = ['completed', 'failed', 'cancelled'];

interface StreamOptions {
  signal?: AbortSignal | undefined;
  /** Told when the connection was lost, before the next try. */
  onLost?: ((reason: Error) => void) | undefined;
}

export interface FollowOptions extends StreamOptions {
  /** Number of the last event already seen; only later ones come. */
  after?: number | undefined;
}

export interface FeedOptions extends StreamOptions {
  /** Only of this workspace. */
  workspace?: string | undefined;
  /** Only of operations of this kind. */
  kind?: string | undefined;
  /** `id` of the last event already seen; only later ones come. */
  after?: string | undefined;
}

/**
 * The events of an operation as they happen, each once and in order, up to the one that tells its end. A lost
 * connection, a restart of the server or an expired token in between is not noticed.
 * @throws ApiError, the signal's reason, or ConnectionError where the server is away from the start.
 */
export async function* followOperation(http: Http, id: string, options: FollowOptions): AsyncGenerator<OperationEvent> {
  const { signal } = options;
  const request = { path: '/v1/operations/{id}/events', parameters: { id }, signal };
  let last = options.after ?? 0;
  yield* reconnecting(options, async function* (opened) {
    for await (const message of readStream(http, request, last === 0 ? undefined : String(last), opened)) {
      if (message === END) return true;
      const event = message.data as OperationEvent;
      last = event.seq;
      yield event;
      if (event.type === 'status' && FINAL.includes(String(event.status))) return true;
    }
    // Cut off, as when the token has expired: there may be more.
    return false;
  });
}

/**
 * The events of everything the caller may see, from now on, without end.
 * @throws ApiError, the signal's reason, or ConnectionError where the server is away from the start.
 */
export async function* followFeed(http: Http, options: FeedOptions): AsyncGenerator<FeedEvent> {
  const { workspace, kind, signal } = options;
  const request = { path: '/v1/events', query: { workspace, kind }, signal };
  let last = options.after;
  yield* reconnecting(options, async function* (opened) {
    for await (const message of readStream(http, request, last, opened)) {
      // The feed of all operations has no end.
      if (message === END) break;
      last = message.id;
      yield message.data as FeedEvent;
    }
    return false;
  });
}

/** Opens the stream again where it was lost, until it says that it has ended. */
async function* reconnecting<E>(
  { signal, onLost }: StreamOptions,
  open: (opened: () => void) => AsyncGenerator<E, boolean>,
): AsyncGenerator<E> {
  let reached = false;
  for (;;) {
    try {
      const ended = yield* open(() => {
        reached = true;
      });
      if (ended) return;
    } catch (error) {
      signal?.throwIfAborted();
      // A server that says that it is starting is there; one that does not answer may never have been.
      if (!mayPass(error) || (!reached && error instanceof ConnectionError)) throw error;
      if (error instanceof Error) onLost?.(error);
    }
    await pause(RECONNECT_MS, signal);
  }
}

interface Message {
  id: string | undefined;
  data: unknown;
}

/** The server has said that nothing more will come. */
const END = Symbol('end of the stream');

async function* readStream(
  http: Http,
  request: Pick<HttpRequest, 'path' | 'parameters' | 'query' | 'signal'>,
  lastEventId: string | undefined,
  opened: () => void,
): AsyncGenerator<Message | typeof END> {
  const headers: Record<string, string> = { accept: 'text/event-stream' };
  if (lastEventId !== undefined) headers['last-event-id'] = lastEventId;
  const response = await http.send({ ...request, method: 'GET', headers });
  opened();
  if (response.status === 204) yield END;
  if (response.body === null) return;
  const reader = response.body
    .pipeThrough(new TextDecoderStream() as unknown as ReadableWritablePair<string, Uint8Array>)
    .pipeThrough(new EventSourceParserStream())
    .getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      if (value.event === 'end') yield END;
      else if (value.data !== '') yield { id: value.id, data: JSON.parse(value.data) };
    }
  } catch (error) {
    request.signal?.throwIfAborted();
    throw error instanceof SyntaxError ? error : new ConnectionError(response.url, error);
  } finally {
    await reader.cancel().catch(() => 'a broken stream has nothing to cancel');
  }
}
