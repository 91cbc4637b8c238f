/** Taskservs through HTTP on simulated servers, whose books say what was run where. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { sql } from 'kysely';
import { expectError, expectOk, makeClient, makeServer, startInstallation } from '../../test/support/acceptance.ts';
import { assertFree, assertNotStored } from '../../test/support/canaries.ts';
import { type Client, ended, type Operation, until } from '../../test/support/server.ts';

const installation = await startInstallation({ HEALTH_CHECK_INTERVAL: '1', SIMULATED_LATENCY_MS: '10' });
after(() => installation.close());
const { server, database } = installation;
const { admin } = server;
const { db } = database;

interface Taskserv {
  id: string;
  version: string;
  servers: string[];
  status: string;
  config: Record<string, unknown>;
  secrets: string[];
  hosts: { server: string; status: string; version: string | null; message: string | null }[];
}

let made = 0;
/** Servers of their own for a test. */
async function makeServers(count: number): Promise<{ hostname: string; id: string; ref: string }[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      made += 1;
      const { server: record } = await makeServer(admin, `host-${made}`);
      const { rows } = await sql<{ ref: string }>`
        select provider_ref as ref from provisioning.servers where id = ${record.id}`.execute(db);
      return { hostname: record.hostname, id: record.id, ref: rows[0]?.ref ?? '' };
    }),
  );
}

const request = (servers: { hostname: string }[], overrides: Record<string, unknown> = {}) => ({
  workspace: 'default',
  name: 'redis',
  servers: servers.map(({ hostname }) => hostname),
  ...overrides,
});

async function accept(body: unknown, client: Client = admin): Promise<Operation> {
  return expectOk(await client.request<Operation>('POST', '/v1/taskservs/create', body));
}

async function create(body: unknown): Promise<Operation> {
  return ended(admin, (await accept(body)).id);
}

async function install(body: unknown): Promise<Taskserv> {
  const operation = await create(body);
  assert.equal(operation.status, 'completed', JSON.stringify(operation));
  return read(String(operation.result?.taskserv_id));
}

async function read(id: string): Promise<Taskserv> {
  return expectOk(await admin.request<Taskserv>('GET', `/v1/taskservs/${id}`));
}

async function change(method: string, route: string, body?: unknown): Promise<Operation> {
  return ended(admin, expectOk(await admin.request<Operation>(method, route, body)).id);
}

/** Labels of the jobs that ran on a server, in order. */
async function jobsOn({ ref }: { ref: string }): Promise<string[]> {
  const { rows } = await sql<{ label: string }>`
    select label from simulated_cloud.runs where ref = ${ref} and kind = 'job' order by id`.execute(db);
  return rows.map(({ label }) => label);
}

async function letFail({ ref }: { ref: string }, label: string, fails = true): Promise<void> {
  if (fails) await sql`insert into simulated_cloud.failures values (${ref}, ${label})`.execute(db);
  else await sql`delete from simulated_cloud.failures where ref = ${ref} and label = ${label}`.execute(db);
}

function resultOf({ result }: Operation): Record<string, unknown> {
  assert.ok(result !== null);
  return result;
}

async function eventsOf(id: string): Promise<Record<string, unknown>[]> {
  return expectOk(await admin.request<Record<string, unknown>[]>('GET', `/v1/operations/${id}/events`));
}

test('one operation installs on all servers, what is required first, each with its own lines and verdict', async () => {
  const servers = await makeServers(2);
  const operation = await create(request(servers));
  assert.equal(operation.status, 'completed');
  assert.equal(operation.result?.status, 'running');
  const events = await eventsOf(operation.id);
  for (const one of servers) {
    assert.deepEqual(await jobsOn(one), ['install os-base', 'install redis']);
    const own = events.filter(({ host }) => host === one.hostname);
    assert.ok(own.every(({ step }) => step === `install on ${one.hostname}`));
    assert.deepEqual(
      own.filter(({ stream }) => stream === 'stdout').map(({ taskserv, n }) => [taskserv, n]),
      [
        ['os-base', 1],
        ['os-base', 2],
        ['redis', 1],
        ['redis', 2],
      ],
    );
    assert.deepEqual(
      own.flatMap(({ verdict }) => verdict ?? []),
      ['running', 'running'],
    );
  }
  const taskserv = await read(String(operation.result?.taskserv_id));
  assert.deepEqual(
    taskserv.hosts.map(({ server: name, status }) => [name, status]),
    servers.map(({ hostname }) => [hostname, 'running']).sort(),
  );
  const listed = expectOk(await admin.request<Taskserv[]>('GET', `/v1/taskservs?hostname=${servers[0]?.hostname}`));
  assert.deepEqual(
    listed.map(({ id }) => id),
    [taskserv.id],
    'what came along is not listed',
  );
});

