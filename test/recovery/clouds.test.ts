/** Clouds that lose answers, refuse calls and fail, and a server that is killed with -9 all the while. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CLOUDS, type Cloud, startCloud } from '../clouds/all.ts';
import { assertFree, assertNotStored } from '../support/canaries.ts';
import { createTestDatabase } from '../support/database.ts';
import { tellSeed } from '../support/seed.ts';
import { type Client, type Operation, startTestServer, type TestServer } from '../support/server.ts';
import { assertEventsComplete, inParallel, openBooks, scale, temporaryDataDir, untilAllEnded } from './support.ts';

const SERVERS = scale(5, 500);
/** Between a start and the next kill. Milliseconds. */
const KILL_EVERY = scale(3_000, 8_000);
/** On a machine that is busy with other things a start takes long: then each life lasts so many times as long as it. */
const LIFE_PER_START = 2;
const KILLS = scale(1, 1_000);
const PATIENCE_MS = scale(60_000, 600_000);
const FAULTS = { lost_answer: 0.2, throttled: 0.1, server_error: 0.05 };
/** What each cloud allows in a minute, and what the server is told of it. */
const CALLS_PER_MINUTE = 6_000;

// The short form has one server for all three; at full scale each cloud can be run by itself, by its name.
for (const names of scale<(typeof CLOUDS)[number][][]>(
  [[...CLOUDS]],
  CLOUDS.map((name) => [name]),
)) {
  const what = `${SERVERS} creates and ${SERVERS} deletes, with faults and kills, leave what the list says`;
  test(`${names.join(', ')}: ${what}`, (t) => createAndDelete(t, names));
}

