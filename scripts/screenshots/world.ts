/** What the pictures show: a small company's installation on the simulated cloud, with work done, running and failed. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type pg from 'pg';
import type { Client } from '../../src/sdk/client.ts';
import { createClient } from '../../src/sdk/client.ts';
import { makeBigWorkflow } from '../../test/support/big-workflow.ts';
import { ADMIN_PASSWORD, type TestServer, until } from '../../test/support/server.ts';

const PASSWORD = 'a password for pictures';
const PLACE = { provider: 'simulated', zone: 'de-fra1' };
const FLEET: readonly [hostname: string, plan: string, tags: string[]][] = [
  ['web-01', '2xCPU-4GB', ['web', 'public']],
  ['web-02', '2xCPU-4GB', ['web', 'public']],
  ['web-03', '2xCPU-4GB', ['web', 'public']],
  ['cache-01', '2xCPU-4GB', ['cache']],
  ['db-01', '8xCPU-32GB', ['db']],
  ['db-02', '8xCPU-32GB', ['db']],
  ['queue-01', '4xCPU-8GB', ['queue']],
  ['lb-01', '1xCPU-2GB', ['edge', 'public']],
  ['monitor-01', '2xCPU-4GB', ['ops']],
  ['backup-01', '2xCPU-2GB', ['ops']],
];

const RELEASE = `name: release
summary: Rolls the web servers over to a new version, after somebody has agreed.
parameters:
  type: object
  required: [version]
  properties:
    version: { type: string, description: Of the web server. }
operations:
  - id: before
    kind: command
    with: { servers: [web-01], script: "nginx -t" }
  - id: agree
    kind: approval
    depends_on: [before]
    with: { message: "Roll out \${{ parameters.version }}?" }
  - id: first
    kind: taskserv.create
    depends_on: [agree]
    with: { name: nginx, servers: [web-01] }
  - id: others
    kind: taskserv.create
    for_each: [web-02, web-03]
    depends_on: [first]
    with: { name: nginx, servers: ["\${{ item }}"] }
  - id: look
    kind: command
    depends_on: [others]
    with: { servers: [lb-01], script: "curl -fsS http://localhost/" }
`;

/** What the pages are asked for by. */
export interface World {
  serverId: string;
  runningOperationId: string;
  failedOperationId: string;
  taskservId: string;
  runningWorkflowId: string;
  approvalWorkflowId: string;
  /** Of 200 steps. */
  bigWorkflowId: string;
  /** Of 1,500. */
  hugeWorkflowId: string;
}