test('a server that fails does not hide the others: degraded, the operation names it, retry touches only it', async () => {
  const servers = await makeServers(3);
  const [, bad] = servers;
  assert.ok(bad !== undefined);
  await letFail(bad, 'install redis');
  const operation = await create(request(servers));
  assert.equal(operation.status, 'failed');
  assert.match(
    operation.error ?? '',
    new RegExp(`redis failed on 1 of 3 servers: .*${bad.hostname}: install.sh of redis ended with status 1`),
  );
  const id = String(operation.result?.taskserv_id);
  const hosts = operation.result?.hosts as { server: string; status: string; message: string | null }[];
  assert.deepEqual(Object.fromEntries(hosts.map(({ server: name, status }) => [name, status])), {
    ...Object.fromEntries(servers.map(({ hostname }) => [hostname, 'running'])),
    [bad.hostname]: 'failed',
  });
  assert.equal((await read(id)).status, 'degraded');
  await letFail(bad, 'install redis', false);
  const again = await change('POST', `/v1/taskservs/${id}/retry`);
  assert.equal(again.status, 'completed', JSON.stringify(again));
  assert.equal((await read(id)).status, 'running');
  for (const one of servers) {
    const redis = (await jobsOn(one)).filter((label) => label === 'install redis');
    assert.equal(redis.length, one === bad ? 2 : 1, one.hostname);
  }
  expectError(await admin.request('POST', `/v1/taskservs/${id}/retry`), 409, 'CONFLICT');
});

test('failing everywhere is failed; a requirement that fails is named', async () => {
  const servers = await makeServers(1);
  await letFail(servers[0] ?? { ref: '' }, 'install os-base');
  const operation = await create(request(servers));
  assert.equal(operation.status, 'failed');
  assert.match(operation.error ?? '', /redis failed: .*install\.sh of os-base ended with status 1: .*os-base/);
  assert.equal((await read(String(operation.result?.taskserv_id))).status, 'failed');
});

test('installed but unhealthy is a failure that says so', async () => {
  const servers = await makeServers(1);
  await letFail(servers[0] ?? { ref: '' }, 'check redis');
  const operation = await create(request(servers));
  assert.equal(operation.status, 'failed');
  assert.match(operation.error ?? '', /redis is installed, but its check ended with status 1/);
});

test('creating it again changes it in place; without a change nothing runs; check_mode tells the difference', async () => {
  const servers = await makeServers(2);
  const first = await install(request(servers, { config: { version: '6.0', port: 7001, password: 'first-password' } }));
  assert.equal(first.version, '6.0');
  assert.equal(first.config.port, 7001);
  assert.deepEqual(first.secrets, ['password']);
  const wanted = { version: '7.0', port: 7002, password: 'second-password' };
  const before = await snapshot();
  const plan = await create(request(servers, { config: wanted, check_mode: true }));
  assert.deepEqual(await snapshot(), before, 'check_mode wrote something');
  assert.equal(plan.status, 'completed');
  const {
    change: changes,
    order,
    create: creates,
  } = resultOf(plan).plan as {
    change: { differences: unknown; taskserv_id: string }[];
    create: unknown[];
    order: string[];
  };
  assert.deepEqual(creates, []);
  assert.deepEqual(changes[0]?.differences, {
    version: { from: '6.0', to: '7.0' },
    port: { from: 7001, to: 7002 },
    password: { secret: true, changed: true },
  });
  assert.deepEqual(order.toSorted(), servers.map(({ hostname }) => `${hostname}: change redis 7.0`).sort());
  const second = await install(request(servers, { config: wanted }));
  assert.equal(second.id, first.id);
  assert.deepEqual([second.version, second.config.port], ['7.0', 7002]);
  const jobs = ['install os-base', 'install redis', 'install redis'];
  for (const one of servers) assert.deepEqual(await jobsOn(one), jobs);
  const third = await create(request(servers, { config: wanted }));
  const [host] = resultOf(third).hosts as { done: { action: string }[] }[];
  assert.deepEqual(
    host?.done.map(({ action }) => action),
    ['unchanged', 'unchanged'],
  );
  for (const one of servers) assert.deepEqual(await jobsOn(one), jobs, 'an unchanged host was worked on');
});

