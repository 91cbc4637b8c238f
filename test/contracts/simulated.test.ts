import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { type CompiledQuery, Kysely, PostgresDialect } from 'kysely';
import type { Tables } from '../../src/database/tables.ts';
import type { MutationOptions, Provider, ProviderServer, ServerSpec } from '../../src/providers/contract.ts';
import { parseFaults, type SimulatedFaults } from '../../src/providers/simulated/faults.ts';
import { createSimulatedProvider } from '../../src/providers/simulated/provider.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../support/server.ts';
import { providerSuite } from './provider.testsuite.ts';

// Once with changes that take a moment, once all at once: the two take different ways through the code.
providerSuite('simulated', () => setUpSimulated(40));
providerSuite('simulated, without latency', () => setUpSimulated(0));
describe('the simulated cloud and its faults', faultTests);

async function setUpSimulated(latencyMs: number) {
  const database = await createTestDatabase();
  const counted = { reads: 0, mutations: 0 };
  const db = new Kysely<Tables>({
    dialect: new PostgresDialect({ pool: database.pool }),
    log: ({ query }) => {
      counted[isMutation(query) ? 'mutations' : 'reads'] += 1;
    },
  });
  const faults = parseFaults('');
  return {
    provider: createSimulatedProvider({ db, latencyMs, faults }),
    spec: newSpec,
    loseNextCreateAnswer: () => happenOnce(faults, 'lost_answer'),
    leaveNextCreateHalfDone: () => happenOnce(faults, 'half_created'),
    requestCounts: () => ({ ...counted }),
    dispose: () => database.close(),
  };
}

/** A statement that changes the cloud's servers; the entry in its books alone is no change. */
function isMutation({ sql }: CompiledQuery): boolean {
  return /(insert into|update|delete from) simulated_cloud\.servers/.test(sql);
}

/** The fault happens the next time that the cloud asks for it, and never again. */
function happenOnce(faults: SimulatedFaults, fault: Exclude<keyof SimulatedFaults, 'seed'>): void {
  Object.defineProperty(faults, fault, {
    configurable: true,
    get: () => {
      Object.defineProperty(faults, fault, { value: 0, writable: true });
      return 1;
    },
  });
}

