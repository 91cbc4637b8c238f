import { sql } from 'kysely';
import { Type } from 'typebox';
import { permittedWorkspaces } from '../access/permissions.ts';
import { principalOf, sendJson } from '../http/context.ts';
import { listQuerySchema, sendList } from '../http/list.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { sendOperationEvents, streamOperationEvents } from './events.ts';
import { createFeed } from './feed.ts';
import { feedScope, sendFeed, streamFeed } from './feed-replies.ts';
import type { Follower } from './follow.ts';
import {
  FeedEvent,
  FeedQuery,
  LastEventId,
  OPERATION_LIST,
  Operation,
  OperationEvent,
  OperationEventsQuery,
  OperationId,
  WaitQuery,
} from './schemas.ts';
import { cancelOperation, findOperation, waitForOperation } from './service.ts';
import { createOpenRequests, type Recheck, wantsStream } from './sse.ts';

const tags = ['Operations'];

/**
 * Routes of operations and their events. Everything that stays open ends when the app closes.
 * @param follower tells of changes of operations, also to other sections: not closed here.
 * @param recheck looks at a token again, for streams that outlive it: `authenticate`.
 */
export function registerOperationRoutes(app: App, services: Services, follower: Follower, recheck?: Recheck): void {
  const { db, engine, limits, mutate } = services;
  const feed = createFeed(db, follower, app.log);
  const openRequests = createOpenRequests(limits, recheck);
  const own = { db, engine, follower, feed, limits, openRequests };
  app.addHook('preClose', async () => {
    openRequests.closeAll();
    feed.close();
  });

  app.get(
    '/v1/operations',
    {
      config: { access: 'operation_read' },
      schema: {
        tags,
        operationId: 'listOperations',
        summary: 'List all operations',
        querystring: listQuerySchema(OPERATION_LIST),
        response: { 200: Type.Array(Operation), ...errorResponses(400, 401, 403) },
      },
    },
    async (request, reply) => {
      const visible = permittedWorkspaces(principalOf(request), 'operation_read');
      const scope = visible === null ? [] : [sql<boolean>`workspace = any(${visible}::text[])`];
      if (request.query.check_mode === undefined) scope.push(sql`not check_mode`);
      return sendList(db, OPERATION_LIST, request, reply, scope);
    },
  );

  app.get(
    '/v1/operations/:id',
    {
      config: { access: 'operation_read' },
      schema: {
        tags,
        operationId: 'getOperation',
        summary: 'Get operation status',
        params: OperationId,
        response: { 200: Operation, ...errorResponses(401, 403, 404) },
      },
    },
    async (request, reply) => sendJson(reply, (await findOperation(db, principalOf(request), request.params.id)).json),
  );

  app.post(
    '/v1/operations/:id/cancel',
    {
      config: { access: 'operation_cancel' },
      schema: {
        tags,
        operationId: 'cancelOperation',
        summary: 'Cancel an operation',
        description:
          'Waits up to 5 s for the end. An operation that is still `running` then, with `cancel_requested_at`, stops as soon as the call to its provider comes back.',
        params: OperationId,
        response: { 200: Operation, ...errorResponses(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) =>
      mutate(request, reply, (mutation) => cancelOperation(own, mutation, reply, request.params.id)),
  );

  app.post(
    '/v1/operations/:id/wait',
    {
      config: { access: 'operation_read', checkMode: false },
      schema: {
        tags,
        operationId: 'waitForOperation',
        summary: 'Wait for an operation to end',
        description: 'A long poll: returns the operation when it has ended, or its present state after the timeout.',
        params: OperationId,
        querystring: WaitQuery,
        response: { 200: Operation, ...errorResponses(400, 401, 403, 404) },
      },
    },
    async (request, reply) => {
      const { params, query } = request;
      const principal = principalOf(request);
      const waiting = {
        timeoutMs: (query.timeout ?? 30) * 1_000,
        again: async () => (recheck === undefined ? principal : recheck(request)),
      };
      return sendJson(reply, await waitForOperation(own, principal, reply, params.id, waiting));
    },
  );

  app.get(
    '/v1/operations/:id/events',
    {
      config: { access: 'operation_read' },
      schema: {
        tags,
        operationId: 'listOperationEvents',
        summary: 'Follow an operation: status, progress and log lines',
        description:
          'A JSON array, or Server-Sent Events with `Accept: text/event-stream`, which end with `event: end`. `Last-Event-ID` goes on without loss or repeat; with nothing left of an ended operation the answer is 204.',
        params: OperationId,
        querystring: OperationEventsQuery,
        headers: LastEventId,
        response: { 200: Type.Array(OperationEvent), 204: Type.Null(), ...errorResponses(400, 401, 403, 404, 429) },
      },
    },
    async (request, reply) => {
      await findOperation(db, principalOf(request), request.params.id);
      const id = request.params.id.toLowerCase();
      if (wantsStream(request)) return streamOperationEvents(own, request, reply, id, request.query);
      return sendOperationEvents(db, reply, id, request.query);
    },
  );

  app.get(
    '/v1/events',
    {
      config: { access: 'operation_read' },
      schema: {
        tags,
        operationId: 'listEvents',
        summary: 'Follow all operations: status and progress',
        description:
          'A JSON array of the newest events or of those behind `after` (`Link` says where to go on), or Server-Sent Events with `Accept: text/event-stream`, from now on. `Last-Event-ID` goes on without loss or repeat.',
        querystring: FeedQuery,
        headers: LastEventId,
        response: { 200: Type.Array(FeedEvent), ...errorResponses(400, 401, 403, 429) },
      },
    },
    async (request, reply) => {
      const scope = feedScope(principalOf(request), request.query);
      if (wantsStream(request)) return streamFeed(own, request, reply, scope, request.query);
      return sendFeed(db, reply, scope, request.query);
    },
  );
}
