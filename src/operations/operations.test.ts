import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import Fastify from 'fastify';
import { createTestDatabase } from '../../test/support/database.ts';
import { createEncryption } from '../access/encryption.ts';
import type { Principal } from '../access/permissions.ts';
import { loadConfig } from '../config.ts';
import type { Queryable } from '../database/pool.ts';
import type { RoleBinding } from '../database/tables.ts';
import { uuidv7 } from '../database/uuid.ts';
import {
  appendEvents,
  completeOperation,
  endOperation,
  insertOperation,
  lockUnfinished,
} from '../engine/operation-record.ts';
import { setPrincipal } from '../http/context.ts';
import { installErrorHandler } from '../http/error-handler.ts';
import { createMutate } from '../http/mutation.ts';
import type { App, Services } from '../http/section.ts';
import { installValidation } from '../http/validation.ts';
import { createLimits } from '../limits/limits.ts';
import { startSharedCounts } from '../limits/shared-counts.ts';
import { createFollower } from './follow.ts';
import { registerOperationRoutes } from './routes.ts';
import { feedHorizon, readFeed } from './store.ts';

const testDatabase = await createTestDatabase();
const { db } = testDatabase;
after(() => testDatabase.close());

const principal = (name: string, ...bindings: RoleBinding[]): Principal => ({
  userId: randomUUID(),
  name,
  label: name,
  tokenId: null,
  bindings,
});
const admin = principal('admin', { role: 'admin', workspace: null });
const viewerOfA = principal('viewer', { role: 'viewer', workspace: 'a' });
const developerOfA = principal('developer', { role: 'developer', workspace: 'a' });

let caller = admin;
const subscribers = new Set<(ids: ReadonlySet<string> | '*') => void>();
const changed = (id: string) => {
  for (const subscriber of subscribers) subscriber(new Set([id]));
};
/** The engine's part, done at once: pending operations end with the request, running ones when the test says so. */
const engine = {
  signals: {
    onOperationsChanged(callback: (ids: ReadonlySet<string> | '*') => void) {
      subscribers.add(callback);
      return () => subscribers.delete(callback);
    },
  },
  async requestCancel(tx: Queryable, id: string, by: string) {
    const row = await lockUnfinished(tx, id);
    if (row === null) return { accepted: false, afterCommit: () => {} };
    const request = { cancel_requested_at: new Date(), cancel_requested_by: by };
    await tx.updateTable('provisioning.operations').set(request).where('id', '=', id).execute();
    if (row.status === 'pending') await endOperation(tx, id, cancelledEnd, []);
    return { accepted: true, afterCommit: () => changed(id) };
  },
};
const cancelledEnd = { status: 'cancelled', error: null, errorCode: null, result: null } as const;

const STREAMS = 50;

async function startApp(): Promise<{ app: App; url: string }> {
  const app = Fastify({ forceCloseConnections: 'idle' }) as unknown as App;
  installValidation(app);
  installErrorHandler(app, () => {});
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', 'r1');
    setPrincipal(request, caller);
  });
  const encryption = createEncryption(randomBytes(32).toString('base64'));
  const mutate = createMutate(db, encryption, encryption);
  const follower = createFollower(db, engine.signals, app.log);
  app.addHook('onClose', async () => follower.close());
  const counts = await startSharedCounts(db, (error) => app.log.error(error));
  app.addHook('onClose', () => counts.stop());
  const limits = createLimits(db, { ...loadConfig().limits, streams: STREAMS }, counts);
  app.decorate('limits', limits);
  registerOperationRoutes(app, { db, engine, limits, mutate } as unknown as Services, follower);
  return { app, url: await app.listen({ port: 0, host: '127.0.0.1' }) };
}

let app: App;
let url: string;
before(async () => {
  ({ app, url } = await startApp());
});
after(() => app.close());
beforeEach(async () => {
  caller = admin;
  await db.deleteFrom('provisioning.operations').execute();
});

