/** Undoing and repeating: rollback on failure and on request, what cannot be undone, retry. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { expectError, expectOk, startInstallation } from '../../test/support/acceptance.ts';
import { ended, type Operation, until } from '../../test/support/server.ts';
import {
  hostsInCloud,
  makes,
  rolledBack,
  runBatch,
  type Step,
  statuses,
  stepsOf,
  submit,
  typeUndoneOnce,
  workflowOf,
} from '../../test/support/workflows.ts';

const installation = await startInstallation();
after(() => installation.close());
const { admin } = installation.server;
const hosts = async (prefix: string) =>
  (await hostsInCloud(installation.database)).filter((name) => name.startsWith(prefix));
const undoOf = (steps: Step[]) => Object.fromEntries(steps.map(({ id, undo }) => [id, undo]));
/** Fails when its turn comes: there is no such server. */
const fails = (id: string, more: Record<string, unknown> = {}) => ({
  id,
  kind: 'server.delete',
  with: { server: 'nobody' },
  ...more,
});

describe('rollback', () => {
  test('a failure undoes what was done, in reverse order, and the report says so', async () => {
    const failed = await runBatch(admin, [
      makes('a', 'back-${{ item }}', { for_each: [1, 2] }),
      { id: 'stop', kind: 'server.stop', depends_on: ['a'], with: { server: 'back-1' } },
      makes('b', 'back-3', { depends_on: ['stop'] }),
      fails('bad', { depends_on: ['b'] }),
    ]);
    assert.equal(failed.status, 'failed');
    assert.match(failed.error ?? '', /^bad failed: /);
    const rollback = await rolledBack(admin, failed);
    assert.equal(rollback.status, 'completed', JSON.stringify(rollback));
    assert.deepEqual({ ...rollback.result, workflow_id: null }, { workflow_id: null, undone: 4, failed: [], kept: [] });
    assert.deepEqual(await hosts('back-'), []);
    assert.deepEqual(undoOf(await stepsOf(admin, failed.id)), {
      'a[0]': 'undone',
      'a[1]': 'undone',
      stop: 'undone',
      b: 'undone',
      bad: null,
    });
    assert.equal((await workflowOf(admin, failed.id)).rollback_operation_id, rollback.id);
    const { rows } = await installation.database.pool.query<{ kind: string; hostname: string }>(
      `select o.kind, coalesce(o.input -> 'spec' ->> 'hostname', a.details ->> 'hostname') as hostname
       from provisioning.operations o join provisioning.audit_log a on a.operation_id = o.id
       where o.parent_id = $1 order by o.finished_at`,
      [rollback.id],
    );
    assert.deepEqual(
      rows.slice(0, 2).map(({ kind, hostname }) => `${kind} ${hostname}`),
      ['server.delete back-3', 'server.start back-1'],
    );
    assert.deepEqual(
      rows
        .slice(2)
        .map(({ hostname }) => hostname)
        .sort(),
      ['back-1', 'back-2'],
    );
  });

  test('on request after success; a second one is a 409', async () => {
    const done = await runBatch(admin, [makes('a', 'asked-1'), makes('b', 'asked-2', { depends_on: ['a'] })]);
    assert.equal(done.status, 'completed');
    const operation = expectOk(await admin.request<Operation>('POST', `/v1/workflows/${done.id}/rollback`));
    const rollback = await ended(admin, operation.id);
    assert.deepEqual([rollback.status, rollback.result?.undone], ['completed', 2]);
    assert.deepEqual(await hosts('asked-'), []);
    expectError(await admin.request('POST', `/v1/workflows/${done.id}/rollback`), 409, 'CONFLICT');
  });

  test('what cannot be undone is named, and what is gone already is no error', async () => {
    const done = await runBatch(admin, [
      makes('a', 'keep-1'),
      makes('b', 'keep-2'),
      { id: 'gone', kind: 'server.delete', depends_on: ['a'], with: { server: 'keep-1' } },
    ]);
    assert.equal(done.status, 'completed');
    const rollback = await ended(
      admin,
      expectOk(await admin.request<Operation>('POST', `/v1/workflows/${done.id}/rollback`)).id,
    );
    assert.equal(rollback.status, 'completed');
    assert.deepEqual(rollback.result?.kept, [
      { node: 'gone', reason: 'A server that was deleted cannot be brought back.' },
    ]);
    assert.deepEqual(undoOf(await stepsOf(admin, done.id)), { a: 'undone', b: 'undone', gone: 'kept' });
    assert.deepEqual(await hosts('keep-'), []);
  });

  test('preserve_successful keeps what completed; rollback: false as well', async () => {
    for (const [name, setting] of [
      ['preserve', { preserve_successful: true }],
      ['off', { rollback: false }],
    ] as const) {
      const failed = await runBatch(admin, [makes('a', `${name}-1`), fails('bad', { depends_on: ['a'] })], setting);
      assert.equal(failed.status, 'failed');
      assert.equal(failed.result?.cleanup_operation_id, undefined);
      assert.deepEqual(await hosts(name), [`${name}-1`]);
    }
  });

  test('a failure stops what runs beside it before everything is undone', async () => {
    await using slow = await startInstallation({ SIMULATED_LATENCY_MS: '1500' });
    const client = slow.server.admin;
    const failed = await runBatch(client, [makes('slow', 'beside-${{ item }}', { for_each: [1, 2] }), fails('bad')]);
    assert.equal(failed.status, 'failed');
    assert.deepEqual(await statuses(client, failed.id), {
      'slow[0]': 'cancelled',
      'slow[1]': 'cancelled',
      bad: 'failed',
    });
    const rollback = await rolledBack(client, failed);
    assert.equal(rollback.status, 'completed', JSON.stringify(rollback));
    assert.deepEqual(await hostsInCloud(slow.database), []);
  });
});

