/** What is protected is not deleted, on any way; what expires is announced, then deleted once. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import {
  askForServer,
  expectError,
  expectOk,
  makeClient,
  makeServer,
  type Server,
  startInstallation,
} from '../support/acceptance.ts';
import { startReceiver } from '../support/receiver.ts';
import { type Answer, type Client, ended, type Operation, until } from '../support/server.ts';
import { type Delivery, deliveryThat, makeWebhook } from '../support/webhooks.ts';
import { hostsInCloud, makes, rolledBack, runBatch, stepsOf, submitBatch } from '../support/workflows.ts';

interface Guarded extends Server {
  protect: boolean;
  expires_at: string | null;
}
interface Kept extends Operation {
  kind: string;
  title: string;
  created_by: string;
  resource: string;
  error_code: string | null;
}
const WORKER = {
  SWEEP_INTERVAL: '1',
  HEALTH_CHECK_INTERVAL: '0',
  EXPIRY_WARNINGS: '3600,1',
  WEBHOOK_ALLOW: 'http,local,private',
};
const receiver = await startReceiver();

const installation = await startInstallation({ ROLE: 'api', ...WORKER });
after(async () => {
  await installation.close();
  await receiver[Symbol.asyncDispose]();
});
const { server, database } = installation;
const { admin } = server;
const { pool } = database;
/** A type that can stand inside of another one. */
const GRAPH = `name: graph
parameters: { type: object, properties: { operations: { type: array, items: { type: object } } } }
operations: "\${{ parameters.operations }}"
`;
before(async () => {
  const types = `${server.dataDir}/workspaces/default/workflows`;
  await mkdir(types, { recursive: true });
  await writeFile(`${types}/graph.yaml`, GRAPH);
});
let worker = await installation.replica({ ROLE: 'worker' });

const guard = (id: string, body: object, client: Client = admin) =>
  client.request<Kept>('PATCH', `/v1/servers/${id}`, body);
const read = async (id: string) => expectOk(await admin.request<Guarded>('GET', `/v1/servers/${id}`));
const isGone = async (id: string) => (await admin.request('GET', `/v1/servers/${id}`)).status === 404;
const operations = async (query: string) => expectOk(await admin.request<Kept[]>('GET', `/v1/operations?${query}`));
const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1_000).toISOString();

async function install(name: string, servers: string[], more: object = {}): Promise<string> {
  const body = { workspace: 'default', name, servers, ...more };
  const { id } = expectOk(await admin.request<Operation>('POST', '/v1/taskservs/create', body));
  const done = await ended(admin, id);
  assert.equal(done.status, 'completed', JSON.stringify(done));
  return String(done.result?.taskserv_id);
}

/** Refused as protected, naming the thing and how to go on. */
function assertProtected(answer: Answer, id: string): void {
  const { message, details } = expectError(answer, 409, 'PROTECTED');
  assert.ok(message.includes(id), message);
  assert.match(message, /unprotect/);
  assert.match(JSON.stringify(details), new RegExp(id));
}

/** Has operations accepted, and guards set before any of them is carried out. */
async function beforeItActs<T>(accept: () => Promise<T>, then: () => Promise<void>): Promise<T> {
  await worker.stop();
  const accepted = await accept();
  await then();
  worker = await installation.replica({ ROLE: 'worker' });
  return accepted;
}

