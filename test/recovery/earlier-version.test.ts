/**
 * An installation of an earlier version, with work of every kind under way, is upgraded: everything ends well, also when the
 * new version is killed in the middle. Starts from a backup that commit 4a23f1d made of itself (upgrade-fixture/README.md).
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { expectOk, type Server } from '../support/acceptance.ts';
import { verifyAuditOnceVouched } from '../support/audit.ts';
import { createTestDatabase } from '../support/database.ts';
import { startReceiver } from '../support/receiver.ts';
import {
  type Client,
  createClient,
  ended,
  spawnProvisioning,
  startTestServer,
  type TestServer,
  until,
} from '../support/server.ts';
import { stepsOf, workflowOf } from '../support/workflows.ts';
import {
  assertCreatedOnce,
  assertEventsComplete,
  assertListEqualsProvider,
  openBooks,
  temporaryDataDir,
  untilAllEnded,
} from './support.ts';

type Row = Record<string, unknown>;

/** What the script that made the backup wrote down beside it. */
interface Fixture {
  masterKey: string;
  userPassword: string;
  ids: Record<string, string>;
  /** By what each is to show: ids of operations. */
  underWay: Record<string, string>;
  /** What the API answered then. */
  answers: Record<'operations' | 'steps' | 'schedules' | 'audit' | 'users', Row[]> &
    Record<'server' | 'taskserv' | 'workflow', Row>;
}

const FIXTURE = path.join(import.meta.dirname, 'upgrade-fixture');
const { masterKey, userPassword, ids, underWay, answers }: Fixture = JSON.parse(
  gunzipSync(await readFile(path.join(FIXTURE, 'answers.json.gz'))).toString(),
);
const id = (name: string): string => ids[name] ?? underWay[name] ?? assert.fail(`the fixture has no "${name}"`);

const resources = new AsyncDisposableStack();
after(() => resources.disposeAsync());
const { directory: dataDir } = resources.use(await temporaryDataDir());
const database = resources.use(await createTestDatabase({ empty: true, poolSize: 2 }));
const books = resources.use(await openBooks({ databaseUrl: database.url }));
const receiver = resources.use(await startReceiver());

const restored = spawnProvisioning(['restore', path.join(FIXTURE, 'backup.gz')], {
  ...{ DATA_DIR: dataDir, DATABASE_URL: database.url, MASTER_KEY: masterKey, LOG_FORMAT: 'json' },
});
assert.equal(await restored.closed, 0, restored.output());
await moveToNow();

/** As if the backup had been made a moment ago: or what it holds would grow old with the years, and be deleted. */
async function moveToNow(): Promise<void> {
  await books.query(`do $$
    declare
      age interval := (select now() - max(updated_at) from provisioning.operations);
      place record;
    begin
      -- Without triggers: they stamp rows with the time.
      set session_replication_role = replica;
      for place in
        select format('%I.%I', table_schema, table_name) as name, quote_ident(column_name) as field
        from information_schema.columns join information_schema.tables using (table_schema, table_name)
        where table_schema in ('provisioning', 'simulated_cloud') and table_type = 'BASE TABLE'
          and data_type = 'timestamp with time zone' and is_generated = 'NEVER' and table_name <> 'audit_log'
      loop
        execute format('update %s set %2$s = %2$s + $1', place.name, place.field) using age;
      end loop;
      reset session_replication_role;
    end $$`);
}

const start = () =>
  startTestServer({
    databaseUrl: database.url,
    dataDir,
    settings: {
      ...{ MASTER_KEY: masterKey, SIMULATED_LATENCY_MS: '50', WORKER_CONCURRENCY: '8', POOL_SIZE: '8' },
      ...{ LOCAL_CHECKS: 'true', WEBHOOK_ALLOW: 'http,local', ADMIN_PASSWORD: 'correct horse battery staple' },
    },
  });

test('the backup holds work of every kind under way, none of it with a title', async () => {
  const rows = await books.query<{ kind: string; status: string; title: string | null }>(
    'select kind, status, title from provisioning.operations where id = any($1)',
    [Object.values(underWay)],
  );
  assert.equal(rows.length, Object.keys(underWay).length);
  assert.deepEqual([...new Set(rows.map(({ status }) => status))].sort(), ['pending', 'running']);
  assert.deepEqual([...new Set(rows.map(({ title }) => title))], [null]);
  const kinds = await books.query<{ kind: string }>(
    "select distinct kind from provisioning.operations where status in ('pending', 'running') order by kind",
  );
  assert.deepEqual(
    kinds.map(({ kind }) => kind),
    [
      ...['orphan.delete', 'server.adopt', 'server.cleanup', 'server.create', 'server.delete', 'server.import'],
      ...['server.reconcile', 'server.refresh', 'server.repair', 'server.restart', 'server.start', 'server.stop'],
      ...['taskserv.check', 'taskserv.create', 'taskserv.delete', 'taskserv.reconcile', 'taskserv.retry'],
      ...['workflow.approval', 'workflow.command', 'workflow.rollback', 'workflow.run'],
    ],
  );
});

