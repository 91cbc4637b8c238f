/**
 * Rules O2, O4, O9 and O11 of docs/contracts/operation.md for every kind: its steps have the names and the order of the table
 * below, and each may run twice; it has a title in words, and locks what it changes. All kinds are carried out on a server whose
 * steps lose their outcome once.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { OPERATION_KINDS } from '../../src/operation-kinds.ts';
import {
  assertCreatedOnce,
  assertEventsComplete,
  assertListEqualsProvider,
  type Books,
  openBooks,
} from '../recovery/support.ts';
import { expectOk, type Server } from '../support/acceptance.ts';
import { createTestDatabase } from '../support/database.ts';
import { LOST } from '../support/every-step-twice.ts';
import {
  type Client,
  ended,
  type Operation,
  serverRequest,
  startTestServer,
  type TestServer,
  until,
} from '../support/server.ts';

/**
 * Each kind's steps in order, in each way in which it can go. Stored with work that is under way: a step that is renamed,
 * moved or new behind no `patched` strands that work at an upgrade. `finish` is the end of what completes, `settle` of what
 * fails or is cancelled.
 */
const STEPS: Record<string, string[]> = {
  'orphan.delete': ['delete the orphan, finish'],
  'server.adopt': ['look at the provider, take them over, finish'],
  'server.cleanup': ['delete what was half made, finish'],
  'server.create': [
    'create the server, wait until the server runs, finish',
    // It runs already when it is looked for after a crash.
    'create the server, finish',
    'create the server, settle',
  ],
  'server.delete': ['delete the server, finish'],
  'server.import': ['connect to the machine, settle'],
  'server.reconcile': ['look how the server stands, finish'],
  'server.refresh': ['look at simulated, finish'],
  'server.repair': ['look what is different, repair tags, repair status, look at the outcome, finish'],
  'server.resize': ['look for the server, set its labels, change the plan, look at the outcome, finish'],
  'server.restart': ['restart the server, finish'],
  'server.start': ['start the server, finish'],
  'server.stop': ['stop the server, finish', 'stop the server, settle'],
  'taskserv.check': ['check on web, finish'],
  'taskserv.create': ['install on web, finish', 'install on web, settle'],
  'taskserv.delete': ['DBOS.patch-taskserv-protection, begin to remove, remove from web, finish'],
  'taskserv.reconcile': ['look at web, finish'],
  'taskserv.retry': ['install on web, finish'],
  'taskserv.update': ['install on web, finish'],
  'workflow.approval': ['wait for a decision, finish'],
  'workflow.command': ['run on web, finish'],
  'workflow.rollback': ['stop what is running, undo what was done, look what is left, finish'],
  'workflow.run': ['carry out the graph, finish'],
  'workflow.wait': ['note the time, wait, finish', 'note the time, wait for an answer, finish'],
};

const stack = new AsyncDisposableStack();
let server: TestServer;
let admin: Client;
let books: Books;
after(async () => {
  clearInterval(putsBack);
  await stack.disposeAsync();
});

/** What has lost the outcome of a step, in order, and how many of these have been put back on their queues. */
const lostOutcomes = () =>
  server
    .output()
    .split('\n')
    .filter((line) => line.startsWith(LOST))
    .map((line) => {
      const [operationId = '', ...step] = line.slice(LOST.length + 1).split(' ');
      return { operationId, step: step.join(' ') };
    });
const problems: string[] = [];
let resumed = 0;
let holding = false;
let putsBack: NodeJS.Timeout | undefined;

/** As the other replicas do where a replica has died. While the test holds them, nobody does, this replica neither. */
async function putBack(): Promise<void> {
  const ids = lostOutcomes()
    .slice(resumed)
    .map(({ operationId }) => operationId);
  if (ids.length === 0) return;
  if (!holding) resumed += ids.length;
  // It takes for lost what it has begun a while ago and does not run.
  const change = holding
    ? `started_at_epoch_ms = ${Number.MAX_SAFE_INTEGER}`
    : "status = 'ENQUEUED', owner_xid = null, started_at_epoch_ms = null";
  await books.query(`update dbos.workflow_status set ${change} where workflow_uuid = any($1) and status = 'PENDING'`, [
    ids,
  ]);
}