describe('protection', () => {
  test('O16: is set at creation, shown, holds against every request, and is removed again', async () => {
    const { server: made } = await makeServer(admin, 'kept-01', { protect: true });
    assert.equal((await read(made.id)).protect, true);
    for (const query of ['', '?force=true', '?force=true&check_mode=true']) {
      assertProtected(await admin.request('DELETE', `/v1/servers/${made.id}${query}`), made.id);
    }
    assertProtected(await admin.request('POST', `/v1/servers/${made.id}/repair`, { recreate: true }), made.id);
    assertProtected(await admin.request('DELETE', '/v1/workspaces/default'), made.id);
    const checked = expectOk(await guard(made.id, { protect: false, check_mode: true }));
    assert.deepEqual(checked.result?.plan, {
      ...{ create: [], delete: [], problems: [], order: ['Remove the protection of kept-01'] },
      change: [{ type: 'server', id: made.id, name: 'kept-01', protect: { from: true, to: false } }],
    });
    assert.equal((await read(made.id)).protect, true, 'a check has removed it');
    const removed = expectOk(await guard(made.id, { protect: false }));
    assert.deepEqual([removed.kind, removed.title], ['server.guard', 'Remove the protection of kept-01']);
    assert.equal((await read(made.id)).protect, false);
    assert.equal(removed.status, 'completed');
    const { id } = expectOk(await admin.request<Operation>('DELETE', `/v1/servers/${made.id}`));
    assert.equal((await ended(admin, id)).status, 'completed');
  });

  test('is set beside other changes, and while something else is done', async () => {
    const { server: made } = await makeServer(admin, 'kept-02');
    const both = expectOk(await guard(made.id, { tags: ['blue'], protect: true, ttl: '8h' }));
    assert.equal(both.kind, 'server.resize');
    const { protect, expires_at: expiry } = await read(made.id);
    assert.ok(protect && expiry !== null);
    expectOk(await guard(made.id, { protect: false }));
    assert.equal((await ended(admin, both.id)).status, 'completed');
    assert.deepEqual((await read(made.id)).tags, ['blue']);
  });

  test('is removed only by those who may', async () => {
    const developer = await makeClient(server, 'dev.one', [{ role: 'developer', workspace: 'default' }]);
    const operator = await makeClient(server, 'op.one', [{ role: 'operator', workspace: 'default' }]);
    const { server: made } = await makeServer(developer, 'kept-03');
    expectOk(await guard(made.id, { protect: true }, developer));
    const refused = expectError(await guard(made.id, { protect: false }, developer), 403);
    assert.match(refused.message, /protection_remove/);
    const steps = [{ id: 'off', kind: 'server.guard', with: { server: 'kept-03', protect: false } }];
    const run = await runBatch(developer, steps, { rollback: false });
    assert.equal((await stepsOf(admin, run.id))[0]?.error_code, 'FORBIDDEN');
    expectOk(await guard(made.id, { protect: true, expires_at: null }, developer));
    expectOk(await guard(made.id, { protect: false }, operator));
  });

  test('is set with the answer: a cancel takes nothing back', async () => {
    const developer = await makeClient(server, 'dev.three', [{ role: 'developer', workspace: 'default' }]);
    const { server: made } = await makeServer(developer, 'kept-05', { ttl: '30d' });
    const id = await install('memcached', ['kept-05']);
    await beforeItActs(
      async () => {},
      async () => {
        const guards = { protect: true, ttl: '60d' };
        const asked = expectOk(await guard(made.id, guards, developer));
        const { expires_at: expiry } = await read(made.id);
        expectOk(await guard(made.id, { protect: true }));
        expectError(await developer.request('POST', `/v1/operations/${asked.id}/cancel`), 409, 'OPERATION_ENDED');
        const { protect, expires_at: still } = await read(made.id);
        assert.deepEqual([asked.status, protect, still], ['completed', true, expiry]);
        const path = `/v1/taskservs/${id}`;
        const other = expectOk(await admin.request<Operation>('PATCH', path, { protect: true }));
        expectError(await admin.request('POST', `/v1/operations/${other.id}/cancel`), 409, 'OPERATION_ENDED');
        assertProtected(await admin.request('DELETE', path), id);
      },
    );
  });

  test('holds for taskservs: their removal, servers that leave, and the server below them', async () => {
    const { server: one } = await makeServer(admin, 'web-01');
    await makeServer(admin, 'web-02');
    const id = await install('memcached', ['web-01', 'web-02'], { protect: true });
    const path = `/v1/taskservs/${id}`;
    const shown = expectOk(await admin.request<{ protect: boolean }>('GET', path));
    assert.equal(shown.protect, true);
    assertProtected(await admin.request('DELETE', `${path}?force=true`), id);
    assertProtected(await admin.request('PATCH', path, { servers: ['web-02'] }), id);
    assertProtected(await admin.request('DELETE', `/v1/servers/${one.id}?force=true`), id);
    expectOk(await admin.request('PATCH', path, { protect: false }));
    const { id: smaller } = expectOk(await admin.request<Operation>('PATCH', path, { servers: ['web-02'] }));
    assert.equal((await ended(admin, smaller)).status, 'completed');
    expectOk(await admin.request('PATCH', path, { protect: true }));
    expectOk(await admin.request('DELETE', `/v1/servers/${one.id}`));
  });

  test('fails nodes, nested or by a schedule, with the reason', async () => {
    const { server: made } = await makeServer(admin, 'kept-04', { protect: true });
    const id = await install('memcached', ['kept-04'], { protect: true });
    const operations = [
      { id: 'server', kind: 'server.delete', with: { server: made.id, force: true }, on_failure: 'continue' },
      { id: 'taskserv', kind: 'taskserv.delete', with: { taskserv: id }, on_failure: 'continue' },
    ];
    const inner = { workflow_type: 'graph', parameters: { operations } };
    const run = await runBatch(admin, [
      ...operations,
      { id: 'inner', kind: 'workflow', with: inner, on_failure: 'continue' },
    ]);
    const body = { name: 'kept', workspace: 'default', ...inner, cron: '0 0 1 1 *' };
    const schedule = expectOk(await admin.request<{ id: string }>('POST', '/v1/schedules', body)).id;
    await pool.query('update provisioning.schedules set next_run_at = now() where id = $1', [schedule]);
    let scheduled: string | null = null;
    await until(async () => {
      const { body: now } = await admin.request<{ last_workflow_id: string | null }>(
        'GET',
        `/v1/schedules/${schedule}`,
      );
      scheduled = now.last_workflow_id;
      return scheduled !== null;
    }, 'the schedule to run');
    await ended(admin, String(scheduled));
    const nested = (await stepsOf(admin, run.id)).find((step) => step.id === 'inner')?.operation_id;
    for (const workflow of [run.id, nested, scheduled]) {
      for (const step of (await stepsOf(admin, String(workflow))).filter((one) => one.id !== 'inner')) {
        assert.deepEqual([step.status, step.error_code], ['failed', 'PROTECTED'], JSON.stringify(step));
        assert.match(step.error ?? '', /unprotect/);
      }
    }
  });

  test('holds against rollbacks, nested too, which say what they leave standing', async () => {
    const fails = { id: 'fails', kind: 'wait', with: { tcp: '127.0.0.1:1', within: 0.1 } };
    const inner = { operations: [makes('deep', 'undone-03', { with: { hostname: 'undone-03', protect: true } })] };
    const run = await runBatch(admin, [
      makes('kept', 'undone-01', { with: { hostname: 'undone-01', protect: true } }),
      makes('goes', 'undone-02'),
      { id: 'inner', kind: 'workflow', with: { workflow_type: 'graph', parameters: inner } },
      { ...fails, depends_on: ['kept', 'goes', 'inner'] },
    ]);
    const rollback = await rolledBack(admin, run);
    assert.equal(rollback.status, 'completed', JSON.stringify(rollback));
    const kept = rollback.result?.kept as { node: string; reason: string }[];
    assert.deepEqual(kept.map(({ node }) => node).sort(), ['inner', 'kept']);
    for (const { reason } of kept) assert.match(reason, /is protected/);
    const hosts = await hostsInCloud(database);
    assert.deepEqual(
      ['undone-01', 'undone-02', 'undone-03'].map((hostname) => hosts.includes(hostname)),
      [true, false, true],
    );
  });

  test('set by a node, is taken back by the rollback', async () => {
    const { server: made } = await makeServer(admin, 'guarded-by-node');
    const run = await runBatch(admin, [
      { id: 'guard', kind: 'server.guard', with: { server: 'guarded-by-node', protect: true, ttl: '30d' } },
      { id: 'fails', kind: 'wait', with: { tcp: '127.0.0.1:1', within: 0.1 }, depends_on: ['guard'] },
    ]);
    assert.equal((await rolledBack(admin, run)).status, 'completed');
    const { protect, expires_at: expiry } = await read(made.id);
    assert.deepEqual([protect, expiry], [false, null]);
  });

  test('set again since, is not taken back by a rollback', async () => {
    const { server: made } = await makeServer(admin, 'guarded-since', { ttl: '2d' });
    const { server: twice } = await makeServer(admin, 'guarded-twice', { ttl: '2d' });
    const before = (await read(twice.id)).expires_at;
    const run = await submitBatch(admin, [
      { id: 'guard', kind: 'server.guard', with: { server: 'guarded-since', protect: true, ttl: '30d' } },
      { id: 'once', kind: 'server.guard', with: { server: 'guarded-twice', ttl: '30d' } },
      { id: 'again', kind: 'server.guard', with: { server: 'guarded-twice', ttl: '40d' }, depends_on: ['once'] },
      { id: 'ok', kind: 'approval', with: { message: 'Go on?' }, depends_on: ['guard', 'again'] },
    ]);
    const step = async (name: string) => (await stepsOf(admin, run.id)).find(({ id }) => id === name);
    await until(async () => (await step('ok'))?.status === 'running', 'the approval to be asked for');
    // The same protection, by somebody who relies on it from now on.
    expectOk(await guard(made.id, { protect: true }));
    const since = (await read(made.id)).expires_at;
    expectOk(await admin.request('POST', `/v1/workflows/${run.id}/steps/ok/approve`, { approve: false }));
    const rollback = await rolledBack(admin, await ended(admin, run.id));
    assert.equal(rollback.status, 'completed', JSON.stringify(rollback));
    const kept = rollback.result?.kept as { node: string; reason: string }[];
    assert.deepEqual(
      kept.map(({ node }) => node),
      ['guard'],
    );
    assert.match(kept[0]?.reason ?? '', /set again since/);
    const { protect, expires_at: expiry } = await read(made.id);
    assert.deepEqual([protect, expiry], [true, since]);
    assert.equal((await read(twice.id)).expires_at, before, 'what the run itself has set twice is not undone');
  });

  test('O16: set after the acceptance, holds when an operation would act', async () => {
    const { server: made } = await makeServer(admin, 'late-01');
    const { server: machine } = await makeServer(admin, 'late-02');
    const { server: carrier } = await makeServer(admin, 'late-03');
    const { server: missing } = await makeServer(admin, 'late-04');
    await makeServer(admin, 'late-05');
    const taskserv = await install('memcached', ['late-03', 'late-05']);
    const shrinking = await install('redis', ['late-03', 'late-05']);
    await pool.query("update provisioning.servers set provider = 'existing' where id = $1", [machine.id]);
    await pool.query("delete from simulated_cloud.servers where hostname = 'late-04'");
    const path = (id: string) => `/v1/servers/${id}`;
    const accepted = await beforeItActs(
      async () => {
        const ask = async (method: string, route: string, body?: object) =>
          expectOk(await admin.request<Operation>(method, route, body)).id;
        return [
          await ask('DELETE', path(made.id)),
          await ask('DELETE', path(machine.id)),
          await ask('POST', `${path(missing.id)}/repair`, { recreate: true }),
          await ask('DELETE', `/v1/taskservs/${taskserv}`),
          await ask('PATCH', `/v1/taskservs/${shrinking}`, { servers: ['late-05'] }),
        ];
      },
      async () => {
        for (const { id } of [made, machine, missing]) expectOk(await guard(id, { protect: true }));
        for (const id of [taskserv, shrinking]) {
          expectOk(await admin.request('PATCH', `/v1/taskservs/${id}`, { protect: true }));
        }
      },
    );
    for (const id of accepted) {
      const { status, error_code: code, error } = (await ended(admin, id)) as Kept;
      assert.deepEqual([status, code], ['failed', 'PROTECTED'], error ?? '');
    }
    await until(async () => (await read(made.id)).status === 'running', 'the server to be looked at');
    assert.equal((await read(machine.id)).protect, true);
    const cloud = await hostsInCloud(database);
    assert.deepEqual([cloud.includes('late-01'), cloud.includes('late-04')], [true, false]);
    const { rows } = await pool.query(
      'select name from provisioning.taskserv_hosts where server_id = $1 and taskserv_id is not null order by name',
      [carrier.id],
    );
    assert.deepEqual(rows, [{ name: 'memcached' }, { name: 'redis' }]);
  });

  test('cannot be set once the deletion has begun', async () => {
    await worker.stop();
    worker = await installation.replica({ ROLE: 'worker', SIMULATED_LATENCY_MS: '3000', WORKER_CONCURRENCY: '1' });
    const { server: made } = await makeServer(admin, 'begun-01', { ttl: '30d' });
    const { id } = expectOk(await admin.request<Operation>('DELETE', `/v1/servers/${made.id}`));
    await until(async () => {
      const { rows } = await pool.query('select removal_id from provisioning.servers where id = $1', [made.id]);
      return rows[0]?.removal_id !== null;
    }, 'the deletion to begin');
    for (const longer of [{ protect: true }, { ttl: '60d' }, { expires_at: null }]) {
      expectError(await guard(made.id, longer), 409, 'RESOURCE_BUSY');
    }
    assert.equal((await ended(admin, id)).status, 'completed');
  });

  test('O16: set while a rollback waits to delete, leaves it standing', async () => {
    const run = await runBatch(admin, [makes('made', 'begun-03')]);
    const id = String((await stepsOf(admin, run.id))[0]?.result?.server_id);
    // Holds the only place that there is.
    const other = await askForServer(admin, 'begun-04');
    await until(
      async () => expectOk(await admin.request<Operation>('GET', `/v1/operations/${other.id}`)).status === 'running',
      'the other operation to begin',
    );
    const asked = expectOk(await admin.request<Operation>('POST', `/v1/workflows/${run.id}/rollback`));
    const deletions = () => operations(`resource=server:${id}&kind=server.delete`);
    await until(async () => (await deletions()).length > 0, 'the deletion to be accepted');
    expectOk(await guard(id, { protect: true }));
    const rollback = await ended(admin, asked.id);
    assert.deepEqual(
      (await deletions()).map(({ status, error_code: code }) => [status, code]),
      [['failed', 'PROTECTED']],
    );
    assert.deepEqual(
      (rollback.result?.kept as { node: string }[] | undefined)?.map(({ node }) => node),
      ['made'],
    );
    assert.ok((await hostsInCloud(database)).includes('begun-03'));
  });

  test('O16: set while a server is made, keeps what tidies up from deleting it', async () => {
    const asked = await askForServer(admin, 'begun-02');
    const { rows } = await pool.query("select id from provisioning.servers where hostname = 'begun-02'");
    const [{ id }] = rows;
    await until(async () => (await hostsInCloud(database)).includes('begun-02'), 'the cloud to have it');
    expectOk(await guard(id, { protect: true }));
    expectOk(await admin.request('POST', `/v1/operations/${asked.id}/cancel`));
    const { result } = await ended(admin, asked.id);
    const cleanup = (await ended(admin, String(result?.follow_up_operation_id))) as Kept;
    assert.deepEqual([cleanup.status, cleanup.error_code], ['failed', 'PROTECTED']);
    assert.equal((await read(id)).status, 'error');
    assert.ok((await hostsInCloud(database)).includes('begun-02'));
    expectOk(await guard(id, { protect: false }));
    const deletion = expectOk(await admin.request<Operation>('DELETE', `/v1/servers/${id}`));
    assert.equal((await ended(admin, deletion.id)).status, 'completed');
    await worker.stop();
    worker = await installation.replica({ ROLE: 'worker' });
  });

  test('holds for orphans: on request, by itself after a while, and when they are taken over', async () => {
    const { server: lost } = await makeServer(admin, 'lost-01');
    await pool.query('delete from provisioning.servers where id = $1', [lost.id]);
    await pool.query('delete from provisioning.departed_servers');
    interface Orphan {
      id: string;
      hostname: string;
      provider_id: string;
      protect: boolean;
      status: string;
    }
    const find = async () =>
      expectOk(await admin.request<Orphan[]>('GET', '/v1/orphans')).find(({ hostname }) => hostname === 'lost-01');
    await until(async () => (await find()) !== undefined, 'the orphan to be found');
    const orphan = (await find()) as Orphan;
    const protect = (value: boolean) => admin.request<Orphan>('PATCH', `/v1/orphans/${orphan.id}`, { protect: value });
    const late = await beforeItActs(
      async () => expectOk(await admin.request<Operation>('DELETE', `/v1/orphans/${orphan.id}`)),
      async () => assert.equal(expectOk(await protect(true)).protect, true),
    );
    assert.equal(((await ended(admin, late.id)) as Kept).error_code, 'PROTECTED');
    assertProtected(await admin.request('DELETE', `/v1/orphans/${orphan.id}`), orphan.id);
    await pool.query('update provisioning.orphans set deletion_id = null');
    await worker.stop();
    worker = await installation.replica({ ROLE: 'worker', ORPHAN_DELETE_AFTER: '1' });
    const look = async () => {
      const { rows } = await pool.query('select clock_timestamp() as now');
      await until(async () => {
        const looks = await pool.query(
          "select from provisioning.account_sweeps where provider = 'simulated' and listed_at > $1",
          [rows[0].now],
        );
        return looks.rowCount === 1;
      }, 'a look by the replica that deletes orphans');
    };
    await look();
    assert.equal((await find())?.protect, true);
    const show = (installation: string) =>
      pool.query('update simulated_cloud.servers set installation = $2 where ref = $1', [
        orphan.provider_id,
        installation,
      ]);
    const shown = await pool.query('select installation from simulated_cloud.servers where ref = $1', [
      orphan.provider_id,
    ]);
    await show('of somebody else');
    await look();
    const hidden = await find();
    assert.deepEqual([hidden?.id, hidden?.protect, hidden?.status], [orphan.id, true, 'missing']);
    assertProtected(await admin.request('DELETE', '/v1/workspaces/default'), orphan.id);
    await show(shown.rows[0].installation);
    await look();
    const back = await find();
    assert.deepEqual([back?.id, back?.protect, back?.status], [orphan.id, true, 'running']);
    assert.deepEqual(
      (await operations(`kind=orphan.delete&resource=orphan:${orphan.id}`)).filter(({ status }) => status !== 'failed'),
      [],
    );
    const body = { workspace: 'default', provider: 'simulated', server: orphan.provider_id };
    const adopted = await ended(admin, expectOk(await admin.request<Operation>('POST', '/v1/servers/import', body)).id);
    const taken = adopted.result?.adopted as { server_id: string }[] | undefined;
    assert.equal((await read(String(taken?.[0]?.server_id))).protect, true);
  });

  test('set on an orphan while it is taken over, holds for the server', async () => {
    await worker.stop();
    worker = await installation.replica({ ROLE: 'worker', SIMULATED_LATENCY_MS: '2000' });
    const { server: lost } = await makeServer(admin, 'lost-02');
    await pool.query('delete from provisioning.servers where id = $1', [lost.id]);
    await pool.query('delete from provisioning.departed_servers');
    const find = async () => {
      const { rows } = await pool.query("select id, ref from provisioning.orphans where hostname = 'lost-02'");
      return rows[0];
    };
    await until(async () => (await find()) !== undefined, 'the orphan to be found');
    const { id, ref } = await find();
    const body = { workspace: 'default', provider: 'simulated', server: ref };
    const adoption = expectOk(await admin.request<Operation>('POST', '/v1/servers/import', body));
    await until(async () => {
      const { rows } = await pool.query('select from provisioning.servers where provider_ref = $1', [ref]);
      return rows.length === 1;
    }, 'the row of the server');
    expectOk(await admin.request('PATCH', `/v1/orphans/${id}`, { protect: true }));
    const taken = (await ended(admin, adoption.id)).result?.adopted as { server_id: string }[] | undefined;
    assert.equal((await read(String(taken?.[0]?.server_id))).protect, true);
    assert.equal(await find(), undefined);
    await worker.stop();
    worker = await installation.replica({ ROLE: 'worker' });
  });
});

