import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { parseFaults } from '../providers/simulated/faults.ts';
import { createSimulatedProvider } from '../providers/simulated/provider.ts';
import type { Transport } from './contract.ts';
import { runJob } from './job.ts';
import { createSimulatedTransport } from './simulated.ts';

describe('the simulated transport', () => {
  let database: TestDatabase;
  let ref: string;
  const faults = parseFaults('');
  let transport: Transport;
  before(async () => {
    database = await createTestDatabase();
    const provider = createSimulatedProvider({ db: database.db, latencyMs: 0, faults });
    const spec = { workspace: 'default', hostname: 'web-01', plan: '1xCPU-1GB', zone: 'de-fra1', tags: [] };
    ({ ref } = await provider.ensureServer(spec, { operationId: 'one', guard: () => {} }));
    transport = createSimulatedTransport({ db: database.db, ref, host: 'web-01', latencyMs: 20, faults });
  });
  after(() => database.close());

  const job = (id: string, label: string) => ({ id, label, script: 'true', env: {}, timeoutSeconds: 10 });
  const books = () => database.db.selectFrom('simulated_cloud.runs').selectAll().orderBy('id').execute();

  test('a job runs once for its id, however often it is asked for, and the books say so', async () => {
    const numbers: number[] = [];
    await Promise.all([
      runJob(transport, job('a', 'install redis')),
      runJob(transport, { ...job('a', 'install redis'), onLine: (_line, number) => numbers.push(number) }),
    ]);
    assert.deepEqual(numbers, [1, 2]);
    await runJob(transport, {
      ...job('a', 'install redis'),
      fromLine: 2,
      onLine: (_line, number) => numbers.push(number),
    });
    assert.deepEqual(numbers, [1, 2, 2]);
    const entries = (await books()).filter((run) => run.job_id === 'a');
    assert.deepEqual(
      entries.map(({ ref: where, kind, attached, exit_code }) => ({ where, kind, attached, exit_code })),
      [{ where: ref, kind: 'job', attached: 3, exit_code: 0 }],
    );
  });

  test('a check succeeds from the install on until the removal', async () => {
    const check = async () => (await transport.run('', { label: 'check nginx', timeoutSeconds: 10 })).exitCode;
    assert.equal(await check(), 1);
    await runJob(transport, job('b', 'install nginx'));
    assert.equal(await check(), 0);
    await runJob(transport, job('c', 'remove nginx'));
    assert.equal(await check(), 1);
  });

  test('a cancelled job has not succeeded; one handed over goes on', async () => {
    const slow = createSimulatedTransport({ db: database.db, ref, host: 'web-01', latencyMs: 100, faults });
    const cancel = AbortSignal.abort(new Error('enough'));
    await assert.rejects(runJob(slow, { ...job('d', 'install etcd'), signal: cancel }), /enough/);
    const later = AbortSignal.timeout(50);
    await assert.rejects(runJob(slow, { ...job('d', 'install etcd'), signal: later }), { name: 'TimeoutError' });
    assert.equal((await books()).find((run) => run.job_id === 'd')?.exit_code, null);
    const handOver = new AbortController();
    setTimeout(() => handOver.abort(Object.assign(new Error('moving'), { code: 'HANDED_OVER' })), 50);
    await assert.rejects(runJob(slow, { ...job('e', 'install etcd'), signal: handOver.signal }), /moving/);
    assert.deepEqual(await runJob(slow, job('e', 'install etcd')), { exitCode: 0, signal: null });
  });

  test('a job past its time ends with TIMEOUT', async () => {
    const slow = createSimulatedTransport({ db: database.db, ref, host: 'web-01', latencyMs: 1_000, faults });
    await assert.rejects(runJob(slow, { ...job('f', 'install k3s'), timeoutSeconds: 0.05 }), { code: 'TIMEOUT' });
  });

  test('faults: nothing ran, or it ran and nobody knows, or it failed', async () => {
    faults.unreachable = 1;
    const before = (await books()).length;
    await assert.rejects(transport.run('', { timeoutSeconds: 10 }), { code: 'UNREACHABLE', retryable: true });
    assert.equal((await books()).length, before);
    Object.assign(faults, { unreachable: 0, connection_lost: 1 });
    await assert.rejects(transport.run('', { timeoutSeconds: 10 }), { code: 'CONNECTION_LOST', retryable: true });
    assert.equal((await books()).length, before + 1);
    assert.equal((await runJob(transport, job('g', 'install x'))).exitCode, 0);
    assert.equal((await books()).find((run) => run.job_id === 'g')?.attached, 2);
    Object.assign(faults, { connection_lost: 0, script_fails: 1 });
    assert.equal((await runJob(transport, job('h', 'install y'))).exitCode, 1);
    faults.script_fails = 0;
  });

  test('a server that is not there cannot be reached', async () => {
    const gone = createSimulatedTransport({ db: database.db, ref: 'sim-none', host: 'x', latencyMs: 0, faults });
    await assert.rejects(gone.run('', { timeoutSeconds: 10 }), { code: 'UNREACHABLE' });
    await assert.rejects(gone.upload('', '/x', { mode: 0o644 }), { code: 'UNREACHABLE' });
  });
});
