/** Accounts of workspaces at clouds, through the API. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startFakeHetzner } from '../clouds/hetzner.ts';
import { startFakeUpcloud } from '../clouds/upcloud.ts';
import { expectError, expectOk, makeClient, type Server, startInstallation } from '../support/acceptance.ts';
import { assertFree, assertNotStored } from '../support/canaries.ts';
import { ended, type Operation } from '../support/server.ts';

const upcloud = await startFakeUpcloud();
const hetzner = await startFakeHetzner();
const installation = await startInstallation({
  PROVIDERS: 'simulated,upcloud,hetzner',
  UPCLOUD_ENDPOINT: upcloud.endpoint,
  UPCLOUD_CALLS_PER_MINUTE: '60000',
  HETZNER_ENDPOINT: hetzner.endpoint,
  HETZNER_CALLS_PER_MINUTE: '60000',
  LOG_LEVEL: 'debug',
});
after(async () => {
  await installation.close();
  for (const fake of [upcloud, hetzner]) await fake[Symbol.asyncDispose]();
});
const { server } = installation;
const { admin } = server;
for (const name of ['blue', 'green']) {
  expectOk(
    await admin.request('POST', '/v1/workspaces/create', { name, path: `${server.dataDir}/workspaces/${name}` }),
  );
}

const put = (workspace: string, provider: string, body: object) =>
  admin.request<Record<string, unknown>>('PUT', `/v1/workspaces/${workspace}/credentials/${provider}`, body);
const request = (workspace: string, hostname = 'web-1') => ({
  ...{ workspace, provider: 'upcloud', plan: '2xCPU-4GB', hostname, zone: 'de-fra1' },
});

test('a provider without any account is refused with how to bring one', async () => {
  const refused = expectError(await admin.request('POST', '/v1/servers/create', request('blue')), 400);
  assert.match(refused.message, /PUT \/v1\/workspaces\/blue\/credentials\/upcloud/);
  assert.deepEqual(
    expectOk(await admin.request<{ name: string }[]>('GET', '/v1/providers')).map(({ name }) => name),
    ['simulated'],
  );
});

test('credentials are tried before they are kept, and never come out again', async () => {
  const canary = 'canary-of-a-token-that-nobody-knows';
  const wrong = expectError(await put('blue', 'upcloud', { token: canary }), 400);
  assert.match(wrong.message, /Check the token/);
  assert.ok(!JSON.stringify(wrong).includes(canary));
  expectError(await put('blue', 'upcloud', { token: `${canary}\nx` }), 400);
  expectError(await put('blue', 'upcloud', { username: canary }), 400);
  expectError(await put('blue', 'upcloud', { token: canary, secret_key: canary }), 400);
  expectError(await put('blue', 'simulated', { token: canary }), 400);
  expectError(await put('nowhere', 'upcloud', { token: canary }), 404);
  assert.deepEqual(expectOk(await admin.request('GET', '/v1/workspaces/blue/credentials')), []);

  const kept = expectOk(await put('blue', 'upcloud', { token: upcloud.token }));
  assert.deepEqual([kept.provider, kept.fields, kept.updated_by], ['upcloud', ['token'], 'admin']);
  expectOk(await put('green', 'hetzner', { token: hetzner.token }));
  const listed = expectOk(await admin.request('GET', '/v1/workspaces/blue/credentials'));
  assert.deepEqual(listed, [kept]);
  const audit = expectOk(await admin.request('GET', '/v1/audit'));

  const secrets = { token: upcloud.token, 'other token': hetzner.token, canary };
  assertFree(JSON.stringify([kept, listed, audit]), secrets, 'in an answer');
  assertFree(server.output(), secrets, 'in the log');
  await assertNotStored(installation.database.pool, secrets);
});

test('a workspace with an account of its own makes servers there, and one without does not', async () => {
  const { id } = expectOk(await admin.request<Operation>('POST', '/v1/servers/create', request('blue')));
  const made = await ended(admin, id);
  assert.equal(made.status, 'completed', String(made.error));
  assert.equal(upcloud.servers.size, 1);
  expectError(await admin.request('POST', '/v1/servers/create', request('green')), 400);
  const plans = await admin.request<unknown[]>('GET', '/v1/providers/upcloud/plans?workspace=blue');
  assert.ok(expectOk(plans).length > 0);
  expectError(await admin.request('GET', '/v1/providers/upcloud/plans?workspace=green'), 404);
});

test('credentials of another account are refused while servers stand in this one; so is forgetting them', async () => {
  const endpoint = '/v1/workspaces/blue/credentials/upcloud';
  const conflict = expectError(await admin.request('DELETE', endpoint), 409);
  assert.match(conflict.message, /Delete the servers first/);
  const [server1] = expectOk(await admin.request<Server[]>('GET', '/v1/servers?workspace=blue'));
  const hidden = [...upcloud.servers.values()];
  upcloud.servers.clear();
  assert.match(expectError(await put('blue', 'upcloud', { token: upcloud.token }), 409).message, /another account/);
  for (const each of hidden) upcloud.servers.set(each.uuid, each);
  expectOk(await put('blue', 'upcloud', { token: upcloud.token }));
  const { id } = expectOk(await admin.request<Operation>('DELETE', `/v1/servers/${server1?.id}`));
  assert.equal((await ended(admin, id)).status, 'completed');
  assert.deepEqual([upcloud.servers.size, upcloud.storages.size], [0, 0]);
  expectOk(await admin.request('DELETE', endpoint));
  expectError(await admin.request('DELETE', endpoint), 404);
});

test('a cloud that cannot be asked keeps nothing from being tried later', async () => {
  hetzner.chances.server_error = 1;
  expectError(await put('blue', 'hetzner', { token: hetzner.token }), 503);
  hetzner.chances.server_error = 0;
  assert.deepEqual(expectOk(await admin.request('GET', '/v1/workspaces/blue/credentials')), []);
});

test('who may not change credentials is refused, and who may not see the workspace learns nothing', async () => {
  const developer = await makeClient(server, 'dev', [{ role: 'developer', workspace: 'blue' }]);
  const path = '/v1/workspaces/blue/credentials/upcloud';
  expectError(await developer.request('PUT', path, { token: upcloud.token }), 403);
  expectOk(await developer.request('GET', '/v1/workspaces/blue/credentials'));
  expectError(await developer.request('GET', '/v1/workspaces/green/credentials'), 404);
});
