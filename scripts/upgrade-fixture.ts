/**
 * Makes what test/recovery/earlier-version.test.ts starts from: a backup that an earlier version made of itself while work
 * of every kind was under way, and what its API answered then.
 *
 *   npx node scripts/upgrade-fixture.ts CHECKOUT
 *
 * CHECKOUT is a work tree of the earlier version in which `npm ci` has run. Its own test support starts it.
 */
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { ROOT } from '../src/root.ts';
import type { Client, TestServer } from '../test/support/server.ts';

const TARGET = path.join(ROOT, 'test/recovery/upgrade-fixture');
const MASTER_KEY = Buffer.from('for the upgrade test alone, 4a23f1d').toString('base64');
const USER_PASSWORD = 'a password of the earlier version';
/** So long that nothing ends by itself: a change reaches the cloud after a quarter of it. */
const FOREVER_MS = '3600000';
const PLAN = { provider: 'simulated', plan: '2xCPU-4GB', zone: 'de-fra1' };

/** In configs and user data: to be encrypted in the backup, and readable after the upgrade. */
const SECRET = 'a-secret-of-the-earlier-version';
/** Types of the workspace's own. `${'$'}` keeps the expressions as they are. */
const ONE_SERVER = `name: one_server
parameters: { type: object, required: [hostname], properties: { hostname: { type: string } } }
operations:
  - { id: inner, kind: server.create, with: { hostname: "${'$'}{{ parameters.hostname }}" } }
`;
const RELEASE = `name: release
parameters: { type: object, required: [server], properties: { server: { type: string } } }
secrets: { password: {} }
operations:
  - { id: ask, kind: approval, with: { message: "release?" } }
  - id: install
    kind: taskserv.create
    depends_on: [ask]
    with:
      name: mariadb
      servers: ["${'$'}{{ parameters.server }}"]
      config: { password: "${'$'}{{ secrets.password }}" }
`;

const [checkout] = process.argv.slice(2);
if (checkout === undefined) throw new Error('Say where the checkout of the earlier version is.');
const support = (name: string) => import(pathToFileURL(path.join(checkout, 'test', name)).href);
const { startTestServer, spawnProvisioning, ended, until, createClient }: typeof import('../test/support/server.ts') =
  await support('support/server.ts');
const { openBooks }: typeof import('../test/recovery/support.ts') = await support('recovery/support.ts');

const dataDir = await mkdtemp(path.join(tmpdir(), 'provisioning-fixture-'));
await chmod(dataDir, 0o711);
const database = { DATA_DIR: dataDir, MASTER_KEY, LOG_FORMAT: 'json' };
await succeed(['migrate']);
/** Accepts connections and says nothing: an import waits for it. */
const silent = createServer(() => {}).listen(0, '127.0.0.1');
await once(silent, 'listening');
const address = silent.address();
if (address === null || typeof address === 'string') throw new Error('no port');

const ids: Record<string, string> = {};
/** Operations under way at the moment of the backup, by what they are to show. */
const underWay: Record<string, string> = {};
let server = await start({ SIMULATED_LATENCY_MS: '0' });
let admin = server.admin;
const books = await openBooks({ dataDir });
try {
  await prepare();
  await startAgain({ SIMULATED_LATENCY_MS: '50', SIMULATED_FAULTS: 'stuck=1' });
  await beginAtHosts();
  await startAgain({ SIMULATED_LATENCY_MS: FOREVER_MS });
  await beginAtCloud();
  // Looks are turned away as well: whatever only looks is under way, too.
  await startAgain({ SIMULATED_LATENCY_MS: FOREVER_MS, SIMULATED_FAULTS: 'rate_limited=1' });
  await beginLooks();
  await mkdir(TARGET, { recursive: true });
  const file = path.join(TARGET, 'backup.gz');
  await rm(file, { force: true });
  // This one accepts and carries nothing out: what soon gives up waits for its first try.
  await startAgain({ ROLE: 'api' });
  await begin('refresh', 'POST', '/v1/servers/refresh', {});
  await expectUnderWay();
  const answers = await readAnswers();
  await succeed(['backup', file]);
  const fixture = { masterKey: MASTER_KEY, userPassword: USER_PASSWORD, ids, underWay, answers };
  await writeFile(path.join(TARGET, 'answers.json.gz'), gzipSync(JSON.stringify(fixture)));
} finally {
  await books[Symbol.asyncDispose]();
  await server.kill();
  await server[Symbol.asyncDispose]();
  silent.close();
  await rm(dataDir, { recursive: true, force: true });
}