async function newOperation(
  options: { workspace?: string; createdBy?: string; ownerId?: string; kind?: string; running?: boolean } = {},
) {
  const id = uuidv7();
  const { workspace = 'a', createdBy = 'admin', ownerId = null, kind = 'server.create' } = options;
  const base = { title: 'Do something', checkMode: false, resource: null, parentId: null, input: {} };
  await insertOperation(db, { ...base, id, kind, workspace, createdBy, ownerId });
  // As when it begins, but without the event of that: each test counts its own from 1.
  if (options.running === true)
    await db.updateTable('provisioning.operations').set({ status: 'running' }).where('id', '=', id).execute();
  return id;
}

async function log(id: string, ...lines: string[]) {
  await appendEvents(
    db,
    lines.map((line) => ({ operationId: id, type: 'log' as const, at: new Date(), data: { line } })),
  );
  changed(id);
}

async function progress(tx: Queryable, id: string, percent: number) {
  await appendEvents(tx, [{ operationId: id, type: 'progress', at: new Date(), data: { progress: percent } }]);
}

async function complete(id: string) {
  assert.ok(await completeOperation(db, id, { server_id: 'srv-1' }, []));
  changed(id);
}

async function call(method: 'GET' | 'POST', path: string, headers: Record<string, string> = {}, payload?: object) {
  const response = await app.inject({ method, url: path, headers, ...(payload === undefined ? {} : { payload }) });
  return {
    status: response.statusCode,
    headers: response.headers,
    body: response.body === '' ? null : response.json(),
  };
}

interface Received {
  id?: string;
  event?: string;
  data?: Record<string, unknown>;
}

/** Opens an event stream and reads from it. */
async function open(path: string, headers: Record<string, string> = {}, base = url) {
  const controller = new AbortController();
  const response = await fetch(`${base}${path}`, {
    headers: { accept: 'text/event-stream', ...headers },
    signal: controller.signal,
  });
  async function* received(): AsyncGenerator<Received> {
    let text = '';
    for await (const chunk of response.body ?? []) {
      text += Buffer.from(chunk).toString('utf8');
      const blocks = text.split('\n\n');
      text = blocks.pop() ?? '';
      for (const block of blocks) {
        const fields = block.split('\n').map((line) => line.split(/: (.*)/s).slice(0, 2) as [string, string]);
        const { id, event, data } = Object.fromEntries(fields);
        if (data !== undefined) yield { ...(id === undefined ? {} : { id }), event, data: JSON.parse(data) };
        else if (id !== undefined) yield { id };
      }
    }
  }
  const events = received();
  return {
    response,
    async take(count: number) {
      const taken: Received[] = [];
      while (taken.length < count) {
        const { value, done } = await events.next();
        if (done === true) break;
        taken.push(value);
      }
      return taken;
    },
    close: () => controller.abort(),
  };
}

describe('reading', () => {
  test('the list is newest first, filtered, and only what the caller may see', async () => {
    const first = await newOperation();
    const second = await newOperation({ workspace: 'b', kind: 'server.delete' });
    const ids = async (query = '') =>
      (await call('GET', `/v1/operations${query}`)).body.map((o: { id: string }) => o.id);
    assert.deepEqual(await ids(), [second, first]);
    assert.deepEqual(await ids('?sort=created_at'), [first, second]);
    assert.deepEqual(await ids('?workspace=b&status=pending&kind=server.delete&created_by=admin'), [second]);
    assert.deepEqual(await ids('?status=running'), []);
    caller = viewerOfA;
    assert.deepEqual(await ids(), [first]);
    assert.equal((await call('GET', '/v1/operations?statsu=running')).status, 400);
    assert.equal((await call('GET', '/v1/operations?parent_id=x')).status, 400);
  });

  test('a single one is as in the reference; what the caller may not see is not there', async () => {
    const id = await newOperation({ workspace: 'b' });
    const { status, body } = await call('GET', `/v1/operations/${id}`);
    assert.equal(status, 200);
    assert.deepEqual(Object.keys(body).slice(0, 6), ['id', 'status', 'created_at', 'updated_at', 'result', 'error']);
    assert.equal((await call('GET', `/v1/operations/${id.toUpperCase()}`)).status, 200);
    caller = viewerOfA;
    for (const path of [id, `${id}/events`, randomUUID(), 'nonsense', '%00']) {
      assert.equal((await call('GET', `/v1/operations/${path}`)).status, 404, path);
    }
    assert.equal((await call('POST', `/v1/operations/${id}/wait`)).status, 404);
    assert.equal((await call('POST', `/v1/operations/${id}/cancel`)).status, 404);
  });
});

