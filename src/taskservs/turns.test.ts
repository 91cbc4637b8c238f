/** One change a host at a time, cancelling, and going on after a crash: on simulated servers that take their time. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { sql } from 'kysely';
import { expectError, expectOk, makeServer, startInstallation } from '../../test/support/acceptance.ts';
import { type Client, ended, type Operation, until } from '../../test/support/server.ts';

/** A script takes this long, a job four times that. One host at a time: whoever waits for its turn must not take the place. */
const installation = await startInstallation({
  SIMULATED_LATENCY_MS: '100',
  HEALTH_CHECK_INTERVAL: '0',
  HOSTS_AT_ONCE: '1',
});
after(() => installation.close());
const { admin } = installation.server;
const { db } = installation.database;

interface Host {
  hostname: string;
  id: string;
}

let made = 0;
async function makeServers(count: number): Promise<Host[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      made += 1;
      const { server } = await makeServer(admin, `turn-${made}`);
      return { hostname: server.hostname, id: server.id };
    }),
  );
}

const body = (servers: Host[], name: string, more: Record<string, unknown> = {}) => ({
  workspace: 'default',
  name,
  servers: servers.map(({ hostname }) => hostname),
  ...more,
});

async function accept(request: unknown, client: Client = admin): Promise<Operation> {
  return expectOk(await client.request<Operation>('POST', '/v1/taskservs/create', request));
}

interface Job {
  operation: string;
  label: string;
  begins: number;
  ends: number;
  exit_code: number | null;
  attached: number;
}

/** The jobs on a server with the operation that asked for them, in order. */
async function jobsOn({ id }: Host): Promise<Job[]> {
  const { rows } = await sql<Job>`
    select split_part(job_id, '-', 1) as operation, label, extract(epoch from r.at)::float8 as begins,
           extract(epoch from ends_at)::float8 as ends, exit_code, attached
    from simulated_cloud.runs r join provisioning.servers s on s.provider_ref = r.ref
    where s.id = ${id} and kind = 'job' order by r.id`.execute(db);
  return rows;
}

/** Waits until the operation's job of that name runs on the server. */
function untilJob(host: Host, operation: Operation, label: string): Promise<void> {
  return until(
    async () => (await jobsOn(host)).some((job) => job.operation === short(operation) && job.label === label),
    `${label} on ${host.hostname}`,
  );
}

/** Lets a job on a server hang until the answer is called. */
async function hang({ id }: Host, label: string): Promise<() => Promise<unknown>> {
  await sql`
    insert into simulated_cloud.failures (ref, label, hangs)
    select provider_ref, ${label}, true from provisioning.servers where id = ${id}`.execute(db);
  return () => sql`delete from simulated_cloud.failures where label = ${label} and hangs`.execute(db);
}

const short = ({ id }: Operation) => id.replaceAll('-', '');

test('operations on the same servers take turns in the order of acceptance; other servers are not held up', async () => {
  const [one, two, three] = await makeServers(3);
  assert.ok(one !== undefined && two !== undefined && three !== undefined);
  const release = await hang(one, 'install redis');
  const first = await accept(body([one, two], 'redis'));
  await untilJob(one, first, 'install redis');
  const second = await accept(body([two, one, three], 'nginx'));
  // The third server is not held up by what the others wait for.
  await untilJob(three, second, 'install nginx');
  assert.deepEqual(
    (await jobsOn(one)).filter(({ operation }) => operation === short(second)),
    [],
    'two operations on one server',
  );
  await release();
  for (const operation of [first, second]) assert.equal((await ended(admin, operation.id)).status, 'completed');
  for (const host of [one, two]) {
    const jobs = await jobsOn(host);
    const own = jobs.filter(({ operation }) => operation === short(first));
    const later = jobs.filter(({ operation }) => operation === short(second));
    assert.deepEqual(
      later.map(({ label }) => label),
      ['install nginx'],
      'os-base was there when its turn came',
    );
    assert.ok(Math.max(...own.map(({ ends }) => ends)) <= Math.min(...later.map(({ begins }) => begins)));
  }
  const events = expectOk(await admin.request<Record<string, unknown>[]>('GET', `/v1/operations/${second.id}/events`));
  assert.ok(events.some(({ waits_for }) => waits_for === first.id));
});

test('operations on the same servers, asked for at once in different orders, never wait for one another in a ring', async () => {
  const servers = await makeServers(3);
  const [one, two, three] = servers;
  assert.ok(one !== undefined && two !== undefined && three !== undefined);
  const accepted = await Promise.all([
    accept(body([one, two, three], 'redis')),
    accept(body([three, two, one], 'nginx')),
    accept(body([two, three, one], 'os-base')),
  ]);
  for (const operation of accepted) assert.equal((await ended(admin, operation.id, 60)).status, 'completed');
});