/** After a kill -9: what was under way goes on. */
async function startAgain(settings: Record<string, string>): Promise<void> {
  await server.kill();
  server = await start(settings);
  admin = server.admin;
}

function start(settings: Record<string, string>): Promise<TestServer> {
  return startTestServer({
    dataDir,
    settings: {
      ...{ MASTER_KEY, WORKER_CONCURRENCY: '24', SWEEP_INTERVAL: '1', HEALTH_CHECK_INTERVAL: '0' },
      ...{ LOCAL_CHECKS: 'true', WEBHOOK_ALLOW: 'http,local', ...settings },
    },
  });
}

async function succeed(args: string[]): Promise<void> {
  const run = spawnProvisioning(args, database);
  if ((await run.closed) !== 0) throw new Error(run.output());
}

async function call<T = { id: string }>(method: string, route: string, body?: object, client: Client = admin) {
  const answer = await client.request<T>(method, route, body);
  if (answer.status !== 200) throw new Error(`${method} ${route}: ${answer.status} ${JSON.stringify(answer.body)}`);
  return answer.body;
}

/** Asks for it and waits until it has been completed. */
async function done(method: string, route: string, body?: object) {
  const operation = await ended(admin, (await call(method, route, body)).id, 120);
  if (operation.status !== 'completed') throw new Error(`${method} ${route}: ${JSON.stringify(operation)}`);
  return operation;
}

async function begin(name: string, method: string, route: string, body?: object): Promise<string> {
  const { id } = await call(method, route, body);
  underWay[name] = id;
  return id;
}

async function untilRunning(...names: string[]): Promise<void> {
  await until(
    async () => (await Promise.all(names.map((name) => statusOf(underWay[name])))).every((at) => at === 'running'),
    `${names.join(', ')} to run`,
  );
}

async function statusOf(id = ''): Promise<string> {
  return (await call<{ status: string }>('GET', `/v1/operations/${id}`)).status;
}

/** Cancels what was begun. @returns its follow-up. */
async function cancel(name: string): Promise<string> {
  const id = underWay[name] ?? '';
  delete underWay[name];
  await call('POST', `/v1/operations/${id}/cancel`);
  return followUpOf(id);
}

/** The follow-up of an operation that has ended. */
async function followUpOf(id: string): Promise<string> {
  const { result } = await ended(admin, id);
  const followUp = result?.cleanup_operation_id;
  if (typeof followUp !== 'string') throw new Error(`${id} has no follow-up: ${JSON.stringify(result)}`);
  return followUp;
}

async function untilNode(workflow: string, step: string, status: string): Promise<void> {
  await until(async () => {
    const steps = await call<{ id: string; status: string }[]>('GET', `/v1/workflows/${workflow}/steps`);
    return steps.some(({ id, status: now }) => id === step && now === status);
  }, `${step} to be ${status}`);
}

function spec(hostname: string, more: object = {}) {
  return { workspace: 'default', ...PLAN, hostname, ...more };
}

function taskserv(name: string, servers: string[], config: object = {}) {
  return { workspace: 'default', name, servers, config };
}

function batch(operations: object[], more: object = {}) {
  return { workspace: 'default', workflow_type: 'batch', parameters: { operations, ...more } };
}

