/** Every kind of node that is no server: approvals, waits, commands, taskservs, workflows in workflows; and who may. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { expectError, expectOk, makeClient, startInstallation } from '../../test/support/acceptance.ts';
import { ended, type Operation, until } from '../../test/support/server.ts';
import {
  hostsInCloud,
  makes,
  rolledBack,
  runBatch,
  statuses,
  stepsOf,
  submit,
  submitBatch,
} from '../../test/support/workflows.ts';

const root = await mkdtemp(path.join(tmpdir(), 'provisioning-test-kinds-'));
const installation = await startInstallation({ WORKSPACE_ROOTS: root, LOCAL_CHECKS: 'true' });
after(async () => {
  await installation.close();
  await rm(root, { recursive: true, force: true });
});
const { server } = installation;
const { admin } = server;
expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'strict', path: `${root}/strict` }));
await writeFile(
  `${root}/strict/workspace.yaml`,
  'provider: simulated\nplan: 2xCPU-4GB\nzone: de-fra1\napprovals: { by_submitter: false }\n',
);
await mkdir(`${root}/strict/workflows`);

const approve = (id: string, step: string, client = admin, body: unknown = undefined) =>
  client.request<Operation>('POST', `/v1/workflows/${id}/steps/${step}/approve`, body);
const waits = (id: string, step: string) =>
  until(async () => (await statuses(admin, id))[step] === 'running', `${step} to wait`);

describe('approval', () => {
  const graph = [
    { id: 'review', kind: 'approval', with: { message: 'Go?' } },
    makes('after', 'approved-1', { depends_on: ['review'] }),
  ];

  test('nothing after it starts until somebody approves', async () => {
    const { id } = await submitBatch(admin, graph);
    await waits(id, 'review');
    assert.equal((await statuses(admin, id)).after, 'waiting');
    expectError(await approve(id, 'after'), 404);
    expectOk(await approve(id, 'review', admin, { comment: 'fine' }));
    assert.equal((await ended(admin, id)).status, 'completed');
    const [review] = await stepsOf(admin, id);
    assert.deepEqual([review?.result?.approved, review?.result?.by, review?.result?.comment], [true, 'admin', 'fine']);
    expectError(await approve(id, 'review'), 409);
  });

  test('rejected, it fails with the reason', async () => {
    const { id } = await submitBatch(admin, [
      { ...graph[0], on_failure: 'fail' } as never,
      makes('after', 'rejected-1', { depends_on: ['review'] }),
    ]);
    await waits(id, 'review');
    expectOk(await approve(id, 'review', admin, { approve: false, comment: 'not today' }));
    const done = await ended(admin, id);
    assert.equal(done.status, 'failed');
    assert.match(done.error ?? '', /review failed: admin rejected it: not today/);
  });

  test('never by the submitter where the workspace says so, nor by whom the permission is missing', async () => {
    const { id } = await submitBatch(admin, graph, {}, 'strict');
    await waits(id, 'review');
    assert.match(expectError(await approve(id, 'review'), 403).message, /cannot approve a workflow that you submitted/);
    const developer = await makeClient(server, 'developer', [{ role: 'developer', workspace: 'strict' }]);
    expectError(await approve(id, 'review', developer), 403);
    const operator = await makeClient(server, 'operator', [{ role: 'operator', workspace: 'strict' }]);
    expectOk(await approve(id, 'review', operator));
    assert.equal((await ended(admin, id)).status, 'completed');
  });
});

describe('wait', () => {
  test('a time; an answer over HTTP and over TCP', async () => {
    let asked = 0;
    const web = createServer((_request, response) => {
      asked += 1;
      response.writeHead(asked < 3 ? 503 : 200).end();
    }).listen(0, '127.0.0.1');
    await until(async () => web.listening, 'the web server');
    const { port } = web.address() as AddressInfo;
    const done = await runBatch(admin, [
      { id: 'time', kind: 'wait', with: { seconds: 0.3 } },
      { id: 'http', kind: 'wait', with: { http: `http://127.0.0.1:${port}/`, every: 0.1 } },
      { id: 'tcp', kind: 'wait', with: { tcp: `127.0.0.1:${port}` } },
    ]);
    web.close();
    assert.equal(done.status, 'completed', JSON.stringify(done));
    const [time, http, tcp] = await stepsOf(admin, done.id);
    assert.equal(time?.result?.waited_seconds, 0.3);
    assert.equal(http?.result?.tries, 3);
    assert.equal(tcp?.result?.tries, 1);
  });

  test('what never answers fails in its time; addresses of the server itself are refused by default', async () => {
    const node = { id: 'tcp', kind: 'wait', with: { tcp: '127.0.0.1:1', within: 0.2, every: 0.1 }, on_failure: 'fail' };
    const done = await runBatch(admin, [node]);
    assert.match(done.error ?? '', /ECONNREFUSED.*tried for 0\.2 s/);
    await using plain = await startInstallation();
    for (const target of [
      { tcp: '127.0.0.1:80' },
      { tcp: 'localhost:80' },
      { http: 'http://169.254.169.254/latest' },
      { http: 'http://[::ffff:127.0.0.1]/' },
    ]) {
      const refused = await runBatch(plain.server.admin, [{ ...node, with: { ...target, within: 0.1 } }]);
      assert.match(refused.error ?? '', /not an address that checks of workflows may reach/, JSON.stringify(target));
    }
  });
});

test('taskservs and commands on servers that the workflow makes; a rollback takes them away again', async () => {
  const graph = [
    makes('web', 'app-${{ item }}', { for_each: [1, 2] }),
    {
      id: 'redis',
      kind: 'taskserv.create',
      with: { name: 'redis', servers: '${{ operations.web[*].result.hostname }}' },
    },
    {
      id: 'run',
      kind: 'command',
      depends_on: ['redis'],
      with: { servers: '${{ operations.web[*].result.server_id }}', script: 'echo ok', undo_script: 'echo undone' },
    },
  ];
  const done = await runBatch(admin, graph);
  assert.equal(done.status, 'completed', JSON.stringify(done));
  const steps = await stepsOf(admin, done.id);
  assert.match(String(steps.find(({ id }) => id === 'redis')?.result?.taskserv_id), /^tsk-/);
  const hosts = steps.find(({ id }) => id === 'run')?.result?.hosts;
  assert.equal(Array.isArray(hosts) ? hosts.length : 0, 2);
  const rollback = await ended(
    admin,
    expectOk(await admin.request<Operation>('POST', `/v1/workflows/${done.id}/rollback`)).id,
  );
  assert.deepEqual(
    [rollback.status, rollback.result?.undone, rollback.result?.kept],
    ['completed', 4, []],
    JSON.stringify(rollback),
  );
  assert.deepEqual(
    await hostsInCloud(installation.database),
    (await hostsInCloud(installation.database)).filter((host) => !host.startsWith('app-')),
  );
  const wrong = { id: 'x', kind: 'taskserv.create', with: { name: 'redsi', servers: ['a'] } };
  const refused = await admin.request('POST', '/v1/workflows/submit', {
    workspace: 'default',
    workflow_type: 'batch',
    parameters: { operations: [wrong] },
  });
  assert.match(expectError(refused, 400).message, /there is no taskserv "redsi"/);
});

describe('workflows in workflows', () => {
  const inner = `
name: pair
parameters:
  type: object
  required: [name]
  properties: { name: { type: string } }
operations:
  - { id: a, kind: server.create, with: { hostname: "\${{ parameters.name }}-a" } }
  - { id: b, kind: server.create, depends_on: [a], with: { hostname: "\${{ parameters.name }}-b" } }
outputs: { hosts: ["\${{ operations.a.result.hostname }}", "\${{ operations.b.result.hostname }}"] }
`;
  const pairs = {
    id: 'pairs',
    kind: 'workflow',
    for_each: ['x', 'y'],
    with: { workflow_type: 'pair', parameters: { name: '${{ item }}' } },
  };

  test('run as runs of their own, from the definitions of the moment of the submit, and are undone with the outer one', async () => {
    await writeFile(`${root}/strict/workflows/pair.yaml`, inner);
    const gate = { id: 'gate', kind: 'wait', with: { seconds: 0.5 } };
    const { id } = await submitBatch(
      admin,
      [
        gate,
        { ...pairs, depends_on: ['gate'] },
        { id: 'bad', kind: 'server.stop', depends_on: ['pairs'], with: { server: 'nobody' } },
      ],
      {},
      'strict',
    );
    await writeFile(`${root}/strict/workflows/pair.yaml`, inner.replaceAll('server.create', 'approval'));
    const done = await ended(admin, id);
    assert.equal(done.status, 'failed');
    const [, first] = await stepsOf(admin, id);
    assert.deepEqual(first?.result?.hosts, ['x-a', 'x-b']);
    assert.deepEqual(await statuses(admin, String(first?.operation_id)), { a: 'completed', b: 'completed' });
    const rollback = await rolledBack(admin, done);
    assert.equal(rollback.status, 'completed', JSON.stringify(rollback));
    assert.deepEqual(
      (await hostsInCloud(installation.database)).filter((host) => /^[xy]-/.test(host)),
      [],
    );
  });

  test('who may not submit starts nothing, not even a nested one', async () => {
    const count = async () =>
      (await installation.database.pool.query('select count(*)::int as count from provisioning.workflows')).rows;
    const before = await count();
    const viewer = await makeClient(server, 'watcher', [{ role: 'viewer', workspace: 'strict' }]);
    const body = { workspace: 'strict', workflow_type: 'batch', parameters: { operations: [pairs] } };
    expectError(await viewer.request('POST', '/v1/workflows/submit', body), 403);
    assert.deepEqual(await count(), before);
  });

  test('a developer deletes what is theirs; what is not is a 403 that names the step, before anything starts', async () => {
    await runBatch(admin, [makes('a', 'not-theirs')], {}, 60, 'strict');
    const client = await makeClient(server, 'dev2', [{ role: 'developer', workspace: 'strict' }]);
    const own = [
      makes('own', 'theirs'),
      { id: 'own_gone', kind: 'server.delete', depends_on: ['own'], with: { server: 'theirs' } },
    ];
    const other = { id: 'other', kind: 'server.delete', with: { server: 'not-theirs' }, on_failure: 'continue' };
    const body = { workspace: 'strict', workflow_type: 'batch', parameters: { operations: [...own, other] } };
    const refused = expectError(await client.request('POST', '/v1/workflows/submit', body), 403);
    assert.match(refused.message, /operations\[2\].*\(other\)/);
    assert.deepEqual(expectOk(await client.request('GET', '/v1/servers?hostname=theirs')), []);

    const done = await ended(client, (await submit(client, 'batch', { operations: own }, 'strict')).id);
    assert.deepEqual(await statuses(client, done.id), { own: 'completed', own_gone: 'completed' });
    assert.ok((await hostsInCloud(installation.database)).includes('not-theirs'));
  });
});