describe('cancel', () => {
  test('a pending one is cancelled at once, with its audit row; a second cancel is 409', async () => {
    const id = await newOperation();
    const { status, body } = await call('POST', `/v1/operations/${id}/cancel`);
    assert.equal(status, 200);
    assert.equal(body.status, 'cancelled');
    const again = await call('POST', `/v1/operations/${id}/cancel`, {}, {});
    assert.equal(again.status, 409);
    assert.equal(again.body.error, 'OPERATION_ENDED');
    const audit = await db
      .selectFrom('provisioning.audit_log')
      .select('action')
      .where('operation_id', '=', id)
      .execute();
    assert.deepEqual(audit, [{ action: 'operation.cancel' }]);
  });

  test('waits for a running one to end, and gives the same answer to the same Idempotency-Key', async () => {
    const id = await newOperation({ running: true });
    const headers = { 'idempotency-key': randomUUID() };
    const answer = call('POST', `/v1/operations/${id}/cancel`, headers);
    await delay(100);
    await db.transaction().execute(async (tx) => {
      assert.equal((await lockUnfinished(tx, id))?.cancel_requested_at instanceof Date, true);
      await endOperation(tx, id, cancelledEnd, []);
    });
    changed(id);
    const { body } = await answer;
    assert.equal(body.status, 'cancelled');
    assert.deepEqual((await call('POST', `/v1/operations/${id}/cancel`, headers)).body, body);
  });

  test('a developer may cancel only what they set off', async () => {
    const others = await newOperation();
    const own = await newOperation({ ownerId: developerOfA.userId });
    caller = developerOfA;
    assert.equal((await call('POST', `/v1/operations/${others}/cancel`)).status, 403);
    assert.equal((await call('POST', `/v1/operations/${own}/cancel`)).status, 200);
  });
});

describe('wait', () => {
  test('answers when the operation ends', async () => {
    const id = await newOperation({ running: true });
    const waiting = Promise.all(Array.from({ length: 20 }, () => call('POST', `/v1/operations/${id}/wait?timeout=30`)));
    await delay(50);
    const ended = performance.now();
    await complete(id);
    for (const { status, body } of await waiting) {
      assert.equal(status, 200);
      assert.equal(body.status, 'completed');
    }
    assert.ok(performance.now() - ended < 2_000);
  });

  test('answers how it stands when the time is over', async () => {
    const id = await newOperation({ running: true });
    assert.equal((await call('POST', `/v1/operations/${id}/wait?timeout=0`)).body.status, 'running');
    assert.equal((await call('POST', `/v1/operations/${id}/wait?timeout=1`)).body.status, 'running');
    assert.equal((await call('POST', `/v1/operations/${id}/wait?timeout=301`)).status, 400);
  });
});