/** A row of the simulated cloud's: this script fails there, or runs until the row goes. */
async function provoke(hostname: string, label: string, hangs: boolean): Promise<void> {
  await books.query(
    `insert into simulated_cloud.failures (ref, label, hangs)
     select provider_ref, $2, $3 from provisioning.servers where hostname = $1
     on conflict (ref, label) do update set hangs = excluded.hangs`,
    [hostname, label, hangs],
  );
}

/** Servers, services, users and the rest, as they are before anything is under way. */
async function prepare(): Promise<void> {
  const names = ['kept', 'to-stop', 'to-start', 'to-restart', 'to-delete', 'to-repair', 'to-reconcile'];
  for (const name of [...names, 'web-1', 'web-2', 'web-3', 'web-4', 'web-5', 'web-6']) {
    const { result } = await done('POST', '/v1/servers/create', spec(name, { tags: ['env=prod'] }));
    ids[name] = String(result?.server_id);
  }
  await done('POST', `/v1/servers/${ids['to-start']}/stop`);
  await done('POST', '/v1/servers/create', spec('only-checked', { check_mode: true }));
  for (const [name, hosts] of [
    ['redis', ['kept']],
    ['nginx', ['web-2']],
  ] as const) {
    const { result } = await done('POST', '/v1/taskservs/create', taskserv(name, [...hosts]));
    ids[name] = String(result?.taskserv_id);
  }
  await provoke('web-6', 'install haproxy', false);
  await ended(admin, (await call('POST', '/v1/taskservs/create', taskserv('haproxy', ['web-6']))).id, 120);
  await call('POST', '/v1/users', {
    username: 'viewer',
    password: USER_PASSWORD,
    roles: [{ role: 'viewer', workspace: null }],
  });
  ids.token = (await call<{ token: string }>('POST', '/v1/tokens', { name: 'ci' })).token;
  ids.webhook = (
    await call('POST', '/v1/webhooks', { url: 'http://127.0.0.1:9/', events: ['operation.completed'] })
  ).id;
  const workflows = path.join(dataDir, 'workspaces/default/workflows');
  await mkdir(workflows, { recursive: true });
  await writeFile(path.join(workflows, 'release.yaml'), RELEASE);
  await writeFile(path.join(workflows, 'one_server.yaml'), ONE_SERVER);
  for (const [name, cron] of [
    ['yearly', '0 0 1 1 *'],
    // This form is refused today.
    ['once', '2099-12-24T18:00:00'],
  ] as const) {
    const schedule = { name, workspace: 'default', cron, workflow_type: 'batch' };
    const parameters = { operations: [{ id: 'wait', kind: 'wait', with: { seconds: 0 } }] };
    ids[name] = (await call('POST', '/v1/schedules', { ...schedule, parameters })).id;
  }
  const ran = batch([
    { id: 'make', kind: 'server.create', with: { hostname: 'of-ended', ...PLAN } },
    { id: 'wait', kind: 'wait', with: { seconds: 0 }, depends_on: ['make'] },
  ]);
  ids['ended-workflow'] = (await done('POST', '/v1/workflows/submit', ran)).id;
  // Undone later: its server is there, its approval is not given yet.
  const undone = batch([
    { id: 'make', kind: 'server.create', with: { hostname: 'of-undone', ...PLAN } },
    { id: 'gate', kind: 'approval', with: { message: 'keep it?' }, depends_on: ['make'] },
  ]);
  ids.undone = (await call('POST', '/v1/workflows/submit', undone)).id;
  await untilNode(ids.undone, 'gate', 'running');
  // What the cloud has and nobody here knows: one of ours, and one without labels.
  await books.query(
    `insert into simulated_cloud.servers
       (ref, operation_id, workspace, hostname, plan, zone, ip_address, tags, power, settles_at, change)
     values ('sim-orphan', gen_random_uuid()::text, 'default', 'orphan', '2xCPU-4GB', 'de-fra1', '10.9.9.1', '{}', 'on', now(), 'create'),
            ('sim-found', null, null, 'found', '2xCPU-4GB', 'de-fra1', '10.9.9.2', '{}', 'on', now(), 'create')`,
  );
  await until(async () => (await call<unknown[]>('GET', '/v1/orphans')).length === 1, 'the orphan to be found', 60_000);
  const [orphan] = await call<{ id: string }[]>('GET', '/v1/orphans');
  ids.orphan = orphan?.id ?? '';
  await books.query(
    "update simulated_cloud.servers set power = 'off', tags = '{}' where hostname = 'to-repair' and change = 'create'",
  );
}

