/**
 * What the servers of a workspace may be together, on every way to a server or to a larger one; two replicas at once do not
 * pass it together.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { expectError, expectOk, makeClient, makeServer, type Server } from '../support/acceptance.ts';
import { startCloudInstallation } from '../support/cloud-installation.ts';
import { type Answer, ended, type Operation, serverRequest, until } from '../support/server.ts';
import { makes, rolledBack, runBatch, stepsOf } from '../support/workflows.ts';

const installation = await startCloudInstallation({ SWEEP_INTERVAL: '0', EGRESS_ALLOW: '127.0.0.0/8' });
after(() => installation.close());
const { server, database, clouds } = installation;
const { admin } = server;
const second = await installation.replica();
const hetzner = clouds.find(({ name }) => name === 'hetzner') ?? assert.fail();
const aws = clouds.find(({ name }) => name === 'aws') ?? assert.fail();

interface Limits {
  servers?: number | null;
  cpus?: number | null;
  memory?: number | null;
  monthly_cost?: number | null;
}
interface Details {
  limit: string;
  per: string;
  workspace: string;
  used: number;
  allowed: number;
  wanted: number | null;
}

const change = (workspace: string, limits: Limits, client = admin) =>
  client.request<{ limits?: Limits }>('PATCH', `/v1/workspaces/${workspace}`, { limits });
async function makeWorkspace(name: string, limits: Limits = {}): Promise<void> {
  const path = `${server.dataDir}/workspaces/${name}`;
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name, path }));
  if (Object.keys(limits).length > 0) expectOk(await change(name, limits));
}
const ask = (workspace: string, hostname: string, more: Record<string, unknown> = {}, client = admin) =>
  client.request<Operation>('POST', '/v1/servers/create', serverRequest(hostname, { workspace, ...more }));
const detailsOf = (answer: Answer) => expectError(answer, 409, 'LIMIT_REACHED').details as Details;
const serversOf = async (workspace: string) =>
  expectOk(await admin.request<Server[]>('GET', `/v1/servers?workspace=${workspace}`));

test('limits are set and taken off, each by itself; by whoever holds the permission in all workspaces', async () => {
  await makeWorkspace('set');
  const none = { servers: null, cpus: null, memory: null, monthly_cost: null };
  const read = async () => expectOk(await admin.request<{ limits?: Limits }>('GET', '/v1/workspaces/set')).limits;
  assert.equal(await read(), undefined);
  assert.deepEqual(expectOk(await change('set', { servers: 3, memory: 1.5 })).limits, {
    ...none,
    servers: 3,
    memory: 1.5,
  });
  assert.deepEqual(expectOk(await change('set', { servers: null, cpus: 2 })).limits, { ...none, cpus: 2, memory: 1.5 });
  assert.deepEqual(await read(), { ...none, cpus: 2, memory: 1.5 });
  for (const wrong of [{}, { servers: -1 }, { disks: 1 }, { cpus: '2' }])
    expectError(await change('set', wrong as Limits), 400, 'VALIDATION_ERROR');
  expectError(await change('absent', { servers: 1 }), 404);
  const operator = await makeClient(server, 'operator.of.set', [{ role: 'operator', workspace: 'set' }]);
  expectError(await change('set', { cpus: null }, operator), 403, 'FORBIDDEN');
  const checked = await admin.request('PATCH', '/v1/workspaces/set?check_mode=true', { limits: { cpus: 9 } });
  assert.equal((checked.body as { limits: Limits }).limits.cpus, 9);
  assert.equal((await read())?.cpus, 2);
});

test('servers: both replicas at once, and what was deleted makes room', async () => {
  await makeWorkspace('count', { servers: 3 });
  const answers = await Promise.all(
    Array.from({ length: 12 }, (_, n) => ask('count', `c-${n}`, {}, n % 2 === 0 ? admin : second.admin)),
  );
  const accepted = answers.filter(({ status }) => status === 200);
  assert.equal(accepted.length, 3);
  for (const answer of answers.filter(({ status }) => status !== 200)) {
    assert.deepEqual(detailsOf(answer), {
      ...{ limit: 'servers', per: 'workspace', workspace: 'count', used: 3, allowed: 3, wanted: 1 },
    });
  }
  for (const { body } of accepted) assert.equal((await ended(admin, body.id)).status, 'completed');
  assert.equal((await serversOf('count')).length, 3);
  expectError(await ask('count', 'checked', { check_mode: true }), 409, 'LIMIT_REACHED');
  const [first] = await serversOf('count');
  const { id } = expectOk(await admin.request<Operation>('DELETE', `/v1/servers/${first?.id}`));
  expectError(await ask('count', 'too-early'), 409);
  assert.equal((await ended(admin, id)).status, 'completed');
  assert.equal((await ended(admin, expectOk(await ask('count', 'after')).id)).status, 'completed');
});

test('O17: processors and memory: of new servers and of larger ones, those under way included', async () => {
  await makeWorkspace('sizes');
  const { server: old } = await makeServer(admin, 'old', { workspace: 'sizes', plan: '2xCPU-4GB' });
  // What was there before the limit counts.
  expectOk(await change('sizes', { cpus: 6, memory: 16 }));
  assert.deepEqual(detailsOf(await ask('sizes', 'large', { plan: '6xCPU-16GB' })), {
    ...{ limit: 'cpus', per: 'workspace', workspace: 'sizes', used: 2, allowed: 6, wanted: 6 },
  });
  const resize = (plan: string) => admin.request<Operation>('PATCH', `/v1/servers/${old.id}`, { plan });
  assert.equal(detailsOf(await resize('8xCPU-32GB')).limit, 'cpus');
  const growing = expectOk(await resize('4xCPU-8GB'));
  // While it grows it counts as large as it will be.
  const meanwhile = detailsOf(await ask('sizes', 'meanwhile', { plan: '4xCPU-8GB' }));
  assert.deepEqual([meanwhile.limit, meanwhile.used, meanwhile.wanted], ['cpus', 4, 4]);
  assert.equal((await ended(admin, growing.id)).status, 'completed');
  assert.equal((await ended(admin, expectOk(await ask('sizes', 'fits')).id)).status, 'completed');
  assert.equal(detailsOf(await ask('sizes', 'full', { plan: '1xCPU-1GB' })).limit, 'cpus');
  expectOk(await change('sizes', { cpus: null, memory: 12 }));
  assert.deepEqual(detailsOf(await ask('sizes', 'memory', { plan: '1xCPU-1GB' })), {
    ...{ limit: 'memory', per: 'workspace', workspace: 'sizes', used: 12, allowed: 12, wanted: 1 },
  });
  // Past its limits a workspace may still become smaller.
  expectOk(await change('sizes', { memory: 1 }));
  assert.equal((await ended(admin, expectOk(await resize('1xCPU-1GB')).id)).status, 'completed');
  const limits = expectOk(
    await admin.request<{ name: string; used: number | null }[]>('GET', '/v1/limits?workspace=sizes'),
  );
  assert.equal(limits.find(({ name }) => name === 'memory')?.used, 5);
});

test('monthly cost: as the provider tells it; a cloud that tells no price is refused', async () => {
  await makeWorkspace('costs');
  const at = (cloud: typeof hetzner, hostname: string) =>
    ask('costs', hostname, { ...cloud.spec(), provider: cloud.name, workspace: 'costs', hostname });
  const before = expectOk(await at(aws, 'a-0'));
  assert.equal((await ended(admin, before.id, 60)).status, 'completed');
  expectOk(await change('costs', { monthly_cost: 1_000_000 }));
  assert.equal((await ended(admin, expectOk(await at(hetzner, 'h-1')).id, 60)).status, 'completed');
  interface Shown {
    name: string;
    used: number;
    counts: string;
  }
  const limits = expectOk(await admin.request<Shown[]>('GET', '/v1/limits?workspace=costs'));
  const { used: cost, counts } = limits.find(({ name }) => name === 'monthly_cost') ?? assert.fail();
  assert.ok(cost > 0);
  assert.match(counts, /; without 1 whose provider tells no price$/);
  expectOk(await change('costs', { monthly_cost: cost * 1.5 }));
  const details = detailsOf(await at(hetzner, 'h-2'));
  assert.deepEqual([details.limit, details.used, details.wanted], ['monthly_cost', cost, cost]);
  const unknown = detailsOf(await at(aws, 'a-1'));
  assert.deepEqual([unknown.limit, unknown.wanted], ['monthly_cost', null]);
  // What is there already may keep its plan.
  const { server_id: standing } = (await ended(admin, before.id)).result as { server_id: string };
  const { plan } = aws.spec();
  const same = expectOk(await admin.request<Operation>('PATCH', `/v1/servers/${standing}`, { plan }));
  assert.equal((await ended(admin, same.id, 60)).status, 'completed');
  // The simulated provider bills nothing.
  assert.equal((await ended(admin, expectOk(await ask('costs', 's-1')).id)).status, 'completed');
});

test('O17: nodes of a workflow, nested ones and rollbacks', async () => {
  await makeWorkspace('graph', { servers: 1, cpus: 4 });
  const { server: kept } = await makeServer(admin, 'kept', { workspace: 'graph', plan: '4xCPU-8GB' });
  const steps = [
    {
      id: 'more',
      kind: 'server.create',
      with: { hostname: 'more', provider: 'simulated', plan: '1xCPU-1GB', zone: 'de-fra1' },
      retry: { max_attempts: 1 },
    },
  ];
  const run = await runBatch(admin, steps, {}, 60, 'graph');
  assert.equal(run.status, 'failed');
  const [step] = await stepsOf(admin, run.id);
  assert.equal(step?.error_code, 'LIMIT_REACHED', JSON.stringify(step));
  assert.match(step?.error ?? '', /uses 1 of 1 servers/);
  const nested = await runBatch(
    admin,
    [
      {
        ...{ id: 'inner', kind: 'workflow' },
        with: {
          workflow_type: 'server_batch',
          parameters: {
            name: 'n',
            count: 1,
            provider: 'simulated',
            plan: '1xCPU-1GB',
            zone: 'de-fra1',
            max_attempts: 1,
          },
        },
      },
    ],
    {},
    60,
    'graph',
  );
  assert.match(nested.error ?? '', /uses 1 of 1 servers/);

  // Undoing a resize makes the server as large as it was: that may no longer be.
  const shrink = await runBatch(
    admin,
    [
      { id: 'shrink', kind: 'server.resize', with: { server: kept.id, plan: '1xCPU-1GB' } },
      { id: 'lower', kind: 'wait', with: { seconds: 0 }, depends_on: ['shrink'] },
    ],
    {},
    60,
    'graph',
  );
  assert.equal(shrink.status, 'completed', String(shrink.error));
  expectOk(await change('graph', { cpus: 2 }));
  const { id } = expectOk(await admin.request<Operation>('POST', `/v1/workflows/${shrink.id}/rollback`));
  const undone = await ended(admin, id, 120);
  assert.match(JSON.stringify(undone), /uses 0 of 2 processors/);
  const now = expectOk(await admin.request<Server>('GET', `/v1/servers/${kept.id}`));
  assert.equal(now.plan, '1xCPU-1GB');
});

test('schedules: the workflow that one starts meets the limit', async () => {
  await makeWorkspace('timed', { servers: 0 });
  const schedule = expectOk(
    await admin.request<{ id: string }>('POST', '/v1/schedules', {
      ...{ workspace: 'timed', name: 'nightly', workflow_type: 'batch', cron: '0 3 * * *' },
      parameters: { operations: [makes('s', 'scheduled', { retry: { max_attempts: 1 } })] },
    }),
  );
  await database.pool.query(
    "update provisioning.schedules set next_run_at = now() - interval '1 second' where id = $1",
    [schedule.id],
  );
  let run: string | null = null;
  await until(async () => {
    const { body } = await admin.request<{ last_workflow_id: string | null }>('GET', `/v1/schedules/${schedule.id}`);
    run = body.last_workflow_id;
    return run !== null;
  }, 'it to start a workflow');
  assert.match((await ended(admin, run ?? '', 60)).error ?? '', /uses 0 of 0 servers/);
  assert.deepEqual(await serversOf('timed'), []);
});

test('O17: a machine that is imported, servers that are adopted, and one that is made anew', async () => {
  await makeWorkspace('brought', { servers: 1 });
  const { server: ours } = await makeServer(admin, 'ours', { workspace: 'brought' });
  const machine = { workspace: 'brought', hostname: 'machine', ip_address: '127.0.0.1' };
  assert.equal(detailsOf(await admin.request('POST', '/v1/servers/import', machine)).limit, 'servers');

  // Two strangers at the cloud, and room for one.
  expectOk(await change('brought', { servers: 2 }));
  const labels = ['operation', 'workspace', 'installation'].map((word) => [`provisioning-${word}`, null]);
  for (const hostname of ['stranger-1', 'stranger-2']) {
    const made = await makeServer(admin, hostname, { provider: hetzner.name, zone: hetzner.zone });
    await database.pool.query('delete from provisioning.servers where id = $1', [made.server.id]);
    hetzner.console(made.operation.id).relabel({ ...Object.fromEntries(labels), team: 'web' });
  }
  const adopted = await ended(
    admin,
    expectOk(
      await admin.request<Operation>('POST', '/v1/servers/import', {
        ...{ workspace: 'brought', provider: hetzner.name, label: 'team=web' },
      }),
    ).id,
    60,
  );
  assert.equal(adopted.status, 'completed', String(adopted.error));
  const result = adopted.result as { adopted: object[]; refused: { reason: string }[] };
  assert.equal(result.adopted.length, 1, JSON.stringify(result));
  assert.match(result.refused[0]?.reason ?? '', /uses 2 of 2 servers/);
  assert.equal((await serversOf('brought')).length, 2);

  // A server that is gone at its provider is made anew only where there is room for it.
  await database.pool.query('delete from simulated_cloud.servers where hostname = $1', ['ours']);
  expectOk(await change('brought', { servers: 1 }));
  const repair = () => admin.request<Operation>('POST', `/v1/servers/${ours.id}/repair`, { recreate: true });
  assert.deepEqual(detailsOf(await repair()), {
    ...{ limit: 'servers', per: 'workspace', workspace: 'brought', used: 1, allowed: 1, wanted: 1 },
  });
  expectOk(await change('brought', { servers: 2 }));
  assert.equal((await ended(admin, expectOk(await repair()).id, 60)).status, 'completed');
});

test('a failed run that is rolled back leaves room for others', async () => {
  await makeWorkspace('again', { servers: 1 });
  const fails = {
    id: 'fails',
    kind: 'wait',
    with: { tcp: '192.0.2.1:9', within: 0.1 },
    depends_on: ['made'],
    retry: { max_attempts: 1 },
    on_failure: 'rollback',
  };
  const run = await runBatch(admin, [makes('made', 'first'), fails], { rollback: true }, 90, 'again');
  assert.equal(run.status, 'failed');
  assert.equal((await rolledBack(admin, run)).status, 'completed');
  assert.equal((await ended(admin, expectOk(await ask('again', 'second')).id)).status, 'completed');
});
