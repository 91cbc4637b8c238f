/** The Taskservs section of the reference, example by example. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { expectError, expectOk, makeClient, makeServer, startInstallation } from '../support/acceptance.ts';
import { type Answer, ended, type Operation } from '../support/server.ts';

const root = await mkdtemp(path.join(tmpdir(), 'provisioning-test-workspaces-'));
const installation = await startInstallation({ WORKSPACE_ROOTS: root });
after(async () => {
  await installation.close();
  await rm(root, { recursive: true, force: true });
});
const { server } = installation;
const { admin, anonymous } = server;
const workspace = 'production';
expectOk(await admin.request('POST', '/v1/workspaces/create', { name: workspace, path: `${root}/${workspace}` }));
for (const hostname of ['web-01', 'web-02']) await makeServer(admin, hostname, { workspace });

// The reference's versions are those of this workspace, whatever the built-in catalog has.
const definition = path.join(root, workspace, 'taskservs', 'kubernetes');
await mkdir(definition, { recursive: true });
await writeFile(
  path.join(definition, 'taskserv.yaml'),
  'name: kubernetes\nsummary: Of the reference\nversions: { default: 1.28.0, supported: [1.28.0] }\nplatforms: [debian-12]\n',
);
for (const script of ['install.sh', 'check.sh', 'remove.sh']) {
  await writeFile(path.join(definition, script), '#!/bin/sh\ntrue\n', { mode: 0o755 });
}

const REQUEST = {
  workspace: 'production',
  name: 'kubernetes',
  servers: ['web-01', 'web-02'],
  config: {
    version: '1.28.0',
  },
  check_mode: false,
};
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

interface Taskserv {
  id: string;
  name: string;
  version: string;
  servers: string[];
  status: string;
  created_at: string;
}

/** The answer to whatever goes on afterwards. */
function assertAccepted(answer: Answer<Operation>): Operation {
  const operation = expectOk(answer);
  assert.match(operation.id, /^[0-9a-f-]{36}$/);
  assert.ok(['pending', 'running'].includes(operation.status), operation.status);
  assert.match(operation.created_at, TIME);
  assert.match(operation.updated_at, TIME);
  assert.equal(operation.result, null);
  assert.equal(operation.error, null);
  assert.equal(answer.headers.get('location'), `/v1/operations/${operation.id}`);
  return operation;
}

function assertTaskserv(record: Taskserv): void {
  assert.match(record.id, /^tsk-[a-z0-9]+$/);
  for (const field of ['name', 'version', 'status'] as const) assert.equal(typeof record[field], 'string', field);
  assert.ok(record.servers.every((name) => typeof name === 'string'));
  assert.match(record.created_at, TIME);
}

async function list(): Promise<Taskserv[]> {
  return expectOk(await admin.request<Taskserv[]>('GET', '/v1/taskservs'));
}

test('POST /v1/taskservs/create, GET /v1/taskservs and DELETE /v1/taskservs/{id} work as the reference writes them', async () => {
  assert.deepEqual(await list(), []);
  const created = assertAccepted(await admin.request<Operation>('POST', '/v1/taskservs/create', REQUEST));
  const done = await ended(admin, created.id);
  assert.equal(done.status, 'completed', JSON.stringify(done));
  assert.equal(done.error, null);

  const rows = await list();
  for (const row of rows) assertTaskserv(row);
  assert.equal(rows.length, 1);
  const { id = '', name, version, servers, status } = rows[0] ?? {};
  assert.deepEqual(
    { name, version, servers, status },
    { name: 'kubernetes', version: '1.28.0', servers: ['web-01', 'web-02'], status: 'running' },
  );
  assert.equal(done.result?.taskserv_id, id);
  assert.deepEqual(expectOk(await admin.request('GET', `/v1/taskservs/${id}`)), rows[0]);

  const body = { workspace: 'production', taskserv_id: id };
  const deleted = assertAccepted(await admin.request<Operation>('DELETE', `/v1/taskservs/${id}`, body));
  assert.equal((await ended(admin, deleted.id)).status, 'completed');
  assert.deepEqual(await list(), []);
});

