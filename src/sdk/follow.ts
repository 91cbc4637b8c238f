import { EventSourceParserStream } from 'eventsource-parser/stream';
import { ApiError, ConnectionError } from './errors.ts';
import { type Http, pause } from './http.ts';
import type { OperationEvent } from './types.ts';

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
  let last = options.after ?? 0;
  for (;;) {
    try {
      for await (const event of readStream(http, id, last, options.signal)) {
        last = event.seq;
        yield event;
        if (event.type === 'status' && FINAL.includes(String(event.status))) return;
      }
      // It ended between two looks, or before we came.
      if (await hasEnded(http, id, options.signal)) return;
    } catch (error) {
      options.signal?.throwIfAborted();
      if (error instanceof ApiError) throw error;
    }
    await pause(RECONNECT_MS, options.signal);
  }
}

async function hasEnded(http: Http, id: string, signal: AbortSignal | undefined): Promise<boolean> {
  const response = await http.send({ method: 'GET', path: '/v1/operations/{id}', parameters: { id }, signal });
  return FINAL.includes(((await response.json()) as { status: string }).status);
}

async function* readStream(
  http: Http,
  id: string,
  last: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<OperationEvent> {
  const path = '/v1/operations/{id}/events';
  const headers: Record<string, string> = { accept: 'text/event-stream' };
  if (last > 0) headers['last-event-id'] = String(last);
  const response = await http.send({ method: 'GET', path, parameters: { id }, headers, signal });
  if (response.status === 204 || response.body === null) return;
  const reader = response.body
    .pipeThrough(new TextDecoderStream() as unknown as ReadableWritablePair<string, Uint8Array>)
    .pipeThrough(new EventSourceParserStream())
    .getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      if (value.data !== '') yield JSON.parse(value.data) as OperationEvent;
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw error instanceof SyntaxError ? error : new ConnectionError(response.url, error);
  } finally {
    await reader.cancel().catch(() => 'a broken stream has nothing to cancel');
  }
}