const ask = async (method: string, path: string, body?: object) =>
  expectOk(await admin.request<Operation>(method, path, body)).id;

/** Asks for an operation and waits for its end. */
async function done(method: string, path: string, body?: object, status = 'completed'): Promise<Operation> {
  const operation = await ended(admin, await ask(method, path, body), 180);
  assert.equal(operation.status, status, `${method} ${path}: ${JSON.stringify(operation)}`);
  return operation;
}

const make = async (hostname: string): Promise<Server> => {
  const { result } = await done('POST', '/v1/servers/create', serverRequest(hostname));
  return expectOk(await admin.request<Server>('GET', `/v1/servers/${result?.server_id}`));
};
const taskserv = (name: string) => ({ workspace: 'default', name, servers: ['web'], config: {} });

async function power({ id }: Server): Promise<void> {
  for (const action of ['stop', 'start', 'restart']) await done('POST', `/v1/servers/${id}/${action}`);
}

/** One that is not up yet when it is looked for after the crash. */
async function makeSlowly(): Promise<void> {
  holding = true;
  const id = await ask('POST', '/v1/servers/create', serverRequest('slow'));
  await until(
    async () => lostOutcomes().some(({ operationId }) => operationId === id),
    'the server to be made',
    60_000,
  );
  await books.query("update simulated_cloud.servers set settles_at = 'infinity' where hostname = 'slow'");
  holding = false;
  await until(async () => {
    const recorded = await books.query('select from dbos.operation_outputs where workflow_uuid = $1', [id]);
    return recorded.length > 0;
  }, 'it to be waited for');
  await books.query("update simulated_cloud.servers set settles_at = now() where hostname = 'slow'");
  assert.equal((await ended(admin, id, 180)).status, 'completed');
}

/** Cancels an operation and waits for what tidies up after it. */
async function cancel(id: string): Promise<void> {
  expectOk(await admin.request('POST', `/v1/operations/${id}/cancel`));
  holding = false;
  const operation = await ended(admin, id, 180);
  assert.equal(operation.status, 'cancelled', JSON.stringify(operation));
  const followUp = await ended(admin, String(operation.result?.cleanup_operation_id), 180);
  assert.equal(followUp.status, 'completed', JSON.stringify(followUp));
}

async function cancelled({ id }: Server): Promise<void> {
  for (const [path, body] of [[`/v1/servers/${id}/stop`], ['/v1/servers/create', serverRequest('never')]] as [
    string,
    object?,
  ][]) {
    holding = true;
    const operation = await ask('POST', path, body);
    const hasWorked = async () => lostOutcomes().some(({ operationId }) => operationId === operation);
    await until(hasWorked, 'its first step to have done its work', 60_000);
    await cancel(operation);
  }
  // In the middle of its job, or nothing would be unknown.
  await books.query(
    `insert into simulated_cloud.failures (ref, label, hangs)
     select provider_ref, 'install haproxy', true from provisioning.servers where hostname = 'web'`,
  );
  const installing = await ask('POST', '/v1/taskservs/create', taskserv('haproxy'));
  await until(
    async () => {
      const jobs = await books.query(
        "select from simulated_cloud.runs where label = 'install haproxy' and ends_at > clock_timestamp()",
      );
      return jobs.length > 0;
    },
    'the job to run',
    60_000,
  );
  await cancel(installing);
}

async function changes(changed: Server, gone: Server): Promise<void> {
  await done('PATCH', `/v1/servers/${changed.id}`, { tags: ['blue'], plan: '4xCPU-8GB' });
  await books.query("update simulated_cloud.servers set power = 'off', tags = '{}' where hostname = 'changed'");
  await done('POST', `/v1/servers/${changed.id}/repair`, { fields: ['status', 'tags'] });
  await done('POST', '/v1/servers/refresh', { workspace: 'default' });
  await done('PATCH', `/v1/servers/${changed.id}`, { ttl: '8h' });
  await done('DELETE', `/v1/servers/${gone.id}`);
}