test('the same request for the built-in kubernetes makes one cluster of its servers', async () => {
  const other = 'built-in';
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name: other, path: `${root}/${other}` }));
  for (const hostname of ['web-01', 'web-02']) await makeServer(admin, hostname, { workspace: other });
  const created = assertAccepted(
    await admin.request<Operation>('POST', '/v1/taskservs/create', { ...REQUEST, workspace: other }),
  );
  const done = await ended(admin, created.id);
  assert.equal(done.status, 'completed', done.error ?? '');
  const route = `/v1/taskservs/${done.result?.taskserv_id}`;
  const made = expectOk(
    await admin.request<{ version: string; hosts: { server: string; role: string }[] }>('GET', route),
  );
  assert.equal(made.version, '1.28.0');
  assert.deepEqual(
    made.hosts.map(({ server: name, role }) => [name, role]),
    [
      ['web-01', 'control-plane'],
      ['web-02', 'worker'],
    ],
  );
  const skipping = await admin.request<{ message: string }>('PATCH', route, { version: '1.30.11' });
  assert.match(JSON.stringify(expectError(skipping, 409)), /one minor version at a time.*1\.29\.7/);
  const removed = expectOk(await admin.request<Operation>('DELETE', route));
  assert.equal((await ended(admin, removed.id)).status, 'completed');
});

test('check_mode answers an operation whose result is the plan, and makes nothing', async () => {
  const body = { ...REQUEST, check_mode: true };
  const { id } = assertAccepted(await admin.request<Operation>('POST', '/v1/taskservs/create', body));
  const { status, result } = await ended(admin, id);
  assert.equal(status, 'completed');
  assert.equal(result?.check_mode, true);
  assert.equal(typeof result?.plan, 'object');
  assert.deepEqual(await list(), []);
});

test('the same Idempotency-Key is one operation, another request under it 409', async () => {
  const key = { 'idempotency-key': 'kubernetes-once' };
  const ask = (body: unknown) => admin.request<Operation>('POST', '/v1/taskservs/create', body, key);
  const answers = await Promise.all(Array.from({ length: 5 }, () => ask(REQUEST)));
  const ids = new Set(answers.map((answer) => expectOk(answer).id));
  assert.equal(ids.size, 1);
  expectError(await ask({ ...REQUEST, servers: ['web-01'] }), 409, 'IDEMPOTENCY_KEY_REUSED');
  const done = await ended(admin, [...ids][0] ?? '');
  const id = String(done.result?.taskserv_id);

  const contradicting = { workspace: 'production', taskserv_id: 'tsk-xyz789' };
  expectError(await admin.request('DELETE', `/v1/taskservs/${id}`, contradicting), 400, 'VALIDATION_ERROR');
  expectError(await admin.request('DELETE', `/v1/taskservs/${id}?workspace=default`), 400, 'VALIDATION_ERROR');
  const gone = assertAccepted(await admin.request<Operation>('DELETE', `/v1/taskservs/${id}?workspace=production`));
  assert.equal((await ended(admin, gone.id)).status, 'completed');
});

test('404 for an unknown one, 401 without a token, 403 without the permission, 400 for what cannot be', async () => {
  const unknown = { workspace: 'production', taskserv_id: 'tsk-xyz789' };
  expectError(await admin.request('DELETE', '/v1/taskservs/tsk-xyz789', unknown), 404, 'NOT_FOUND');
  expectError(await admin.request('GET', '/v1/taskservs/tsk-xyz789'), 404, 'NOT_FOUND');
  expectError(await anonymous.request('GET', '/v1/taskservs'), 401, 'UNAUTHORIZED');
  expectError(await anonymous.request('POST', '/v1/taskservs/create', REQUEST), 401, 'UNAUTHORIZED');
  expectError(await anonymous.request('DELETE', '/v1/taskservs/tsk-xyz789', unknown), 401, 'UNAUTHORIZED');
  const viewer = await makeClient(server, 'taskservs.viewer', [{ role: 'viewer' }]);
  assert.deepEqual(expectOk(await viewer.request('GET', '/v1/taskservs')), []);
  expectError(await viewer.request('POST', '/v1/taskservs/create', REQUEST), 403, 'FORBIDDEN');
  expectError(await viewer.request('DELETE', '/v1/taskservs/tsk-xyz789', unknown), 403, 'FORBIDDEN');
  const wrong = async (overrides: Record<string, unknown>, field: string) => {
    const answer = await admin.request('POST', '/v1/taskservs/create', { ...REQUEST, ...overrides });
    const [problem] = expectError(answer, 400, 'VALIDATION_ERROR').details as { field: string }[];
    assert.equal(problem?.field, field);
  };
  await wrong({ workspace: 'produktion' }, 'workspace');
  await wrong({ name: 'kubernets' }, 'name');
  await wrong({ servers: ['web-03'] }, 'servers[0]');
  await wrong({ servers: [] }, 'servers');
  await wrong({ config: { version: '1.27.0' } }, 'config.version');
  await wrong({ config: { versoin: '1.28.0' } }, 'config.versoin');
  await wrong({ name: undefined }, 'name');
});
