/** What EC2 says of why something did not come to be, as whoever asked for it meets it. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startCloud } from '../clouds/all.ts';
import { expectOk, startInstallation } from '../support/acceptance.ts';
import { ended, type Operation } from '../support/server.ts';

const cloud = await startCloud('aws');
const installation = await startInstallation({
  ...{ PROVIDERS: 'simulated,aws', AWS_CALLS_PER_MINUTE: '60000' },
  ...cloud.settings,
});
after(async () => {
  await installation.close();
  await cloud.fake[Symbol.asyncDispose]();
});
const { admin } = installation.server;

async function created(hostname: string): Promise<Operation> {
  const body = { ...cloud.spec({ hostname }), workspace: 'default', provider: 'aws' };
  const { id } = expectOk(await admin.request<Operation>('POST', '/v1/servers/create', body));
  return ended(admin, id, 90);
}

test('a launch that EC2 accepts and then ends fails with the reason, and is not repeated', async () => {
  cloud.endLaunches?.({
    code: 'Client.VolumeLimitExceeded',
    message: 'Client.VolumeLimitExceeded: Volume limit exceeded',
  });
  const operation = await created('ends');
  cloud.endLaunches?.(null);
  assert.equal(operation.status, 'failed');
  assert.match(operation.error ?? '', /ended the server i-\w+ by itself: Volume limit exceeded .*higher quota/);
  assert.deepEqual([...cloud.created.values()], [1]);
  assert.deepEqual([cloud.alive(), cloud.disks()], [[], 0]);
});

test('the encoded reason of a refusal is in the events, whole', async () => {
  const encoded = 'a1-_'.repeat(700);
  const message = `You are not authorized to perform this operation. Encoded authorization failure message: ${encoded}`;
  cloud.refuse({ status: 403, code: 'UnauthorizedOperation', message });
  const { status, error, id } = await created('forbidden');
  cloud.refuse(null);
  assert.deepEqual([status, error?.includes(encoded)], ['failed', false]);
  const events = await admin.request('GET', `/v1/operations/${id}/events`);
  assert.ok(JSON.stringify(events.body).includes(`decode-authorization-message --encoded-message ${encoded}`));
});
