import assert from 'node:assert/strict';
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { startCutProxy } from '../../test/support/cut-proxy.ts';
import { createTestDatabase } from '../../test/support/database.ts';
import { ADMIN_PASSWORD, serverRequest, startTestServer, until } from '../../test/support/server.ts';
import { ApiError, type Client, ConnectionError, createClient, OperationFailedError } from './client.ts';

const database = await createTestDatabase({ poolSize: 2 });
const server = await startTestServer({ databaseUrl: database.url, settings: { POOL_SIZE: '8', TOKEN_TTL: '2' } });
after(async () => {
  await server[Symbol.asyncDispose]();
  await database.close();
});

async function loggedIn(url = server.url): Promise<Client> {
  const client = createClient({ url });
  await client.login('admin', ADMIN_PASSWORD);
  return client;
}

const body = (hostname: string, overrides = {}) =>
  serverRequest(hostname, overrides) as ReturnType<typeof serverRequest> & { check_mode?: boolean };

/** In front of the server: passes everything on, but what `lose` picks gets no answer although it was carried out. */
async function startLosingProxy(
  lose: (request: IncomingMessage, count: number) => boolean,
  { inTheMiddle = false }: { inTheMiddle?: boolean } = {},
) {
  let count = 0;
  const proxy = createServer((incoming: IncomingMessage, outgoing: ServerResponse) => {
    const forwarded = httpRequest(
      `${server.url}${incoming.url}`,
      { method: incoming.method, headers: incoming.headers },
      (answer) => {
        count += 1;
        if (lose(incoming, count)) {
          if (inTheMiddle) {
            outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
            outgoing.write('[', () => incoming.socket.destroy());
          }
          answer.resume();
          answer.on('end', () => incoming.socket.destroy());
          return;
        }
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(outgoing);
        // A stream that is cut in the middle must look like that on this side, too.
        answer.on('close', () => outgoing.destroy());
      },
    );
    outgoing.on('close', () => forwarded.destroy());
    forwarded.on('error', () => outgoing.destroy());
    incoming.pipe(forwarded);
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => proxy.once('listening', resolve));
  return {
    url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    cut: () => proxy.closeAllConnections(),
    async [Symbol.asyncDispose]() {
      proxy.closeAllConnections();
      await new Promise((resolve) => proxy.close(resolve));
    },
  };
}

test('creates, follows and waits; the answers are typed', async () => {
  const client = await loggedIn();
  const { id } = await client.post('/v1/servers/create', { body: body('typed-01') });
  const statuses: string[] = [];
  for await (const event of client.follow(id)) if (event.type === 'status') statuses.push(String(event.status));
  assert.deepEqual(statuses, ['running', 'completed']);
  const operation = await client.wait(id);
  const made = await client.get('/v1/servers/{id}', { path: { id: String(operation.result?.server_id) } });
  assert.equal(made.hostname, 'typed-01');
});

test('an access token that expires is renewed once for all requests under way', async () => {
  const client = await loggedIn();
  await new Promise((resolve) => setTimeout(resolve, 2_100));
  const answers = await Promise.all(Array.from({ length: 20 }, () => client.get('/v1/auth/me')));
  assert.ok(answers.every(({ username }) => username === 'admin'));
});

test('a request whose answer was lost is sent again without being carried out twice', async () => {
  await using proxy = await startLosingProxy(({ url }, count) => url === '/v1/servers/create' && count <= 3);
  const client = await loggedIn(proxy.url);
  const { id } = await client.post('/v1/servers/create', { body: body('lost-answer') });
  await client.wait(id);
  const operations = await client.get('/v1/operations', { query: { kind: 'server.create' } });
  assert.equal(operations.filter((operation) => operation.id === id).length, 1);
  const servers = await client.get('/v1/servers', { query: { hostname: 'lost-answer' } });
  assert.equal(servers.length, 1);
});

test('any request at all is as safe to repeat as a typed one', async () => {
  await using proxy = await startLosingProxy(({ url }, count) => url === '/v1/servers/create' && count <= 3);
  const client = await loggedIn(proxy.url);
  await client.send({ method: 'POST', path: '/v1/servers/create', body: body('lost-any') });
  const servers = await client.get('/v1/servers', { query: { hostname: 'lost-any' } });
  assert.equal(servers.length, 1);
});

test('an answer that breaks off is asked for again', async () => {
  await using proxy = await startLosingProxy(({ url }, count) => url === '/v1/providers' && count <= 3, {
    inTheMiddle: true,
  });
  const client = await loggedIn(proxy.url);
  assert.deepEqual(
    (await client.get('/v1/providers')).map(({ name }) => name),
    ['simulated'],
  );
});

test('a wait and a stream outlast a server that is away; one that is away from the start is said so', async () => {
  await using proxy = await startCutProxy({ port: Number(new URL(server.url).port) });
  let reached = 0;
  const client = createClient({
    url: `http://127.0.0.1:${proxy.port}`,
    tries: 1,
    async fetch(input, init) {
      const response = await fetch(String(input).replace('timeout=30', 'timeout=1'), init);
      reached += 1;
      return response;
    },
  });
  await client.login('admin', ADMIN_PASSWORD);
  const { rows } = await database.pool.query<{ id: string }>(
    `insert into provisioning.operations (id, kind, workspace, status, input, created_by)
     values (gen_random_uuid(), 'server.stop', 'default', 'running', '{}', 'admin') returning id`,
  );
  const id = rows[0]?.id ?? '';
  const lost = Promise.withResolvers<string>();
  const following = (async () => {
    const seen: unknown[] = [];
    for await (const event of client.follow(id, { onLost: ({ message }) => lost.resolve(message) })) seen.push(event);
    return seen;
  })();
  const waiting = client.wait(id);
  await until(async () => reached >= 3, 'login, stream and wait to have reached the server');
  proxy.mode = 'refuse';
  proxy.cut();
  assert.match(await lost.promise, /could not be reached/);
  await database.pool.query("update provisioning.operations set status = 'completed' where id = $1", [id]);
  proxy.mode = 'pass';
  assert.equal((await waiting).status, 'completed');
  assert.deepEqual(await following, []);
  const nobody = createClient({ url: 'http://127.0.0.1:1', tries: 1 });
  await assert.rejects(nobody.follow(id).next(), { name: 'ConnectionError' });
  await assert.rejects(nobody.wait(id), { name: 'ConnectionError' });
});

test('a list comes row by row over all its pages', async () => {
  const client = await loggedIn();
  await database.pool.query(
    `insert into provisioning.operations (id, kind, workspace, status, input, created_by)
     select gen_random_uuid(), 'server.stop', 'default', 'failed', '{}', 'admin' from generate_series(1, 1200)`,
  );
  const seen = new Set<string>();
  for await (const operation of client.list('/v1/operations', { status: 'failed' })) seen.add(operation.id);
  assert.equal(seen.size, 1_200);
});

test('events come once each and in order although the connection is cut', async () => {
  await using proxy = await startLosingProxy(() => false);
  const client = await loggedIn(proxy.url);
  const { id } = await client.post('/v1/servers/create', { body: body('cut-often') });
  const seen: number[] = [];
  for await (const event of client.follow(id)) {
    seen.push(event.seq);
    proxy.cut();
  }
  assert.deepEqual(
    seen,
    seen.map((_, index) => index + 1),
  );
  assert.ok(seen.length >= 3);
});

test('a stream that is cut before its first event is opened again, though the operation has ended', async () => {
  let asked = 0;
  const cutting: typeof fetch = async (input, init) => {
    if (!String(input).endsWith('/events')) return fetch(input, init);
    asked += 1;
    // As when the token expires while the server looks for the first time.
    return asked === 1 ? new Response('', { headers: { 'content-type': 'text/event-stream' } }) : fetch(input, init);
  };
  const client = createClient({ url: server.url, fetch: cutting });
  await client.login('admin', ADMIN_PASSWORD);
  const { id } = await client.post('/v1/servers/create', { body: body('cut-at-once') });
  await client.wait(id);
  const statuses: unknown[] = [];
  for await (const event of client.follow(id)) if (event.type === 'status') statuses.push(event.status);
  assert.deepEqual(statuses, ['running', 'completed']);
  const last = (await client.get('/v1/operations/{id}/events', { path: { id } })).at(-1)?.seq ?? 0;
  assert.deepEqual(await Array.fromAsync(client.follow(id, { after: last })), []);
});

test('a server that says for long that it is starting is waited for, also in the middle of following', async () => {
  // More than the tries of one request, so that it is the following that goes on.
  const refused = 4;
  let asked = 0;
  const starting: typeof fetch = async (input, init) => {
    if (!String(input).endsWith('/events')) return fetch(input, init);
    asked += 1;
    return asked <= refused ? new Response('{"error":"SERVICE_UNAVAILABLE"}', { status: 503 }) : fetch(input, init);
  };
  const client = createClient({ url: server.url, fetch: starting, tries: 2 });
  await client.login('admin', ADMIN_PASSWORD);
  const { id } = await client.post('/v1/servers/create', { body: body('followed-while-starting') });
  const statuses: unknown[] = [];
  for await (const event of client.follow(id)) if (event.type === 'status') statuses.push(event.status);
  assert.equal(statuses.at(-1), 'completed');
  // Once more where the token expired meanwhile.
  assert.ok(asked > refused, `asked ${asked} times`);
});

test('errors carry code, status, fields and request id', async () => {
  const client = await loggedIn();
  const refused = client.post('/v1/servers/create', { body: body('refused', { plan: '2xCPU-4G' }) });
  await assert.rejects(refused, (error) => {
    assert.ok(error instanceof ApiError);
    assert.deepEqual([error.status, error.code], [400, 'VALIDATION_ERROR']);
    assert.deepEqual(error.fields[0]?.field, 'plan');
    assert.ok(error.fields[0]?.near_matches?.includes('2xCPU-4GB'));
    assert.match(error.requestId ?? '', /./);
    return true;
  });
  await assert.rejects(client.get('/v1/servers/{id}', { path: { id: 'srv-none' } }), { name: 'ApiError', status: 404 });
});

test('waiting for what failed or was cancelled rejects with the operation and its reason', async () => {
  const client = await loggedIn();
  const { rows } = await database.pool.query<{ id: string; status: string }>(
    `insert into provisioning.operations (id, kind, workspace, status, input, created_by, error) values
     (gen_random_uuid(), 'server.stop', 'default', 'failed', '{}', 'admin', 'The disk is full.'),
     (gen_random_uuid(), 'server.stop', 'default', 'cancelled', '{}', 'admin', null) returning id, status`,
  );
  for (const { id, status } of rows) {
    await assert.rejects(client.wait(id), (error) => {
      assert.ok(error instanceof OperationFailedError);
      assert.equal(error.operation.status, status);
      assert.match(error.message, status === 'failed' ? /^The disk is full\.$/ : /was cancelled/);
      return true;
    });
  }
});

test('a server that is away is said so, with its address and the reason, after all tries', async () => {
  const client = createClient({ url: 'http://127.0.0.1:1', tries: 2 });
  await assert.rejects(client.get('/health'), (error) => {
    assert.ok(error instanceof ConnectionError);
    assert.match(error.message, /^http:\/\/127\.0\.0\.1:1 could not be reached: /);
    return true;
  });
});

test('a signal ends a request, a stream and a wait with its own reason', async () => {
  const client = await loggedIn();
  const reason = new Error('enough');
  const aborted = AbortSignal.abort(reason);
  await assert.rejects(client.get('/v1/auth/me', { signal: aborted }), reason);
  await assert.rejects(client.wait('01890000-0000-7000-8000-000000000000', { signal: aborted }), reason);
  await assert.rejects(client.follow('01890000-0000-7000-8000-000000000000', { signal: aborted }).next(), reason);
});
