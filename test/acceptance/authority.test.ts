/** What goes on after a request, and ends when what its asker was permitted is taken away; and what outlives nobody. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import {
  ADMIN_ROLE,
  expectError,
  expectOk,
  makeClient,
  makeServer,
  makeUser,
  PROOF,
  startInstallation,
  USER_PASSWORD,
} from '../support/acceptance.ts';
import { startReceiver } from '../support/receiver.ts';
import { type Client, createClient, ended, type Operation, serverRequest, until } from '../support/server.ts';
import { deliveriesOf, makeWebhook, readWebhook } from '../support/webhooks.ts';
import { rolledBack, stepsOf, submitBatch } from '../support/workflows.ts';

const installation = await startInstallation({ WEBHOOK_ALLOW: 'http,local' });
const receiver = await startReceiver();
after(async () => {
  await installation.close();
  await receiver[Symbol.asyncDispose]();
});
const { server, database } = installation;
const { admin } = server;

interface Token {
  id: string;
  token: string;
}

/** A user with an API token of all that they hold, and a client that uses it. */
async function withToken(username: string, role = 'operator') {
  const userId = await makeUser(admin, username, [{ role, workspace: 'default' }]);
  const login = await server.login(username, USER_PASSWORD);
  const made = expectOk(await login.request<Token>('POST', '/v1/tokens', { name: 'ci' }));
  return { userId, login, tokenId: made.id, client: createClient(server.url, made.token) };
}

type Bearer = Awaited<ReturnType<typeof withToken>>;
/** Every way to take away what a run, a schedule or a webhook goes on with. */
const ENDINGS: Record<string, (bearer: Bearer) => Promise<unknown>> = {
  'the token is deleted': async ({ login, tokenId }) =>
    expectOk(await login.request('DELETE', `/v1/tokens/${tokenId}`)),
  'the token expires': ({ tokenId }) =>
    database.pool.query('update provisioning.api_tokens set expires_at = now() where id = $1', [tokenId]),
  'a new password revokes the token': async ({ userId }) =>
    expectOk(await admin.request('PATCH', `/v1/users/${userId}`, { password: 'another password', ...PROOF })),
  'the role is lowered': async ({ userId }) =>
    expectOk(await admin.request('PATCH', `/v1/users/${userId}`, { roles: [{ role: 'viewer', workspace: null }] })),
  'the role in the workspace is taken away': async ({ userId }) =>
    expectOk(await admin.request('PATCH', `/v1/users/${userId}`, { roles: [] })),
  'the user is disabled': async ({ userId }) =>
    expectOk(await admin.request('PATCH', `/v1/users/${userId}`, { disabled: true })),
  'the user is deleted': async ({ userId }) => expectOk(await admin.request('DELETE', `/v1/users/${userId}`)),
};

describe('a workflow does no further node when', () => {
  for (const [at, [how, end]] of Object.entries(ENDINGS).entries()) {
    test(how, async () => {
      const bearer = await withToken(`runs-${at}`);
      const hostname = `never-${at}`;
      const { id } = await submitBatch(bearer.client, [
        { id: 'go', kind: 'approval', with: {} },
        { id: 'make', kind: 'server.create', depends_on: ['go'], with: { hostname } },
      ]);
      await until(async () => (await stepsOf(admin, id))[0]?.status === 'running', 'the approval to wait');
      await end(bearer);
      expectOk(await admin.request('POST', `/v1/workflows/${id}/steps/go/approve`));
      assert.equal((await ended(admin, id)).status, 'failed');
      const made = (await stepsOf(admin, id)).find((step) => step.id === 'make');
      assert.deepEqual([made?.status, made?.error_code, made?.operation_id], ['failed', 'AUTHORITY_ENDED', null]);
      assert.match(made?.error ?? '', new RegExp(`"runs-${at}"`));
      assert.deepEqual(expectOk(await admin.request('GET', `/v1/servers?hostname=${hostname}`)), []);
    });
  }
});