function faultTests() {
  let database: TestDatabase;
  before(async () => {
    database = await createTestDatabase({ poolSize: 20 });
  });
  after(() => database.close());

  const cloud = (faults = '', latencyMs = 0): Provider =>
    createSimulatedProvider({ db: database.db, latencyMs, faults: parseFaults(faults) });

  /** What the cloud entered for an operation, in order. */
  const booksOf = async (operationId: string): Promise<string[]> => {
    const { rows } = await database.pool.query<{ call: string; outcome: string }>(
      'select call, outcome from simulated_cloud.calls where operation_id = $1 order by id',
      [operationId],
    );
    return rows.map(({ call, outcome }) => `${call} ${outcome}`);
  };
  const statusOf = async (ref: string) => (await cloud().observeServers([ref])).get(ref)?.status ?? 'absent';

  /** Sets the moment at which the last change of the server is done: no test waits for a clock, or races with it. */
  const settleIn = (ref: string, interval: string) =>
    database.pool.query(
      'update simulated_cloud.servers set settles_at = clock_timestamp() + $2::interval where ref = $1',
      [ref, interval],
    );
  /** Asserts what the change looks like before and after it is done, and that how long it takes. */
  const assertSettling = async (
    ref: string,
    { operationId }: MutationOptions,
    { busy, done, seconds }: { busy: string; done: string; seconds: number },
  ) => {
    const { rows } = await database.pool.query<{ seconds: number }>(
      `select extract(epoch from settles_at - at)::float8 as seconds
       from simulated_cloud.servers join simulated_cloud.calls using (operation_id)
       where operation_id = $1 order by id desc limit 1`,
      [operationId],
    );
    const taken = rows[0]?.seconds ?? Number.NaN;
    assert.ok(taken > seconds / 2 && taken < seconds * 2, `${busy} takes ${taken} s`);
    await settleIn(ref, '1 hour');
    assert.equal(await statusOf(ref), busy);
    await settleIn(ref, '-1 second');
    assert.equal(await statusOf(ref), done);
  };

  test('P2: a ref, or the operation, is enough for a provider that has never seen the server', async () => {
    const call = permitted();
    const { ref } = await cloud().ensureServer(newSpec({ tags: ['blue'] }), call);
    assert.equal((await cloud().findServer(call.operationId))?.ref, ref);
    await cloud().stopServer(ref, permitted());
    assert.equal(await statusOf(ref), 'stopped');
  });

  test('a change is under way for as long as the latency says, and then done', async () => {
    const slow = cloud('', 400);
    const call = permitted();
    const { ref } = await slow.ensureServer(newSpec(), call);
    await assertSettling(ref, call, { busy: 'creating', done: 'running', seconds: 0.4 });
    await slow.stopServer(ref, call);
    await assertSettling(ref, call, { busy: 'stopping', done: 'stopped', seconds: 0.4 });
    await slow.startServer(ref, call);
    await assertSettling(ref, call, { busy: 'starting', done: 'running', seconds: 0.4 });
    await slow.restartServer(ref, call);
    await assertSettling(ref, call, { busy: 'starting', done: 'running', seconds: 0.4 });
    await slow.deleteServer(ref, call);
    await settleIn(ref, '1 hour');
    await assert.rejects(slow.startServer(ref, call), { code: 'CONFLICT', retryable: true });
  });

  test('a lost answer is TIMEOUT, retryable, and the change took effect', async () => {
    const losing = cloud('lost_answer=1');
    const call = permitted();
    const lost = { name: 'ProviderError', code: 'TIMEOUT', retryable: true };
    await assert.rejects(losing.ensureServer(newSpec(), call), lost);
    // Looking loses nothing: the next try finds what the first one made.
    const { ref } = await losing.ensureServer(newSpec(), call);
    await assert.rejects(losing.stopServer(ref, call), lost);
    assert.equal(await statusOf(ref), 'stopped');
    await assert.rejects(losing.startServer(ref, call), lost);
    assert.equal(await statusOf(ref), 'running');
    await assert.rejects(losing.deleteServer(ref, call), lost);
    assert.equal(await statusOf(ref), 'absent');
    assert.deepEqual(await booksOf(call.operationId), [
      'find missing',
      'create lost',
      'find adopted',
      'stop lost',
      'start lost',
      'delete lost',
    ]);
  });

  test('429 is RATE_LIMITED with the seconds to wait, at reads as at changes, and nothing happened', async () => {
    const limiting = cloud('rate_limited=1');
    const made = await cloud().ensureServer(newSpec(), permitted());
    const call = permitted();
    const attempts = [
      () => limiting.ensureServer(newSpec(), call),
      () => limiting.findServer(call.operationId),
      () => limiting.observeServers([made.ref]),
      () => limiting.listServers(),
      () => limiting.stopServer(made.ref, call),
      () => limiting.deleteServer(made.ref, call),
    ];
    for (const attempt of attempts) await assert.rejects(attempt, isRateLimit);
    assert.equal(await statusOf(made.ref), 'running');
    assert.equal(await cloud().findServer(call.operationId), null);
    assert.deepEqual((await booksOf(call.operationId)).toSorted(), [
      'delete rate_limited',
      'find missing',
      'find rate_limited',
      'find rate_limited',
      'stop rate_limited',
    ]);
  });

  test('500 is UNAVAILABLE, retryable, and nothing happened', async () => {
    const failing = cloud('server_error=1');
    const made = await cloud().ensureServer(newSpec(), permitted());
    const call = permitted();
    const unavailable = { name: 'ProviderError', code: 'UNAVAILABLE', retryable: true };
    await assert.rejects(failing.ensureServer(newSpec(), call), unavailable);
    await assert.rejects(failing.stopServer(made.ref, call), unavailable);
    await assert.rejects(failing.deleteServer(made.ref, call), unavailable);
    assert.equal(await failing.findServer(call.operationId), null);
    assert.equal(await statusOf(made.ref), 'running');
    assert.ok((await booksOf(call.operationId)).includes('create error'));
  });

  test('a half-created server is switched off until it is ensured again, and stopping it on purpose keeps it off', async () => {
    const halving = cloud('half_created=1');
    const [ensured, stopped] = [permitted(), permitted()];
    const [first, second] = [
      await halving.ensureServer(newSpec(), ensured),
      await halving.ensureServer(newSpec(), stopped),
    ];
    assert.deepEqual([first.status, second.status], ['stopped', 'stopped']);
    assert.equal((await halving.ensureServer(newSpec(), ensured)).status, 'running');
    assert.equal(await statusOf(first.ref), 'running');
    await halving.stopServer(second.ref, stopped);
    assert.equal((await halving.ensureServer(newSpec(), stopped)).status, 'stopped');
    assert.deepEqual(await booksOf(ensured.operationId), ['find missing', 'create ok', 'find adopted', 'start ok']);
  });

  test('a stuck server never comes up, whatever it is told, and can be deleted', async () => {
    const sticking = cloud('stuck=1');
    const call = permitted();
    const { ref, status } = await sticking.ensureServer(newSpec(), call);
    assert.equal(status, 'creating');
    await sticking.startServer(ref, call);
    await sticking.restartServer(ref, call);
    assert.equal((await sticking.ensureServer(newSpec(), call)).status, 'creating');
    assert.equal(await statusOf(ref), 'creating');
    await sticking.deleteServer(ref, call);
    assert.equal(await statusOf(ref), 'absent');
    assert.equal(await sticking.findServer(call.operationId), null);
  });

  test('a slow deletion is long under way, ends all the same, and lets a new server of the operation be made', async () => {
    const slow = cloud('slow_delete=1', 40);
    const call = permitted();
    const { ref } = await slow.ensureServer(newSpec(), call);
    await slow.deleteServer(ref, call);
    await assertSettling(ref, call, { busy: 'deleting', done: 'absent', seconds: 0.8 });
    assert.equal(await slow.findServer(call.operationId), null);
    await slow.deleteServer(ref, call);
    assert.notEqual((await slow.ensureServer(newSpec(), call)).ref, ref);
  });

  test('of creates that race for one operation the cloud carries out one and notices the others', async () => {
    const call = permitted();
    const servers = await Promise.all(Array.from({ length: 20 }, () => cloud().ensureServer(newSpec(), call)));
    assert.equal(new Set(servers.map(({ ref }) => ref)).size, 1);
    const books = await booksOf(call.operationId);
    assert.equal(books.filter((entry) => entry === 'create ok').length, 1);
    assert.ok(
      books.every((entry) => /^(create (ok|refused)|find (missing|adopted))$/.test(entry)),
      books.join(', '),
    );
  });

  test('whatever goes wrong, callers that try again end with one server for each operation, and none after deleting', async () => {
    const bad = cloud('lost_answer=0.3,rate_limited=0.2,server_error=0.2,half_created=0.3,slow_delete=0.2', 2);
    const workspace = `bad-${randomBytes(4).toString('hex')}`;
    const ours = async () => (await cloud().listServers()).filter((server) => server.workspace === workspace);
    const calls = Array.from({ length: 60 }, () => permitted());
    const servers = await Promise.all(calls.map((call) => untilTaken(() => ensureRunning(bad, workspace, call))));
    assert.deepEqual((await ours()).map(({ ref }) => ref).toSorted(), servers.map(({ ref }) => ref).toSorted());
    for (const { operationId } of calls) {
      const creates = (await booksOf(operationId)).filter((entry) => /^create (ok|lost|refused)$/.test(entry));
      assert.equal(creates.length, 1, `${operationId}: ${creates.join(', ')}`);
    }
    await Promise.all(servers.map(({ ref }) => untilTaken(() => bad.deleteServer(ref, permitted()))));
    await until(async () => (await ours()).length === 0, 'the servers to go');
  });
}

