/**
 * Clouds whose lists lag, go back in time and leave servers out, while servers are made, stopped and deleted, creates are
 * cancelled, accounts are looked after, and the server is killed with -9. Nothing of ours is lost, made twice or taken for
 * an orphan; what really is one, and what really is gone, is found all the same.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CLOUDS, type Cloud, startCloud } from '../clouds/all.ts';
import { createTestDatabase } from '../support/database.ts';
import { chances, tellSeed } from '../support/seed.ts';
import { type Operation, startTestServer, type TestServer, until } from '../support/server.ts';
import {
  assertEventsComplete,
  type Books,
  inParallel,
  openBooks,
  scale,
  temporaryDataDir,
  untilAllEnded,
} from './support.ts';

const LISTS = { lagMs: 1_500, loses: 0.2 };
/** Servers at each cloud. */
const SERVERS = scale(4, 40);
/** Creates at each cloud that are cancelled. */
const CANCELS = scale(2, 20);
/** Kills while servers are made, while they are stopped, and while they are deleted. */
const KILLS = scale(1, 6);
/** Sweeps of each account in which nothing wrong may be said. */
const SWEEPS = scale(5, 30);
const PATIENCE_MS = scale(120_000, 900_000);

interface World {
  books: Books;
  clouds: Cloud[];
  /** The one that runs at the time. */
  server(): TestServer;
  /** Asks until it is answered, with 200 or one of the other statuses: under one key it is one request. */
  insist<T>(method: string, route: string, body?: unknown, others?: number[]): Promise<T>;
  /** Does the work, with kills meanwhile, and waits until every operation has ended. */
  underFire(work: Promise<unknown>): Promise<void>;
}

async function withWorld(work: (world: World) => Promise<void>): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const random = chances();
  const database = stack.use(await createTestDatabase({ poolSize: 2 }));
  const books = stack.use(await openBooks({ databaseUrl: database.url }));
  const { directory: dataDir } = stack.use(await temporaryDataDir());
  const clouds: Cloud[] = [];
  for (const [place, name] of CLOUDS.entries()) {
    const cloud = await startCloud(name, { seed: tellSeed() + place, settleMs: 200, stale: LISTS });
    stack.use(cloud.fake);
    clouds.push(cloud);
  }
  const settings = {
    PROVIDERS: CLOUDS.join(','),
    POOL_SIZE: '8',
    SWEEP_INTERVAL: '1',
    // What is taken for an orphan is lost.
    ORPHAN_DELETE_AFTER: '1',
    ...Object.fromEntries(CLOUDS.map((name) => [`${name.toUpperCase()}_CALLS_PER_MINUTE`, '60000'])),
    ...Object.assign({}, ...clouds.map((cloud) => cloud.settings)),
  };
  const start = () => startTestServer({ databaseUrl: database.url, dataDir, settings });
  let server = await start();
  stack.defer(() => server[Symbol.asyncDispose]());
  let asked = 0;
  await work({
    books,
    clouds,
    server: () => server,
    async insist<T>(method: string, route: string, body?: unknown, others: number[] = []): Promise<T> {
      const headers = { 'idempotency-key': `request-${asked++}` };
      for (;;) {
        const answer = await server.admin.request<T>(method, route, body, headers).catch(() => null);
        if (answer !== null && [200, ...others].includes(answer.status)) return answer.body;
        if (answer !== null && answer.status < 500) assert.fail(`${method} ${route}: ${JSON.stringify(answer.body)}`);
        await sleep(100);
      }
    },
    async underFire(work) {
      for (let kill = 0; kill < KILLS; kill++) {
        await sleep(200 + random() * 2_000);
        await server.kill();
        server = await start();
      }
      await work;
      await untilAllEnded(books, PATIENCE_MS);
    },
  });
}

/** What stands at each cloud is what the list says, each server once. */
async function assertListEquals({ books, clouds }: World): Promise<void> {
  for (const cloud of clouds) {
    const rows = await books.query<{ operation_id: string }>(
      'select operation_id from provisioning.servers where provider = $1',
      [cloud.name],
    );
    assert.deepEqual(cloud.alive().toSorted(), rows.map((row) => row.operation_id).toSorted(), cloud.name);
  }
}

/** Waits until every account has been looked at so many times. What was changed lately counts as changed long ago. */
async function untilSwept({ books, clouds }: World): Promise<void> {
  await books.query("update provisioning.servers set updated_at = now() - interval '1 hour'");
  await books.query("update provisioning.departed_servers set departed_at = now() - interval '30 minutes'");
  const seen = new Map(clouds.map(({ name }) => [name, new Set<number>()]));
  const enough = async () => {
    const rows = await books.query<{ provider: string; listed_at: Date | null }>(
      'select provider, listed_at from provisioning.account_sweeps',
    );
    for (const { provider, listed_at: at } of rows) if (at !== null) seen.get(provider)?.add(at.getTime());
    return [...seen.values()].every((times) => times.size > SWEEPS);
  };
  await until(enough, 'the accounts to be looked at', PATIENCE_MS);
}

