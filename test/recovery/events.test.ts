/** A client that loses its connection again and again still gets every event once and in order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import { appendEvents } from '../../src/engine/operation-record.ts';
import { CHANNELS } from '../../src/engine/signals.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { chances } from '../support/seed.ts';
import { type Operation, serverRequest, startTestServer, type TestServer, until } from '../support/server.ts';
import { openBooks } from './support.ts';

const LINES = 20_000;
const DROPS = 20;
const BATCH = 50;

test(`a client that drops its connection ${DROPS} times during ${LINES} lines and two restarts misses and repeats none`, async (t) => {
  await using database = await createTestDatabase({ poolSize: 3 });
  await using books = await openBooks({ databaseUrl: database.url });
  const settings = { POOL_SIZE: '8', SIMULATED_LATENCY_MS: '0', SIMULATED_FAULTS: 'stuck=1' };
  const start = () => startTestServer({ databaseUrl: database.url, settings });
  const stack = new AsyncDisposableStack();
  await using _ = stack;
  let server: TestServer = await start();
  stack.defer(() => server[Symbol.asyncDispose]());

  // Its server never comes up: the operation stays open until it is cancelled.
  const created = await server.admin.request<Operation>('POST', '/v1/servers/create', serverRequest('chatty'));
  assert.equal(created.status, 200, JSON.stringify(created.body));
  const { id } = created.body;
  await until(async () => (await books.query('select from simulated_cloud.servers')).length === 1, 'the create');

  const client = createFollower(id, () => server, chances());
  const following = client.follow();
  const writing = writeLines(database, id, (written) => client.progress(written));
  const restarts = async () => {
    await until(async () => client.received.length > LINES / 4, 'a quarter of the lines', 120_000);
    await server.stop();
    server = await start();
    await until(async () => client.received.length > LINES / 2, 'half of the lines', 120_000);
    await server.kill();
    server = await start();
  };
  await Promise.all([writing, restarts()]);
  await until(async () => client.received.length >= LINES, 'the last line', 60_000);
  assert.equal((await server.admin.request('POST', `/v1/operations/${id}/cancel`)).status, 200);
  await following;

  t.diagnostic(`${client.received.length} events over ${client.connections()} connections, ${client.drops()} dropped`);
  assert.ok(client.drops() === DROPS);
  assert.deepEqual(
    client.received.map((event) => event.seq),
    Array.from({ length: client.received.length }, (_, n) => n + 1),
    'every event once and in order',
  );
  const lines = client.received.flatMap(({ data }) => (typeof data.n === 'number' ? [data.n] : []));
  assert.deepEqual(
    lines,
    Array.from({ length: LINES }, (_, n) => n),
    'every line once and in order',
  );
  const stored = await books.query<{ count: number }>(
    'select count(*)::int as count from provisioning.operation_events where operation_id = $1',
    [id],
  );
  assert.equal(client.received.length, stored[0]?.count);
  assert.equal(client.received.at(-1)?.data.status, 'cancelled');
});

/** Writes the lines as another replica would: numbered by the same statement, with a hint after each batch. */
async function writeLines(database: TestDatabase, id: string, onWritten: (n: number) => Promise<void>): Promise<void> {
  for (let n = 0; n < LINES; n += BATCH) {
    const batch = Array.from({ length: BATCH }, (_, k) => ({
      operationId: id,
      type: 'log' as const,
      at: new Date(),
      data: { line: `line ${n + k}`, n: n + k },
    }));
    assert.equal(await appendEvents(database.db, batch), BATCH);
    await sql`select pg_notify(${CHANNELS.operations}, ${id})`.execute(database.db);
    await onWritten(n + BATCH);
  }
}

interface Received {
  seq: number;
  data: Record<string, unknown>;
}

/** A client as browsers are one: it comes back with the id of the last event that it has read in full. */
function createFollower(id: string, server: () => TestServer, random: () => number) {
  const received: Received[] = [];
  /** Events after which it drops its connection, in the middle of what has arrived. */
  const dropsAt = Array.from({ length: DROPS }, () => Math.ceil(random() * LINES)).sort((a, b) => a - b);
  let lastEventId = '';
  let connections = 0;
  let drops = 0;
  let ended = false;

  const follow = async () => {
    while (!ended) {
      try {
        await connect();
      } catch {
        // The server is being started again, or the connection was cut: come back.
        await sleep(20);
      }
    }
  };

  const connect = async () => {
    const controller = new AbortController();
    const { url, admin } = server();
    const response = await fetch(`${url}/v1/operations/${id}/events`, {
      signal: controller.signal,
      headers: {
        accept: 'text/event-stream',
        authorization: `Bearer ${admin.token}`,
        ...(lastEventId === '' ? {} : { 'last-event-id': lastEventId }),
      },
    });
    assert.equal(response.status, 200);
    connections += 1;
    const dropAt = dropsAt[drops] ?? Number.POSITIVE_INFINITY;
    let text = '';
    for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += chunk;
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        take(text.slice(0, end));
        text = text.slice(end + 2);
        if (received.length < dropAt) continue;
        drops += 1;
        controller.abort();
        return;
      }
    }
  };

  const take = (block: string) => {
    const fields = new Map(block.split('\n').map((line) => line.split(/: ?(.*)/s).slice(0, 2) as [string, string]));
    if (fields.get('event') === 'end') ended = true;
    const seq = fields.get('id');
    if (seq === undefined) return;
    lastEventId = seq;
    received.push({ seq: Number(seq), data: JSON.parse(fields.get('data') ?? '{}') });
  };

  return {
    received,
    follow,
    connections: () => connections,
    drops: () => drops,
    /** Keeps the writer less than a tenth ahead, so that lines are still being written while connections break. */
    progress: (written: number) =>
      until(async () => received.length > written - LINES / 10, 'the client to follow', 120_000, 5),
  };
}
