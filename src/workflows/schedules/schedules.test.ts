/** Workflows by the clock, on two replicas. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { expectError, expectOk, makeClient, startInstallation } from '../../../test/support/acceptance.ts';
import { until } from '../../../test/support/server.ts';
import { makes, type WorkflowRecord } from '../../../test/support/workflows.ts';

// Times come when a test says so, and as often as that.
const installation = await startInstallation({ LIMIT_SCHEDULE_INTERVAL: '0' });
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
/** Never by itself in the time of a test: a time comes when `comes` says so. */
const YEARLY = { cron: '0 0 1 1 *' };
const create = async (name: string, more: Record<string, unknown> = {}) =>
  expectOk(
    await admin.request<Schedule>('POST', '/v1/schedules', body(name, { ...YEARLY, parameters: named(name), ...more })),
  );
const named = (name: string, seconds = 0) => ({
  operations: [{ id: name.replaceAll('-', '_'), kind: 'wait', with: { seconds } }],
});
const { pool } = installation.database;

/** Lets a time of the schedule have come some seconds ago, and waits until it has been looked after. */
async function comes(id: string, secondsAgo = 0): Promise<Schedule> {
  await pool.query(`update provisioning.schedules set next_run_at = now() - $2 * interval '1 second' where id = $1`, [
    id,
    secondsAgo,
  ]);
  await until(async () => new Date((await read(id)).next_run_at) > new Date(), 'the schedule to move on');
  return read(id);
}
/** Workflows that a schedule has started, by the step that only its own have. */
async function started(name: string): Promise<WorkflowRecord[]> {
  const runs = expectOk(await admin.request<WorkflowRecord[]>('GET', '/v1/workflows?workflow_type=batch'));
  return runs.filter(({ parameters }) => JSON.stringify(parameters).includes(`"${name.replaceAll('-', '_')}"`));
}

test('every time starts one workflow, however many replicas look', async () => {
  const { id } = await create('each', { overlap: 'allow' });
  for (const times of [1, 2, 3, 4, 5]) {
    const { last_error, last_workflow_id } = await comes(id);
    assert.equal(last_error, null);
    const runs = await started('each');
    assert.equal(runs.length, times);
    assert.ok(runs.some((run) => run.id === last_workflow_id));
  }
  const gone = expectOk(await admin.request<Schedule>('DELETE', `/v1/schedules/${id}`));
  assert.equal(gone.name, 'each');
  expectError(await admin.request('GET', `/v1/schedules/${id}`), 404);
});

test('by itself it runs when its time comes', async () => {
  const { id } = expectOk(
    await admin.request<Schedule>('POST', '/v1/schedules', body('seconds', { parameters: named('seconds') })),
  );
  await until(async () => (await started('seconds')).length >= 2, 'two runs');
  expectOk(await admin.request('DELETE', `/v1/schedules/${id}`));
});

test('overlap: skip starts none while the last one runs and goes on after it; allow starts another', async () => {
  const slow = { parameters: named('skips', 600) };
  const { id } = await create('skips', slow);
  const { last_workflow_id: running } = await comes(id);
  for (const _time of [1, 2]) {
    const skipped = await comes(id);
    assert.equal(skipped.last_error, 'its last workflow has not ended');
    assert.equal(skipped.last_workflow_id, running);
    assert.equal((await started('skips')).length, 1);
  }
  expectOk(await admin.request('POST', `/v1/workflows/${running}/cancel`));
  await until(async () => (await started('skips'))[0]?.status === 'cancelled', 'the workflow to end');
  const next = await comes(id);
  assert.equal(next.last_error, null);
  assert.notEqual(next.last_workflow_id, running);

  const { id: allows } = await create('allows', { overlap: 'allow', parameters: named('allows', 600) });
  for (const times of [1, 2, 3]) {
    await comes(allows);
    const runs = await started('allows');
    assert.deepEqual([runs.length, runs.every(({ status }) => ['pending', 'running'].includes(status))], [times, true]);
  }
  for (const run of [...(await started('allows')), ...(await started('skips'))])
    await admin.request('POST', `/v1/workflows/${run.id}/cancel`);
});

