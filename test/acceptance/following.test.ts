/** Following operations: event streams that resume where they were cut, lists of events, and the long poll. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import {
  askForServer,
  expectError,
  expectOk,
  makeClient,
  makeServer,
  startInstallation,
} from '../support/acceptance.ts';
import { type Client, createClient, ended, type Operation, type TestServer } from '../support/server.ts';

const installation = await startInstallation({ SIMULATED_LATENCY_MS: '150' });
after(() => installation.close());
const { server } = installation;
const { admin } = server;
const second = await installation.replica({ ROLE: 'api' });

interface Event {
  id?: string;
  event: string;
  data: Record<string, unknown>;
}

/** Reads a stream: all of it, or until `enough`, and then drops the connection. */
async function readStream(
  on: Pick<TestServer, 'url'>,
  route: string,
  token: string,
  options: { lastEventId?: string; enough?: (events: Event[]) => boolean } = {},
): Promise<{ status: number; events: Event[] }> {
  const { lastEventId, enough = () => false } = options;
  const connection = new AbortController();
  const response = await fetch(`${on.url}${route}`, {
    headers: {
      authorization: `Bearer ${token}`,
      accept: 'text/event-stream',
      ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
    },
    signal: connection.signal,
  });
  const events: Event[] = [];
  if (response.status !== 200) return { status: response.status, events };
  assert.match(response.headers.get('content-type') ?? '', /^text\/event-stream/);
  let text = '';
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const parts = (text + chunk).split('\n\n');
    text = parts.pop() ?? '';
    events.push(...parts.flatMap(parseEvent));
    if (enough(events)) break;
  }
  connection.abort();
  return { status: response.status, events };
}

/** Heartbeats and bare positions are no events. */
function parseEvent(text: string): Event[] {
  const fields = Object.fromEntries(
    text.split('\n').map((line) => [line.split(':')[0], line.slice(line.indexOf(':') + 1).trim()]),
  );
  const { id, event, data } = fields;
  if (event === undefined || data === undefined) return [];
  return [{ ...(id === undefined ? {} : { id }), event, data: JSON.parse(data) }];
}

const numbered = (events: Event[]) => events.filter(({ id }) => id !== undefined);
const list = async (client: Client, id: string, query = '') =>
  expectOk(await client.request<Record<string, unknown>[]>('GET', `/v1/operations/${id}/events${query}`));

test('a stream brings every event as it happens, numbered from 1 without gaps, and ends with the operation', async () => {
  const { id } = await askForServer(admin, 'streamed');
  const { events } = await readStream(server, `/v1/operations/${id}/events`, admin.token);
  const end = events.pop();
  assert.deepEqual(
    { event: end?.event, id: end?.id, data: end?.data },
    { event: 'end', id: undefined, data: { status: 'completed' } },
  );
  assert.deepEqual(
    events.map(({ id }) => id),
    events.map((_, index) => String(index + 1)),
  );
  assert.deepEqual(
    events.map(({ data }) => data.seq),
    events.map((_, index) => index + 1),
  );
  const statuses = events.filter(({ event }) => event === 'status').map(({ data }) => data.status);
  assert.deepEqual(statuses, ['running', 'completed']);
  const progress = events.filter(({ event }) => event === 'progress').map(({ data }) => Number(data.progress));
  assert.deepEqual(
    progress,
    [...progress].sort((a, b) => a - b),
  );
  // The list is the same, and so is a stream read later.
  assert.deepEqual(
    await list(admin, id),
    events.map(({ data }) => data),
  );
  const again = await readStream(server, `/v1/operations/${id}/events`, admin.token);
  assert.deepEqual(numbered(again.events), events);
});

test('cut off after every single event and resumed with Last-Event-ID, on either replica: nothing lost, nothing twice', async () => {
  const { id } = await askForServer(admin, 'cut-off');
  const route = `/v1/operations/${id}/events`;
  const seen: Event[] = [];
  for (let connection = 0; ; connection += 1) {
    const lastEventId = seen.at(-1)?.id;
    const { events, status } = await readStream(connection % 2 === 0 ? server : second, route, admin.token, {
      ...(lastEventId === undefined ? {} : { lastEventId }),
      enough: (events) => numbered(events).length > 0,
    });
    if (status === 204) break;
    seen.push(...numbered(events).slice(0, 1));
    assert.ok(connection < 100, 'the stream has no end');
  }
  assert.deepEqual(
    seen.map(({ data }) => data),
    await list(admin, id),
  );
});

test('after the end, Last-Event-ID of the last event answers 204: the client stops coming back', async () => {
  const { operation } = await makeServer(admin, 'over');
  const route = `/v1/operations/${operation.id}/events`;
  const last = (await list(admin, operation.id)).length;
  assert.equal((await readStream(server, route, admin.token, { lastEventId: String(last) })).status, 204);
  const { events } = await readStream(server, route, admin.token, { lastEventId: String(last - 1) });
  assert.deepEqual(
    events.map(({ event, id }) => [event, id]),
    [
      ['status', String(last)],
      ['end', undefined],
    ],
  );
  expectError(await admin.request('GET', route, undefined, { accept: 'text/event-stream', 'last-event-id': 'x' }), 400);
});