describe('retry of a node', () => {
  test('tries again as often as it may, and then says why it failed', async () => {
    const failed = await runBatch(admin, [
      makes('a', 'taken'),
      makes('b', 'taken', {
        id: 'b',
        depends_on: ['a'],
        with: { hostname: "${{ operations.a.result.hostname || 'x' }}" },
        retry: { max_attempts: 3, initial_delay: 0.05 },
        on_failure: 'fail',
      }),
    ]);
    assert.equal(failed.status, 'failed');
    assert.match(failed.error ?? '', /^b failed: The hostname "taken" is already taken/);
    const b = (await stepsOf(admin, failed.id)).find(({ id }) => id === 'b');
    assert.deepEqual([b?.status, b?.attempt], ['failed', 3]);
  });

  test('a try that takes too long is stopped; the next one waits until it is tidied up', async () => {
    await using stuck = await startInstallation({ SIMULATED_FAULTS: 'stuck=1' });
    const client = stuck.server.admin;
    const failed = await runBatch(client, [
      makes('a', 'late', { timeout: 0.5, retry: { max_attempts: 2, initial_delay: 0.05 }, on_failure: 'fail' }),
    ]);
    assert.equal(failed.status, 'failed');
    assert.match(failed.error ?? '', /a failed: It did not end within 0\.5 s/);
    assert.equal((await stepsOf(client, failed.id))[0]?.attempt, 2);
    const { rows } = await stuck.database.pool.query<{ count: number }>(
      "select count(*)::int as count from provisioning.operations where kind = 'server.create' and status = 'cancelled'",
    );
    assert.equal(rows[0]?.count, 2);
  });
});