describe('a schedule starts nothing more, and says so, when', () => {
  for (const [at, [how, end]] of Object.entries(ENDINGS).entries()) {
    test(how, async () => {
      const bearer = await withToken(`plans-${at}`);
      const parameters = { operations: [{ id: 'w', kind: 'wait', with: { seconds: 0 } }] };
      const body = { name: `s-${at}`, workspace: 'default', workflow_type: 'batch', cron: '0 0 1 1 *', parameters };
      const { id } = expectOk(await bearer.client.request<{ id: string }>('POST', '/v1/schedules', body));
      await end(bearer);
      await database.pool.query('update provisioning.schedules set next_run_at = now() where id = $1', [id]);
      const read = async () =>
        expectOk(
          await admin.request<{ state: string; last_error: string | null; last_workflow_id: string | null }>(
            'GET',
            `/v1/schedules/${id}`,
          ),
        );
      await until(async () => (await read()).last_error !== null, 'its time');
      const { state, last_error: error, last_workflow_id: workflow } = await read();
      assert.deepEqual([state, workflow], ['authority_ended', null]);
      assert.match(error ?? '', new RegExp(`"plans-${at}"`));
    });
  }
});

describe('a webhook is told nothing more, not even what waited, when', () => {
  for (const [at, [how, end]] of Object.entries(ENDINGS).entries()) {
    // A viewer may read operations, and so be told of them.
    if (how === 'the role is lowered') continue;
    test(how, async () => {
      const bearer = await withToken(`hears-${at}`);
      const { id } = await makeWebhook(bearer.client, { url: `${receiver.url}/${at}`, workspace: 'default' });
      await end(bearer);
      // As one that has been waiting for its next try.
      await database.pool.query(
        `insert into provisioning.webhook_deliveries (id, webhook_id, event, payload)
         values (gen_random_uuid(), $1, 'webhook.test', '{}')`,
        [id],
      );
      await until(async () => !(await readWebhook(admin, id)).active, 'the webhook to be deactivated');
      const [delivery] = await deliveriesOf(admin, id);
      assert.equal(delivery?.status, 'failed');
      assert.deepEqual(
        receiver.received.filter(({ path }) => path === `/${at}`),
        [],
      );
    });
  }
});

test('a webhook that somebody else has changed goes on for them, and ends with them', async () => {
  const maker = await makeClient(server, 'hook-maker', [{ role: 'operator', workspace: 'default' }]);
  const changerId = await makeUser(admin, 'hook-changer', [{ role: 'operator', workspace: 'default' }]);
  const changer = await server.login('hook-changer', USER_PASSWORD);
  const { id } = await makeWebhook(maker, { url: `${receiver.url}/first`, workspace: 'default' });
  expectOk(await changer.request('PATCH', `/v1/webhooks/${id}`, { url: `${receiver.url}/changed` }));
  expectOk(await admin.request('DELETE', `/v1/users/${changerId}`));
  await makeServer(admin, 'after-the-change');
  await until(async () => !(await readWebhook(admin, id)).active, 'the webhook to be deactivated');
  assert.deepEqual(
    receiver.received.filter(({ path }) => path === '/changed'),
    [],
  );
});

describe('a rollback', () => {
  /** A run of the user's that waits for its approval after it has made a server and run a script. */
  async function waiting(client: Client, hostname: string) {
    const { id } = await submitBatch(client, [
      { id: 'make', kind: 'server.create', with: { hostname } },
      {
        ...{ id: 'script', kind: 'command', depends_on: ['make'] },
        with: { servers: [hostname], script: 'true', undo_script: 'true' },
      },
      { id: 'go', kind: 'approval', depends_on: ['script'], with: {} },
    ]);
    await until(async () => (await stepsOf(admin, id)).find((step) => step.id === 'go')?.status === 'running', 'go');
    return id;
  }
  const reject = async (id: string) =>
    expectOk(await admin.request('POST', `/v1/workflows/${id}/steps/go/approve`, { approve: false }));
  const undone = async (id: string) =>
    Object.fromEntries((await stepsOf(admin, id)).map((step) => [step.id, step.undo]));

  test('that follows from a failure does nothing for a user who is gone; somebody who may asks for what is left', async () => {
    const bearer = await withToken('gone-since');
    const id = await waiting(bearer.client, 'left-behind');
    expectOk(await admin.request('DELETE', `/v1/users/${bearer.userId}`));
    await reject(id);
    assert.equal((await rolledBack(admin, await ended(admin, id))).status, 'failed');
    assert.deepEqual(await undone(id), { make: 'failed', script: 'failed', go: 'nothing' });
    const asked = expectOk(await admin.request<Operation>('POST', `/v1/workflows/${id}/rollback`));
    await ended(admin, asked.id);
    // The script of somebody who is gone is nobody's to run.
    assert.deepEqual(await undone(id), { make: 'undone', script: 'failed', go: 'nothing' });
  });

  test('acts on the servers that the run had, not on what has their names now', async () => {
    const bearer = await withToken('renamed-since');
    const id = await waiting(bearer.client, 'same-name');
    const [old] = expectOk(await admin.request<{ id: string }[]>('GET', '/v1/servers?hostname=same-name'));
    await ended(admin, expectOk(await admin.request<Operation>('DELETE', `/v1/servers/${old?.id}`)).id);
    const { server: other } = await makeServer(admin, 'same-name');
    await reject(id);
    const rollback = await rolledBack(admin, await ended(admin, id));
    assert.equal(rollback.status, 'completed', JSON.stringify(rollback));
    assert.deepEqual(await undone(id), { make: 'undone', script: 'undone', go: 'nothing' });
    const { rows } = await database.pool.query(
      `select from simulated_cloud.runs r join provisioning.servers s on s.provider_ref = r.ref where s.id = $1`,
      [other.id],
    );
    assert.equal(rows.length, 0);
  });
});

