/** `ADMIN_TOTP` reaches what goes on without a request, too: workflows, schedules and webhooks of an administrator. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { expectOk, makeUser, startInstallation, USER_PASSWORD } from '../support/acceptance.ts';
import { startReceiver } from '../support/receiver.ts';
import { type Client, createClient, ended, until } from '../support/server.ts';
import { codesNow } from '../support/totp.ts';
import { makeWebhook, readWebhook } from '../support/webhooks.ts';
import { stepsOf, submitBatch } from '../support/workflows.ts';

// Requests are taken without the rule, and carried out under it.
const installation = await startInstallation({ ROLE: 'api', WEBHOOK_ALLOW: 'http,local' });
await installation.replica({ ROLE: 'worker', ADMIN_TOTP: 'true' });
const receiver = await startReceiver();
after(async () => {
  await installation.close();
  await receiver[Symbol.asyncDispose]();
});
const { server, database } = installation;
const { admin } = server;
const REASON = /"careless" has no second factor/;

interface Schedule {
  id: string;
  state: string;
  last_error: string | null;
  last_workflow_id: string | null;
}

async function makeSchedule(client: Client, name: string): Promise<string> {
  const parameters = { operations: [{ id: 'w', kind: 'wait', with: { seconds: 0 } }] };
  const body = { name, workspace: 'default', workflow_type: 'batch', cron: '0 0 1 1 *', parameters };
  return expectOk(await client.request<Schedule>('POST', '/v1/schedules', body)).id;
}

async function comeDue(id: string): Promise<void> {
  await database.pool.query('update provisioning.schedules set next_run_at = now() where id = $1', [id]);
}

async function readSchedule(id: string): Promise<Schedule> {
  return expectOk(await admin.request<Schedule>('GET', `/v1/schedules/${id}`));
}

test('an administrator without a second factor: nothing of theirs goes on until they have it', async () => {
  await makeUser(admin, 'careless', [{ role: 'admin' }, { role: 'operator', workspace: 'default' }]);
  const client = await server.login('careless', USER_PASSWORD);
  const schedule = await makeSchedule(client, 'of-careless');
  const webhook = await makeWebhook(client, { url: `${receiver.url}/careless`, workspace: 'default' });
  const batch = [{ id: 'make', kind: 'server.create', with: { hostname: 'not-yet' } }];
  const { id } = await submitBatch(client, batch);
  assert.equal((await ended(admin, id)).status, 'failed');
  const [step] = await stepsOf(admin, id);
  assert.deepEqual([step?.error_code, step?.operation_id], ['AUTHORITY_ENDED', null]);
  assert.match(step?.error ?? '', REASON);
  // The run's own end is what there was to tell.
  await until(async () => !(await readWebhook(admin, webhook.id)).active, 'the webhook to be deactivated');
  assert.match((await readWebhook(admin, webhook.id)).inactive_reason ?? '', REASON);
  assert.deepEqual(
    receiver.received.filter(({ path }) => path === '/careless'),
    [],
  );
  await comeDue(schedule);
  await until(async () => (await readSchedule(schedule)).last_error !== null, 'its time');
  const refused = await readSchedule(schedule);
  assert.deepEqual([refused.state, refused.last_workflow_id], ['authority_ended', null]);
  assert.match(refused.last_error ?? '', REASON);

  const password = USER_PASSWORD;
  const { secret } = expectOk(await client.request<{ secret: string }>('POST', '/v1/auth/totp', { password }));
  expectOk(await client.request('POST', '/v1/auth/totp/confirm', { code: codesNow(secret)[0] }));
  const again = await submitBatch(client, batch);
  assert.equal((await ended(admin, again.id)).status, 'completed');
  await comeDue(schedule);
  await until(async () => (await readSchedule(schedule)).last_workflow_id !== null, 'its next time');
  assert.equal((await readSchedule(schedule)).state, 'active');
});

test('whoever is no administrator, or no person, goes on', async () => {
  await makeUser(admin, 'ordinary', [{ role: 'operator', workspace: 'default' }]);
  const account = { name: 'robot', roles: ['admin'] };
  expectOk(await admin.request('POST', '/v1/workspaces/default/service-accounts', account));
  const made = await admin.request<{ token: string }>('POST', '/v1/workspaces/default/service-accounts/robot/tokens', {
    name: 'run',
  });
  for (const client of [
    await server.login('ordinary', USER_PASSWORD),
    createClient(server.url, expectOk(made).token),
  ]) {
    const { id } = await submitBatch(client, [{ id: 'w', kind: 'wait', with: { seconds: 0 } }]);
    assert.equal((await ended(admin, id)).status, 'completed');
  }
});
