/**
 * One secret of each kind that the server is given or makes. None stands in an answer, an event, the log, the data directory
 * with the database's own files, or a backup; and a backup restored without its master key opens none of them.
 */
import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import pg from 'pg';
import { startEmbeddedPostgres } from '../../src/database/embedded.ts';
import { startFakeHetzner } from '../clouds/hetzner.ts';
import { expectError, expectOk, makeServer, makeUser, PROOF, USER_PASSWORD } from '../support/acceptance.ts';
import { assertFree, assertNotOnDisk } from '../support/canaries.ts';
import { CLIENT_ID, startIssuer } from '../support/issuer.ts';
import {
  ADMIN_PASSWORD,
  type Client,
  ended,
  type Operation,
  spawnProvisioning,
  startTestServer,
} from '../support/server.ts';
import { codesNow } from '../support/totp.ts';
import { submitBatch } from '../support/workflows.ts';

const MASTER_KEY = 'kept in no file of this installation';
const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-canaries-'));
await chmod(directory, 0o711);
after(() => rm(directory, { recursive: true, force: true }));

async function succeed(args: string[], settings: Record<string, string>): Promise<void> {
  const command = spawnProvisioning(args, { LOG_FORMAT: 'json', LOG_LEVEL: 'warn', MASTER_KEY, ...settings });
  assert.equal(await command.closed, 0, command.output());
}

const hetzner = await startFakeHetzner();
after(() => hetzner[Symbol.asyncDispose]());
const issuer = await startIssuer({ callbacks: [] });
after(() => issuer.stop());
const dataDir = path.join(directory, 'source');
await succeed(['migrate'], { DATA_DIR: dataDir });
const server = await startTestServer({
  dataDir,
  settings: {
    ...{ MASTER_KEY, LOG_LEVEL: 'debug', EGRESS_ALLOW: '127.0.0.1', WEBHOOK_ALLOW: 'http,local' },
    ...{ PROVIDERS: 'simulated,hetzner', HETZNER_ENDPOINT: hetzner.endpoint, HETZNER_CALLS_PER_MINUTE: '60000' },
  },
});
after(() => server[Symbol.asyncDispose]());
const { admin } = server;
await makeServer(admin, 'db-1');
await makeServer(admin, 'db-2');

const redis = (host: string, password: unknown) => ({ name: 'redis', servers: [host], config: { password } });
const secrets: Record<string, string> = { 'master key': MASTER_KEY, 'password of the administrator': ADMIN_PASSWORD };

async function completed(operation: Operation): Promise<void> {
  const end = await ended(admin, operation.id, 60);
  assert.equal(end.status, 'completed', JSON.stringify(end));
}

/** What the server is given. Each is used once, so that it passes through all that a secret passes through. */
async function giveSecrets(): Promise<void> {
  Object.assign(secrets, {
    'secret of a workspace': 'Canary-of-the-workspace-secret',
    'literal in a workflow': 'Canary-written-into-a-workflow',
    'password of a service': 'Canary-in-the-config-of-a-service',
    'user data': 'Canary-in-the-user-data',
    'credentials of a cloud': hetzner.token,
    'password of a user': USER_PASSWORD,
    'secret of a client at an issuer': issuer.clientSecret,
    'secret of a webhook': `whsec_${Buffer.from('Canary-of-the-webhook-that-signs').toString('base64')}`,
  });
  const kept = { value: secrets['secret of a workspace'] };
  expectOk(await admin.request('PUT', '/v1/workspaces/default/secrets/redis', kept));
  await completed(
    await submitBatch(admin, [
      { id: 'kept', kind: 'taskserv.create', with: redis('db-1', `\${{ secrets.workspace.redis }}`) },
      { id: 'literal', kind: 'taskserv.create', with: redis('db-2', secrets['literal in a workflow']) },
    ]),
  );
  const service = { workspace: 'default', ...redis('db-1', secrets['password of a service']) };
  await completed(expectOk(await admin.request<Operation>('POST', '/v1/taskservs/create', service)));
  expectOk(await admin.request('PUT', '/v1/workspaces/default/credentials/hetzner', { token: hetzner.token }));
  const script = `#!/bin/sh\necho ${secrets['user data']} >/root/token\n`;
  const cloud = { provider: 'hetzner', plan: '2xCPU-4GB', zone: 'fsn1', user_data: script };
  await makeServer(admin, 'cloud-1', cloud);
  const provider = { name: 'main', title: 'Main', issuer: issuer.issuer, client_id: CLIENT_ID };
  const single = { ...provider, client_secret: issuer.clientSecret, group_roles: [], ...PROOF };
  expectOk(await admin.request('POST', '/v1/auth/providers', single));
  const hook = { url: 'http://127.0.0.1:9/', secret: secrets['secret of a webhook'] };
  expectOk(await admin.request('POST', '/v1/webhooks', hook));
}

