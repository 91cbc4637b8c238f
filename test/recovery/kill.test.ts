/** kill -9 of the server, and of the embedded Postgres, at random moments of work. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { chances } from '../support/seed.ts';
import {
  createClient,
  type Operation,
  serverRequest,
  startTestServer,
  type TestServer,
  until,
} from '../support/server.ts';
import {
  assertAllCompleted,
  assertCreatedOnce,
  assertEventsComplete,
  assertListEqualsProvider,
  createServers,
  embeddedPostgres,
  openBooks,
  scale,
  temporaryDataDir,
  unfinished,
  untilAllEnded,
} from './support.ts';

const CREATES = scale(40, 100);
const ROUNDS = scale(2, 10);
/** How long after a restart nothing may be left lying about. */
const SETTLE_MS = 30_000;

test(`a server killed with -9 ${ROUNDS} times over ${CREATES} creates each loses nothing and doubles nothing`, async (t) => {
  await using data = await temporaryDataDir();
  const start = () => startTestServer({ dataDir: data.directory, settings: { SIMULATED_LATENCY_MS: '400' } });
  const random = chances();
  const stack = new AsyncDisposableStack();
  await using _ = stack;
  let server: TestServer = await start();
  stack.defer(() => server[Symbol.asyncDispose]());
  let accepted = 0;
  for (let round = 1; round <= ROUNDS; round += 1) {
    await using books = await openBooks({ dataDir: data.directory });
    const first = server;
    // Requests are still being sent when it dies: those without an answer may have been accepted or not.
    const delays = Array.from({ length: CREATES }, () => random() * 400);
    const asking = delays.map(async (delay, n) => {
      await sleep(delay);
      const answer = await first.admin
        .request<Operation>('POST', '/v1/servers/create', serverRequest(`kill-${round}-${n}`))
        .catch(() => null);
      return answer === null ? null : answer;
    });
    // On a machine that is busy the first answer takes long.
    await Promise.any(asking);
    const moment = 50 + random() * 900;
    await sleep(moment);
    await first.kill();
    const answers = (await Promise.all(asking)).filter((answer) => answer !== null);
    for (const answer of answers) assert.equal(answer.status, 200, JSON.stringify(answer.body));
    accepted += answers.length;
    const interrupted = await unfinished(books);
    const startedAt = Date.now();
    server = await start();
    const readyAfter = Date.now() - startedAt;
    await untilAllEnded(books, SETTLE_MS);
    t.diagnostic(
      `round ${round}: killed after ${moment.toFixed(0)} ms with ${answers.length} acknowledged and ${interrupted} unfinished; ` +
        `ready again after ${readyAfter} ms, all ended after ${Date.now() - startedAt} ms`,
    );
    const ids = answers.map((answer) => answer.body.id);
    const found = await books.query<{ id: string; status: string }>(
      'select id, status from provisioning.operations where id = any($1::uuid[])',
      [ids],
    );
    assert.equal(found.length, ids.length, 'an acknowledged operation is gone');
    assert.deepEqual(
      found.filter((operation) => operation.status !== 'completed'),
      [],
    );
    await assertListEqualsProvider(books);
    await assertCreatedOnce(books);
    await assertEventsComplete(books);
    await assertAllCompleted(books);
  }
  assert.ok(accepted > 0);
});

