/** A definition that is edited while a run of it waits, over a kill -9: the run keeps what it began with, to its end and back. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { expectError, expectOk, makeServer, startInstallation } from '../support/acceptance.ts';
import { type Client, ended, type Operation, until } from '../support/server.ts';
import { hostsInCloud, statuses, submit } from '../support/workflows.ts';

const WORKSPACE = 'ours';
const PATIENCE_SECONDS = 60;

/** A server before and after a nested workflow, which makes another one, and a step that fails until there is a server "late". */
function definitions(version: string): Record<string, string> {
  return {
    deploy: `
name: deploy
operations:
  - { id: gate, kind: approval, with: { message: "Go?" } }
  - { id: first, kind: server.create, depends_on: [gate], with: { hostname: ${version}-first } }
  - { id: inner, kind: workflow, depends_on: [first], with: { workflow_type: part } }
  - { id: stop, kind: server.stop, depends_on: [inner], on_failure: fail, with: { server: late } }
  - { id: last, kind: server.create, depends_on: [stop], with: { hostname: ${version}-last } }
`,
    part: `
name: part
operations:
  - { id: a, kind: server.create, with: { hostname: ${version}-inner } }
`,
  };
}

test('a run keeps its definition, and those it nests, over an edit and a kill -9: going on, retried and undone', async () => {
  const root = await mkdtemp(path.join(tmpdir(), 'provisioning-test-definitions-'));
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(root, { recursive: true, force: true }));
  const directory = path.join(root, WORKSPACE);
  const installation = stack.use(await startInstallation({ WORKSPACE_ROOTS: root }));
  const write = async (files: Record<string, string>) => {
    for (const [name, text] of Object.entries(files)) await writeFile(`${directory}/workflows/${name}.yaml`, text);
  };
  const hosts = () => hostsInCloud(installation.database);
  const begin = async (client: Client) => {
    const { id } = await submit(client, 'deploy', {}, WORKSPACE);
    await until(async () => (await statuses(client, id)).gate === 'running', 'the approval to be waited for');
    return id;
  };
  const approve = async (client: Client, id: string) => {
    expectOk(await client.request('POST', `/v1/workflows/${id}/steps/gate/approve`));
    return ended(client, id, PATIENCE_SECONDS);
  };
  const done = async (client: Client, id: string, what: 'retry' | 'rollback') => {
    const operation = expectOk(await client.request<Operation>('POST', `/v1/workflows/${id}/${what}`));
    const result = await ended(client, operation.id, PATIENCE_SECONDS);
    assert.equal(result.status, 'completed', JSON.stringify(result));
    return result;
  };

  const before = installation.server.admin;
  expectOk(await before.request('POST', '/v1/workspaces/create', { name: WORKSPACE, path: directory }));
  await writeFile(`${directory}/workspace.yaml`, 'provider: simulated\nplan: 2xCPU-4GB\nzone: de-fra1\n');
  await mkdir(`${directory}/workflows`, { recursive: true });
  await write(definitions('old'));
  const old = await begin(before);
  await installation.killAll();
  await write(definitions('new'));

  const { admin } = await installation.replica();
  assert.match((await approve(admin, old)).error ?? '', /^stop failed/);
  assert.deepEqual(await hosts(), ['old-first', 'old-inner']);
  const young = await begin(admin);
  assert.match((await approve(admin, young)).error ?? '', /^stop failed/);
  assert.deepEqual(await hosts(), ['new-first', 'new-inner', 'old-first', 'old-inner']);

  // What is there now cannot even be read.
  await write({ deploy: 'operations: [', part: 'operations: [' });
  expectError(
    await admin.request('POST', '/v1/workflows/submit', { workspace: WORKSPACE, workflow_type: 'deploy' }),
    400,
  );
  await makeServer(admin, 'late', { workspace: WORKSPACE });
  const again = await done(admin, old, 'retry');
  const all = ['late', 'new-first', 'new-inner', 'old-first', 'old-inner', 'old-last'];
  assert.deepEqual(await hosts(), all);
  await done(admin, again.id, 'rollback');
  assert.deepEqual(await hosts(), ['late', 'new-first', 'new-inner']);
  await done(admin, young, 'rollback');
  assert.deepEqual(await hosts(), ['late']);
});