/** What was found by looking, by kind. */
async function found({ books }: World): Promise<{ kind: string; hostname: string; status: string | null }[]> {
  return books.query(`select kind, result ->> 'hostname' as hostname, result ->> 'status' as status
    from provisioning.operations where created_by = '(observer)' order by created_at`);
}

test('lists that lag, go back in time and leave servers out cost nothing of ours', async (t) => {
  await withWorld(async (world) => {
    const { books, clouds, insist, underFire } = world;
    const ask = (cloud: Cloud, hostname: string) =>
      insist<Operation>('POST', '/v1/servers/create', {
        ...{ ...cloud.spec(), workspace: 'default', provider: cloud.name, hostname },
      });
    const hosts = async () =>
      books.query<{ id: string; provider: string }>('select id, provider from provisioning.servers order by hostname');

    for (const { fake } of clouds) fake.chances.lost_answer = 0.1;
    await underFire(
      inParallel(SERVERS * clouds.length, 12, async (n) => {
        const cloud = clouds[n % clouds.length];
        assert.ok(cloud);
        await ask(cloud, `host-${String(n).padStart(3, '0')}`);
      }),
    );
    for (const { fake } of clouds) fake.chances.lost_answer = 0;
    const failed = await books.query("select kind, error from provisioning.operations where status <> 'completed'");
    assert.deepEqual(failed, []);
    for (const { name, created } of clouds) {
      const twice = [...created].filter(([, count]) => count > 1);
      assert.deepEqual(twice, [], `${name} was asked to make a server twice`);
    }
    await assertListEquals(world);
    const made = await hosts();
    assert.equal(made.length, SERVERS * clouds.length);
    await untilSwept(world);
    assert.deepEqual(await found(world), []);
    t.diagnostic(`made ${made.length}`);

    const stopped = made.filter((_, n) => n % 2 === 0);
    await underFire(
      inParallel(made.length, 12, async (n) => {
        const server = made[n];
        if (n % 2 === 0) await insist('POST', `/v1/servers/${server?.id}/stop`);
        else await insist('POST', '/v1/servers/refresh', { workspace: 'default' });
      }),
    );
    await untilSwept(world);
    assert.deepEqual(await found(world), []);
    const off = await books.query("select id from provisioning.servers where status = 'stopped'");
    assert.equal(off.length, stopped.length);

    await underFire(
      Promise.all([
        inParallel(stopped.length, 12, async (n) => void (await insist('DELETE', `/v1/servers/${stopped[n]?.id}`))),
        inParallel(CANCELS * clouds.length, 12, async (n) => {
          const cloud = clouds[n % clouds.length];
          assert.ok(cloud);
          const { id } = await ask(cloud, `unwanted-${n}`);
          // It is at the cloud by then, and no list need show it.
          await until(async () => cloud.created.has(id), 'the create to reach the cloud', PATIENCE_MS);
          await insist('POST', `/v1/operations/${id}/cancel`, undefined, [409]);
        }),
      ]),
    );
    await assertListEquals(world);
    const left = (await hosts()).filter(({ id }) => made.some((server) => server.id === id));
    assert.equal(left.length, made.length - stopped.length);
    await untilSwept(world);
    assert.deepEqual(await found(world), []);
    await assertListEquals(world);
    await assertEventsComplete(books);
  });
});

test('a server that is gone, and one that nobody knows, are found in such lists, once each', async () => {
  await withWorld(async (world) => {
    const { books, clouds, insist } = world;
    const make = async (cloud: Cloud, hostname: string) =>
      insist<Operation>('POST', '/v1/servers/create', {
        ...{ ...cloud.spec(), workspace: 'default', provider: cloud.name, hostname },
      });
    const gone = await Promise.all(clouds.map((cloud) => make(cloud, `gone-${cloud.name}`)));
    await Promise.all(clouds.map((cloud) => make(cloud, `unknown-${cloud.name}`)));
    await untilAllEnded(books, PATIENCE_MS);
    for (const [place, cloud] of clouds.entries()) cloud.console(gone[place]?.id ?? '').remove();
    await books.query("delete from provisioning.servers where hostname like 'unknown-%'");
    await untilSwept(world);
    const deleted = async () =>
      (await books.query("select 1 from provisioning.operations where kind = 'orphan.delete' and status = 'completed'"))
        .length === clouds.length;
    await until(deleted, 'the orphans to be deleted', PATIENCE_MS);
    await untilSwept(world);
    for (const cloud of clouds) {
      assert.deepEqual(cloud.alive(), [], cloud.name);
      const about = (await found(world)).filter(({ hostname }) => hostname?.endsWith(cloud.name));
      assert.deepEqual(about.map(({ kind, hostname, status }) => `${kind} ${hostname} ${status}`).toSorted(), [
        `orphan.found unknown-${cloud.name} null`,
        `server.observed gone-${cloud.name} missing`,
      ]);
    }
  });
});