async function createAndDelete(t: TestContext, names: readonly (typeof CLOUDS)[number][]): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const database = stack.use(await createTestDatabase({ poolSize: 2 }));
  const books = stack.use(await openBooks({ databaseUrl: database.url }));
  const clouds: Cloud[] = [];
  for (const [place, name] of names.entries()) {
    const limit = { calls: CALLS_PER_MINUTE, perSeconds: 60 };
    const cloud = await startCloud(name, { seed: tellSeed() + place, settleMs: 200, latencyMs: 5, limit });
    stack.use(cloud.fake);
    clouds.push(cloud);
  }
  const settings = {
    PROVIDERS: names.join(','),
    POOL_SIZE: '8',
    ...Object.fromEntries(names.map((name) => [`${name.toUpperCase()}_CALLS_PER_MINUTE`, String(CALLS_PER_MINUTE)])),
    ...Object.assign({}, ...clouds.map((cloud) => cloud.settings)),
  };
  const outputs: string[] = [];
  // The same place each time: the key that secrets are encrypted under lies there.
  const { directory: dataDir } = stack.use(await temporaryDataDir());
  let startTook = 0;
  const start = async () => {
    const begun = performance.now();
    const started = await startTestServer({ databaseUrl: database.url, dataDir, settings });
    startTook = performance.now() - begun;
    return started;
  };
  let server: TestServer = await start();
  stack.defer(() => server[Symbol.asyncDispose]());
  for (const { fake } of clouds) Object.assign(fake.chances, FAULTS);

  let kills = 0;
  /** Kills and starts the server anew until the work is done. */
  const underFire = async (work: Promise<unknown>) => {
    const done = new AbortController();
    const finished = work.finally(() => done.abort());
    for (let left = KILLS; left > 0 && !done.signal.aborted; left--) {
      const life = Math.max(KILL_EVERY, scale(0, startTook * LIFE_PER_START));
      await sleep(life, undefined, { signal: done.signal }).catch(() => 'the work is done');
      if (done.signal.aborted) break;
      await server.kill();
      outputs.push(server.output());
      server = await start();
      kills += 1;
    }
    await finished;
  };
  /** Asks until it is answered: under one key it is one request. */
  const insist = async <T>(method: string, route: string, key: string, body?: unknown): Promise<T> => {
    for (;;) {
      const client: Client = server.admin;
      const answer = await client.request<T>(method, route, body, { 'idempotency-key': key }).catch(() => null);
      if (answer?.status === 200) return answer.body;
      if (answer !== null && answer.status < 500) assert.fail(`${method} ${route}: ${JSON.stringify(answer.body)}`);
      await sleep(100);
    }
  };

  const begun = Date.now();
  await underFire(
    (async () => {
      await inParallel(SERVERS * clouds.length, 12, async (n) => {
        const cloud = clouds[n % clouds.length];
        assert.ok(cloud);
        const body = { ...cloud.spec(), workspace: 'default', provider: cloud.name, hostname: `host-${n}` };
        await insist<Operation>('POST', '/v1/servers/create', `create-${n}`, body);
      });
      await untilAllEnded(books, PATIENCE_MS);
    })(),
  );
  const made = Date.now();
  await assertListEquals(clouds);
  const passwords = clouds.flatMap((cloud) => cloud.passwords());

  await underFire(
    (async () => {
      const rows = await books.query<{ id: string }>('select id from provisioning.servers');
      await inParallel(rows.length, 12, async (n) => {
        await insist<Operation>('DELETE', `/v1/servers/${rows[n]?.id}`, `delete-${n}`);
      });
      await untilAllEnded(books, PATIENCE_MS);
    })(),
  );
  const deleted = Date.now();
  await assertListEquals(clouds);
  for (const cloud of clouds) {
    assert.deepEqual([cloud.alive(), cloud.disks()], [[], 0], `${cloud.name} still has servers or disks`);
    assert.equal(cloud.fake.counts().limited, 0, `${cloud.name} was asked more than it allows`);
    const { reads, mutations, throttled } = cloud.fake.counts();
    const inAMinute = busiestMinute(cloud.fake.calls.map(({ at }) => at));
    assert.ok(inAMinute <= CALLS_PER_MINUTE, `${cloud.name} got ${inAMinute} calls in a minute`);
    t.diagnostic(
      `${cloud.name}: ${reads} reads, ${mutations} changes, ${throttled} answered with 429; at most ${inAMinute} calls in a minute`,
    );
  }
  const failed = await books.query('select kind, error from provisioning.operations where status <> $1', ['completed']);
  t.diagnostic(
    `${kills} kills; creates took ${made - begun} ms, deletes ${deleted - made} ms; not completed: ${JSON.stringify(failed)}`,
  );
  assert.ok(failed.length <= SERVERS / 50, JSON.stringify(failed));
  await assertEventsComplete(books);
  const secrets = Object.assign({}, ...clouds.map((cloud) => cloud.secrets));
  for (const [place, password] of passwords.slice(0, 10).entries()) secrets[`one-time password ${place}`] = password;
  for (const cloud of clouds) assert.notDeepEqual(cloud.secrets, {}, `no secret of ${cloud.name} to look for`);
  assertFree([...outputs, server.output()].join('\n'), secrets, 'in the log');
  await assertNotStored(database.pool, secrets);

  /** What the list says is what is there: each server of the list once, and nothing else. */
  async function assertListEquals(all: Cloud[]) {
    for (const cloud of all) {
      const rows = await books.query<{ operation_id: string; status: string }>(
        'select operation_id, status from provisioning.servers where provider = $1',
        [cloud.name],
      );
      assert.deepEqual(
        rows.filter(({ status }) => status !== 'running'),
        [],
      );
      assert.deepEqual(cloud.alive().toSorted(), rows.map((row) => row.operation_id).toSorted(), cloud.name);
    }
  }
}

/** The most calls that any sixty seconds saw: a bucket that is refilled lets more through than its size. */
function busiestMinute(times: readonly number[]): number {
  let most = 0;
  let from = 0;
  for (const [place, at] of times.entries()) {
    while (at - (times[from] ?? at) > 60_000) from += 1;
    most = Math.max(most, place - from + 1);
  }
  return most;
}
