/** Servers that expire on two replicas, of which one is killed at just that time: each is announced and deleted once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startInstallation } from '../support/acceptance.ts';
import { chances } from '../support/seed.ts';
import { until } from '../support/server.ts';
import { createServers, openBooks, scale, untilAllEnded } from './support.ts';

const SERVERS = scale(20, 100);
const ROUNDS = scale(1, 10);

test('each expiry is announced once and deletes once, whichever replica is killed', async () => {
  const chance = chances();
  for (let round = 0; round < ROUNDS; round++) {
    await using installation = await startInstallation({ EXPIRY_WARNINGS: '86400', SIMULATED_LATENCY_MS: '100' });
    await using books = await openBooks({ databaseUrl: installation.database.url });
    const survivor = await installation.replica();
    await createServers(survivor.admin, `expires-${round}`, SERVERS);
    await untilAllEnded(books, 60_000);
    // All at once, announced and then deleted: both replicas look at all of them.
    await books.query("update provisioning.servers set expires_at = now() + interval '2 s', expiry_due_at = now()");
    const [killed] = await books.query<{ id: string }>('select id from provisioning.replicas where pid = $1', [
      installation.server.process.pid,
    ]);
    const carriedOut = () =>
      books.query<{ id: string }>(
        `select workflow_uuid as id from dbos.workflow_status
         where name = 'server.delete' and status = 'PENDING' and executor_id = $1`,
        [killed?.id],
      );
    const deletions = 1 + Math.floor(chance() * 3);
    await until(async () => (await carriedOut()).length >= deletions, 'it to delete some', 30_000, 5);
    await installation.server.kill();
    const held = await carriedOut();
    assert.ok(held.length > 0, 'the replica that was killed was deleting nothing');
    await until(
      async () => (await books.query('select from provisioning.servers')).length === 0,
      'all to be deleted',
      60_000,
    );
    await untilAllEnded(books);
    const counts = await books.query<{ kind: string; times: number; things: number }>(
      `select kind, count(*)::int as times, count(distinct resource)::int as things from provisioning.operations
       where kind in ('server.expiring', 'server.delete') group by kind order by kind`,
    );
    const once = { times: SERVERS, things: SERVERS };
    assert.deepEqual(counts, [
      { kind: 'server.delete', ...once },
      { kind: 'server.expiring', ...once },
    ]);
    const twice = await books.query(
      `select operation_id, count(*)::int as times from simulated_cloud.calls where call = 'delete' and outcome = 'ok'
       group by operation_id having count(*) > case when operation_id = any($1) then 2 else 1 end`,
      [held.map(({ id }) => id)],
    );
    assert.deepEqual(twice, [], 'deleted more often than the takeover explains');
  }
});