describe('POST /v1/workflows/{id}/retry', () => {
  test('runs only what failed or never ran, from the same snapshot', async () => {
    const failed = await runBatch(admin, [
      makes('a', 'again-1'),
      { id: 'missing', kind: 'server.stop', depends_on: ['a'], with: { server: 'again-2' }, on_failure: 'fail' },
      makes('c', 'again-3', { depends_on: ['missing'] }),
    ]);
    assert.deepEqual(await statuses(admin, failed.id), { a: 'completed', missing: 'failed', c: 'not_run' });
    await runBatch(admin, [makes('x', 'again-2')]);
    const before = await stepsOf(admin, failed.id);
    const again = expectOk(await admin.request<Operation>('POST', `/v1/workflows/${failed.id}/retry`));
    const done = await ended(admin, again.id);
    assert.equal(done.status, 'completed', JSON.stringify(done));
    const steps = await stepsOf(admin, done.id);
    assert.equal(steps[0]?.operation_id, before[0]?.operation_id);
    assert.deepEqual(await hosts('again-'), ['again-1', 'again-2', 'again-3']);
    assert.equal((await workflowOf(admin, done.id)).retry_of, failed.id);
    assert.equal((await workflowOf(admin, failed.id)).retried_by, done.id);
    expectError(await admin.request('POST', `/v1/workflows/${failed.id}/retry`), 409);
    expectError(await admin.request('POST', `/v1/workflows/${failed.id}/rollback`), 409);
    expectError(await admin.request('POST', `/v1/workflows/${done.id}/retry`), 409);
    const rollback = await ended(
      admin,
      expectOk(await admin.request<Operation>('POST', `/v1/workflows/${done.id}/rollback`)).id,
    );
    assert.equal(rollback.status, 'completed');
    assert.deepEqual(await hosts('again-'), ['again-2']);
  });

  test('after a rollback everything runs again', async () => {
    const failed = await runBatch(admin, [
      makes('a', 'redo-1'),
      { id: 'b', kind: 'server.stop', depends_on: ['a'], with: { server: 'redo-2' } },
    ]);
    assert.equal((await rolledBack(admin, failed)).status, 'completed');
    await runBatch(admin, [makes('x', 'redo-2')]);
    const done = await ended(
      admin,
      expectOk(await admin.request<Operation>('POST', `/v1/workflows/${failed.id}/retry`)).id,
    );
    assert.equal(done.status, 'completed', JSON.stringify(done));
    assert.deepEqual(await hosts('redo-'), ['redo-1', 'redo-2']);
  });
});

test('what cannot be undone, and what a failed cleanup has left, is named, and undone when that is asked for later', async () => {
  await using protecting = await startInstallation({
    SIMULATED_FAULTS: 'delete_refused=1',
    SIMULATED_LATENCY_MS: '400',
  });
  const first = protecting.server.admin;
  const operations = [makes('whole', 'kept-1'), makes('half', 'kept-2', { depends_on: ['whole'] })];
  const { id } = await submit(first, await typeUndoneOnce(protecting.server), { operations });
  // Stopped while the server comes up: what tidies up may not delete it.
  await until(async () => (await hostsInCloud(protecting.database)).includes('kept-2'), 'the second server to be made');
  expectOk(await first.request('POST', `/v1/workflows/${id}/cancel`));
  assert.equal((await ended(first, id)).status, 'cancelled');
  const undoing = expectOk(await first.request<Operation>('POST', `/v1/workflows/${id}/rollback`));
  const incomplete = await ended(first, undoing.id, 120);
  assert.equal(incomplete.status, 'failed', JSON.stringify(incomplete));
  const report = incomplete.result as { undone: number; failed: { node: string; error: string }[] };
  assert.deepEqual([report.undone, report.failed.map(({ node }) => node)], [0, ['whole', 'half']]);
  for (const { error } of report.failed) assert.match(error, /it is protected/);
  assert.deepEqual(await hostsInCloud(protecting.database), ['kept-1', 'kept-2']);

  await protecting.killAll();
  const second = (await protecting.replica({ SIMULATED_FAULTS: '', SIMULATED_LATENCY_MS: '5' })).admin;
  const again = expectOk(await second.request<Operation>('POST', `/v1/workflows/${id}/rollback`));
  const rollback = await ended(second, again.id, 60);
  assert.deepEqual([rollback.status, rollback.result?.undone], ['completed', 2], JSON.stringify(rollback));
  assert.deepEqual(await hostsInCloud(protecting.database), []);
  assert.deepEqual(expectOk(await second.request('GET', '/v1/servers')), []);
});