test('a list of events goes on behind `after` and holds at most `limit`', async () => {
  const { operation } = await makeServer(admin, 'listed');
  const all = await list(admin, operation.id);
  assert.deepEqual(await list(admin, operation.id, '?after=2'), all.slice(2));
  assert.deepEqual(await list(admin, operation.id, '?after=1&limit=2'), all.slice(1, 3));
  assert.deepEqual(await list(admin, operation.id, '?after=1000'), []);
});

test('the feed brings the events of all operations that the caller may see, on every replica, and resumes', async () => {
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'hidden' }));
  const reader = await makeClient(server, 'feed.reader', [{ role: 'viewer', workspace: 'default' }]);
  const before = await admin.request<{ id: string }[]>('GET', '/v1/events?limit=1');
  const start = expectOk(before).at(-1)?.id ?? '';
  const unseen = await makeServer(admin, 'unseen', { workspace: 'hidden' });
  const { operation } = await makeServer(admin, 'seen');
  const completed = (events: Event[]) =>
    events.some(({ data }) => data.operation_id === operation.id && data.status === 'completed');
  const first = await readStream(server, '/v1/events', reader.token, {
    lastEventId: start,
    enough: (events) => events.length > 0,
  });
  const lastEventId = first.events[0]?.id ?? '';
  const rest = await readStream(server, '/v1/events', reader.token, { lastEventId, enough: completed });
  // While another transaction runs, the list ends before it: the last event of an earlier test may come again.
  const events = [...first.events.slice(0, 1), ...rest.events].filter(
    ({ data }) => String(data.operation_id) >= unseen.operation.id,
  );
  assert.deepEqual([...new Set(events.map(({ data }) => data.operation_id))], [operation.id]);
  const wanted = (await list(admin, operation.id)).filter(({ type }) => type !== 'log').map(({ seq }) => seq);
  assert.deepEqual(
    events.map(({ data }) => data.seq),
    wanted,
  );
});

test('the feed tells of checks only where they are asked for, in lists and in streams', async () => {
  const start = expectOk(await admin.request<{ id: string }[]>('GET', '/v1/events?limit=1')).at(-1)?.id ?? '';
  const check = await askForServer(admin, 'only-checked', { check_mode: true });
  assert.equal((await ended(admin, check.id)).status, 'completed');
  const { operation } = await makeServer(admin, 'made');
  // What the feed brings of these two, up to the end of the one that comes last of what is asked for.
  const told = async (query: string, last: string) => {
    const { events } = await readStream(server, `/v1/events?${query}`, admin.token, {
      lastEventId: start,
      enough: (events) => events.some(({ data }) => data.operation_id === last && data.status === 'completed'),
    });
    const listed = expectOk(
      await admin.request<{ operation_id: string }[]>('GET', `/v1/events?after=${start}&limit=1000&${query}`),
    );
    const ids = (list: unknown[]) => [...new Set(list)].filter((id) => id === check.id || id === operation.id);
    assert.deepEqual(ids(listed.map(({ operation_id: id }) => id)), ids(events.map(({ data }) => data.operation_id)));
    return ids(events.map(({ data }) => data.operation_id));
  };
  assert.deepEqual(await told('', operation.id), [operation.id]);
  assert.deepEqual(await told('check_mode=any', operation.id), [check.id, operation.id]);
  assert.deepEqual(await told('check_mode=true', check.id), [check.id]);
});

test('a stream brings nothing more once its token has ended', async () => {
  const leaver = await makeClient(server, 'leaver', [{ role: 'viewer' }]);
  const headers = { authorization: `Bearer ${leaver.token}`, accept: 'text/event-stream' };
  const response = await fetch(`${server.url}/v1/events`, { headers });
  assert.equal(response.status, 200);
  expectOk(await leaver.request('POST', '/v1/auth/logout'));
  await makeServer(admin, 'after-logout');
  assert.doesNotMatch(await response.text(), /event:/);
});

test('the long poll answers at the end of the operation, or as it stands when the time is over', async () => {
  const { id } = await askForServer(admin, 'waited-for');
  const unfinished = expectOk(await admin.request<Operation>('POST', `/v1/operations/${id}/wait?timeout=0`));
  assert.ok(['pending', 'running'].includes(unfinished.status));
  const waiting = await Promise.all(
    Array.from({ length: 20 }, () => admin.request<Operation>('POST', `/v1/operations/${id}/wait?timeout=60`)),
  );
  for (const answer of waiting) assert.equal(expectOk(answer).status, 'completed');
  assert.equal((await ended(admin, id)).status, 'completed');
  expectError(await admin.request('POST', `/v1/operations/${id}/wait?timeout=301`), 400);
});

test('the long poll on one replica hears of the end on another', async () => {
  const client = createClient(second.url, admin.token);
  const { id } = await askForServer(client, 'elsewhere');
  assert.equal(
    expectOk(await client.request<Operation>('POST', `/v1/operations/${id}/wait?timeout=60`)).status,
    'completed',
  );
});