/** Ensures the server, and once more where it was made by half. */
async function ensureRunning(provider: Provider, workspace: string, call: MutationOptions): Promise<ProviderServer> {
  const server = await provider.ensureServer(newSpec({ workspace }), call);
  return server.status === 'stopped' ? provider.ensureServer(newSpec({ workspace }), call) : server;
}

/** Tries again for as long as the provider says that it may help. */
async function untilTaken<T>(call: () => Promise<T>): Promise<T> {
  const MAX_TRIES = 200;
  for (let tries = 1; ; tries += 1) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof Error) || Reflect.get(error, 'retryable') !== true || tries === MAX_TRIES) throw error;
    }
  }
}

function isRateLimit(error: unknown): boolean {
  assert.ok(error instanceof Error);
  const { name } = error;
  assert.deepEqual(
    { name, code: Reflect.get(error, 'code'), retryable: Reflect.get(error, 'retryable') },
    { name: 'ProviderError', code: 'RATE_LIMITED', retryable: true },
  );
  const wait: unknown = Reflect.get(error, 'retryAfter');
  return typeof wait === 'number' && wait > 0;
}

function newSpec(overrides: Partial<ServerSpec> = {}): ServerSpec {
  return { workspace: 'w', hostname: 'host-1', plan: '1xCPU-1GB', zone: 'de-fra1', tags: [], ...overrides };
}

function permitted(): MutationOptions {
  return { operationId: randomUUID(), guard: () => {} };
}