describe('a name', () => {
  test('of a deleted user is not given out again while a thing refers to it, and owns nothing when it is', async () => {
    const ann = await makeClient(server, 'ann', [{ role: 'developer' }]);
    const { server: made } = await makeServer(ann, 'of-ann');
    const [user] = expectOk(await admin.request<{ id: string }[]>('GET', '/v1/users?username=ann'));
    expectOk(await admin.request('DELETE', `/v1/users/${user?.id}`));
    const again = { username: 'ann', password: USER_PASSWORD, roles: [{ role: 'developer' }] };
    assert.match(expectError(await admin.request('POST', '/v1/users', again), 409).message, /still refers to it/);
    // As a version before might have given it out.
    await database.pool.query(`delete from provisioning.departed_users where username = 'ann'`);
    expectOk(await admin.request('POST', '/v1/users', again));
    const other = await server.login('ann', USER_PASSWORD);
    expectError(await other.request('DELETE', `/v1/servers/${made.id}`), 403);
    expectError(await other.request('POST', `/v1/servers/${made.id}/stop`), 403);
  });

  test('that nothing refers to any more is free', async () => {
    const id = await makeUser(admin, 'bea', []);
    expectOk(await admin.request('DELETE', `/v1/users/${id}`));
    await makeUser(admin, 'bea', []);
  });

  test('of the first administrator stays theirs when they are deleted', async () => {
    await using another = await startInstallation({ ROLE: 'api' });
    const root = another.server.admin;
    const chief = await makeClient(another.server, 'chief', [ADMIN_ROLE]);
    const [first] = expectOk(await root.request<{ id: string }[]>('GET', '/v1/users?username=admin'));
    expectOk(await chief.request('DELETE', `/v1/users/${first?.id}`));
    const again = { username: 'admin', password: USER_PASSWORD, roles: [{ role: 'viewer' }] };
    assert.match(expectError(await chief.request('POST', '/v1/users', again), 409).message, /first administrator/);
  });
});

test('an API token makes nothing that outlives it: no user, no password, no role, no token', async () => {
  const userId = await makeUser(admin, 'target', [{ role: 'viewer' }]);
  const { token } = expectOk(await admin.request<Token>('POST', '/v1/tokens', { name: 'of-admin' }));
  const client = createClient(server.url, token);
  for (const [method, path, body] of [
    ['POST', '/v1/users', { username: 'puppet', password: USER_PASSWORD, roles: [{ role: 'admin' }] }],
    ['PATCH', `/v1/users/${userId}`, { password: 'known to the token' }],
    ['PATCH', `/v1/users/${userId}`, { roles: [{ role: 'admin' }] }],
    ['PATCH', `/v1/users/${userId}`, { disabled: false }],
    ['POST', '/v1/tokens', { name: 'child' }],
  ] as const) {
    assert.match(expectError(await client.request(method, path, body), 409).message, /An API token cannot/);
  }
  // Taking away needs no more than the permission.
  expectOk(await client.request('PATCH', `/v1/users/${userId}`, { disabled: true }));
  expectOk(await client.request('DELETE', `/v1/users/${userId}`));
});

