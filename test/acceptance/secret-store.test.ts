/** Secrets that a workspace keeps: written and used, never told; each only by whoever may. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { expectError, expectOk, makeClient, makeServer, startInstallation } from '../support/acceptance.ts';
import { assertFree, assertNotStored } from '../support/canaries.ts';
import { type Client, ended, type Operation } from '../support/server.ts';
import { submitBatch } from '../support/workflows.ts';

const installation = await startInstallation();
after(() => installation.close());
const { server, database } = installation;
const { admin } = server;
const developer = await makeClient(server, 'dev', [{ role: 'developer' }]);
const viewer = await makeClient(server, 'viewer', [{ role: 'viewer' }]);
await makeServer(admin, 'db-1');
await makeServer(developer, 'dev-1');

interface Kept {
  key: string;
  version: number;
  updated_by: string;
}
const place = (key: string, workspace = 'default') => `/v1/workspaces/${workspace}/secrets/${key}`;
const set = (client: Client, key: string, value: string) => client.request<Kept>('PUT', place(key), { value });
const reference = (key: string) => `\${{ secrets.workspace.${key} }}`;
const install = (host: string, password: unknown, more: object = {}) => ({
  ...{ workspace: 'default', name: 'redis', servers: [host], config: { password, ...more } },
});
const node = (host: string, password: unknown) => {
  const { workspace: _, ...fields } = install(host, password);
  return { id: 'db', kind: 'taskserv.create', with: fields };
};

/** The same config would change nothing of the secret. */
async function assertHas(host: string, password: string): Promise<void> {
  const body = { ...install(host, password), check_mode: true };
  const checked = expectOk(await admin.request<Operation>('POST', '/v1/taskservs/create', body));
  const { plan } = (await ended(admin, checked.id)).result as { plan: { change: { differences: object }[] } };
  assert.deepEqual(
    plan.change.map(({ differences }) => 'password' in differences),
    [false],
    `${host} has another password`,
  );
}

async function completed(operation: Operation): Promise<void> {
  const end = await ended(admin, operation.id, 60);
  assert.equal(end.status, 'completed', JSON.stringify(end));
}

test('a value is kept encrypted, and no answer, row or log tells it; versions are counted', async () => {
  const secrets = { first: 'Canary-of-the-first-version', second: 'Canary-of-the-second-version' };
  const first = expectOk(await set(admin, 'db_password', secrets.first));
  assert.deepEqual([first.key, first.version, first.updated_by], ['db_password', 1, 'admin']);
  const checked = await admin.request('PUT', place('db_password'), { value: secrets.second, check_mode: true });
  expectOk(checked);
  const second = expectOk(await set(admin, 'db_password', secrets.second));
  assert.equal(second.version, 2, 'a check does not count');
  const listed = expectOk(await admin.request<Kept[]>('GET', '/v1/workspaces/default/secrets'));
  assert.deepEqual(listed, [second]);
  assert.deepEqual(expectOk(await admin.request('GET', place('db_password'))), second);
  const audit = expectOk(await admin.request<{ action: string; resource: string }[]>('GET', '/v1/audit'));
  assert.equal(
    audit.filter(({ action, resource }) => action === 'secret.set' && resource === 'secret:db_password').length,
    2,
  );
  await assertNotStored(database.pool, secrets);
  for (const answer of [first, second, listed, checked.body, audit]) {
    assertFree(JSON.stringify(answer), secrets, 'in an answer');
  }
  assertFree(server.output(), secrets, 'in the log');
  expectOk(await admin.request('DELETE', place('db_password')));
  expectError(await admin.request('GET', place('db_password')), 404);
  expectError(await admin.request('DELETE', place('db_password')), 404);
});

test('a workflow, a service and the change of one take it by its key; each use has the present version', async () => {
  const secrets = { old: 'Canary-before-the-rotation', new: 'Canary-after-the-rotation' };
  expectOk(await set(admin, 'redis', secrets.old));
  const run = await submitBatch(admin, [node('db-1', reference('redis'))]);
  await completed(run);
  await assertHas('db-1', secrets.old);
  expectOk(await set(admin, 'redis', secrets.new));
  await completed(
    expectOk(await admin.request<Operation>('POST', '/v1/taskservs/create', install('db-1', { $secret: 'redis' }))),
  );
  await assertHas('db-1', secrets.new);
  expectOk(await set(admin, 'redis', secrets.old));
  const [taskserv] = expectOk(await admin.request<{ id: string }[]>('GET', '/v1/taskservs?name=redis'));
  const change = { config: { password: { $secret: 'redis' } } };
  await completed(expectOk(await admin.request<Operation>('PATCH', `/v1/taskservs/${taskserv?.id}`, change)));
  await assertHas('db-1', secrets.old);
  const told = {
    ...{ id: 'told', kind: 'command' },
    with: { servers: ['db-1'], script: 'echo "$P"', env: { P: reference('redis') } },
  };
  const command = await submitBatch(admin, [told]);
  await completed(command);
  await assertNotStored(database.pool, secrets);
  for (const id of [run.id, command.id]) {
    for (const route of [`/v1/workflows/${id}`, `/v1/workflows/${id}/steps`]) {
      assertFree(JSON.stringify(expectOk(await admin.request('GET', route))), secrets, route);
    }
  }
});