/** What check_mode must not touch. */
async function snapshot(): Promise<unknown> {
  const { rows } = await sql`
    select (select json_agg(t order by id) from provisioning.taskservs t) as taskservs,
           (select json_agg(r order by taskserv_id, revision) from provisioning.taskserv_revisions r) as revisions,
           (select json_agg(json_build_object('id', server_id, 'n', name, 's', status, 'r', revision) order by server_id, name)
            from provisioning.taskserv_hosts) as hosts,
           (select count(*) from simulated_cloud.runs where kind <> 'run') as writes,
           (select json_agg(m order by ref, name) from simulated_cloud.marks m) as marks`.execute(db);
  return rows;
}

test('check_mode of a new one says what would run in which order, and makes nothing', async () => {
  const servers = await makeServers(1);
  const before = await snapshot();
  const plan = await create(request(servers, { check_mode: true }));
  assert.deepEqual(await snapshot(), before);
  const { create: creates, order } = resultOf(plan).plan as { create: { name: string }[]; order: string[] };
  assert.equal(creates[0]?.name, 'redis');
  const [name] = servers.map(({ hostname }) => hostname);
  assert.deepEqual(order, [`${name}: install os-base distro`, `${name}: install redis distro`]);
  const { rows } =
    await sql`select from provisioning.host_turns t join provisioning.operations o on o.id = t.operation_id
    where o.id = ${plan.id}`.execute(db);
  assert.equal(rows.length, 0);
});

test('a part of its servers is refused, more servers are added', async () => {
  const servers = await makeServers(3);
  const [one, two] = servers;
  assert.ok(one !== undefined && two !== undefined);
  const first = await install(request([one, two]));
  const partly = expectError(await admin.request('POST', '/v1/taskservs/create', request([one])), 409, 'CONFLICT');
  assert.deepEqual((partly.details as { missing_servers: string[] }).missing_servers, [two.hostname]);
  const more = await install(request(servers));
  assert.equal(more.id, first.id);
  assert.deepEqual(more.servers, servers.map(({ hostname }) => hostname).sort());
});

test('delete removes in reverse order, with what came along; what others need stays', async () => {
  const [one, two] = await makeServers(2);
  assert.ok(one !== undefined && two !== undefined);
  const redis = await install(request([one, two]));
  const nginx = await install(request([one], { name: 'nginx' }));
  const gone = await change('DELETE', `/v1/taskservs/${redis.id}`, { workspace: 'default', taskserv_id: redis.id });
  assert.equal(gone.status, 'completed', JSON.stringify(gone));
  assert.deepEqual(await jobsOn(two), ['install os-base', 'install redis', 'remove redis', 'remove os-base']);
  assert.deepEqual((await jobsOn(one)).slice(-1), ['remove redis'], 'nginx still requires os-base');
  expectError(await admin.request('GET', `/v1/taskservs/${redis.id}`), 404);
  const { rows } = await sql`select name from provisioning.taskserv_hosts where server_id = ${two.id}`.execute(db);
  assert.deepEqual(rows, []);
  await change('DELETE', `/v1/taskservs/${nginx.id}`);
  assert.deepEqual((await jobsOn(one)).slice(-2), ['remove nginx', 'remove os-base']);
});