describe('events of an operation', () => {
  test('come as a list in pages', async () => {
    const id = await newOperation({ running: true });
    await log(id, ...Array.from({ length: 1_200 }, (_, n) => `line ${n + 1}`));
    await complete(id);
    const seqs = async (query: string) =>
      (await call('GET', `/v1/operations/${id}/events${query}`)).body.map((event: { seq: number }) => event.seq);
    const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => from + n);
    assert.deepEqual(await seqs(''), numbers(1, 1_000));
    assert.deepEqual(await seqs('?after=1000'), numbers(1_001, 1_201));
    assert.deepEqual(await seqs('?limit=10000'), numbers(1, 1_201));
    assert.deepEqual(await seqs('?limit=3&after=7'), [8, 9, 10]);
    assert.deepEqual(await seqs('?after=5000'), []);
  });

  test('are streamed as they happen, and the stream ends with the operation', async () => {
    const id = await newOperation({ running: true });
    await log(id, 'one\ntwo');
    const stream = await open(`/v1/operations/${id}/events`);
    assert.equal(stream.response.headers.get('content-type'), 'text/event-stream; charset=utf-8');
    assert.equal(stream.response.headers.get('x-request-id'), 'r1');
    const [first] = await stream.take(1);
    assert.equal(first?.id, '1');
    assert.equal(first?.event, 'log');
    assert.equal(first?.data?.line, 'one\ntwo');
    await log(id, 'three');
    assert.equal((await stream.take(1))[0]?.data?.line, 'three');
    await complete(id);
    const rest = await stream.take(10);
    assert.deepEqual(
      rest.map((event) => [event.id, event.event, event.data?.status]),
      [
        ['3', 'status', 'completed'],
        [undefined, 'end', 'completed'],
      ],
    );
  });

  test('go on behind Last-Event-ID; after the end there is nothing to come back for', async () => {
    const id = await newOperation({ running: true });
    await log(id, 'one', 'two', 'three');
    const stream = await open(`/v1/operations/${id}/events?after=1`, { 'last-event-id': '2' });
    assert.deepEqual(
      (await stream.take(1)).map((event) => event.id),
      ['3'],
    );
    stream.close();
    await complete(id);
    const late = await open(`/v1/operations/${id}/events`, { 'last-event-id': '3' });
    assert.deepEqual(
      (await late.take(9)).map((event) => event.event),
      ['status', 'end'],
    );
    assert.equal((await open(`/v1/operations/${id}/events`, { 'last-event-id': '4' })).response.status, 204);
    assert.equal((await open(`/v1/operations/${id}/events`, { 'last-event-id': 'x' })).response.status, 400);
  });

  test('a client that does not read holds up nobody and fills no memory', async () => {
    const id = await newOperation({ running: true });
    for (let batch = 0; batch < 20; batch += 1) {
      await log(id, ...Array.from({ length: 200 }, () => 'x'.repeat(10_000)));
    }
    const before = process.memoryUsage().rss;
    const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1');
    await once(socket, 'connect');
    socket.pause();
    socket.write(`GET /v1/operations/${id}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`);
    await delay(300);
    const quick = await open(`/v1/operations/${id}/events?after=3998`);
    assert.equal((await quick.take(2)).length, 2);
    quick.close();
    assert.ok(process.memoryUsage().rss - before < 40 * 1024 * 1024, 'the 40 MB are not held');
    const whole = await open(`/v1/operations/${id}/events`);
    assert.equal((await whole.take(4_000)).at(-1)?.id, '4000');
    whole.close();
    socket.destroy();
  });

  test('a user has only so many streams', async () => {
    const id = await newOperation({ running: true });
    const streams = await Promise.all(Array.from({ length: STREAMS }, () => open(`/v1/operations/${id}/events`)));
    const surplus = await open(`/v1/operations/${id}/events`);
    assert.equal(surplus.response.status, 429);
    assert.equal(surplus.response.headers.get('retry-after'), '5');
    for (const stream of streams) stream.close();
    await delay(100);
    const next = await open(`/v1/operations/${id}/events`);
    assert.equal(next.response.status, 200);
    next.close();
  });
});

/** Transactions of other tests on the same Postgres hold the feed back while they last. */
async function untilFeedSettled(): Promise<void> {
  while ((await readFeed(db, await feedHorizon(db), 1)).unsettled) await delay(20);
}

