import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/database/embedded.ts';
import { signalProcess } from '../../src/database/embedded-process.ts';
import { createDataDir, type Owner, postmasters, query, startOwner } from '../support/embedded.ts';
import { MAIN, until } from '../support/server.ts';

// What is looked for in /proc: these tests must see with their own eyes that no process is left.
const onLinux = { skip: process.platform === 'linux' ? false : 'skipped: /proc is absent' };

function start(dataDir: string, signal?: AbortSignal): Promise<EmbeddedPostgres> {
  return startEmbeddedPostgres({ dataDir, log: () => {}, ...(signal === undefined ? {} : { signal }) });
}

test('what is in the database survives a stop and a start, and a stop leaves no process', onLinux, async () => {
  await using place = await createDataDir();
  const first = await start(place.dataDir);
  assert.equal(first.adopted, false);
  await query(first.connection, 'create table kept as select 42 as answer');
  await Promise.all([first.stop(), first.stop()]);
  assert.deepEqual(await postmasters(place.dataDir), []);
  await first.stop();
  await first.ensureRunning();
  assert.deepEqual(await postmasters(place.dataDir), [], 'a stopped one is not brought back');

  const second = await start(place.dataDir);
  assert.deepEqual(await query(second.connection, 'select answer from kept'), [{ answer: 42 }]);
  await second.stop();
});

test('after kill -9 of its owner Postgres runs on, and the next start takes it over at once', onLinux, async () => {
  await using place = await createDataDir();
  const killed = await startOwner(place.dataDir);
  await query(killed.connection, 'create table kept as select 42 as answer');
  const pids = await postmasters(place.dataDir);
  await killed.kill();
  assert.deepEqual(await postmasters(place.dataDir), pids);

  const next = await startOwner(place.dataDir);
  assert.equal(next.refusal, null);
  assert.equal(next.adopted, true);
  assert.deepEqual(await postmasters(place.dataDir), pids);
  assert.deepEqual(await query(next.connection, 'select answer from kept'), [{ answer: 42 }]);
  assert.equal(await next.stop(), 0);
  assert.deepEqual(await postmasters(place.dataDir), []);
});

test('Postgres killed with -9 comes back by itself, with everything that was acknowledged', onLinux, async () => {
  await using place = await createDataDir();
  const postgres = await start(place.dataDir);
  await query(postgres.connection, 'create table acknowledged (n int primary key)');
  const acknowledged: number[] = [];
  let next = 0;
  let writing = true;
  const write = async () => {
    while (writing) {
      const n = next++;
      await query(postgres.connection, 'insert into acknowledged values ($1)', [n]).then(
        () => acknowledged.push(n),
        () => postgres.ensureRunning(),
      );
    }
  };
  const writers = [write(), write(), write()];
  for (let kill = 1; kill <= 3; kill += 1) {
    const before = acknowledged.length;
    await until(async () => acknowledged.length > before + 10, 'some writes');
    const [pid = 0] = await postmasters(place.dataDir);
    process.kill(pid, 'SIGKILL');
    await until(async () => (await postmasters(place.dataDir)).some((now) => now !== pid), 'another Postgres');
  }
  const before = acknowledged.length;
  await until(async () => acknowledged.length > before + 10, 'writes after the last kill');
  writing = false;
  await Promise.all(writers);
  const stored = new Set((await query(postgres.connection, 'select n from acknowledged')).map(({ n }) => n));
  assert.deepEqual(
    acknowledged.filter((n) => !stored.has(n)),
    [],
  );
  await postgres.stop();
});

test(
  'a second start is refused with the id of the process that has the directory, which goes on unharmed',
  onLinux,
  async () => {
    await using place = await createDataDir();
    const owner = await startOwner(place.dataDir);
    const pids = await postmasters(place.dataDir);
    for (let attempt = 1; attempt <= 2; attempt += 1) {
      await assert.rejects(start(place.dataDir), (error: Error) => {
        assert.match(
          error.message,
          new RegExp(`${place.dataDir} is in use by process ${owner.pid}\\. Stop that server`),
        );
        return true;
      });
    }
    assert.deepEqual(await postmasters(place.dataDir), pids);
    assert.deepEqual(await query(owner.connection, 'select 1 as one'), [{ one: 1 }]);
    assert.equal(await owner.stop(), 0);
  },
);

