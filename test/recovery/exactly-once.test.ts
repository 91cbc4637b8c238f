/** A cloud that loses answers and turns requests away: every accepted create makes exactly one server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestDatabase } from '../support/database.ts';
import { startTestServer } from '../support/server.ts';
import {
  assertAllCompleted,
  assertCreatedOnce,
  assertEventsComplete,
  assertListEqualsProvider,
  createServers,
  openBooks,
  scale,
  untilAllEnded,
} from './support.ts';

const CREATES = scale(80, 1_000);
const FAULTS = 'lost_answer=0.2,rate_limited=0.1';

test(`${CREATES} creates make ${CREATES} servers though 20 % of the answers are lost and 10 % are 429`, async (t) => {
  await using database = await createTestDatabase({ poolSize: 1 });
  await using server = await startTestServer({
    databaseUrl: database.url,
    settings: { SIMULATED_LATENCY_MS: '40', SIMULATED_FAULTS: FAULTS },
  });
  await using books = await openBooks({ databaseUrl: database.url });
  const ids = await createServers(server.admin, 'once', CREATES);
  await untilAllEnded(books, 300_000);
  await assertAllCompleted(books);

  const made = await books.query<{ operation_id: string }>('select operation_id from simulated_cloud.servers');
  assert.deepEqual(made.map((row) => row.operation_id).sort(), ids.sort(), 'one server for each operation');
  await assertListEqualsProvider(books);
  await assertCreatedOnce(books);
  await assertEventsComplete(books);

  // The faults did happen, and each lost create was looked up instead of repeated.
  const calls = await books.query<{ call: string; outcome: string; count: number }>(
    'select call, outcome, count(*)::int as count from simulated_cloud.calls group by call, outcome order by 1, 2',
  );
  const count = (call: string, outcome: string) =>
    calls.find((row) => row.call === call && row.outcome === outcome)?.count ?? 0;
  t.diagnostic(`the cloud's books: ${calls.map((row) => `${row.call} ${row.outcome} ${row.count}`).join(', ')}`);
  assert.equal(count('create', 'ok') + count('create', 'lost'), CREATES);
  assert.ok(count('create', 'lost') > CREATES / 20, 'hardly an answer was lost');
  assert.ok(count('create', 'rate_limited') + count('find', 'rate_limited') > CREATES / 20, 'hardly a 429');
  assert.ok(count('find', 'adopted') >= count('create', 'lost'));
});