/** At the hosts: jobs that run on until the test ends them. Creates that wait for a server to come up. */
async function beginAtHosts(): Promise<void> {
  for (const [host, label] of [
    ['web-1', 'install redis'],
    ['web-4', 'install redis'],
    ['web-2', 'remove nginx'],
    ['web-3', 'command'],
    ['web-6', 'install haproxy'],
  ] as const)
    await provoke(host, label, true);
  await provoke('web-5', 'command', false);
  await begin('create, not up yet', 'POST', '/v1/servers/create', spec('not-up-yet'));
  await begin('create, to be cancelled', 'POST', '/v1/servers/create', spec('cancelled'));
  await begin(
    'install, in its job',
    'POST',
    '/v1/taskservs/create',
    taskserv('redis', ['web-1'], { password: SECRET }),
  );
  await begin('install, to be cancelled', 'POST', '/v1/taskservs/create', taskserv('redis', ['web-4']));
  await begin('remove, in its job', 'DELETE', `/v1/taskservs/${ids.nginx}`);
  const [retried] = await call<{ id: string }[]>('GET', '/v1/taskservs?name=haproxy');
  await begin('retry, in its job', 'POST', `/v1/taskservs/${retried?.id}/retry`);
  await untilRunning('install, in its job', 'remove, in its job', 'retry, in its job');
  await begin('install, waiting for its turn', 'POST', '/v1/taskservs/create', taskserv('nginx', ['web-1']));
  const commands = batch([
    { id: 'hangs', kind: 'command', with: { servers: ['web-3'], script: 'sleep 1000' } },
    { id: 'after', kind: 'wait', with: { seconds: 0 }, depends_on: ['hangs'] },
  ]);
  const workflow = await begin('workflow, in a command', 'POST', '/v1/workflows/submit', commands);
  await untilNode(workflow, 'hangs', 'running');
  const retrying = batch([
    {
      id: 'fails',
      kind: 'command',
      with: { servers: ['web-5'], script: 'false' },
      retry: { max_attempts: 3, initial_delay: 300 },
    },
  ]);
  const retry = await begin('workflow, waiting to retry', 'POST', '/v1/workflows/submit', retrying);
  await untilNode(retry, 'fails', 'retrying');
  const release = { workspace: 'default', workflow_type: 'release', parameters: { server: 'kept' } };
  const approved = await begin('workflow, waiting for an approval', 'POST', '/v1/workflows/submit', release);
  await untilNode(approved, 'ask', 'running');
  await until(async () => {
    const jobs = await books.query('select from simulated_cloud.runs where ends_at > clock_timestamp()');
    return jobs.length === 5;
  }, 'five jobs to run');
  await until(async () => {
    const made = await books.query("select from simulated_cloud.servers where settles_at = 'infinity'");
    return made.length === 2;
  }, 'two servers to be made');
}