/** What the server makes, and tells once. */
async function takeSecrets(): Promise<void> {
  await makeUser(admin, 'person', [{ role: 'viewer' }]);
  const person = { username: 'person', password: USER_PASSWORD };
  const session = expectOk(
    await admin.request<{ token: string; refresh_token: string }>('POST', '/v1/auth/login', person),
  );
  const client = await server.login('person', USER_PASSWORD);
  const { secret } = expectOk(
    await client.request<{ secret: string }>('POST', '/v1/auth/totp', { password: USER_PASSWORD }),
  );
  const confirmation = { code: codesNow(secret)[0] };
  const { recovery_codes: codes } = expectOk(
    await client.request<{ recovery_codes: string[] }>('POST', '/v1/auth/totp/confirm', confirmation),
  );
  const { token } = expectOk(
    await admin.request<{ token: string }>('POST', '/v1/tokens', { name: 'ci' }, { 'idempotency-key': 'kept-answer' }),
  );
  const account = '/v1/workspaces/default/service-accounts';
  expectOk(await admin.request('POST', account, { name: 'robot', roles: ['viewer'] }));
  const robot = expectOk(await admin.request<{ token: string }>('POST', `${account}/robot/tokens`, { name: 'robot' }));
  Object.assign(secrets, {
    ...{ 'token of a session': session.token, 'token that refreshes': session.refresh_token },
    ...{ 'secret of an app': secret, 'code for a lost app': codes[0], 'API token': token },
    'token of a service account': robot.token,
  });
  for (const [name, value] of Object.entries(secrets)) assert.ok(value.length > 7, name);
}

await giveSecrets();
await takeSecrets();

/** Deletes the keys that a server with another master key does not start with. */
async function forgetKeys(stolen: string): Promise<void> {
  const postgres = await startEmbeddedPostgres({ dataDir: stolen, log: () => {} });
  try {
    const client = new pg.Client(postgres.connection);
    await client.connect();
    await client.query(`delete from provisioning.settings where key = 'jwt_secret'`);
    await client.query('delete from provisioning.data_keys');
    await client.end();
  } finally {
    await postgres.stop();
  }
}

/** Every list and every page about one thing that a GET answers. */
async function everyAnswer(client: Client): Promise<Map<string, string>> {
  const { paths } = expectOk(await client.request<{ paths: Record<string, { get?: object }> }>('GET', '/openapi.json'));
  const answers = new Map<string, string>();
  const read = async (route: string) => {
    const { status, body } = await client.request('GET', route, undefined, { accept: 'application/json' });
    answers.set(route, JSON.stringify(body));
    return status === 200 && Array.isArray(body) ? (body as { id?: string }[]) : [];
  };
  const lists = Object.keys(paths).filter((route) => paths[route]?.get !== undefined && !route.includes('{'));
  for (const list of lists) {
    const rows = await read(list);
    const one = Object.keys(paths).find((route) => route.startsWith(`${list}/{`) && /\{\w+\}$/.test(route));
    for (const { id } of one === undefined ? [] : rows.slice(0, 50)) if (id !== undefined) await read(`${list}/${id}`);
  }
  for (const name of ['credentials', 'secrets', 'ssh-key', 'service-accounts']) {
    await read(`/v1/workspaces/default/${name}`);
  }
  return answers;
}

test('no answer, no event and no line of the log tells a secret', async () => {
  const answers = await everyAnswer(admin);
  for (const route of ['/v1/servers', '/v1/operations', '/v1/events', '/v1/audit', '/v1/webhooks', '/v1/users']) {
    assert.ok((answers.get(route)?.length ?? 0) > 50, `${route} was read: ${answers.get(route)}`);
  }
  for (const [route, answer] of answers) assertFree(answer, secrets, `in the answer of ${route}`);
  assertFree(server.output(), secrets, 'in the log');
});

test('no file of the installation holds a secret, those of the database included', async () => {
  await assert.rejects(assertNotOnDisk(dataDir, { 'name of a server': 'db-1' }), 'what is there is found');
  await assertNotOnDisk(dataDir, secrets);
});

test('a backup holds no secret, and opens none where its master key is missing', async () => {
  const file = path.join(directory, 'backup');
  await succeed(['backup', file], { DATA_DIR: dataDir });
  const content = gunzipSync(await readFile(file)).toString('latin1');
  assert.ok(content.includes('db-1'));
  assertFree(content, secrets, 'in the backup');
  assert.doesNotMatch(content, /PRIVATE KEY/);

  // Whoever took the backup restores it under a key of their own. The server does not start with that, so they take out
  // of the database what stands in the way.
  const stolen = path.join(directory, 'stolen');
  const theirs = { MASTER_KEY: 'another key of whoever took the backup' };
  await succeed(['restore', file], { DATA_DIR: stolen, ...theirs });
  const refused = spawnProvisioning(['serve'], { DATA_DIR: stolen, PORT: '0', ...theirs });
  assert.equal(await refused.closed, 2);
  assert.match(refused.output(), /master key of this replica is not the one that the signing key/);
  await forgetKeys(stolen);
  await using thief = await startTestServer({
    dataDir: stolen,
    settings: { ...theirs, LOG_LEVEL: 'debug', EGRESS_ALLOW: '127.0.0.1', PROVIDERS: 'simulated' },
  });
  const use = { workspace: 'default', ...redis('db-2', { $secret: 'redis' }) };
  expectError(await thief.admin.request('POST', '/v1/taskservs/create', use), 500);
  for (const [route, answer] of await everyAnswer(thief.admin))
    assertFree(answer, secrets, `in the answer of ${route}`);
  assertFree(thief.output(), secrets, 'in the log of the thief');
  await assertNotOnDisk(stolen, secrets);
});
