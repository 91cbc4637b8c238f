/** Workflows that run: order, results, what a failure does, cancel. Through a real server on the simulated cloud. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { expectError, expectOk, startInstallation } from '../../test/support/acceptance.ts';
import { ended, type Operation, until } from '../../test/support/server.ts';
import {
  makes,
  runBatch,
  type Step,
  statuses,
  stepsOf,
  submit,
  submitBatch,
  workflowOf,
} from '../../test/support/workflows.ts';

const installation = await startInstallation();
after(() => installation.close());
const { admin } = installation.server;

describe('a workflow runs', () => {
  test('the example of the reference: submit, get, and three servers in the end', async () => {
    const operation = await submit(admin, 'cluster_create', { cluster_name: 'k8s-prod', node_count: 3 });
    assert.deepEqual([operation.status, operation.result, operation.error], ['pending', null, null]);
    const done = await ended(admin, operation.id);
    assert.equal(done.status, 'completed', JSON.stringify(done));
    const nodes = done.result?.nodes as { hostname: string; ip_address: string }[];
    assert.deepEqual(
      nodes.map(({ hostname }) => hostname),
      ['k8s-prod-1', 'k8s-prod-2', 'k8s-prod-3'],
    );
    for (const { ip_address } of nodes) assert.match(ip_address, /^10\./);
    const workflow = await workflowOf(admin, operation.id);
    assert.deepEqual(
      [workflow.workflow_type, workflow.status, workflow.progress, workflow.nodes],
      ['cluster_create', 'completed', 100, { completed: 4, skipped: 9 }],
    );
    const children = expectOk(await admin.request<Operation[]>('GET', `/v1/operations?parent_id=${operation.id}`));
    assert.deepEqual(children.map((child) => (child as Operation & { kind: string }).kind).sort(), [
      'server.create',
      'server.create',
      'server.create',
      'taskserv.create',
    ]);
  });

  test('a step waits for what it depends on and reads its results', async () => {
    const done = await runBatch(admin, [
      makes('one', 'order-1'),
      { id: 'stop', kind: 'server.stop', with: { server: '${{ operations.one.result.server_id }}' } },
      { id: 'start', kind: 'server.start', depends_on: ['stop'], with: { server: 'order-1' } },
      makes('many', '${{ item }}-of-order', { for_each: ['a', 'b'], depends_on: ['start'] }),
      { id: 'gone', kind: 'server.delete', with: { server: '${{ operations.many[1].result.hostname }}' } },
    ]);
    assert.equal(done.status, 'completed', JSON.stringify(done));
    const steps = await stepsOf(admin, done.id);
    assert.deepEqual(
      steps.map(({ id, status }) => [id, status]),
      ['one', 'stop', 'start', 'many[0]', 'many[1]', 'gone'].map((id) => [id, 'completed']),
    );
    assert.equal(steps[5]?.with?.server, 'b-of-order');
    assert.match(String(steps[1]?.with?.server), /^srv-/);
    assert.deepEqual(
      steps.map(({ id, depends_on }) => [id, depends_on]),
      [
        ['one', []],
        ['stop', [{ id: 'one', type: 'hard' }]],
        ['start', [{ id: 'stop', type: 'hard' }]],
        ['many[0]', [{ id: 'start', type: 'hard' }]],
        ['many[1]', [{ id: 'start', type: 'hard' }]],
        ['gone', [{ id: 'many', type: 'hard' }]],
      ],
    );
    const ids = async (query: string) => {
      const answer = await admin.request<Step[]>('GET', `/v1/workflows/${done.id}/steps?${query}`);
      return {
        ids: expectOk(answer).map(({ id }) => id),
        next: /<([^>]+)>; rel="next"/.exec(answer.headers.get('link') ?? '')?.[1],
      };
    };
    assert.deepEqual((await ids('step=many&status=completed')).ids, ['many[0]', 'many[1]']);
    const first = await ids('limit=4');
    assert.deepEqual(first.ids, ['one', 'stop', 'start', 'many[0]']);
    const second = await ids(first.next?.split('?')[1] ?? '');
    assert.deepEqual(second, { ids: ['many[1]', 'gone'], next: undefined });
    const brief = expectOk(await admin.request<Step[]>('GET', `/v1/workflows/${done.id}/steps?brief=true`));
    assert.deepEqual(
      brief,
      steps.map((step) => ({ ...step, with: null, result: null })),
    );
  });

  test('when decides by results; what is left out does not stop what depends on it', async () => {
    const done = await runBatch(admin, [
      makes('one', 'when-1'),
      makes('two', 'when-2', { when: "${{ operations.one.result.hostname == 'other' }}" }),
      makes('three', 'when-3', { when: "${{ operations.one.result.hostname == 'when-1' }}" }),
      makes('four', 'when-4-${{ item }}', {
        for_each: [1, 2],
        when: '${{ operations.one.result.server_id && item == `2` }}',
      }),
      makes('five', 'when-5', { depends_on: ['two'] }),
    ]);
    assert.equal(done.status, 'completed', JSON.stringify(done));
    assert.deepEqual(await statuses(admin, done.id), {
      one: 'completed',
      two: 'skipped',
      three: 'completed',
      'four[0]': 'skipped',
      'four[1]': 'completed',
      five: 'completed',
    });
  });

  test('limits hold, and of what is ready the greater priority starts first', async () => {
    const done = await runBatch(
      admin,
      [
        makes('low', 'prio-low-${{ item }}', { for_each: [1, 2, 3], priority: -1 }),
        makes('high', 'prio-high-${{ item }}', { for_each: [1, 2, 3], priority: 5 }),
      ],
      { parallel_limit: 1 },
    );
    assert.equal(done.status, 'completed');
    const { rows } = await installation.database.pool.query<{ key: string; started: Date; ended: Date }>(
      `select n.key, n.started_at as started, o.finished_at as ended from provisioning.workflow_nodes n
       join provisioning.operations o on o.id = n.operation_id where n.workflow_id = $1 order by n.started_at`,
      [done.id],
    );
    assert.deepEqual(
      rows.map(({ key }) => key),
      ['high[0]', 'high[1]', 'high[2]', 'low[0]', 'low[1]', 'low[2]'],
    );
    for (const [n, row] of rows.slice(1).entries())
      assert.ok((rows[n]?.ended ?? 0) <= row.started, `${row.key} began before its turn`);
  });
});

describe('a node that fails', () => {
  test('continue: only what needs it is left out; soft dependencies go on', async () => {
    const done = await runBatch(admin, [
      { id: 'bad', kind: 'server.delete', with: { server: 'nobody' }, on_failure: 'continue' },
      makes('needs', 'continue-1', { depends_on: ['bad'] }),
      makes('further', 'continue-2', { depends_on: ['needs'] }),
      makes('soft', 'continue-3', { depends_on: [{ id: 'bad', type: 'soft' }] }),
      makes('other', 'continue-4'),
    ]);
    assert.equal(done.status, 'completed', JSON.stringify(done));
    assert.deepEqual(await statuses(admin, done.id), {
      bad: 'failed',
      needs: 'not_run',
      further: 'not_run',
      soft: 'completed',
      other: 'completed',
    });
  });

  test('fail: the workflow says which and why, and starts nothing more', async () => {
    const done = await runBatch(admin, [
      makes('first', 'fail-1'),
      { id: 'bad', kind: 'server.delete', depends_on: ['first'], with: { server: 'nobody' }, on_failure: 'fail' },
      makes('never', 'fail-2', { depends_on: [{ id: 'bad', type: 'soft' }] }),
    ]);
    assert.equal(done.status, 'failed');
    assert.match(done.error ?? '', /^bad failed: There is no server/);
    assert.deepEqual(await statuses(admin, done.id), { first: 'completed', bad: 'failed', never: 'not_run' });
  });
});

describe('cancel', () => {
  test('children stop first, and nothing goes forward afterwards', async () => {
    await using slow = await startInstallation({ SIMULATED_LATENCY_MS: '4000' });
    const client = slow.server.admin;
    const { id } = await submitBatch(client, [
      makes('a', 'c-${{ item }}', { for_each: [1, 2, 3] }),
      makes('b', 'c-4', { depends_on: ['a'] }),
    ]);
    await until(async () => (await workflowOf(client, id)).nodes.running === 3, 'three nodes to run');
    const answer = expectOk(await client.request<Operation>('POST', `/v1/workflows/${id}/cancel`));
    assert.equal(answer.status, 'cancelled', JSON.stringify(answer));
    assert.deepEqual(await statuses(client, id), {
      'a[0]': 'cancelled',
      'a[1]': 'cancelled',
      'a[2]': 'cancelled',
      b: 'not_run',
    });
    const { rows } = await slow.database.pool.query(
      `select c.kind from provisioning.operations c join provisioning.operations w on w.id = c.parent_id
       where w.id = $1 and (c.finished_at is null or c.finished_at > w.finished_at)`,
      [id],
    );
    assert.deepEqual(rows, []);
    expectError(await client.request('POST', `/v1/workflows/${id}/cancel`), 409, 'OPERATION_ENDED');
  });
});