/** Fills a fresh installation through its API; what hangs or fails is told so by the simulated cloud's own tables. */
export async function makeWorld(server: TestServer, pool: pg.Pool): Promise<World> {
  const admin = createClient({ url: server.url });
  await admin.login('admin', ADMIN_PASSWORD);
  const { path: directory } = await admin.post('/v1/workspaces/create', {
    body: { name: 'production', activate: true },
  });
  await admin.post('/v1/workspaces/create', { body: { name: 'staging' } });
  await mkdir(path.join(directory, 'workflows'), { recursive: true });
  await writeFile(path.join(directory, 'workflows', 'release.yaml'), RELEASE);
  await makePeople(admin);

  const made = await Promise.all(FLEET.map((row) => makeServer(admin, row)));
  const byName = new Map(made.map(({ id, hostname }) => [hostname, id]));
  const idOf = (hostname: string) => byName.get(hostname) ?? '';
  const install = async (name: string, servers: string[], config = {}) => {
    const { id } = await admin.post('/v1/taskservs/create', {
      body: { workspace: 'production', name, servers, config },
    });
    return id;
  };
  const tell = async (hostname: string, label: string, hangs: boolean) =>
    pool.query(
      `insert into simulated_cloud.failures (ref, label, hangs)
       select provider_ref, $2, $3 from provisioning.servers where id = $1`,
      [idOf(hostname), label, hangs],
    );

  await admin.wait(await install('os-base', ['web-01', 'web-02', 'web-03', 'db-01', 'db-02']));
  await admin.wait(await install('redis', ['cache-01'], { port: 6380, maxmemory: '512mb' }));
  await admin.wait(await install('node-exporter', ['web-01', 'web-02', 'web-03', 'db-01', 'lb-01']));
  await tell('web-03', 'install nginx', false);
  const failed = await install('nginx', ['web-01', 'web-02', 'web-03']);
  await admin.wait(failed).catch(() => 'it is to fail');
  await admin.post('/v1/servers/{id}/stop', { path: { id: idOf('backup-01') } }).then(({ id }) => admin.wait(id));

  const created = await admin.post('/v1/workflows/submit', {
    body: {
      workspace: 'production',
      workflow_type: 'cluster_create',
      parameters: { cluster_name: 'green', node_count: 4, taskservs: ['node-exporter', 'containerd'] },
    },
  });
  await admin.wait(created.id);
  const release = await admin.post('/v1/workflows/submit', {
    body: { workspace: 'production', workflow_type: 'release', parameters: { version: '1.28' } },
  });
  await admin.post('/v1/schedules', {
    body: {
      name: 'nightly-scale',
      workspace: 'production',
      workflow_type: 'cluster_scale',
      cron: '0 3 * * *',
      timezone: 'Europe/Berlin',
      parameters: { cluster_name: 'green', node_count: 4 },
    },
  });

  await tell('db-01', 'install postgresql', true);
  const running = await install('postgresql', ['db-01', 'db-02']);
  const cluster = await admin.post('/v1/workflows/submit', {
    body: {
      workspace: 'production',
      workflow_type: 'cluster_create',
      parameters: { cluster_name: 'blue', node_count: 12, taskservs: ['node-exporter', 'containerd', 'redis'] },
    },
  });
  await halfDone(admin, pool, cluster.id);
  await until(async () => {
    const steps = await admin.get('/v1/workflows/{id}/steps', { path: { id: release.id } });
    return steps.some(({ kind, status }) => kind === 'approval' && status === 'running');
  }, 'the approval to be asked for');
  const taskservs = await admin.get('/v1/taskservs', { query: { name: 'nginx' } });
  await pool.query(
    `insert into provisioning.orphans (id, provider, ref, workspace, hostname, plan, zone, status, ip_address, first_seen_at)
     values ('orp-1', 'simulated', 'sim-left-1', 'staging', 'old-build-03', '4xCPU-8GB', 'de-fra1', 'running', '10.0.0.61',
             now() - interval '2 days'),
            ('orp-2', 'simulated', 'sim-left-2', 'staging', 'trial-01', '1xCPU-2GB', 'fi-hel1', 'stopped', null,
             now() - interval '5 hours')`,
  );
  const bigWorkflowId = await makeBigWorkflow(server.admin, pool, { width: 10, layers: 20 });
  const hugeWorkflowId = await makeBigWorkflow(server.admin, pool, { width: 75, layers: 20, nodes: 2 });
  return {
    serverId: idOf('web-01'),
    runningOperationId: running,
    failedOperationId: failed,
    taskservId: taskservs[0]?.id ?? '',
    runningWorkflowId: cluster.id,
    approvalWorkflowId: release.id,
    bigWorkflowId,
    hugeWorkflowId,
  };
}

/** Stops the cluster's installing for good on some of its servers: a picture of work that goes on. */
async function halfDone(admin: Client, pool: pg.Pool, workflowId: string): Promise<void> {
  await until(async () => {
    await pool.query(
      `insert into simulated_cloud.failures (ref, label, hangs)
       select provider_ref, 'install containerd', true from provisioning.servers
       where hostname like 'blue-%' and provider_ref is not null
       on conflict do nothing`,
    );
    const steps = await admin.get('/v1/workflows/{id}/steps', { path: { id: workflowId } });
    return steps.some(({ id, status }) => id === 'further[0]' && status === 'completed');
  }, 'the cluster to be half done');
}

async function makeServer(admin: Client, [hostname, plan, tags]: (typeof FLEET)[number]) {
  const body = { workspace: 'production', hostname, plan, tags, ...PLACE };
  const { id } = await admin.post('/v1/servers/create', { body });
  const { result } = await admin.wait(id);
  return { id: String(result?.server_id), hostname };
}

async function makePeople(admin: Client): Promise<void> {
  const people = [
    { username: 'operations', roles: [{ role: 'operator' as const }] },
    { username: 'web-team', roles: [{ role: 'developer' as const, workspace: 'staging' }] },
    { username: 'revision', roles: [{ role: 'auditor' as const }] },
    { username: 'wallboard', roles: [{ role: 'viewer' as const }] },
  ];
  for (const person of people) await admin.post('/v1/users', { body: { ...person, password: PASSWORD } });
  await admin.post('/v1/webhooks', {
    body: { url: 'https://chat.example/hooks/provisioning', events: ['operation.failed'] },
  });
  await admin.post('/v1/tokens', { body: { name: 'continuous integration', expires_in: 7_776_000 } });
}
