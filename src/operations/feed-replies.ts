import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Principal, permittedWorkspaces } from '../access/permissions.ts';
import type { Database } from '../database/pool.ts';
import { errors } from '../errors.ts';
import { sendJson } from '../http/context.ts';
import { type Position, parsePosition, positionText } from './cursor.ts';
import type { Feed } from './feed.ts';
import { formatEvent, formatPosition, type OpenRequests, stream } from './sse.ts';
import { type FeedRow, type FeedScope, feedHorizon, newestInFeed, readFeed } from './store.ts';

/** Events read at a time for a list, and how often: a filter that matches few must not read a million in one request. */
const LIST_BATCH = 2_000;
const MAX_LIST_BATCHES = 10;

/** What a request for the feed may ask. */
export interface FeedRequest {
  after?: string;
  /** Default 1,000. */
  limit?: number;
  workspace?: string;
  kind?: string;
  /** Default `false`. */
  check_mode?: 'false' | 'true' | 'any';
}

/** What the caller wants of the feed, as far as they may see it. */
export function feedScope(principal: Principal, query: FeedRequest): FeedScope {
  const { workspace, kind, check_mode: checks = 'false' } = query;
  const permitted = permittedWorkspaces(principal, 'operation_read');
  const wanted = workspace === undefined ? null : [workspace];
  const workspaces =
    permitted === null || wanted === null ? (permitted ?? wanted) : permitted.filter((name) => name === workspace);
  return { workspaces, kind: kind ?? null, checkMode: checks === 'any' ? null : checks === 'true' };
}

function inScope(row: FeedRow, { workspaces, kind, checkMode }: FeedScope): boolean {
  return (
    (workspaces === null || workspaces.includes(row.workspace)) &&
    (kind === null || kind === row.kind) &&
    (checkMode === null || checkMode === row.checkMode)
  );
}

/**
 * Answers a piece of the feed as a JSON array. Its `Link: rel="next"` goes on behind it, also when the piece is empty
 * because nothing matched so far.
 */
export async function sendFeed(
  db: Database,
  reply: FastifyReply,
  scope: FeedScope,
  query: FeedRequest,
): Promise<FastifyReply> {
  const { limit = 1_000 } = query;
  const found: FeedRow[] = [];
  let position: Position;
  if (query.after === undefined) {
    position = await feedHorizon(db);
    found.push(...(await newestInFeed(db, scope, limit)));
    position = found.at(-1)?.position ?? position;
  } else {
    position = parsePosition(query.after, 'after');
    for (let batches = 0; batches < MAX_LIST_BATCHES && found.length < limit; batches += 1) {
      const { rows, more } = await readFeed(db, position, LIST_BATCH);
      found.push(...rows.filter((row) => inScope(row, scope)));
      position = rows.at(-1)?.position ?? position;
      if (!more) break;
    }
    if (found.length > limit) {
      found.length = limit;
      position = found.at(-1)?.position ?? position;
    }
  }
  const next = new URLSearchParams({ after: positionText(position), limit: String(limit) });
  for (const name of ['workspace', 'kind', 'check_mode'] as const) {
    const value = query[name];
    if (value !== undefined) next.set(name, value);
  }
  reply.header('link', `</v1/events?${next}>; rel="next"`);
  return sendJson(reply, `[${found.map((row) => row.json).join(',')}]`);
}

/** Streams the feed behind `Last-Event-ID` or `after`, or from now on. */
export async function streamFeed(
  services: { db: Database; feed: Feed; openRequests: OpenRequests },
  request: FastifyRequest,
  reply: FastifyReply,
  scope: FeedScope,
  query: FeedRequest,
): Promise<FastifyReply> {
  const { db, feed, openRequests } = services;
  const now = await feedHorizon(db);
  let position = startOf(request, query) ?? now;
  if (position.xid > now.xid) {
    throw errors.validation([{ field: 'Last-Event-ID', message: 'belongs to another database' }]);
  }
  let told = positionText(position);
  const look = async () => {
    const piece = await feed.read(position);
    const rows = piece.rows.filter((row) => inScope(row, scope));
    const text = rows
      .map((row) => formatEvent({ id: positionText(row.position), event: row.type, data: row.json }))
      .join('');
    const last = rows.at(-1);
    if (last !== undefined) told = positionText(last.position);
    position = piece.position;
    return { text, next: piece.more ? ('more' as const) : ('wait' as const) };
  };
  const source = {
    look,
    onChange: feed.onChange,
    // The client learns its place before the first event and past events that are not for it.
    greeting: formatPosition(told),
    heartbeat: () => {
      const place = positionText(position);
      if (place === told) return '';
      told = place;
      return formatPosition(place);
    },
  };
  return stream(request, reply, source, openRequests);
}

function startOf(request: FastifyRequest, query: FeedRequest): Position | null {
  const lastEventId = request.headers['last-event-id'];
  if (typeof lastEventId === 'string' && lastEventId !== '') return parsePosition(lastEventId, 'Last-Event-ID');
  return query.after === undefined ? null : parsePosition(query.after, 'after');
}