test('one that there is not is told before anything starts, with what it may be meant to be', async () => {
  const missing = expectError(
    await admin.request('POST', '/v1/workflows/validate', {
      workspace: 'default',
      definition: `operations:\n  - id: db\n    kind: taskserv.create\n    with: { name: redis, servers: [db-1], config: { password: "${reference('rediss')}" } }\n`,
    }),
    400,
  );
  assert.match(missing.message, /there is no secret "rediss" in this workspace \(line 4/);
  assert.match(JSON.stringify(missing.details), /"near_matches":\["redis"\]/);
  const direct = expectError(
    await admin.request('POST', '/v1/taskservs/create', install('db-1', { $secret: 'rediss' })),
    400,
  );
  assert.match(direct.message, /config\.password.*there is no secret "rediss"/);
  assert.match(JSON.stringify(direct.details), /"near_matches":\["redis"\]/);
});

test('it goes only where it stays a secret', async () => {
  const open = expectError(
    await admin.request(
      'POST',
      '/v1/taskservs/create',
      install('db-1', 'long-enough-1', { maxmemory: { $secret: 'redis' } }),
    ),
    400,
  );
  assert.match(open.message, /maxmemory/);
  assertFree(JSON.stringify(open), { redis: 'Canary-before-the-rotation' }, 'in the refusal');
  for (const step of [
    { id: 'a', kind: 'approval', with: { message: reference('redis') } },
    { id: 'a', kind: 'command', with: { servers: ['db-1'], script: `echo ${reference('redis')}` } },
    node('db-1', `x ${reference('redis')}`),
    node('db-1', '${{ secrets.workspace }}'),
  ]) {
    const parameters = { operations: [step] };
    const body = { workspace: 'default', workflow_type: 'batch', parameters };
    expectError(await admin.request('POST', '/v1/workflows/submit', body), 400);
  }
});

test('a developer uses and changes their own alone, others see and set none', async () => {
  expectOk(await set(developer, 'dev_own', 'a-secret-of-the-developer'));
  await completed(await submitBatch(developer, [node('dev-1', reference('dev_own'))]));
  await assertHas('dev-1', 'a-secret-of-the-developer');
  expectError(await set(developer, 'redis', 'taken over'), 403);
  expectError(await developer.request('DELETE', place('redis')), 403);
  expectError(await developer.request('POST', '/v1/taskservs/create', install('dev-1', { $secret: 'redis' })), 403);
  const print = {
    ...{ id: 'print', kind: 'command' },
    with: { servers: ['dev-1'], script: 'echo "$P"', env: { P: reference('redis') } },
  };
  const forged = { ...print, with: { ...print.with, env: { P: { $secret: { workspace: 'redis' } } } } };
  const submit = (operations: object[]) =>
    developer.request<Operation>('POST', '/v1/workflows/submit', {
      ...{ workspace: 'default', workflow_type: 'batch', parameters: { operations } },
    });
  expectError(await submit([print]), 403);
  expectError(await submit([node('dev-1', reference('redis'))]), 403);
  const run = await ended(developer, expectOk(await submit([forged])).id);
  assert.equal(run.status, 'failed', 'not by writing the reference out either');
  // Set anew by somebody else it is no longer theirs.
  expectOk(await set(admin, 'dev_own', 'of-the-administrator-now'));
  expectError(await submit([node('dev-1', reference('dev_own'))]), 403);
  for (const [method, route, body] of [
    ['GET', '/v1/workspaces/default/secrets'],
    ['GET', place('redis')],
    ['PUT', place('redis'), { value: 'x' }],
    ['DELETE', place('redis')],
  ] as const) {
    expectError(await viewer.request(method, route, body), 403);
  }
  const elsewhere = await makeClient(server, 'elsewhere', [{ role: 'operator', workspace: 'default' }]);
  expectOk(
    await admin.request('POST', '/v1/workspaces/create', { name: 'other', path: `${server.dataDir}/workspaces/other` }),
  );
  expectError(await elsewhere.request('GET', '/v1/workspaces/other/secrets'), 404);
  expectError(await elsewhere.request('PUT', place('mine', 'other'), { value: 'x' }), 404);
});

test('its size and how many there can be are bounded', async () => {
  expectOk(await set(admin, 'large', 'x'.repeat(65_536)));
  expectError(await set(admin, 'large', 'x'.repeat(65_537)), 400);
  expectError(await set(admin, 'large', '€'.repeat(30_000)), 400);
  expectError(await set(admin, 'Large', 'x'), 400);
  expectError(await set(admin, 'large', ''), 400);
  await database.pool.query(
    `insert into provisioning.workspace_secrets (workspace, key, version, value, created_by, updated_by, owner_id)
     select 'default', 'k' || n, 1, '', 'admin', 'admin', u.id
     from provisioning.users u, generate_series(1, 1000 - (select count(*)::int from provisioning.workspace_secrets)) n
     where u.username = 'admin'`,
  );
  const { message } = expectError(await set(admin, 'one_more', 'x'), 409);
  assert.match(message, /1000 secrets/);
  expectOk(await set(admin, 'large', 'a further version'));
});