test('what is under way is named: wait false, the same taskserv, the server itself', async () => {
  const servers = await makeServers(2);
  const [one] = servers;
  assert.ok(one !== undefined);
  const release = await hang(one, 'install redis');
  const operation = await accept(body(servers, 'redis'));
  await untilJob(one, operation, 'install redis');
  const busy = async (method: string, route: string, request?: unknown) => {
    const { details } = expectError(await admin.request(method, route, request), 409, 'RESOURCE_BUSY');
    assert.equal((details as { operation_id: string }).operation_id, operation.id);
  };
  await busy('POST', '/v1/taskservs/create', body([one], 'nginx', { wait: false }));
  await busy('POST', '/v1/taskservs/create', body(servers, 'redis'));
  await busy('POST', `/v1/servers/${one.id}/stop`);
  await busy('DELETE', `/v1/servers/${one.id}?force=true`);
  await release();
  const done = await ended(admin, operation.id);
  const id = String(done.result?.taskserv_id);
  const releaseNext = await hang(one, 'install nginx');
  const next = await accept(body(servers, 'nginx'));
  await untilJob(one, next, 'install nginx');
  expectError(await admin.request('DELETE', `/v1/taskservs/${id}?wait=false`), 409, 'RESOURCE_BUSY');
  await releaseNext();
  await ended(admin, next.id);
  const gone = expectOk(await admin.request<Operation>('DELETE', `/v1/taskservs/${id}?wait=false`));
  assert.equal((await ended(admin, gone.id)).status, 'completed');
});

test('a taskserv on servers in the making waits until they run', async () => {
  const hostname = 'turn-new';
  const request = { workspace: 'default', provider: 'simulated', plan: '2xCPU-4GB', zone: 'de-fra1', hostname };
  expectOk(await admin.request('POST', '/v1/servers/create', request));
  const operation = await ended(admin, (await accept(body([{ hostname, id: '' }], 'redis'))).id);
  assert.equal(operation.status, 'completed', JSON.stringify(operation));
});

test('cancelling stops the work on the hosts, and tells truly what each of them has', async () => {
  const servers = await makeServers(2);
  const [one, two] = servers;
  assert.ok(one !== undefined && two !== undefined);
  // The second one is another operation's, so that the cancel finds one host at work and one not begun.
  const releaseBefore = await hang(two, 'install nginx');
  const before = await accept(body([two], 'nginx'));
  const release = await hang(one, 'install redis');
  const operation = await accept(body(servers, 'redis'));
  await untilJob(one, operation, 'install redis');
  const answer = expectOk(await admin.request<Operation>('POST', `/v1/operations/${operation.id}/cancel`));
  assert.equal(answer.status, 'cancelled', JSON.stringify(answer));
  const jobs = (await jobsOn(one)).filter(({ label }) => label === 'install redis');
  assert.deepEqual(
    jobs.map(({ exit_code }) => exit_code),
    [null],
    'the job was ended, not left running',
  );
  const hosts = answer.result?.hosts as { server: string; status: string }[] | undefined;
  assert.deepEqual(Object.fromEntries((hosts ?? []).map(({ server, status }) => [server, status])), {
    [one.hostname]: 'unknown',
    [two.hostname]: 'absent',
  });
  const look = await ended(admin, String(answer.result?.cleanup_operation_id));
  assert.equal(look.status, 'completed', JSON.stringify(look));
  const id = String(answer.result?.taskserv_id);
  const record = expectOk(
    await admin.request<{ status: string; hosts: { status: string }[] }>('GET', `/v1/taskservs/${id}`),
  );
  assert.equal(record.status, 'failed');
  assert.deepEqual(
    record.hosts.map(({ status }) => status),
    ['absent', 'absent'],
  );
  await release();
  await releaseBefore();
  await ended(admin, before.id);
  const retried = expectOk(await admin.request<Operation>('POST', `/v1/taskservs/${id}/retry`));
  assert.equal((await ended(admin, retried.id)).status, 'completed');
});

test('cancelled before its turn came, a first create leaves nothing, a change leaves what was', async () => {
  await using idle = await startInstallation({ ROLE: 'api', SIMULATED_LATENCY_MS: '5', HEALTH_CHECK_INTERVAL: '0' });
  const worker = await idle.replica({ ROLE: 'worker' });
  const api = idle.server.admin;
  const servers = [(await makeServer(api, 'idle-1')).server];
  const done = await ended(api, (await accept(body(servers, 'redis', { config: { port: 7001 } }), api)).id);
  const id = String(done.result?.taskserv_id);
  const read = async () => expectOk(await api.request<Record<string, unknown>>('GET', `/v1/taskservs/${id}`));
  const { updated_at: _, ...before } = await read();
  await worker.stop();
  const change = await accept(body(servers, 'redis', { config: { port: 7002 } }), api);
  assert.equal((await read()).status, 'installing');
  expectOk(await api.request('POST', `/v1/operations/${change.id}/cancel`));
  const { updated_at: __, ...later } = await read();
  assert.deepEqual(later, before);
  const fresh = await accept(body(servers, 'nginx'), api);
  expectOk(await api.request('POST', `/v1/operations/${fresh.id}/cancel`));
  assert.equal(expectOk(await api.request<unknown[]>('GET', '/v1/taskservs')).length, 1);
  // What had come along and was asked for meanwhile came along again.
  const adopted = await accept(body(servers, 'os-base'), api);
  expectOk(await api.request('POST', `/v1/operations/${adopted.id}/cancel`));
  const { rows } = await sql`
    select name, taskserv_id is null as along, status from provisioning.taskserv_hosts order by name`.execute(
    idle.database.db,
  );
  assert.deepEqual(rows, [
    { name: 'os-base', along: true, status: 'running' },
    { name: 'redis', along: false, status: 'running' },
  ]);
});