test('deletes and power changes survive a kill -9 as well', async () => {
  await using data = await temporaryDataDir();
  const start = () => startTestServer({ dataDir: data.directory, settings: { SIMULATED_LATENCY_MS: '300' } });
  const stack = new AsyncDisposableStack();
  await using _ = stack;
  let server: TestServer = await start();
  stack.defer(() => server[Symbol.asyncDispose]());
  await using books = await openBooks({ dataDir: data.directory });
  await createServers(server.admin, 'change', 24);
  await untilAllEnded(books);
  const servers = await books.query<{ id: string }>('select id from provisioning.servers');
  await Promise.all(
    servers.map(async ({ id }, n) => {
      const route = [`/v1/servers/${id}`, `/v1/servers/${id}/stop`, `/v1/servers/${id}/restart`][n % 3] ?? '';
      const answer = await server.admin.request(n % 3 === 0 ? 'DELETE' : 'POST', route);
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
    }),
  );
  await sleep(chances()() * 200);
  await server.kill();
  server = await start();
  await untilAllEnded(books, SETTLE_MS);
  await assertListEqualsProvider(books);
  await assertCreatedOnce(books);
  await assertAllCompleted(books);
  const left = await books.query<{ status: string; count: number }>(
    'select status, count(*)::int as count from provisioning.servers group by status order by status',
  );
  assert.deepEqual(left, [
    { status: 'running', count: 8 },
    { status: 'stopped', count: 8 },
  ]);
});

test('the embedded Postgres killed with -9 costs no acknowledged request and no operation', async (t) => {
  await using data = await temporaryDataDir();
  await using server = await startTestServer({ dataDir: data.directory, settings: { SIMULATED_LATENCY_MS: '400' } });
  await using books = await openBooks({ dataDir: data.directory });
  const acknowledged: string[] = [];
  const refused = new Map<number, { body: unknown; retryAfter: string | null }>();
  let asked = 0;
  let stop = false;
  const lanes = Array.from({ length: 8 }, async () => {
    const client = createClient(server.url, server.admin.token);
    while (!stop) {
      const n = asked++;
      const { status, body, headers } = await client
        .request<Operation>('POST', '/v1/servers/create', serverRequest(`pg-${n}`))
        .catch((error: unknown) => {
          throw new Error(`The server did not answer:\n${server.output().slice(-4_000)}`, { cause: error });
        });
      if (status === 200) acknowledged.push(body.id);
      else refused.set(status, { body, retryAfter: headers.get('retry-after') });
      await sleep(20);
    }
  });
  const kills = scale(2, 6);
  const random = chances();
  for (let kill = 1; kill <= kills; kill += 1) {
    await sleep(400 + random() * 400);
    const { pid } = await embeddedPostgres(server.dataDir);
    const before = acknowledged.length;
    process.kill(pid, 'SIGKILL');
    const killedAt = Date.now();
    await Promise.race([
      until(async () => acknowledged.length > before + 8, 'requests to be accepted again'),
      Promise.all(lanes),
    ]);
    t.diagnostic(`kill ${kill}: requests accepted again ${Date.now() - killedAt} ms after the kill`);
  }
  stop = true;
  await Promise.all(lanes);
  assert.deepEqual(
    [...refused.keys()].filter((status) => status !== 503),
    [],
    JSON.stringify([...refused]),
  );
  const unavailable = refused.get(503);
  assert.ok(unavailable !== undefined, 'no request met the absent database');
  assert.deepEqual(
    { ...(unavailable.body as Record<string, unknown>), message: '', request_id: '' },
    { error: 'SERVICE_UNAVAILABLE', code: '503', message: '', request_id: '' },
  );
  assert.match(unavailable.retryAfter ?? '', /^\d+$/);
  await untilAllEnded(books, SETTLE_MS);
  t.diagnostic(`${acknowledged.length} acknowledged, ${asked - acknowledged.length} refused`);
  const lost = await books.query(
    'select id from unnest($1::uuid[]) as a (id) where not exists (select from provisioning.operations o where o.id = a.id)',
    [acknowledged],
  );
  assert.deepEqual(lost, []);
  await assertAllCompleted(books).catch((error: unknown) => {
    const told = server
      .output()
      .split('\n')
      .filter((line) => line.includes('"level":50'));
    throw new Error(`The server said:\n${told.slice(0, 20).join('\n')}`, { cause: error });
  });
  await assertListEqualsProvider(books);
  await assertCreatedOnce(books);
  await assertEventsComplete(books);
  assert.equal(server.process.exitCode, null, 'the server went on');
});
