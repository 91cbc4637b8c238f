/** POST /v1/workflows/validate and GET /v1/workflow-types, through a real server. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
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

test('thousands of mistakes are refused as quickly as few', async () => {
  const refuse = async (count: number) => {
    const operations = Array.from({ length: count }, (_, n) => ({
      id: `not-allowed-${n}`,
      kind: 'wait',
      depends_on: [`neither-${n}`, `nor-${n}`],
    }));
    const begun = performance.now();
    const { details } = expectError(await validate({ workflow_type: 'batch', parameters: { operations } }), 400);
    assert.equal(Array.isArray(details) && details.length, 50);
    return performance.now() - begun;
  };
  await refuse(100);
  const few = await refuse(100);
  const many = await refuse(2_000);
  assert.ok(many < 20 * few + 2_000, `${many} ms of 2,000 mistakes against ${few} ms of 100`);
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

test('a number that would not be kept exactly is refused where it stands: in definitions, files and expressions', async () => {
  const big = '1909198862420847982';
  for (const [definition, message] of [
    [
      `parameters: { type: object, properties: { n: { type: integer, default: ${big} } } }\noperations: []`,
      /line 1, column 72/,
    ],
    [
      `operations:\n  - { id: a, kind: wait, with: { seconds: 1e400 } }`,
      /1e400 is a number past .* \(line 2, column 43\)/,
    ],
    ['operations:\n  - { id: a, kind: wait, with: { seconds: 0.10000000000000000555 } }', /kept as 0\.1/],
    [`operations: [{ id: a, kind: wait, with: { seconds: "\${{ \`${big}\` }}" } }]`, /past ±9007199254740991/],
    [`operations: [{ id: a, kind: wait, with: { seconds: "\${{ to_number('${big}') }}" } }]`, /past ±9007199254740991/],
  ] as const) {
    assert.match(expectError(await validate({ definition }), 400, 'VALIDATION_ERROR').message, message, definition);
  }
  const body = `{"workspace":"production","workflow_type":"mine","parameters":{"n":${big}}}`;
  assert.match(expectError(await admin.request('POST', '/v1/workflows/validate', body), 400).message, /parameters\.n/);
  const fine = `operations: [{ id: a, kind: approval, with: { message: "${big} \${{ '${big}' }}" } }]`;
  const { nodes } = expectOk(await validate({ definition: fine }));
  assert.deepEqual(nodes[0]?.with, { message: `${big} ${big}` });

  const file = `${root}/production/workspace.yaml`;
  const before = await readFile(file, 'utf8');
  await writeFile(file, `${before}node_count: ${big}\n`);
  const refused = await validate({ workflow_type: 'mine' });
  await writeFile(file, before);
  assert.match(expectError(refused, 400).message, /workspace\.yaml 1909198862420847982 is a number past/);
});

test('the provider is asked: a plan that it does not have is a 400 naming the node', async () => {
  const parameters = { cluster_name: 'a', node_count: 2, plan: '2xCPU-5GB' };
  const { message } = expectError(await validate({ workflow_type: 'cluster_create', parameters }), 400);
  assert.match(message, /no plan "2xCPU-5GB"/);
  assert.match(message, /nodes\[0\]/);
});

test('a step that asks for what the caller may not do is a 403 naming it, before anything starts', async () => {
  const dev = await makeClient(server, 'dev', [{ role: 'developer', workspace: 'production' }, { role: 'viewer' }]);
  expectOk(await validate({ workflow_type: 'mine' }, dev));
  const viewer = await makeClient(server, 'view', [{ role: 'viewer' }]);
  assert.match(expectError(await validate({ workflow_type: 'mine' }, viewer), 403).message, /"workflow_submit"/);
  const { server: theirs } = await makeServer(admin, 'theirs-1', { workspace: 'production', tags: ['cluster:theirs'] });
  const { server: own } = await makeServer(dev, 'own-1', { workspace: 'production' });
  for (const [step, place] of [
    ['kind: server.delete, with: { server: theirs-1 }', /^operations\[1\]\.with\.server \(b\) \(line 3\): /],
    [`kind: server.stop, with: { server: ${theirs.id} }`, /^operations\[1\]\.with\.server \(b\) \(line 3\): /],
    [
      'kind: command, with: { servers: [own-1, theirs-1], script: id }',
      /^operations\[1\]\.with\.servers \(b\) \(line 3\): /,
    ],
    [
      'kind: workflow, with: { workflow_type: cluster_delete, parameters: { cluster_name: theirs } }',
      /line 3\): workflow "cluster_delete": operations\[0\]\.with\.server \(nodes\[0\]\)/,
    ],
  ] as const) {
    const definition = `operations:\n  - { id: a, kind: approval }\n  - { id: b, ${step} }\n`;
    const { message } = expectError(await validate({ definition }, dev), 403);
    assert.match(message, place);
    assert.match(message, /created by somebody else/);
    expectOk(await validate({ definition }));
  }
  expectOk(
    await validate({ definition: `operations: [{ id: a, kind: server.delete, with: { server: ${own.id} } }]` }, dev),
  );
  const before = expectOk(await admin.request<unknown[]>('GET', '/v1/workflows')).length;
  const operations = [
    { id: 'a', kind: 'server.create', with: { hostname: 'never-1' } },
    { id: 'b', kind: 'server.delete', with: { server: 'theirs-1' } },
  ];
  const body = { workspace: 'production', workflow_type: 'batch', parameters: { operations } };
  assert.match(
    expectError(await dev.request('POST', '/v1/workflows/submit', body), 403).message,
    /^parameters\.operations\[1\]\.with\.server \(b\): /,
  );
  assert.equal(expectOk(await admin.request<unknown[]>('GET', '/v1/workflows')).length, before);
  assert.deepEqual(expectOk(await admin.request<unknown[]>('GET', '/v1/servers?hostname=never-1')), []);
});

/** What is wrong with a step, `^` in the text marks the place that must be named. */
const MISTAKES: [what: string, step: string, message: RegExp][] = [
  [
    'a cycle',
    '{ id: b, kind: approval, depends_on: [c] }\n  - { id: c, kind: approval, depends_on: ^[b] }',
    /circle: b → c → b|circle: c → b → c/,
  ],
  ['an unknown step', '{ id: b, kind: approval, depends_on: [^nobody] }', /there is no step "nobody"/],
  [
    'an unknown result',
    '{ id: b, kind: server.stop, with: ^{ server: "${{ operations.nobody.result.id }}" } }',
    /there is no step "nobody"/,
  ],
  [
    'an unknown parameter',
    '{ id: b, kind: approval, with: { message: ^"${{ parameters.nam }}" } }',
    /there is no parameter "nam"/,
  ],
  [
    'an unknown name',
    '{ id: b, kind: approval, with: { message: ^"${{ params.name }}" } }',
    /unknown reference "params"/,
  ],
  [
    'an unknown function',
    '{ id: b, kind: approval, with: { message: ^"${{ shell(parameters.name) }}" } }',
    /there is no function shell\(\)/,
  ],
  [
    'an unknown variable',
    '{ id: b, kind: approval, with: { message: ^"${{ let $a = parameters.name in $b }}" } }',
    /there is no variable \$b/,
  ],
  [
    'an expression that cannot be read',
    '{ id: b, kind: approval, with: { message: ^"${{ parameters.[ }}" } }',
    /cannot read the expression/,
  ],
  [
    'an expression without an end',
    '{ id: b, kind: approval, with: { message: ^"${{ parameters.name" } }',
    /is not closed/,
  ],
  [
    'a condition of the wrong type',
    '{ id: b, kind: approval, when: ^"${{ parameters.name }}" }',
    /must be true or false, not string/,
  ],
  [
    'a list of the wrong type',
    '{ id: b, kind: approval, for_each: ^"${{ parameters.name }}" }',
    /must be a list, not string/,
  ],
  [
    'a field of the wrong type',
    '{ id: b, kind: command, with: { servers: ^all, script: id } }',
    /must be array, not string/,
  ],
  ['a setting of the wrong type', '{ id: b, kind: approval, timeout: ^"${{ parameters.name }}" }', /must be a number/],
  ['an unknown kind', '{ id: b, kind: ^server.craete }', /must be one of server\.create/],
  ['an unknown field', '{ id: b, kind: approval, ^dependson: [a] }', /unknown field/],
  [
    'an unknown field of a kind',
    '{ id: b, kind: approval, with: { ^mesage: hello } }',
    /unknown field; known: message/,
  ],
  ['a second step of the name', '{ id: ^a, kind: approval }', /there are two steps "a"/],
  [
    'a result where none is known',
    '{ id: b, kind: approval, for_each: ^"${{ operations.a.result }}" }',
    /must be known before the workflow starts/,
  ],
  [
    'a taskserv that there is not',
    '{ id: b, kind: taskserv.create, with: { name: ^redsi, servers: [x] } }',
    /there is no taskserv "redsi"/,
  ],
  [
    'a setting that a taskserv has not',
    '{ id: b, kind: taskserv.create, with: { name: redis, servers: [x], config: { prot: ^1 } } }',
    /redis has no such setting/,
  ],
  ['a plan that there is not', '{ id: b, kind: server.create, with: { hostname: x, plan: ^huge } }', /no plan "huge"/],
  [
    'two servers of one name',
    '{ id: b, kind: server.create, for_each: [1, 2], with: { hostname: ^same } }',
    /b\[1\] and b\[0\] both have "same"/,
  ],
  [
    'a type that there is not',
    '{ id: b, kind: workflow, with: { workflow_type: ^cluster_craete } }',
    /there is no workflow type/,
  ],
  [
    'parameters that a type does not take',
    '{ id: b, kind: workflow, with: ^{ workflow_type: server_batch, parameters: { name: n, count: many } } }',
    /workflow "server_batch": parameters\.count: must be integer, not string/,
  ],
  [
    'a plan inside a workflow',
    '{ id: b, kind: workflow, with: ^{ workflow_type: server_batch, parameters: { name: n, count: 1, plan: huge } } }',
    /workflow "server_batch": .*no plan "huge"/,
  ],
];

for (const [what, marked, expected] of MISTAKES) {
  test(`${what} is a 400 that names line and column`, async () => {
    const head =
      'parameters: { type: object, properties: { name: { type: string, default: x } } }\noperations:\n  - { id: a, kind: approval }\n  - ';
    const before = (head + marked.slice(0, marked.indexOf('^'))).split('\n');
    const definition = `${head}${marked.replace('^', '')}\n`;
    const { message, details } = expectError(await validate({ definition }), 400);
    assert.match(message, expected);
    const place = (details as { line?: number; column?: number }[])[0];
    assert.deepEqual([place?.line, place?.column], [before.length, (before.at(-1) ?? '').length + 1], message);
  });
}

test('servers of the workspace can be chosen by their tags', async () => {
  const { server: made } = await makeServer(admin, 'a-1', { workspace: 'production', tags: ['cluster:a'] });
  await makeServer(admin, 'b-1', { workspace: 'production', tags: ['cluster:b'] });
  const graph = expectOk(await validate({ workflow_type: 'cluster_delete', parameters: { cluster_name: 'a' } }));
  assert.deepEqual(
    graph.nodes.map(({ with: fields }) => fields),
    [{ server: made.id, force: true }],
  );
});