let server: TestServer;

test('before anything else ends: what has ended then is told as it was, and old tokens and passwords open the door', async () => {
  server = resources.use(await start());
  const { admin } = server;
  for (const then of answers.operations) {
    const now = expectOk(await admin.request<Row>('GET', `/v1/operations/${then.id}`));
    const { check_mode: checkMode = false } = (then.result ?? {}) as Row;
    assertToldAsThen(now, { ...then, title: null, check_mode: checkMode });
    const events = expectOk(
      await admin.request<{ seq: number }[]>('GET', `/v1/operations/${then.id}/events`, undefined, {
        accept: 'application/json',
      }),
    );
    assert.deepEqual(
      events.map(({ seq }) => seq),
      events.map((_, n) => n + 1),
    );
  }
  const listed = expectOk(await admin.request<Row[]>('GET', '/v1/operations'));
  const expected = answers.operations.filter(({ result }) => (result as Row | null)?.check_mode !== true);
  const found = new Set(listed.map((operation) => operation.id));
  assert.deepEqual(
    expected.filter((then) => !found.has(then.id)),
    [],
  );
  for (const [route, then] of [
    [`/v1/servers/${id('kept')}`, answers.server],
    [`/v1/taskservs/${id('redis')}`, answers.taskserv],
    [`/v1/workflows/${id('ended-workflow')}`, answers.workflow],
    [`/v1/workflows/${id('ended-workflow')}/steps`, answers.steps],
    ['/v1/schedules', answers.schedules],
  ] as const) {
    assertToldAsThen(expectOk(await admin.request('GET', route)), then);
  }
  const audit = expectOk(await admin.request<Row[]>('GET', '/v1/audit'));
  const kept = new Set(audit.map((row) => row.id));
  assert.deepEqual(
    answers.audit.filter((row) => !kept.has(row.id)),
    [],
  );
  assert.equal((await verifyAuditOnceVouched(database.db)).problem, null);

  const users = expectOk(await createClient(server.url, id('token')).request<Row[]>('GET', '/v1/users'));
  assertToldAsThen(users, answers.users);
  const viewer = await server.login('viewer', userPassword);
  assert.equal((await viewer.request('POST', `/v1/servers/${id('kept')}/stop`)).status, 403);
});

test('what waits is approved and cancelled, a kill -9 comes in between, and everything ends well', async () => {
  await decide(server.admin);
  expectOk(await server.admin.request('PATCH', `/v1/webhooks/${id('webhook')}`, { url: receiver.url }));
  await ended(server.admin, id('delete'));
  await server.kill();
  // What could not end before: jobs on hosts, servers that did not come up, a try that is due in minutes.
  await books.query('delete from simulated_cloud.failures');
  await books.query('update simulated_cloud.runs set ends_at = now() where ends_at > now()');
  await books.query("update simulated_cloud.servers set settles_at = now() where settles_at = 'infinity'");
  await books.query(
    "update provisioning.workflow_nodes set next_attempt_at = now() where status = 'retrying' and workflow_id = $1",
    [id('workflow, waiting to retry')],
  );
  await books.query('update provisioning.schedules set next_run_at = now()');
  server = resources.use(await start());
  const { admin } = server;
  await untilAllEnded(books, 180_000);

  for (const [name, operationId] of Object.entries(underWay)) {
    const operation = await ended(admin, operationId);
    const status = { 'create, not up yet': 'cancelled', import: 'failed' }[name] ?? 'completed';
    assert.equal(operation.status, status, `${name}: ${JSON.stringify(operation)}`);
  }
  const imported = await ended(admin, id('import'));
  assert.match(imported.error ?? '', /connect to the machine/);
  const check = await ended(admin, id('queued check'));
  assert.equal((check as unknown as Row).check_mode, true);
  const { create } = (check.result?.plan ?? {}) as Row;
  assert.ok(Array.isArray(create), JSON.stringify(check));

  await assertWorkflows(admin);
  await assertHosts();
  await assertServers(admin);
  await assertSchedules(admin);
  await assertWebhook(admin);
  await assertEventsComplete(books);
  await assertCreatedOnce(books);
  await assertListEqualsProvider(books);
  assert.equal((await verifyAuditOnceVouched(database.db)).problem, null);
  assert.deepEqual(await books.query('select * from provisioning.host_turns'), []);
});

async function decide(admin: Client): Promise<void> {
  for (const name of ['workflow', 'workflow, waiting for an approval'])
    expectOk(await admin.request('POST', `/v1/workflows/${id(name)}/steps/ask/approve`, { approve: true }));
  expectOk(await admin.request('POST', `/v1/operations/${id('create, not up yet')}/cancel`));
}