test('overlap: skip starts none where another replica did while this one was on its way', async () => {
  const { id } = await create('overtaken');
  const { id: other } = expectOk(
    await admin.request<{ id: string }>('POST', '/v1/workflows/submit', {
      ...{ workspace: 'default', workflow_type: 'batch', parameters: named('meanwhile', 600) },
    }),
  );
  const client = await pool.connect();
  try {
    // Whoever starts the workflow waits here, after having found that the last one has ended.
    await client.query('begin');
    await client.query('lock table provisioning.users in access exclusive mode');
    await pool.query('update provisioning.schedules set next_run_at = now() where id = $1', [id]);
    await until(async () => {
      const { rows } = await pool.query(
        `select from pg_locks where relation = 'provisioning.users'::regclass and not granted`,
      );
      return rows.length > 0;
    }, 'a replica to wait');
    await pool.query('update provisioning.schedules set last_workflow_id = $2 where id = $1', [id, other]);
    await client.query('commit');
  } finally {
    client.release(true);
  }
  await until(async () => (await read(id)).last_error !== null, 'the schedule to move on');
  assert.equal((await read(id)).last_error, 'its last workflow has not ended');
  assert.equal((await started('overtaken')).length, 0);
  await admin.request('POST', `/v1/workflows/${other}/cancel`);
});

test('a missed time is skipped or made up for once, however many were missed; one that is late is not missed', async () => {
  const daily = { cron: '0 3 * * *' };
  const days = 3 * 86_400;
  for (const [name, more, secondsAgo, count, error] of [
    ['skip-late', { missed: 'skip' }, 30, 1, null],
    ['skip-missed', { missed: 'skip' }, 90, 0, 'its time was missed'],
    ['skip-days', { missed: 'skip', ...daily }, days, 0, 'its time was missed'],
    ['once-days', { missed: 'run_once', ...daily }, days, 1, null],
    ['by-itself', daily, days, 1, null],
  ] as const) {
    const { id } = await create(name, more);
    const after = await comes(id, secondsAgo);
    assert.equal(after.last_error, error, name);
    assert.equal((await started(name)).length, count, name);
    expectOk(await admin.request('DELETE', `/v1/schedules/${id}`));
  }
});

test('whoever has lost the roles, or the account, starts nothing more', async () => {
  const dev = await makeClient(installation.server, 'scheduler', [{ role: 'developer' }]);
  const { id } = expectOk(
    await dev.request<Schedule>(
      'POST',
      '/v1/schedules',
      body('of-dev', { ...YEARLY, overlap: 'allow', parameters: named('of-dev') }),
    ),
  );
  assert.equal((await comes(id)).last_error, null);
  const [user] = expectOk(await admin.request<{ id: string }[]>('GET', '/v1/users?username=scheduler'));
  expectOk(await admin.request('PATCH', `/v1/users/${user?.id}`, { roles: [{ role: 'viewer', workspace: null }] }));
  assert.match((await comes(id)).last_error ?? '', /"scheduler" no longer has the permission "workflow_submit"/);
  expectOk(await admin.request('PATCH', `/v1/users/${user?.id}`, { disabled: true }));
  assert.match((await comes(id)).last_error ?? '', /"scheduler" is disabled/);
  assert.equal((await started('of-dev')).length, 1);
});

test('an expression that can end or be read in two ways is refused', async () => {
  for (const [cron, words] of [
    ['51 36 01 29 11 ? 2026', /has 7 fields/],
    ['2026-12-24T18:00:00', /has 1 field;.*single date/],
    ['0 0 12 ? * 1-5', /ambiguous.*MON-FRI/],
    ['0 0 12 ? * 1-5 *', /has 7 fields/],
    ['0 0 30 2 *', /never matches/],
  ] as const) {
    const { message } = expectError(await admin.request('POST', '/v1/schedules', body('a', { cron })), 400);
    assert.match(message, words, cron);
  }
  expectOk(await admin.request('POST', '/v1/schedules', body('quartz', { cron: '0 0 12 ? * MON-FRI' })));
  expectOk(await admin.request('POST', '/v1/schedules', body('nick', { cron: '@yearly' })));
});

test('a schedule whose single date has passed, kept from an older version, says so and holds up no other', async () => {
  const ended = await create('ended');
  const broken = await create('broken');
  const other = await create('other');
  await pool.query(`update provisioning.schedules set cron = '2020-12-24T18:00:00' where id = $1`, [ended.id]);
  await pool.query(`update provisioning.schedules set authority = '{"userId":"x","bindings":[]}' where id = $1`, [
    broken.id,
  ]);
  await pool.query(`update provisioning.schedules set next_run_at = now() - interval '9 seconds' where id = any($1)`, [
    [ended.id, broken.id],
  ]);
  assert.equal((await comes(other.id)).last_error, null);
  assert.equal((await started('other')).length, 1);
  const failed = async (id: string) => (await read(id)).last_error;
  await until(async () => (await failed(ended.id)) !== null && (await failed(broken.id)) !== null, 'their errors');
  assert.match((await failed(ended.id)) ?? '', /names no further time: delete this schedule/);
  assert.equal((await started('ended')).length, 1);
  assert.match((await failed(broken.id)) ?? '', /unexpected error/);
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
