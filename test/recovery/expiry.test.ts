/** Servers that expire on two replicas, of which one is killed at just that time: each is announced and deleted once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startInstallation } from '../support/acceptance.ts';
import { chances } from '../support/seed.ts';
import { until } from '../support/server.ts';
import { type Books, createServers, openBooks, scale, untilAllEnded } from './support.ts';

const SERVERS = scale(20, 100);
const ROUNDS = scale(1, 10);
/** Both replicas look once a second. */
const TWO_LOOKS_MS = 2_000;

/** Has both replicas look while neither can commit what it does, so that they would do the same. */
async function whileNothingCommits(books: Books, set: string, then: () => Promise<unknown>): Promise<void> {
  const holder = await books.pool.connect();
  try {
    await holder.query('begin');
    await holder.query('lock table provisioning.operations in share mode');
    await books.query(`update provisioning.servers set ${set}`);
    await sleep(TWO_LOOKS_MS);
    await then();
    await holder.query('commit');
  } finally {
    holder.release();
  }
}

test('each expiry is announced once and deletes once, whichever replica is killed', async () => {
  const chance = chances();
  for (let round = 0; round < ROUNDS; round++) {
    await using installation = await startInstallation({ EXPIRY_WARNINGS: '86400', SIMULATED_LATENCY_MS: '100' });
    await using books = await openBooks({ databaseUrl: installation.database.url });
    const survivor = await installation.replica();
    await createServers(survivor.admin, `expires-${round}`, SERVERS);
    await untilAllEnded(books, 60_000);
    const count = async (kind: string) =>
      (
        await books.query<{ times: number; things: number }>(
          `select count(*)::int as times, count(distinct resource)::int as things
           from provisioning.operations where kind = $1`,
          [kind],
        )
      )[0];
    const once = { times: SERVERS, things: SERVERS };

    await whileNothingCommits(books, "expires_at = now() + interval '1 hour', expiry_due_at = now()", async () => {});
    await until(async () => ((await count('server.expiring'))?.things ?? 0) === SERVERS, 'all to be announced');
    assert.deepEqual(await count('server.expiring'), once);

    const [killed] = await books.query<{ id: string }>('select id from provisioning.replicas where pid = $1', [
      installation.server.process.pid,
    ]);
    /** Deletions that the replica which is killed has begun and not ended. */
    const carriedOut = () =>
      books.query<{ id: string }>(
        `select workflow_uuid as id from dbos.workflow_status
         where name = 'server.delete' and status = 'PENDING' and executor_id = $1`,
        [killed?.id],
      );
    const expired = 'expires_at = now(), expiry_due_at = now(), expiry_warned_at = now()';
    const before = chance() < 0.5;
    await whileNothingCommits(books, expired, async () => before && installation.server.kill());
    if (!before) {
      const some = 1 + Math.floor(chance() * 3);
      await until(async () => (await carriedOut()).length >= some, 'it to delete some', 30_000, 5);
      await installation.server.kill();
    }
    const held = (await carriedOut()).map(({ id }) => id);
    assert.equal(held.length > 0, !before, 'the kill did not come when it was to');
    await until(async () => (await books.query('select from provisioning.servers')).length === 0, 'all to go', 60_000);
    await untilAllEnded(books);
    assert.deepEqual(await count('server.delete'), once);
    assert.deepEqual(await count('server.expiring'), once);
    const again = await books.query(
      `select operation_id, count(*)::int as times from simulated_cloud.calls where call = 'delete' and outcome = 'ok'
       group by operation_id having count(*) > case when operation_id = any($1) then 2 else 1 end`,
      [held],
    );
    assert.deepEqual(again, [], 'deleted more often than the takeover explains');
  }
});