/** Changes that the cloud has not been told of yet. */
async function beginAtCloud(): Promise<void> {
  await begin('create', 'POST', '/v1/servers/create', spec('created', { user_data: `#!/bin/sh\n# ${SECRET}\n` }));
  await begin('stop', 'POST', `/v1/servers/${ids['to-stop']}/stop`);
  await begin('start', 'POST', `/v1/servers/${ids['to-start']}/start`);
  await begin('restart', 'POST', `/v1/servers/${ids['to-restart']}/restart`);
  await begin('delete', 'DELETE', `/v1/servers/${ids['to-delete']}`);
  await begin('repair', 'POST', `/v1/servers/${ids['to-repair']}/repair`, { fields: ['status', 'tags'] });
  await begin('orphan', 'DELETE', `/v1/orphans/${ids.orphan}`);
  await begin('adopt', 'POST', '/v1/servers/import', {
    ...{ workspace: 'default', provider: 'simulated', server: 'sim-found', hostname: 'adopted' },
  });
  await begin('check', 'POST', `/v1/taskservs/${ids.redis}/check`);
  underWay.cleanup = await cancel('create, to be cancelled');
  underWay['reconcile of a service'] = await cancel('install, to be cancelled');
  await call('POST', `/v1/workflows/${ids.undone}/steps/gate/approve`, { approve: false });
  underWay.rollback = await followUpOf(ids.undone ?? '');
  const graph = batch(
    [
      { id: 'make', kind: 'server.create', with: { hostname: 'of-workflow', ...PLAN } },
      { id: 'ask', kind: 'approval', with: { message: 'go on?' } },
      {
        id: 'cache',
        kind: 'taskserv.create',
        with: { name: 'redis', servers: ['of-workflow'] },
        depends_on: ['make', 'ask'],
      },
      {
        id: 'nested',
        kind: 'workflow',
        with: { workflow_type: 'one_server', parameters: { hostname: 'of-nested' } },
      },
      { id: 'pause', kind: 'wait', with: { seconds: 1 }, depends_on: ['nested'] },
    ],
    { parallel_limit: 10 },
  );
  await begin('workflow', 'POST', '/v1/workflows/submit', graph);
  await untilRunning('workflow', 'rollback', 'cleanup', 'reconcile of a service', 'adopt', 'orphan', 'repair');
  await untilNode(underWay.workflow ?? '', 'nested', 'running');
}

/** What only looks, what waits for a place, and what a silent machine keeps waiting. */
async function beginLooks(): Promise<void> {
  await begin('stop, to be cancelled', 'POST', `/v1/servers/${ids['to-reconcile']}/stop`);
  await untilRunning('stop, to be cancelled');
  underWay['reconcile of a server'] = await cancel('stop, to be cancelled');
  const machine = { workspace: 'default', hostname: 'machine', ip_address: '127.0.0.1' };
  const { port } = address as { port: number };
  await begin('import', 'POST', '/v1/servers/import', { ...machine, ssh: { port, user: 'root' } });
  await untilRunning('import', 'reconcile of a server');
  for (let n = 0; n < 16; n += 1) await begin(`queued ${n}`, 'POST', '/v1/servers/create', spec(`queued-${n}`));
  await begin('queued check', 'POST', '/v1/servers/create', spec('queued-check', { check_mode: true }));
  await call('POST', `/v1/operations/${underWay['queued 0']}/cancel`);
  delete underWay['queued 0'];
}

async function expectUnderWay(): Promise<void> {
  const now: Record<string, string> = {};
  for (const [name, id] of Object.entries(underWay)) now[name] = await statusOf(id);
  console.table(now);
  const over = Object.entries(now).filter(([, status]) => !['pending', 'running'].includes(status));
  if (over.length > 0) throw new Error(`ended too early: ${JSON.stringify(over)}`);
  if (!Object.values(now).includes('pending')) throw new Error('nothing waits on a queue');
}

/** What the API says of everything that has ended: it must say the same after the upgrade. */
async function readAnswers() {
  const operations = (await call<{ id: string; status: string }[]>('GET', '/v1/operations')).filter(
    ({ status }) => !['pending', 'running'].includes(status),
  );
  const workflow = ids['ended-workflow'] ?? '';
  return {
    operations,
    server: await call('GET', `/v1/servers/${ids.kept}`),
    taskserv: await call('GET', `/v1/taskservs/${ids.redis}`),
    workflow: await call('GET', `/v1/workflows/${workflow}`),
    steps: await call('GET', `/v1/workflows/${workflow}/steps`),
    schedules: await call('GET', '/v1/schedules'),
    audit: await call('GET', '/v1/audit?per_page=100'),
    users: await call('GET', '/v1/users', undefined, createClient(server.url, ids.token)),
  };
}
