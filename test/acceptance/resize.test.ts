/** PATCH /v1/servers/{id}: another plan or other tags, at every provider that can change them. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { expectError, expectOk, type Server } from '../support/acceptance.ts';
import { startCloudInstallation } from '../support/cloud-installation.ts';
import { ended, type Operation, serverRequest } from '../support/server.ts';
import { runBatch } from '../support/workflows.ts';

const installation = await startCloudInstallation();
after(() => installation.close());
const { admin } = installation.server;

const read = async (id: string) =>
  expectOk(await admin.request<Server & { drift: object[] }>('GET', `/v1/servers/${id}`));
const patch = (id: string, body: object) => admin.request<Operation>('PATCH', `/v1/servers/${id}`, body);
const changed = async (id: string, body: object) => ended(admin, expectOk(await patch(id, body)).id, 60);

async function made(body: object): Promise<string> {
  const { id } = expectOk(await admin.request<Operation>('POST', '/v1/servers/create', body));
  const operation = await ended(admin, id, 60);
  assert.equal(operation.status, 'completed', String(operation.error));
  return String(operation.result?.server_id);
}

/** Two plans that each provider has in the zone, and what it takes. */
const AT = [
  { name: 'simulated', spec: serverRequest('simulated-01') },
  ...installation.clouds.map((cloud) => ({
    name: cloud.name,
    spec: { ...cloud.spec(), workspace: 'default', provider: cloud.name },
  })),
];

for (const { name, spec } of AT) {
  describe(`at ${name}`, () => {
    test('a running server gets the plan and runs again; a look afterwards finds no drift', async () => {
      const id = await made({ ...spec, hostname: `resized-${name}`, tags: ['web'] });
      const before = await read(id);
      const plans = expectOk(await admin.request<{ name: string }[]>('GET', `/v1/providers/${name}/plans`));
      const plan = plans
        .map((offered) => offered.name)
        .find((offered) => offered === '4xCPU-8GB' && offered !== before.plan);
      assert.ok(plan !== undefined, `no other plan among ${plans.map((offered) => offered.name).join(', ')}`);
      const operation = await changed(id, { plan });
      assert.equal(operation.status, 'completed', String(operation.error));
      const after = await read(id);
      assert.deepEqual([after.plan, after.status, after.tags], [plan, 'running', ['web']]);
      const { id: look } = expectOk(await admin.request<Operation>('POST', '/v1/servers/refresh', { servers: [id] }));
      assert.equal((await ended(admin, look, 60)).status, 'completed');
      assert.deepEqual((await read(id)).drift, []);
    });

    test('tags replace those that it has, and interrupt nothing', async () => {
      const id = await made({ ...spec, hostname: `retagged-${name}`, tags: ['web', 'old'] });
      const operation = await changed(id, { tags: ['web', 'env=prod'] });
      assert.equal(operation.status, 'completed', String(operation.error));
      const { tags, plan, status, drift } = await read(id);
      assert.deepEqual([[...tags].sort(), plan, status, drift], [['env=prod', 'web'], spec.plan, 'running', []]);
      const events = await installation.lines(operation.id);
      assert.doesNotMatch(events, /stop/i);
    });

    test('a stopped server stays stopped', async () => {
      const id = await made({ ...spec, hostname: `stopped-${name}` });
      const { id: stop } = expectOk(await admin.request<Operation>('POST', `/v1/servers/${id}/stop`));
      await ended(admin, stop, 60);
      assert.equal((await changed(id, { plan: '4xCPU-8GB' })).status, 'completed');
      const { plan, status } = await read(id);
      assert.deepEqual([plan, status], ['4xCPU-8GB', 'stopped']);
    });

    test('a plan that is not offered is refused with the nearest ones', async () => {
      const id = await made({ ...spec, hostname: `refused-${name}` });
      const error = expectError(await patch(id, { plan: '3xCPU-7GB' }), 400);
      assert.match(error.message, /^plan: /);
      assert.equal((await read(id)).plan, spec.plan);
    });
  });
}

test('what cannot be is refused before anything is done', async () => {
  const id = await made(serverRequest('strict'));
  expectError(await patch('srv-nothing', { plan: '4xCPU-8GB' }), 404);
  expectError(await patch(id, {}), 400);
  expectError(await patch(id, { hostname: 'other' }), 400);
  expectError(await patch(id, { tags: ['not a tag'] }), 400);
  // Its restart goes on for as long as the cloud cannot write to it.
  const cloud = await installation.database.pool.connect();
  try {
    await cloud.query('begin');
    await cloud.query(`select from simulated_cloud.servers where hostname = 'strict' for update`);
    const restart = expectOk(await admin.request<Operation>('POST', `/v1/servers/${id}/restart`));
    assert.equal(expectError(await patch(id, { plan: '4xCPU-8GB' }), 409).error, 'RESOURCE_BUSY');
    await cloud.query('commit');
    await ended(admin, restart.id);
  } finally {
    cloud.release(true);
  }
});

test('check_mode tells the change and its steps', async () => {
  const id = await made(serverRequest('checked'));
  const operation = expectOk(await patch(id, { plan: '4xCPU-8GB', check_mode: true }));
  const { plan } = operation.result as { plan: { change: { plan: object }[]; order: string[] } };
  assert.deepEqual(plan.change[0]?.plan, { from: '2xCPU-4GB', to: '4xCPU-8GB' });
  assert.deepEqual(plan.order, ['stop it', 'give it the plan 4xCPU-8GB', 'start it']);
  assert.equal((await read(id)).plan, '2xCPU-4GB');
});

test('as a node of a workflow it is undone by a rollback', async () => {
  const id = await made({ ...serverRequest('in-workflow'), tags: ['before'] });
  const workflow = await runBatch(admin, [
    { id: 'grow', kind: 'server.resize', with: { server: 'in-workflow', plan: '4xCPU-8GB', tags: ['after'] } },
  ]);
  assert.equal(workflow.status, 'completed', String(workflow.error));
  assert.deepEqual([(await read(id)).plan, (await read(id)).tags], ['4xCPU-8GB', ['after']]);
  const undo = expectOk(await admin.request<Operation>('POST', `/v1/workflows/${workflow.id}/rollback`));
  assert.equal((await ended(admin, undo.id)).status, 'completed');
  assert.deepEqual([(await read(id)).plan, (await read(id)).tags], ['2xCPU-4GB', ['before']]);
});