test('of starts at the same moment exactly one wins, and the others name it', onLinux, async () => {
  await using place = await createDataDir();
  // The first round makes the database as well.
  for (let round = 1; round <= 3; round += 1) {
    const owners = await Promise.all([1, 2, 3].map(() => startOwner(place.dataDir)));
    const winners = owners.filter(({ refusal }) => refusal === null);
    assert.equal(winners.length, 1, owners.map(({ refusal }) => refusal).join('\n'));
    const [winner] = winners as [Owner];
    for (const { refusal } of owners.filter((owner) => owner !== winner))
      assert.match(refusal ?? '', new RegExp(`in use by process ${winner.pid}\\.`));
    assert.deepEqual(await query(winner.connection, 'select 1 as one'), [{ one: 1 }]);
    assert.equal((await postmasters(place.dataDir)).length, 1);
    assert.equal(await winner.stop(), 0);
    assert.deepEqual(await postmasters(place.dataDir), []);
  }
});

test('a start while another one stops is refused, or has a whole Postgres of its own', onLinux, async () => {
  await using place = await createDataDir();
  let owner: EmbeddedPostgres | null = await start(place.dataDir);
  for (let round = 0; round < 12; round += 1) {
    owner ??= await start(place.dataDir);
    const stopped = owner.stop();
    // At a different moment of the stop in each round.
    await delay(round * 4);
    owner = await start(place.dataDir).catch((error: Error) => {
      assert.match(error.message, new RegExp(`in use by process ${process.pid}\\.`));
      return null;
    });
    await stopped;
    if (owner === null) assert.deepEqual(await postmasters(place.dataDir), []);
    else assert.deepEqual(await query(owner.connection, 'select 1 as one'), [{ one: 1 }]);
  }
  await owner?.stop();
});

test(
  'a stop while connections are being opened or Postgres is being brought back leaves nothing',
  onLinux,
  async () => {
    await using place = await createDataDir();
    for (let round = 0; round < 8; round += 1) {
      const postgres = await start(place.dataDir);
      const opening = Array.from({ length: 20 }, () => query(postgres.connection, 'select pg_sleep(0.01)'));
      const settled = Promise.allSettled(opening);
      await delay(round * 3);
      if (round % 2 === 1) for (const pid of await postmasters(place.dataDir)) signalProcess(pid, 'SIGKILL');
      await delay(round);
      await postgres.stop();
      await settled;
      await until(async () => (await postmasters(place.dataDir)).length === 0, `no Postgres in round ${round}`);
    }
  },
);

test('what a killed Postgres has left, and does not notice its end, keeps the next from nothing', onLinux, async () => {
  await using place = await createDataDir();
  const postgres = await start(place.dataDir);
  const [row] = await query(
    postgres.connection,
    "select pid from pg_stat_activity where backend_type = 'checkpointer'",
  );
  const left = Number((row as { pid: number }).pid);
  // As one that waits for a lock whose holder has been killed.
  signalProcess(left, 'SIGSTOP');
  for (const pid of await postmasters(place.dataDir)) signalProcess(pid, 'SIGKILL');
  await until(
    () =>
      query(postgres.connection, 'select 1').then(
        () => true,
        () => false,
      ),
    'Postgres to be back',
  );
  await postgres.stop();
});

test(
  'a start that is broken off leaves no process, at whatever moment, and the next one works',
  onLinux,
  async (t: TestContext) => {
    await using place = await createDataDir();
    let brokenOff = 0;
    for (let round = 0; round < 12; round += 1) {
      const controller = new AbortController();
      const reason = new Error('broken off');
      const starting = start(place.dataDir, controller.signal);
      starting.catch(() => 'looked at below');
      await delay(round * 15);
      controller.abort(reason);
      await starting.then(
        (postgres) => postgres.stop(),
        (error: unknown) => {
          assert.equal(error, reason);
          brokenOff += 1;
        },
      );
      assert.deepEqual(await postmasters(place.dataDir), [], `round ${round}`);
    }
    t.diagnostic(`${brokenOff} of 12 starts were broken off before they were through`);
    assert.ok(brokenOff > 0);
    const postgres = await start(place.dataDir);
    assert.deepEqual(await query(postgres.connection, 'select 1 as one'), [{ one: 1 }]);
    await postgres.stop();
  },
);

test('a server that is told to stop while it starts ends cleanly and takes its Postgres with it', onLinux, async () => {
  await using place = await createDataDir();
  for (let round = 0; round < 4; round += 1) {
    const server = spawn(process.execPath, [MAIN, 'serve', '--port', '0', '--data-dir', place.dataDir], {
      stdio: 'ignore',
    });
    const exited = once(server, 'exit');
    await until(async () => (await postmasters(place.dataDir)).length > 0, 'Postgres', 60_000, 5);
    await delay(round * 100);
    server.kill('SIGTERM');
    assert.deepEqual(await exited, [0, null]);
    assert.deepEqual(await postmasters(place.dataDir), []);
  }
});