describe('the feed', () => {
  test('has the status and progress of all operations, each once, from now on', async () => {
    const old = await newOperation({ running: true });
    await complete(old);
    await untilFeedSettled();
    const stream = await open('/v1/events');
    assert.match((await stream.take(1))[0]?.id ?? '', /^\d+\.[0-9a-f-]{36}\.0$/);
    const id = await newOperation({ running: true, workspace: 'b' });
    await log(id, 'a line is not for the feed');
    await progress(db, id, 50);
    await complete(id);
    const events = await stream.take(2);
    assert.deepEqual(
      events.map((event) => [event.event, event.data?.operation_id, event.data?.workspace, event.data?.kind]),
      [
        ['progress', id, 'b', 'server.create'],
        ['status', id, 'b', 'server.create'],
      ],
    );
    assert.ok(events.every((event) => event.id === event.data?.id));
    stream.close();
  });

  test('loses nothing that commits late, and goes on behind Last-Event-ID', async () => {
    const slow = await newOperation({ running: true });
    const fast = await newOperation({ running: true });
    const stream = await open('/v1/events');
    const [start] = await stream.take(1);
    const held = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const transaction = db.transaction().execute(async (tx) => {
      await progress(tx, slow, 10);
      begun.resolve();
      await held.promise;
    });
    await begun.promise;
    await progress(db, fast, 20);
    changed(fast);
    await delay(150);
    held.resolve();
    await transaction;
    // No hint comes for it: the feed looks again by itself.
    const events = await stream.take(2);
    assert.deepEqual(
      events.map((event) => event.data?.operation_id),
      [slow, fast],
    );
    stream.close();
    const again = await open('/v1/events', { 'last-event-id': start?.id ?? '' });
    assert.deepEqual((await again.take(3)).slice(1), events);
    again.close();
    const rest = await open('/v1/events', { 'last-event-id': events[0]?.id ?? '' });
    assert.deepEqual((await rest.take(2)).slice(1), events.slice(1));
    rest.close();
  });

  test('shows only what the caller may see and asks for', async () => {
    caller = viewerOfA;
    const stream = await open('/v1/events?kind=server.create');
    const forbidden = await open('/v1/events?workspace=b');
    await stream.take(1);
    for (const [workspace, kind] of [
      ['b', 'server.create'],
      ['a', 'server.delete'],
      ['a', 'server.create'],
    ] as const) {
      await complete(await newOperation({ running: true, workspace, kind }));
    }
    let [event] = await stream.take(1);
    // What comes without an event tells the place alone: the feed waits for transactions of others.
    while (event?.data === undefined) [event] = await stream.take(1);
    assert.deepEqual([event?.data?.workspace, event?.data?.kind], ['a', 'server.create']);
    const list = await call('GET', '/v1/events');
    assert.deepEqual(
      list.body.map((item: { workspace: string }) => item.workspace),
      ['a', 'a'],
    );
    assert.deepEqual((await call('GET', '/v1/events?workspace=b')).body, []);
    stream.close();
    forbidden.close();
  });

  test('can be paged through as a list', async () => {
    const start = (await call('GET', '/v1/events?limit=1')).headers.link;
    const ids: string[] = [];
    for (let n = 0; n < 7; n += 1) {
      const id = await newOperation({ running: true });
      ids.push(id);
      await complete(id);
    }
    await untilFeedSettled();
    const seen: string[] = [];
    let path = /<(.*)&limit=1>/.exec(String(start))?.[1];
    for (let page = 0; page < 4; page += 1) {
      const { body, headers } = await call('GET', `${path}&limit=3`);
      seen.push(...body.map((event: { operation_id: string }) => event.operation_id));
      path = /<(.*)&limit=3>/.exec(String(headers.link))?.[1];
    }
    assert.deepEqual(seen, ids);
    assert.equal((await call('GET', '/v1/events?after=7')).status, 400);
    assert.equal((await open('/v1/events', { 'last-event-id': `99999999999.${randomUUID()}.1` })).response.status, 400);
  });
});

test('closing the server ends streams and waits at once', async () => {
  const other = await startApp();
  const id = await newOperation({ running: true });
  const streams = [await open(`/v1/operations/${id}/events`, {}, other.url), await open('/v1/events', {}, other.url)];
  const waiting = fetch(`${other.url}/v1/operations/${id}/wait?timeout=60`, { method: 'POST' });
  await delay(50);
  const began = performance.now();
  await Promise.all([
    other.app.close(),
    waiting.then(async (response) => assert.equal(((await response.json()) as { status: string }).status, 'running')),
    ...streams.map((stream) => stream.take(5)),
  ]);
  assert.ok(performance.now() - began < 1_000);
});
