import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Database } from '../database/pool.ts';
import { sendJson } from '../http/context.ts';
import { parseSeq } from './cursor.ts';
import type { Follower } from './follow.ts';
import { formatEvent, type OpenRequests, stream } from './sse.ts';
import { EVENT_BATCH, type EventBatch, readEvents } from './store.ts';

/** Answers the events of one operation as a JSON array, at most `limit` behind `after`. */
export async function sendOperationEvents(
  db: Database,
  reply: FastifyReply,
  operationId: string,
  { after = 0, limit = 1_000 }: { after?: number; limit?: number },
): Promise<FastifyReply> {
  const first = await readEvents(db, operationId, after, Math.min(EVENT_BATCH, limit));
  if (first === null || !first.more || first.events.length >= limit) return sendJson(reply, `[${jsonOf(first)}]`);
  const rest = Readable.from(furtherEvents(db, operationId, limit, first));
  return reply.type('application/json; charset=utf-8').send(rest);
}

function jsonOf(batch: EventBatch | null): string {
  return batch === null ? '' : batch.events.map((event) => event.json).join(',');
}

async function* furtherEvents(
  db: Database,
  operationId: string,
  limit: number,
  first: EventBatch,
): AsyncGenerator<string> {
  yield `[${jsonOf(first)}`;
  let sent = first.events.length;
  let batch: EventBatch | null = first;
  while (batch?.more === true && sent < limit) {
    batch = await readEvents(db, operationId, batch.events.at(-1)?.seq ?? 0, Math.min(batch.nextLimit, limit - sent));
    if (batch === null || batch.events.length === 0) break;
    yield `,${jsonOf(batch)}`;
    sent += batch.events.length;
  }
  yield ']';
}

/**
 * Streams the events of one operation behind `Last-Event-ID` or `after`, then `event: end`. Answers 204 to a client
 * that comes back after the end with nothing left to send: that stops its reconnecting (WHATWG HTML, 9.2.3).
 */
export async function streamOperationEvents(
  services: { db: Database; follower: Follower; openRequests: OpenRequests },
  request: FastifyRequest,
  reply: FastifyReply,
  operationId: string,
  query: { after?: number },
): Promise<FastifyReply> {
  const { db, follower, openRequests } = services;
  const lastEventId = request.headers['last-event-id'];
  const resumes = typeof lastEventId === 'string' && lastEventId !== '';
  let after = resumes ? parseSeq(lastEventId, 'Last-Event-ID') : (query.after ?? 0);
  if (resumes) {
    const rest = await readEvents(db, operationId, after, 1);
    if (rest !== null && isFinal(rest.status) && rest.events.length === 0) return reply.status(204).send();
  }
  let limit = EVENT_BATCH;
  const look = async () => {
    const batch = await readEvents(db, operationId, after, limit);
    if (batch === null) return { text: endEvent('deleted'), next: 'end' as const };
    limit = batch.nextLimit;
    const text = batch.events
      .map(({ seq, type, json }) => formatEvent({ id: String(seq), event: type, data: json }))
      .join('');
    after = batch.events.at(-1)?.seq ?? after;
    if (batch.more) return { text, next: 'more' as const };
    if (isFinal(batch.status)) return { text: text + endEvent(batch.status), next: 'end' as const };
    return { text, next: 'wait' as const };
  };
  return stream(
    request,
    reply,
    { look, onChange: (callback) => follower.onChange(operationId, callback) },
    openRequests,
  );
}

/** Without an id, so that the client's `Last-Event-ID` stays that of the last real event. */
function endEvent(status: string): string {
  return formatEvent({ event: 'end', data: JSON.stringify({ status }) });
}

/** Whether an operation of this status has ended. */
export function isFinal(status: string): boolean {
  return status === 'completed' || status === 'failed' || status === 'cancelled';
}