test('what another one requires is not deleted without force', async () => {
  const servers = await makeServers(1);
  const base = await install(request(servers, { name: 'os-base' }));
  await install(request(servers));
  const refused = expectError(await admin.request('DELETE', `/v1/taskservs/${base.id}`), 409, 'CONFLICT');
  assert.match(refused.message, /os-base is required by redis on /);
  const forced = await change('DELETE', `/v1/taskservs/${base.id}`, { force: true });
  assert.equal(forced.status, 'completed');
  assert.deepEqual((await jobsOn(servers[0] ?? { ref: '' })).slice(-1), ['remove os-base']);
});

test('a removal that fails keeps the taskserv where it is; deleting again finishes', async () => {
  const servers = await makeServers(2);
  const bad = servers[1] ?? { ref: '', hostname: '' };
  const redis = await install(request(servers));
  await letFail(bad, 'remove redis');
  const failed = await change('DELETE', `/v1/taskservs/${redis.id}`);
  assert.equal(failed.status, 'failed');
  assert.match(failed.error ?? '', new RegExp(`removed from 1 of 2 servers: .*${bad.hostname}`));
  const left = await read(redis.id);
  assert.deepEqual(left.servers, [bad.hostname]);
  assert.equal(left.status, 'failed');
  await letFail(bad, 'remove redis', false);
  assert.equal((await change('DELETE', `/v1/taskservs/${redis.id}`)).status, 'completed');
  expectError(await admin.request('GET', `/v1/taskservs/${redis.id}`), 404);
});

test('a server that carries taskservs is deleted only with force, and is forgotten by them', async () => {
  const [one, two] = await makeServers(2);
  assert.ok(one !== undefined && two !== undefined);
  await letFail(two, 'install redis');
  const redis = String((await create(request([one, two]))).result?.taskserv_id);
  assert.equal((await read(redis)).status, 'degraded');
  expectError(await admin.request('DELETE', `/v1/servers/${two.id}`), 409, 'CONFLICT');
  assert.equal((await change('DELETE', `/v1/servers/${two.id}?force=true`)).status, 'completed');
  const left = await read(redis);
  assert.deepEqual([left.servers, left.status], [[one.hostname], 'running'], 'the failed host is gone');
  assert.equal((await change('DELETE', `/v1/servers/${one.id}?force=true`)).status, 'completed');
  expectError(await admin.request('GET', `/v1/taskservs/${redis}`), 404);
});

test('requests that cannot be: 400 names the field and the near matches, secrets are never repeated', async () => {
  const servers = await makeServers(1);
  const refusal = async (overrides: Record<string, unknown>) => {
    const answer = await admin.request('POST', '/v1/taskservs/create', request(servers, overrides));
    const { details, message } = expectError(answer, 400);
    const [problem] = details as { field: string; near_matches?: string[] }[];
    return { field: problem?.field, near: problem?.near_matches ?? [], message };
  };
  assert.deepEqual((await refusal({ name: 'redi' })).near, ['redis']);
  assert.equal((await refusal({ servers: ['no-such-host'] })).field, 'servers[0]');
  assert.equal((await refusal({ config: { version: '9.9' } })).field, 'config.version');
  assert.equal((await refusal({ config: { prot: 1 } })).field, 'config.prot');
  assert.equal((await refusal({ config: { port: 'x' } })).field, 'config.port');
  assert.equal((await refusal({ workspace: 'defalt' })).near[0], 'default');
  assert.equal((await refusal({ chek_mode: true })).field, 'chek_mode');
  assert.doesNotMatch(JSON.stringify(await refusal({ config: { password: 'canary\u0007x' } })), /canary/);
  const [one] = servers;
  await change('POST', `/v1/servers/${one?.id}/stop`);
  expectError(await admin.request('POST', '/v1/taskservs/create', request(servers)), 409, 'CONFLICT');
});

