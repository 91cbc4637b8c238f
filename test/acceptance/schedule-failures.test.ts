/** What keeps one schedule from starting its workflow: it is told, and holds up no other. */
import assert from 'node:assert/strict';
import { mkdir, symlink } from 'node:fs/promises';
import { after, test } from 'node:test';
import type { Cloud } from '../clouds/all.ts';
import { expectOk } from '../support/acceptance.ts';
import { startCloudInstallation } from '../support/cloud-installation.ts';
import { startReceiver } from '../support/receiver.ts';
import { ended, type Operation, until } from '../support/server.ts';
import { makeWebhook, type Payload } from '../support/webhooks.ts';

const receiver = await startReceiver();
// Times come when a test says so, and as often as that.
const installation = await startCloudInstallation({
  ...{ SWEEP_INTERVAL: '0', LIMIT_SCHEDULE_INTERVAL: '0', EGRESS_ALLOW: '127.0.0.0/8', WEBHOOK_ALLOW: 'http,local' },
});
after(async () => {
  await installation.close();
  await receiver[Symbol.asyncDispose]();
});
const { server, database, clouds } = installation;
const { admin } = server;
const { pool } = database;

interface Schedule {
  id: string;
  name: string;
  workspace: string;
  next_run_at: string;
  last_run_at: string | null;
  last_workflow_id: string | null;
  last_error: string | null;
}

async function makeWorkspace(name: string): Promise<string> {
  const path = `${server.dataDir}/workspaces/${name}`;
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name, path }));
  return path;
}

const create = async (name: string, workspace: string, step: object) =>
  expectOk(
    await admin.request<Schedule>('POST', '/v1/schedules', {
      ...{ name, workspace, cron: '0 0 1 1 *', workflow_type: 'batch' },
      parameters: { operations: [{ id: 'step', ...step }] },
    }),
  );

const WAIT = { kind: 'wait', with: { seconds: 0 } };
const makes = ({ name, spec }: Cloud, hostname: string) => {
  const { hostname: _, workspace: __, ...fields } = spec();
  return { kind: 'server.create', with: { ...fields, provider: name, hostname } };
};

const read = async ({ id }: Schedule) => expectOk(await admin.request<Schedule>('GET', `/v1/schedules/${id}`));

async function come(...schedules: Schedule[]): Promise<void> {
  const ids = schedules.map(({ id }) => id);
  await pool.query('update provisioning.schedules set next_run_at = now() where id = any($1)', [ids]);
}

async function untilOver(schedule: Schedule): Promise<Schedule> {
  await until(async () => new Date((await read(schedule)).next_run_at) > new Date(), `${schedule.name} to move on`);
  return read(schedule);
}

const failuresOf = async ({ id }: Schedule) =>
  expectOk(await admin.request<Operation[]>('GET', `/v1/operations?kind=schedule.failed&resource=schedule:${id}`));

const healthy = await create('healthy', 'default', WAIT);

test('a failure is an event, once for each time, and a webhook is told of it; what is left out by its policy is none', async () => {
  const directory = await makeWorkspace('looping');
  const looping = await create('looping', 'looping', WAIT);
  const { id: webhook } = await makeWebhook(admin, { url: receiver.url, events: ['schedule.failed'] });
  // A folder that is a link to itself.
  await symlink('workflows', `${directory}/workflows`).catch(async () => {
    await mkdir(directory, { recursive: true });
    await symlink('workflows', `${directory}/workflows`);
  });
  for (const times of [1, 2]) {
    await come(looping, healthy);
    const { last_error: error, last_workflow_id: workflow } = await untilOver(looping);
    assert.match(error ?? '', /\/looping\/workflows cannot be read \(ELOOP\)/);
    assert.equal(workflow, null);
    assert.equal((await untilOver(healthy)).last_error, null);
    const failures = await failuresOf(looping);
    assert.equal(failures.length, times);
    const [last] = failures as (Operation & { title: string; created_by: string })[];
    assert.equal(last?.title, 'The schedule looping could not start its workflow');
    assert.equal(last.status, 'completed');
    assert.deepEqual(
      [last.result?.name, last.result?.error, last.result?.error_code],
      ['looping', error, 'VALIDATION_ERROR'],
    );
    assert.ok(new Date(String(last.result?.due_at)) < new Date(String(last.result?.next_run_at)));
  }
  await until(async () => receiver.received.length >= 2, 'both to be told');
  const told = receiver.received.map(({ body }) => (JSON.parse(body) as Payload).operation);
  assert.deepEqual(
    told.map((operation) => [operation?.kind, operation?.workspace]),
    Array.from({ length: 2 }, () => ['schedule.failed', 'looping']),
  );
  expectOk(await admin.request('DELETE', `/v1/webhooks/${webhook}`));

  await pool.query(
    "update provisioning.schedules set missed = 'skip', next_run_at = now() - interval '1 hour' where id = $1",
    [healthy.id],
  );
  assert.equal((await untilOver(healthy)).last_error, 'its time was missed');
  assert.deepEqual(await failuresOf(healthy), []);
});

for (const cloud of clouds) {
  test(`${cloud.name} that hangs, or has revoked the credentials, keeps no other schedule waiting`, async () => {
    const workspace = `of-${cloud.name}`;
    await makeWorkspace(workspace);
    const asking = await create('asking', workspace, makes(cloud, `${cloud.name}-1`));
    // An account that has not been used remembers nothing of what the cloud offers.
    const account = cloud.renewed();
    expectOk(await admin.request('PUT', `/v1/workspaces/${workspace}/credentials/${cloud.name}`, account.credentials));
    const held = cloud.fake.hold('look');
    await come(asking);
    await held.arrived;
    await come(healthy);
    const { last_error: error, last_run_at: at } = await untilOver(healthy);
    assert.equal(error, null);
    assert.ok(at !== null);
    assert.ok(new Date((await read(asking)).next_run_at) <= new Date(), 'it still waits for the cloud');
    held.letGo();
    const asked = await untilOver(asking);
    assert.equal(asked.last_error, null);
    await ended(admin, String(asked.last_workflow_id), 60);

    const revoked = cloud.renewed();
    expectOk(await admin.request('PUT', `/v1/workspaces/${workspace}/credentials/${cloud.name}`, revoked.credentials));
    cloud.accepted.delete(revoked.id);
    const refused = await create('refused', 'default', WAIT);
    await come(asking, refused);
    assert.equal((await untilOver(refused)).last_error, null);
    // As when it is submitted: what the cloud cannot be asked now does not keep the workflow from being accepted.
    const { last_error: reason, last_workflow_id: id } = await untilOver(asking);
    assert.equal(reason, null);
    const run = await ended(admin, String(id), 60);
    assert.equal(run.status, 'failed');
    cloud.accepted.add(revoked.id);
    expectOk(await admin.request('DELETE', `/v1/schedules/${refused.id}`));
  });
}
