/** POST /v1/workflows/validate and GET /v1/workflow-types, through a real server. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { expectError, expectOk, makeClient, makeServer, startInstallation } from '../../test/support/acceptance.ts';

const root = await mkdtemp(path.join(tmpdir(), 'provisioning-test-workflows-'));
const installation = await startInstallation({ WORKSPACE_ROOTS: root });
after(async () => {
  await installation.close();
  await rm(root, { recursive: true, force: true });
});
const { server } = installation;
const { admin } = server;
expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'production', path: `${root}/production` }));
await mkdir(`${root}/production/workflows`);
await writeFile(
  `${root}/production/workflows/mine.yaml`,
  'name: mine\nsummary: My own.\noperations:\n  - { id: go, kind: approval }\n',
);
await writeFile(
  `${root}/production/workflows/broken.yaml`,
  'name: broken\noperations:\n  - { id: go, kind: nothing }\n',
);

interface Graph {
  nodes: { id: string; kind: string; with: Record<string, unknown> | null; skipped: boolean }[];
  edges: { from: string; to: string }[];
  waves: string[][];
  critical_path: string[];
  permissions: string[];
}
interface Type {
  name: string;
  origin: string;
  problems: { line?: number }[];
  definition?: string;
}

const validate = (body: Record<string, unknown>, client = admin) =>
  client.request<Graph>('POST', '/v1/workflows/validate', { workspace: 'production', ...body });

test('the example of the reference: two parameters are enough, the rest comes from workspace.yaml', async () => {
  const parameters = { cluster_name: 'k8s-prod', node_count: 3 };
  const graph = expectOk(await validate({ workflow_type: 'cluster_create', parameters }));
  assert.deepEqual(
    graph.nodes
      .filter(({ kind }) => kind === 'server.create')
      .map(({ id, with: fields }) => [id, fields?.hostname, fields?.provider, fields?.plan]),
    [1, 2, 3].map((n) => [`nodes[${n - 1}]`, `k8s-prod-${n}`, 'simulated', '2xCPU-4GB']),
  );
  assert.ok(graph.permissions.includes('server_create'));
});

test('a workspace has the built-in types and its own, with what is wrong with them', async () => {
  const builtIn = expectOk(await admin.request<Type[]>('GET', '/v1/workflow-types'));
  assert.ok(
    builtIn.length >= 3 && builtIn.every(({ origin, problems }) => origin === 'built-in' && problems.length === 0),
    JSON.stringify(builtIn),
  );
  const types = expectOk(await admin.request<Type[]>('GET', '/v1/workflow-types?workspace=production'));
  assert.equal(types.length, builtIn.length + 2);
  assert.equal(types.find(({ name }) => name === 'broken')?.problems[0]?.line, 3);
  const mine = expectOk(await admin.request<Type>('GET', '/v1/workflow-types/mine?workspace=production'));
  assert.match(mine.definition ?? '', /^name: mine\n/);
  expectError(await admin.request('GET', '/v1/workflow-types/mine'), 404);
  expectOk(await validate({ workflow_type: 'mine' }));
  assert.match(expectError(await validate({ workflow_type: 'broken' }), 400).message, /line 3/);
});

test('a definition may be handed in; what is wrong has line and column', async () => {
  const graph = expectOk(
    await validate({
      definition: 'operations: [{ id: a, kind: approval }, { id: b, kind: approval, depends_on: [a] }]',
    }),
  );
  assert.deepEqual(graph.waves, [['a'], ['b']]);
  const { details } = expectError(
    await validate({ definition: 'operations:\n  - { id: a, kind: approval, depends_on: [b] }' }),
    400,
  );
  assert.deepEqual(details, [
    {
      field: 'operations[0].depends_on[0]',
      message: 'there is no step "b" (line 2, column 43)',
      near_matches: ['a'],
      line: 2,
      column: 43,
    },
  ]);
});

test('the provider is asked: a plan that it does not have is a 400 naming the node', async () => {
  const parameters = { cluster_name: 'a', node_count: 2, plan: '2xCPU-5GB' };
  const { message } = expectError(await validate({ workflow_type: 'cluster_create', parameters }), 400);
  assert.match(message, /no plan "2xCPU-5GB"/);
  assert.match(message, /nodes\[0\]/);
});

test('a step that asks for what the caller may not do is a 403 naming it', async () => {
  const client = await makeClient(server, 'dev', [{ role: 'developer', workspace: 'production' }, { role: 'viewer' }]);
  expectOk(await validate({ workflow_type: 'mine' }, client));
  const viewer = await makeClient(server, 'view', [{ role: 'viewer' }]);
  expectError(await validate({ workflow_type: 'mine' }, viewer), 403);
});

test('servers of the workspace can be chosen by their tags', async () => {
  const { server: made } = await makeServer(admin, 'a-1', { workspace: 'production', tags: ['cluster:a'] });
  await makeServer(admin, 'b-1', { workspace: 'production', tags: ['cluster:b'] });
  const graph = expectOk(await validate({ workflow_type: 'cluster_delete', parameters: { cluster_name: 'a' } }));
  assert.deepEqual(
    graph.nodes.map(({ with: fields }) => fields),
    [{ server: made.id, force: true }],
  );
});