describe('an id', () => {
  test('wins over a hostname of an earlier version; the form of ids is no hostname any more', async () => {
    const { server: meant } = await makeServer(admin, 'meant');
    const { server: imitator } = await makeServer(admin, 'imitator');
    await database.pool.query('update provisioning.servers set hostname = $1 where id = $2', [meant.id, imitator.id]);
    const run = await submitBatch(admin, [{ id: 'c', kind: 'command', with: { servers: [meant.id], script: 'true' } }]);
    const done = await ended(admin, run.id);
    assert.equal(done.status, 'completed', JSON.stringify(done));
    const [step] = await stepsOf(admin, run.id);
    const hosts = step?.result?.hosts as { server_id: string }[];
    assert.deepEqual(
      hosts.map(({ server_id: id }) => id),
      [meant.id],
    );
    // It goes on by its own id.
    const stopped = expectOk(await admin.request<Operation>('POST', `/v1/servers/${imitator.id}/stop`));
    assert.equal((await ended(admin, stopped.id)).status, 'completed');
    for (const check_mode of [true, false]) {
      const { message } = expectError(
        await admin.request('POST', '/v1/servers/create', serverRequest('srv-abcdefgh2345', { check_mode })),
        400,
      );
      assert.match(message, /has the form of a server id/);
    }
    expectOk(await admin.request('POST', '/v1/servers/create', serverRequest('srv-mail', { check_mode: true })));
  });
});

test('settings that choose code are for those with taskserv_privileged, also in workflows', async () => {
  const dev = await makeClient(server, 'privileged-dev', [{ role: 'developer', workspace: 'default' }]);
  const ops = await makeClient(server, 'privileged-ops', [{ role: 'operator', workspace: 'default' }]);
  const { server: own } = await makeServer(dev, 'of-privileged-dev');
  const body = (config: object) => ({ workspace: 'default', name: 'haproxy', servers: [own.id], config });
  const extra = 'backend x\n  external-check command /tmp/x';
  const refused = expectError(await dev.request('POST', '/v1/taskservs/create', body({ extra })), 403, 'FORBIDDEN');
  assert.match(refused.message, /config\.extra.*taskserv_privileged/);
  const node = { id: 'h', kind: 'taskserv.create', with: { name: 'haproxy', servers: [own.id], config: { extra } } };
  const graph = { workspace: 'default', workflow_type: 'batch', parameters: { operations: [node] } };
  expectError(await dev.request('POST', '/v1/workflows/submit', graph), 403, 'FORBIDDEN');
  for (const [client, config] of [
    [dev, { port: 8080 }],
    [dev, { extra: '' }],
    [ops, { extra }],
  ] as const) {
    expectOk(await client.request('POST', '/v1/taskservs/create?check_mode=true', body(config)));
  }
  const installed = expectOk(await dev.request<Operation>('POST', '/v1/taskservs/create', body({ port: 8080 })));
  const { taskserv_id: id } = (await ended(dev, installed.id)).result ?? {};
  const change = (client: typeof dev, config: object) =>
    client.request('PATCH', `/v1/taskservs/${String(id)}?check_mode=true`, { config });
  assert.match(expectError(await change(dev, { extra }), 403, 'FORBIDDEN').message, /config\.extra/);
  expectOk(await change(dev, { port: 8081 }));
  expectOk(await change(ops, { extra }));
});

test('who may not choose code may give the checksum of the vendor’s file', async () => {
  const dev = await makeClient(server, 'checksum-dev', [{ role: 'developer', workspace: 'default' }]);
  const { server: own } = await makeServer(dev, 'of-checksum-dev');
  const sha256 = 'a'.repeat(64);
  const body = { workspace: 'default', name: 'gitea', servers: [own.id] };
  const check = (config: object) => dev.request('POST', '/v1/taskservs/create?check_mode=true', { ...body, config });
  expectOk(await check({ sha256 }));
  expectError(await check({ sha256, mirror: 'http://192.0.2.7/gitea' }), 403, 'FORBIDDEN');
});

test('a machine at the address of a server of the workspace is not imported as another one', async () => {
  const { server: others } = await makeServer(admin, 'addressed');
  const dev = await makeClient(server, 'importer', [{ role: 'developer', workspace: 'default' }]);
  const body = { workspace: 'default', hostname: 'mine-now', ip_address: others.ip_address };
  assert.match(expectError(await dev.request('POST', '/v1/servers/import', body), 409).message, /already/);
  const jump = { ...body, ip_address: '192.0.2.7', ssh: { jump: { address: others.ip_address } } };
  expectError(await dev.request('POST', '/v1/servers/import', jump), 403);
});