/** An operation of this installation that is not known any more. */
const ELSEWHERE = '01a00000-0000-7000-8000-000000000001';

/** What the cloud has and nobody here knows: one that is taken over, one that is deleted. */
async function foreign(): Promise<void> {
  await books.query(
    `insert into simulated_cloud.servers
       (ref, operation_id, workspace, hostname, plan, zone, ip_address, tags, power, settles_at, change)
     values ('sim-found', null, null, 'found', '2xCPU-4GB', 'de-fra1', '10.9.9.2', '{}', 'on', now(), 'create'),
            ('sim-lost', '${ELSEWHERE}', 'default', 'lost', '2xCPU-4GB', 'de-fra1', '10.9.9.1', '{}', 'on', now(), 'create')`,
  );
  await books.query(
    `insert into provisioning.orphans (id, provider, ref, operation_id, workspace, hostname, plan, zone, status)
     values ('orp-000000000001', 'simulated', 'sim-lost', '${ELSEWHERE}', 'default', 'lost', '2xCPU-4GB', 'de-fra1', 'running')`,
  );
  await done('DELETE', '/v1/orphans/orp-000000000001');
  const adopted = { provider: 'simulated', server: 'sim-found', hostname: 'adopted' };
  const { result } = await done('POST', '/v1/servers/import', { workspace: 'default', ...adopted });
  assert.ok(result !== null);
}

/** Nothing listens there. A machine that can be imported has the same step, and ends in "finish". */
async function importNothing(): Promise<void> {
  const machine = { workspace: 'default', hostname: 'machine', ip_address: '127.0.0.1', ssh: { port: 1 } };
  await done('POST', '/v1/servers/import', machine, 'failed');
}

async function services(): Promise<void> {
  const { result } = await done('POST', '/v1/taskservs/create', taskserv('redis'));
  const path = `/v1/taskservs/${result?.taskserv_id}`;
  await done('PATCH', path, { config: { port: 6380 } });
  await done('POST', `${path}/check`);
  await books.query("update provisioning.taskserv_hosts set status = 'failed' where taskserv_id = $1", [
    result?.taskserv_id,
  ]);
  await done('POST', `${path}/retry`);
  await done('PATCH', path, { ttl: '8h' });
  await done('DELETE', path);
}

async function workflows(): Promise<void> {
  const { port } = new URL(server.url);
  const operations = [
    { id: 'ask', kind: 'approval' },
    { id: 'pause', kind: 'wait', with: { seconds: 0 } },
    { id: 'answer', kind: 'wait', with: { tcp: `127.0.0.1:${port}` } },
    { id: 'say', kind: 'command', with: { servers: ['web'], script: 'echo hello' } },
  ];
  const request = { workspace: 'default', workflow_type: 'batch', parameters: { operations } };
  const id = await ask('POST', '/v1/workflows/submit', request);
  await until(
    async () => {
      const approved = await admin.request('POST', `/v1/workflows/${id}/steps/ask/approve`, { approve: true });
      return approved.status === 200;
    },
    'the approval to be asked for',
    60_000,
  );
  const run = await ended(admin, id, 180);
  assert.equal(run.status, 'completed', JSON.stringify(run));
  await done('POST', `/v1/workflows/${id}/rollback`);
}