describe('expiry', () => {
  const expiring = async (id: string, what: 'expiring' | 'expiry_refused') =>
    operations(`resource=server:${id}&kind=server.${what}`);

  test('is refused where it has passed, is said twice, or is too far away', async () => {
    const { server: made } = await makeServer(admin, 'expires-01');
    for (const wrong of [
      { expires_at: inSeconds(-1) },
      { expires_at: inSeconds(60), ttl: '8h' },
      { ttl: '99999w' },
      { ttl: '0h' },
      { ttl: '8 h' },
      { expires_at: 'tomorrow' },
    ]) {
      expectError(await guard(made.id, wrong), 400, 'VALIDATION_ERROR');
      expectError(await guard(made.id, { ...wrong, check_mode: true }), 400, 'VALIDATION_ERROR');
      const create = { workspace: 'default', provider: 'simulated', plan: '2xCPU-4GB', zone: 'de-fra1' };
      const body = { ...create, hostname: 'expires-02', ...wrong };
      expectError(await admin.request('POST', '/v1/servers/create', body), 400, 'VALIDATION_ERROR');
    }
    const at = '2030-01-31T18:00:00Z';
    expectOk(await guard(made.id, { expires_at: at }));
    assert.equal((await read(made.id)).expires_at, at);
    expectOk(await guard(made.id, { expires_at: null }));
    assert.equal((await read(made.id)).expires_at, null);
  });

  test('is announced, then carried out once by an ordinary deletion on behalf of the owner', async () => {
    const developer = await makeClient(server, 'dev.two', [{ role: 'developer', workspace: 'default' }]);
    const { server: made } = await makeServer(developer, 'expires-03', { ttl: '8h' });
    await install('memcached', ['expires-03']);
    assert.deepEqual(await expiring(made.id, 'expiring'), [], 'announced hours before it was to be');
    const webhook = await makeWebhook(admin, { url: receiver.url, events: ['server.expiring'] });
    expectOk(await guard(made.id, { ttl: '3s' }, developer));
    await until(async () => isGone(made.id), 'it to be deleted');
    const announced = await expiring(made.id, 'expiring');
    assert.equal(announced.length, 2, JSON.stringify(announced));
    for (const { id } of announced) {
      const told = ({ operation_id: of, status }: Delivery) => of === id && status === 'delivered';
      await deliveryThat(admin, webhook.id, told, 'the webhook to be told');
    }
    const [deletion, ...more] = await operations(`resource=server:${made.id}&kind=server.delete`);
    assert.deepEqual(more, []);
    assert.deepEqual([deletion?.status, deletion?.created_by], ['completed', '(observer)']);
    assert.match(deletion?.title ?? '', /^Delete expires-03, which expired at /);
    const owner = await pool.query(
      'select u.username from provisioning.operations o join provisioning.users u on u.id = o.owner_id where o.id = $1',
      [deletion?.id],
    );
    assert.deepEqual(owner.rows, [{ username: 'dev.two' }]);
    const audit = expectOk(
      await admin.request<{ principal: string; operation_id: string | null }[]>(
        'GET',
        '/v1/audit?action=server.delete',
      ),
    ).filter(({ operation_id }) => operation_id === deletion?.id);
    assert.deepEqual(
      audit.map(({ principal }) => principal),
      [`(observer) (expiry of server ${made.id})`],
    );
  });

  test('of what is protected is refused, told once, and decided anew when the protection goes', async () => {
    const { server: made } = await makeServer(admin, 'expires-04', { protect: true, ttl: '2s' });
    await until(async () => (await expiring(made.id, 'expiry_refused')).length > 0, 'the refusal to be told');
    const [told] = await expiring(made.id, 'expiry_refused');
    assert.equal(told?.result?.error_code, 'PROTECTED');
    assert.match(String(told?.result?.error), /unprotect/);
    await pool.query('update provisioning.servers set expiry_due_at = now() where id = $1', [made.id]);
    await until(async () => {
      const { rows } = await pool.query(
        'select expiry_due_at > now() as later from provisioning.servers where id = $1',
        [made.id],
      );
      return rows[0]?.later === true;
    }, 'a second look');
    assert.equal((await expiring(made.id, 'expiry_refused')).length, 1, 'told again');
    expectError(await guard(made.id, { protect: false }), 409, 'CONFLICT');
    expectError(await guard(made.id, { tags: ['a'], protect: false }), 409, 'CONFLICT');
    expectOk(await guard(made.id, { protect: false, ttl: '1d' }));
    assert.equal((await read(made.id)).status, 'running');
  });

  test('that was refused is announced again before it is carried out', async () => {
    const { server: made } = await makeServer(admin, 'expires-08');
    const id = await install('memcached', ['expires-08'], { protect: true });
    expectOk(await guard(made.id, { ttl: '2s' }));
    await until(async () => (await expiring(made.id, 'expiry_refused')).length === 1, 'the refusal to be told');
    const before = (await expiring(made.id, 'expiring')).length;
    expectOk(await admin.request('PATCH', `/v1/taskservs/${id}`, { protect: false }));
    await pool.query('update provisioning.servers set expiry_due_at = now() where id = $1', [made.id]);
    await until(async () => isGone(made.id), 'it to be deleted');
    assert.equal((await expiring(made.id, 'expiring')).length, before + 1);
    const { rows } = await pool.query(
      `select kind from provisioning.operations where resource = $1 and kind in ('server.expiring', 'server.delete')
       order by created_at desc limit 2`,
      [`server:${made.id}`],
    );
    assert.deepEqual(rows, [{ kind: 'server.delete' }, { kind: 'server.expiring' }]);
  });

  test('that is put off is announced anew only at moments that are still to come', async () => {
    const { server: made } = await makeServer(admin, 'expires-09', { ttl: '30m' });
    const announced = async () => (await expiring(made.id, 'expiring')).length;
    const looked = () =>
      until(async () => {
        const { rows } = await pool.query(
          'select expiry_due_at > now() as later from provisioning.servers where id = $1',
          [made.id],
        );
        return rows[0]?.later === true;
      }, 'a look');
    await looked();
    assert.equal(await announced(), 1);
    for (const ttl of ['40m', '45m']) {
      expectOk(await guard(made.id, { ttl }));
      await looked();
    }
    expectOk(await guard(made.id, { expires_at: (await read(made.id)).expires_at }));
    await looked();
    assert.equal(await announced(), 1, 'told again though it was only put off');
    expectOk(await guard(made.id, { ttl: '20m' }));
    await looked();
    assert.equal(await announced(), 2);
    expectOk(await guard(made.id, { ttl: '90d' }));
    await looked();
    assert.equal(await announced(), 2);
    await worker.stop();
    worker = await installation.replica({ ROLE: 'worker', EXPIRY_WARNINGS: '5184000,3600,1' });
    // Its next look was to be an hour before.
    await until(async () => {
      const { rows } = await pool.query(
        "select expiry_due_at = expires_at - interval '60 d' as earlier from provisioning.servers where id = $1",
        [made.id],
      );
      return rows[0]?.earlier === true;
    }, 'the moment of the new setting');
    await worker.stop();
    worker = await installation.replica({ ROLE: 'worker' });
  });

  test('of what is busy waits for that', async () => {
    const { server: made } = await makeServer(admin, 'expires-05', { ttl: '1h' });
    const held = await pool.query(
      `insert into provisioning.operations (id, kind, status, workspace, resource, input, created_by)
       values (gen_random_uuid(), 'test.hold', 'running', 'default', $1, '{}', 'test') returning id`,
      [`server:${made.id}`],
    );
    expectOk(await guard(made.id, { ttl: '1s' }));
    await until(async () => {
      const { rows } = await pool.query(
        "select expiry_due_at > now() + interval '30 s' as later from provisioning.servers where id = $1",
        [made.id],
      );
      return rows[0]?.later === true;
    }, 'it to be put off');
    assert.deepEqual(await expiring(made.id, 'expiry_refused'), []);
    await pool.query('delete from provisioning.operations where id = $1', [held.rows[0].id]);
    await pool.query('update provisioning.servers set expiry_due_at = now() where id = $1', [made.id]);
    await until(async () => isGone(made.id), 'it to be deleted');
  });

  /** Keeps deletions that are accepted from being carried out. @returns what lets them go on. */
  const holdDeletions = async () => {
    await pool.query(
      `create function provisioning.hold() returns trigger language plpgsql as $$
         begin new.queue_name := 'held ' || new.queue_name; return new; end $$;
       create trigger hold before insert on dbos.workflow_status
         for each row when (new.name in ('server.delete', 'taskserv.delete')) execute function provisioning.hold()`,
    );
    return () =>
      pool.query(
        `drop trigger hold on dbos.workflow_status; drop function provisioning.hold();
         update dbos.workflow_status set queue_name = replace(queue_name, 'held ', '') where queue_name like 'held %'`,
      );
  };
  /** Waits until its deletion was accepted for its expiry. @returns the operation's id. */
  const expire = async (type: 'server' | 'taskserv', id: string): Promise<string> => {
    await pool.query(
      `update provisioning.${type}s
       set expires_at = now() - interval '1 s', expiry_warned_at = now(), expiry_due_at = now() where id = $1`,
      [id],
    );
    const of = async () => (await operations(`resource=${type}:${id}&kind=${type}.delete`))[0];
    await until(async () => (await of()) !== undefined, 'the deletion to be accepted');
    return String((await of())?.id);
  };
  /** Waits until nothing carries the operation out any more. */
  const untilOver = (id: string) =>
    until(async () => {
      const { rows } = await pool.query('select status from dbos.workflow_status where workflow_uuid = $1', [id]);
      return rows[0]?.status === 'SUCCESS';
    }, 'the deletion to be looked at');

  test('that is put off after its deletion was accepted keeps the thing', async () => {
    const { server: later } = await makeServer(admin, 'extended-01');
    const { server: never } = await makeServer(admin, 'extended-02');
    const { server: unseen } = await makeServer(admin, 'extended-03');
    await makeServer(admin, 'extended-04');
    const taskserv = await install('memcached', ['extended-04']);
    const release = await holdDeletions();
    const deletions = [
      await expire('server', later.id),
      await expire('taskserv', taskserv),
      await expire('server', never.id),
    ];
    assert.equal((await read(later.id)).status, 'deleting');
    expectOk(await guard(later.id, { ttl: '8h' }));
    expectOk(await admin.request('PATCH', `/v1/taskservs/${taskserv}`, { ttl: '8h' }));
    expectOk(await guard(never.id, { expires_at: null }));
    // As where the cancel comes too late for a procedure that is about to begin.
    const late = await expire('server', unseen.id);
    await pool.query("update provisioning.servers set expires_at = now() + interval '8 h' where id = $1", [unseen.id]);
    await release();
    for (const id of deletions) {
      await untilOver(id);
      assert.equal((await ended(admin, id)).status, 'cancelled');
    }
    const refused = (await ended(admin, late)) as Kept;
    assert.deepEqual([refused.status, refused.error_code], ['failed', 'EXTENDED']);
    await until(async () => (await read(unseen.id)).status === 'running', 'the server to be looked at');
    const cloud = await hostsInCloud(database);
    for (const { id, hostname } of [later, never, unseen]) {
      assert.equal((await read(id)).status, 'running');
      assert.ok(cloud.includes(hostname));
    }
    const kept = expectOk(await admin.request<{ status: string }>('GET', `/v1/taskservs/${taskserv}`));
    assert.equal(kept.status, 'running');
    const audit = expectOk(await admin.request<{ operation_id: string }[]>('GET', '/v1/audit?action=operation.cancel'));
    for (const id of deletions) assert.ok(audit.some(({ operation_id: of }) => of === id));
  });

  test('that passed while no server ran is announced first', async () => {
    const { server: made } = await makeServer(admin, 'expires-06', { ttl: '30d' });
    await pool.query(
      "update provisioning.servers set expires_at = now() - interval '1 day', expiry_due_at = now() where id = $1",
      [made.id],
    );
    await until(async () => (await expiring(made.id, 'expiring')).length > 0, 'the announcement');
    await until(async () => isGone(made.id), 'it to be deleted');
    assert.equal((await expiring(made.id, 'expiring')).length, 1);
  });

  test('of taskservs removes them', async () => {
    await makeServer(admin, 'expires-07');
    const id = await install('memcached', ['expires-07']);
    expectOk(await admin.request('PATCH', `/v1/taskservs/${id}`, { ttl: '2s' }));
    await until(async () => (await admin.request('GET', `/v1/taskservs/${id}`)).status === 404, 'it to be removed');
    const [removal, ...more] = await operations(`resource=taskserv:${id}&kind=taskserv.delete`);
    assert.deepEqual([removal?.title, more], ['Remove memcached, which has expired, from expires-07', []]);
    assert.ok((await operations(`resource=taskserv:${id}&kind=taskserv.expiring`)).length > 0);
  });
});
