/** Workflows by the clock, on two replicas. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { expectError, expectOk, makeClient, startInstallation } from '../../../test/support/acceptance.ts';
import { until } from '../../../test/support/server.ts';
import { makes, type WorkflowRecord } from '../../../test/support/workflows.ts';

const installation = await startInstallation();
await installation.replica();
after(() => installation.close());
const { admin } = installation.server;

interface Schedule {
  id: string;
  name: string;
  next_run_at: string;
  last_workflow_id: string | null;
  last_error: string | null;
}
const body = (name: string, more: Record<string, unknown> = {}) => ({
  name,
  workspace: 'default',
  workflow_type: 'batch',
  parameters: { operations: [{ id: 'w', kind: 'wait', with: { seconds: 0 } }] },
  cron: '* * * * * *',
  ...more,
});
const read = async (id: string) => expectOk(await admin.request<Schedule>('GET', `/v1/schedules/${id}`));
const startedBy = async () =>
  (
    await installation.database.pool.query<{ at: string; count: number }>(
      `select date_trunc('second', created_at)::text as at, count(*)::int as count from provisioning.operations
     where kind = 'workflow.run' group by 1`,
    )
  ).rows;

test('every time starts one workflow, however many replicas look', async () => {
  const { id } = expectOk(await admin.request<Schedule>('POST', '/v1/schedules', body('each-second')));
  await until(async () => (await startedBy()).length >= 3, 'three runs');
  const gone = expectOk(await admin.request<Schedule>('DELETE', `/v1/schedules/${id}`));
  assert.equal(gone.name, 'each-second');
  for (const { count } of await startedBy()) assert.ok(count <= 2);
  expectError(await admin.request('GET', `/v1/schedules/${id}`), 404);
  const runs = expectOk(await admin.request<WorkflowRecord[]>('GET', '/v1/workflows?workflow_type=batch'));
  assert.ok(runs.length >= 3);
});

test('overlap: skip starts none while the last one runs; a missed time is skipped or made up for once', async () => {
  const slow = { parameters: { operations: [{ id: 'w', kind: 'wait', with: { seconds: 600 } }] } };
  const { id } = expectOk(await admin.request<Schedule>('POST', '/v1/schedules', body('slow', slow)));
  await until(async () => (await read(id)).last_error === 'its last workflow has not ended', 'a time that is skipped');
  const { last_workflow_id: running } = await read(id);
  expectOk(await admin.request('DELETE', `/v1/schedules/${id}`));
  expectOk(await admin.request('POST', `/v1/workflows/${running}/cancel`));
  for (const [missed, starts] of [
    ['skip', false],
    ['run_once', true],
  ] as const) {
    const made = expectOk(
      await admin.request<Schedule>(
        'POST',
        '/v1/schedules',
        body(`missed-${missed}`.replace('_', '-'), { cron: '0 0 1 1 *', missed }),
      ),
    );
    await installation.database.pool.query(
      "update provisioning.schedules set next_run_at = now() - interval '1 day' where id = $1",
      [made.id],
    );
    await until(async () => new Date((await read(made.id)).next_run_at) > new Date(), 'the schedule to move on');
    const { last_workflow_id: started, last_error } = await read(made.id);
    assert.equal(started !== null, starts);
    assert.equal(last_error, starts ? null : 'its time was missed');
  }
});

test('what is wrong with it is told when it is made; who may not is refused', async () => {
  assert.match(
    expectError(await admin.request('POST', '/v1/schedules', body('a', { cron: 'soon' })), 400).message,
    /^cron: /,
  );
  assert.match(
    expectError(await admin.request('POST', '/v1/schedules', body('a', { timezone: 'Moon/Sea' })), 400).message,
    /^timezone: /,
  );
  expectError(await admin.request('POST', '/v1/schedules', body('a', { workflow_type: 'nothing' })), 400);
  expectOk(await admin.request('POST', '/v1/schedules', body('twice', { cron: '0 0 1 1 *' })));
  expectError(await admin.request('POST', '/v1/schedules', body('twice', { cron: '0 0 1 1 *' })), 409);
  const viewer = await makeClient(installation.server, 'viewer', [{ role: 'viewer' }]);
  expectError(
    await viewer.request('POST', '/v1/schedules', body('b', { parameters: { operations: [makes('a', 'x')] } })),
    403,
  );
  assert.ok(expectOk(await viewer.request<Schedule[]>('GET', '/v1/schedules?name=twice')).length === 1);
});