test('a developer changes and deletes only what they made; elsewhere it does not exist', async () => {
  const servers = await makeServers(1);
  const redis = await install(request(servers));
  const developer = await makeClient(server, 'taskserv.developer', [{ role: 'developer' }]);
  expectError(await developer.request('POST', '/v1/taskservs/create', request(servers)), 403);
  expectError(await developer.request('POST', `/v1/taskservs/${redis.id}/retry`), 403);
  expectError(await developer.request('DELETE', `/v1/taskservs/${redis.id}`), 403);
  expectOk(await developer.request('GET', `/v1/taskservs/${redis.id}`));
  expectError(await developer.request('POST', '/v1/taskservs/create', request(servers, { name: 'nginx' })), 403);
  const { server: theirs } = await makeServer(developer, 'of-the-developer');
  const own = await accept(request([theirs], { name: 'nginx' }), developer);
  const { result } = await ended(admin, own.id);
  const gone = await developer.request<Operation>('DELETE', `/v1/taskservs/${String(result?.taskserv_id)}`);
  assert.equal((await ended(admin, expectOk(gone).id)).status, 'completed');
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'elsewhere' }));
  const stranger = await makeClient(server, 'taskserv.stranger', [{ role: 'operator', workspace: 'elsewhere' }]);
  for (const [method, route] of [
    ['GET', ''],
    ['DELETE', ''],
    ['POST', '/check'],
    ['POST', '/retry'],
  ] as const) {
    expectError(await stranger.request(method, `/v1/taskservs/${redis.id}${route}`), 404);
  }
  assert.deepEqual(expectOk(await stranger.request('GET', '/v1/taskservs')), []);
});

test('health is looked at on a schedule and on demand: running, degraded, running', async () => {
  const servers = await makeServers(2);
  const [, bad] = servers;
  assert.ok(bad !== undefined);
  const redis = await install(request(servers));
  await letFail(bad, 'check redis');
  await until(async () => (await read(redis.id)).status === 'degraded', 'the schedule to notice');
  const [sick] = (await read(redis.id)).hosts.filter(({ status }) => status !== 'running');
  assert.equal(sick?.server, bad.hostname);
  assert.match(sick?.message ?? '', /ended with status 1/);
  await letFail(bad, 'check redis', false);
  const check = await change('POST', `/v1/taskservs/${redis.id}/check`);
  assert.equal(check.status, 'completed');
  assert.equal(check.result?.status, 'running');
  assert.equal((await read(redis.id)).status, 'running');
});

test('GET /v1/catalog/taskservs tells versions, requirements and config schema', async () => {
  const entries = expectOk(await admin.request<Record<string, unknown>[]>('GET', '/v1/catalog/taskservs'));
  const redis = entries.find(({ name }) => name === 'redis') ?? {};
  assert.deepEqual(redis.requires, [{ name: 'os-base', type: 'hard' }]);
  const { supported } = redis.versions as { supported: string[] };
  assert.ok(supported.includes('7.0'));
  const { password } = redis.config as { password: { secret: boolean } };
  assert.equal(password.secret, true);
  assert.equal('scripts' in redis, false);
  const own = await admin.request<unknown[]>('GET', '/v1/catalog/taskservs?workspace=default&name=redis');
  assert.equal(expectOk(own).length, 1);
  expectError(await admin.request('GET', '/v1/catalog/taskservs?workspace=nowhere'), 400);
});

test('a secret of the config is in no log, event, answer, audit line or column in plain text', async () => {
  const secrets = { password: 'Canary-7f3a9c-secret' };
  const servers = await makeServers(2);
  const [, bad] = servers;
  assert.ok(bad !== undefined);
  await letFail(bad, 'install redis');
  const body = request(servers, { config: secrets });
  const answers: unknown[] = [];
  for (const overrides of [{ check_mode: true }, {}]) {
    const answer = await admin.request<Operation>(
      'POST',
      '/v1/taskservs/create',
      { ...body, ...overrides },
      { 'idempotency-key': `canary-${answers.length}` },
    );
    const operation = await ended(admin, expectOk(answer).id);
    answers.push(answer.body, operation, await eventsOf(operation.id));
    const id = operation.result?.taskserv_id;
    if (typeof id === 'string') answers.push(await read(id), await change('POST', `/v1/taskservs/${id}/retry`));
  }
  for (const list of ['audit', 'taskservs', 'operations', 'events?limit=1000', 'servers']) {
    answers.push(expectOk(await admin.request('GET', `/v1/${list}`)));
  }
  assertFree(JSON.stringify(answers), secrets, 'in an answer');
  assertFree(server.output(), secrets, 'in the log');
  await assertNotStored(database.pool, secrets);
});