async function assertWorkflows(admin: Client): Promise<void> {
  for (const name of ['in a command', 'waiting to retry', 'waiting for an approval'].map((at) => `workflow, ${at}`)) {
    const { nodes } = await workflowOf(admin, id(name));
    assert.deepEqual(
      Object.keys(nodes).filter((status) => nodes[status] !== 0),
      ['completed'],
      name,
    );
  }
  const [retried] = await stepsOf(admin, id('workflow, waiting to retry'));
  assert.deepEqual([retried?.status, retried?.attempt], ['completed', 2]);
  const steps = await stepsOf(admin, id('workflow'));
  assert.deepEqual(Object.fromEntries(steps.map((step) => [step.id, step.status])), {
    ...{ make: 'completed', ask: 'completed', cache: 'completed', nested: 'completed', pause: 'completed' },
  });
  const undone = await stepsOf(admin, id('undone'));
  assert.deepEqual(
    undone.map(({ id: step, undo }) => [step, undo]),
    [
      ['make', 'undone'],
      ['gate', 'nothing'],
    ],
  );
}

/** What hung on a host was attached to, not run a second time. */
async function assertHosts(): Promise<void> {
  const jobs = await books.query<{ hostname: string; label: string; times: number }>(
    `select s.hostname, r.label, count(*)::int as times from simulated_cloud.runs r join simulated_cloud.servers s using (ref)
     where r.kind = 'job' and (s.hostname, r.label) in
       (('web-1', 'install redis'), ('web-2', 'remove nginx'), ('web-3', 'command')) group by 1, 2 order by 1`,
  );
  assert.deepEqual(
    jobs.map(({ hostname, label, times }) => `${hostname}: ${label} ${times}`),
    ['web-1: install redis 1', 'web-2: remove nginx 1', 'web-3: command 1'],
  );
}

async function assertServers(admin: Client): Promise<void> {
  const servers = expectOk(await admin.request<Server[]>('GET', '/v1/servers'));
  const status = Object.fromEntries(servers.map(({ hostname, status: now }) => [hostname, now]));
  const gone = ['to-delete', 'cancelled', 'of-undone', 'machine', 'not-up-yet', 'queued-check', 'orphan'];
  assert.deepEqual(
    gone.filter((hostname) => hostname in status),
    [],
  );
  assert.deepEqual(
    Object.fromEntries(
      ['to-stop', 'to-start', 'to-restart', 'to-repair', 'adopted'].map((name) => [name, status[name]]),
    ),
    {
      'to-stop': 'stopped',
      'to-start': 'running',
      'to-restart': 'running',
      'to-repair': 'running',
      adopted: 'running',
    },
  );
  for (const name of ['created', 'of-workflow', 'of-nested', 'queued-1', 'queued-15'])
    assert.equal(status[name], 'running', name);
}

/** Also the one in a form that is refused today. */
async function assertSchedules(admin: Client): Promise<void> {
  for (const name of ['yearly', 'once']) {
    let schedule: Row = {};
    await until(async () => {
      schedule = expectOk(await admin.request<Row>('GET', `/v1/schedules/${id(name)}`));
      return schedule.last_workflow_id !== null || schedule.last_error !== null;
    }, `schedule ${name} to start its workflow`);
    assert.equal(schedule.last_error, null, name);
    assert.equal((await ended(admin, String(schedule.last_workflow_id), 60)).status, 'completed', name);
  }
}

/** Everything that has been completed since the webhook was made is told, that of before the upgrade too. */
async function assertWebhook(admin: Client): Promise<void> {
  const rows = await books.query<{ id: string }>(
    `select id from provisioning.operations o where status = 'completed' and not check_mode
       and created_at > (select created_at from provisioning.webhooks)`,
  );
  // Tries that failed before the upgrade are due later: they are asked for again.
  await books.query("update provisioning.webhook_deliveries set next_attempt_at = now() where status = 'pending'");
  const told = () => new Set(receiver.received.map(({ body }) => JSON.parse(body).operation?.id));
  await until(
    async () => rows.every((operation) => told().has(operation.id)),
    `${rows.length} operations to be told`,
    60_000,
  );
  const { active } = expectOk(await admin.request<{ active: boolean }>('GET', `/v1/webhooks/${id('webhook')}`));
  assert.equal(active, true);
}

/** Everything that was told then is told now. There may be fields that are new. */
function assertToldAsThen(now: unknown, then: unknown): void {
  assert.partialDeepStrictEqual(withoutTimes(now), withoutTimes(then));
  if (Array.isArray(now) && Array.isArray(then)) assert.equal(now.length, then.length);
}

/** Everything but the times, which have been moved. */
function withoutTimes(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutTimes);
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.entries(value).filter(([name]) => !/_at$|^last_(used|login)|next_run/.test(name));
  return Object.fromEntries(fields.map(([name, field]) => [name, withoutTimes(field)]));
}