before(async () => {
  const database = stack.use(await createTestDatabase({ poolSize: 1 }));
  books = stack.use(await openBooks({ databaseUrl: database.url }));
  const file = fileURLToPath(new URL('../support/every-step-twice.ts', import.meta.url));
  server = stack.use(
    await startTestServer({
      databaseUrl: database.url,
      fromSources: true,
      nodeOptions: `--import=${file}`,
      settings: {
        ...{ SIMULATED_LATENCY_MS: '5', POOL_SIZE: '8', SWEEP_INTERVAL: '0', HEALTH_CHECK_INTERVAL: '0' },
        ...{ LOCAL_CHECKS: 'true', EGRESS_ALLOW: '127.0.0.0/8', EXPIRY_WARNINGS: '' },
      },
    }),
  );
  admin = server.admin;
  putsBack = setInterval(() => void putBack().catch(() => 'the next round does it'), 100);
  const [, powered, changed, gone] = await Promise.all(['web', 'powered', 'changed', 'gone'].map(make));
  assert.ok(powered !== undefined && changed !== undefined && gone !== undefined);
  const together = async (...work: Promise<void>[]) => {
    for (const one of await Promise.allSettled(work)) if (one.status === 'rejected') problems.push(String(one.reason));
  };
  const importing = importNothing();
  await together(changes(changed, gone), foreign(), services(), workflows(), power(powered));
  await together(makeSlowly());
  await together(cancelled(powered));
  await together(importing);
});

test('everything ends as it is meant to', () => {
  assert.deepEqual(problems, []);
});

test('O2: the steps of every kind have the names and the order of the table', async () => {
  const rows = await books.query<{ kind: string; steps: string }>(
    `select distinct kind, steps from provisioning.operations o, lateral (
       select string_agg(function_name, ', ' order by function_id) as steps
       from dbos.operation_outputs where workflow_uuid = o.id::text) s
     where steps is not null order by kind, steps`,
  );
  const ways = Map.groupBy(rows, ({ kind }) => kind);
  const found = Object.fromEntries([...ways].map(([kind, of]) => [kind, of.map(({ steps }) => steps).toSorted()]));
  const wanted = Object.entries(STEPS).map(([kind, of]) => [kind, of.toSorted()]);
  assert.deepEqual(found, Object.fromEntries(wanted));
  const withProcedure = OPERATION_KINDS.filter(({ procedure }) => procedure !== undefined);
  assert.deepEqual(Object.keys(found).toSorted(), withProcedure.map(({ kind }) => kind).toSorted());
});

/** They only look, bring something new along, are done when they are accepted, or are nodes that change nothing of ours. */
const LOCK_NOTHING = [
  ...['server.adopt', 'server.guard', 'server.refresh', 'taskserv.check', 'taskserv.guard', 'taskserv.reconcile'],
  ...['workflow.approval', 'workflow.command', 'workflow.wait'],
];

test('O4, O9: every operation has a title in words, and has locked what it changes', async () => {
  const rows = await books.query<{ kind: string; title: string | null; resource: string | null }>(
    'select kind, title, resource from provisioning.operations',
  );
  const kinds = OPERATION_KINDS.map(({ kind }) => kind);
  assert.deepEqual([...new Set(rows.map(({ kind }) => kind))].toSorted(), kinds.toSorted());
  // A verb, and what it is done to by the names that people gave it: no kind, no id.
  const unclear = rows.filter(
    ({ kind, title }) =>
      title === null ||
      !/^[A-Z][a-z]+( [^ ]+)+$/.test(title) ||
      title.includes(kind) ||
      /(srv|tsk|orp)-\w{4}|[0-9a-f]{8}-/.test(title),
  );
  assert.deepEqual(unclear, []);
  const free = new Set(rows.filter(({ resource }) => resource === null).map(({ kind }) => kind));
  assert.deepEqual([...free].toSorted(), LOCK_NOTHING);
});

test('O11: every step that did its work twice brought about what it brings about once', async () => {
  const rows = await books.query<{ id: string; kind: string; step: string }>(
    `select o.id::text, kind, function_name as step from provisioning.operations o
     join dbos.operation_outputs s on workflow_uuid = o.id::text
     where function_name not in ('finish', 'settle') and function_name not like 'DBOS.%' and s.error is null`,
  );
  const lost = new Set(lostOutcomes().map(({ operationId, step }) => `${operationId} ${step}`));
  const once = rows.filter(({ id, step }) => !lost.has(`${id} ${step}`)).map(({ kind, step }) => `${kind}: ${step}`);
  assert.deepEqual(once, [], 'steps that ran but once');
  await assertCreatedOnce(books);
  await assertListEqualsProvider(books);
  await assertEventsComplete(books);
});
