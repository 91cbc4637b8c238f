import { EventSourceParserStream } from 'eventsource-parser/stream';
import { ApiError, ConnectionError } from './errors.ts';
import { type Http, type HttpRequest, isPassing, pause } from './http.ts';
import type { FeedEvent, OperationEvent } from './types.ts';

/** Between a connection that was lost and the next try. Milliseconds. */
const RECONNECT_MS = 500;
const FINAL = ['completed', 'failed', 'cancelled'];

export interface FollowOptions {
  /** Number of the last event already seen; only later ones come. */
  after?: number;
  signal?: AbortSignal;
}

/**
 * The events of an operation as they happen, each once and in order, up to the one that tells its end. A lost
 * connection, a restart of the server or an expired token in between is not noticed.
 * @throws ApiError, or the signal's reason.
 */
export async function* followOperation(http: Http, id: string, options: FollowOptions): AsyncGenerator<OperationEvent> {
  const { signal } = options;
  const request = { path: '/v1/operations/{id}/events', parameters: { id }, signal };
  let last = options.after ?? 0;
  for (;;) {
    try {
      for await (const { data } of readStream(http, request, last === 0 ? undefined : String(last))) {
        const event = data as OperationEvent;
        last = event.seq;
        yield event;
        if (event.type === 'status' && FINAL.includes(String(event.status))) return;
      }
      // It ended between two looks, or before we came.
      if (await hasEnded(http, id, signal)) return;
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof ApiError && !isPassing(error.status)) throw error;
    }
    await pause(RECONNECT_MS, signal);
  }
}

/** The events of everything the caller may see, from now on, without end. @throws ApiError, or the signal's reason. */
export async function* followFeed(
  http: Http,
  { workspace, signal }: { workspace?: string; signal?: AbortSignal },
): AsyncGenerator<FeedEvent> {
  const request = { path: '/v1/events', query: { workspace }, signal };
  let last: string | undefined;
  for (;;) {
    try {
      for await (const { id, data } of readStream(http, request, last)) {
        last = id;
        yield data as FeedEvent;
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof ApiError && !isPassing(error.status)) throw error;
    }
    await pause(RECONNECT_MS, signal);
  }
}

async function hasEnded(http: Http, id: string, signal: AbortSignal | undefined): Promise<boolean> {
  const response = await http.send({ method: 'GET', path: '/v1/operations/{id}', parameters: { id }, signal });
  return FINAL.includes(((await response.json()) as { status: string }).status);
}

interface Message {
  id: string | undefined;
  data: unknown;
}

async function* readStream(
  http: Http,
  request: Pick<HttpRequest, 'path' | 'parameters' | 'query' | 'signal'>,
  lastEventId: string | undefined,
): AsyncGenerator<Message> {
  const headers: Record<string, string> = { accept: 'text/event-stream' };
  if (lastEventId !== undefined) headers['last-event-id'] = lastEventId;
  const response = await http.send({ ...request, method: 'GET', headers });
  if (response.status === 204 || response.body === null) return;
  const reader = response.body
    .pipeThrough(new TextDecoderStream() as unknown as ReadableWritablePair<string, Uint8Array>)
    .pipeThrough(new EventSourceParserStream())
    .getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      // The message that tells the end of the stream has no event in it.
      if (value.data !== '' && value.event !== 'end') yield { id: value.id, data: JSON.parse(value.data) };
    }
  } catch (error) {
    request.signal?.throwIfAborted();
    throw error instanceof SyntaxError ? error : new ConnectionError(response.url, error);
  } finally {
    await reader.cancel().catch(() => 'a broken stream has nothing to cancel');
  }
}
