/**
 * Each limit of use, met and passed: the answer names it with what is used, counted over two replicas; nothing that was
 * accepted is lost, and there is room again when something ends.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { after, test } from 'node:test';
import {
  askForServer,
  expectError,
  expectOk,
  makeClient,
  makeUser,
  startInstallation,
  USER_PASSWORD,
} from '../support/acceptance.ts';
import { type Answer, type Client, ended, type Operation, type TestServer, until } from '../support/server.ts';
import { makes, statuses, stepsOf, submitBatch, workflowOf } from '../support/workflows.ts';

const installation = await startInstallation({
  // Servers come up only when the test says so: until then their operations are under way.
  SIMULATED_FAULTS: 'stuck=1',
  LIMIT_USER_OPERATIONS: '3',
  LIMIT_WORKSPACE_OPERATIONS: '5',
  LIMIT_USER_WORKFLOWS: '2',
  LIMIT_WORKSPACE_WORKFLOWS: '3',
  LIMIT_WORKFLOW_NODES: '6',
  LIMIT_WORKSPACE_SCHEDULES: '2',
  LIMIT_WEBHOOKS: '3',
  LIMIT_WORKSPACE_WEBHOOKS: '2',
  LIMIT_STREAMS: '3',
  LIMIT_LONG_POLLS: '2',
  LIMIT_WHOLE_LISTS: '1',
});
after(() => installation.close());
const { server, database } = installation;
const { admin } = server;
const second = await installation.replica();

interface Details {
  limit: string;
  per: string;
  workspace?: string;
  used: number;
  allowed: number;
}
const detailsOf = (answer: Answer, status: number, code: string) =>
  expectError(answer, status, code).details as Details;

interface Limit {
  name: string;
  workspace: string | null;
  limit: number | null;
  used: number | null;
}
/** A limit as the caller is shown it. */
async function shown(client: Client, name: string, workspace: string | null = null): Promise<Limit> {
  const query = workspace === null ? '' : `?workspace=${workspace}`;
  const limits = expectOk(await client.request<Limit[]>('GET', `/v1/limits${query}`));
  return limits.find((limit) => limit.name === name && limit.workspace === workspace) ?? assert.fail(`no ${name}`);
}

async function makeWorkspace(name: string): Promise<void> {
  const path = `${server.dataDir}/workspaces/${name}`;
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name, path }));
}

/** The same user, by both replicas in turn. */
async function onBoth(username: string, workspace: string): Promise<[Client, Client]> {
  await makeUser(admin, username, [{ role: 'operator', workspace }]);
  return [await server.login(username, USER_PASSWORD), await second.login(username, USER_PASSWORD)];
}

/** Lets every server of the simulated cloud come up. */
async function settle(): Promise<void> {
  await database.pool.query(
    "update simulated_cloud.servers set settles_at = clock_timestamp() where settles_at = 'infinity'",
  );
}
async function completed(client: Client, id: string): Promise<void> {
  let operation: Operation | undefined;
  await until(
    async () => {
      await settle();
      operation = expectOk(await client.request<Operation>('GET', `/v1/operations/${id}`));
      return !['pending', 'running'].includes(operation.status);
    },
    'the operation to end',
    60_000,
  );
  assert.equal(operation?.status, 'completed', JSON.stringify(operation));
}

test('operations under way, of a user: both replicas at once accept as many as there may be', async () => {
  await makeWorkspace('of-users');
  const clients = await onBoth('ann', 'of-users');
  const ask = (n: number) =>
    (clients[n % 2] ?? admin).request<Operation>('POST', '/v1/servers/create', {
      ...{ workspace: 'of-users', provider: 'simulated', plan: '1xCPU-1GB', zone: 'de-fra1', hostname: `u-${n}` },
    });
  const answers = await Promise.all(Array.from({ length: 12 }, (_, n) => ask(n)));
  const accepted = answers.filter(({ status }) => status === 200);
  assert.equal(accepted.length, 3, JSON.stringify(answers.map(({ body }) => body)));
  for (const answer of answers.filter(({ status }) => status !== 200)) {
    const details = detailsOf(answer, 409, 'LIMIT_REACHED');
    assert.deepEqual(details, { limit: 'user_operations', per: 'user', used: 3, allowed: 3 });
  }
  await until(async () => (await shown(clients[0], 'user_operations')).used === 3, 'the use to show');
  for (const { body } of accepted) await completed(clients[0], body.id);
  for (const n of [100, 101, 102]) expectOk(await ask(n));
  detailsOf(await ask(103), 409, 'LIMIT_REACHED');
  // Whoever is at the limit may still delete.
  const [running] = expectOk(
    await clients[0].request<{ id: string }[]>('GET', '/v1/servers?workspace=of-users&status=running'),
  );
  expectOk(await clients[1].request('DELETE', `/v1/servers/${running?.id}`));
  await settle();
});

test('operations under way, of a workspace, whoever asks for them', async () => {
  await makeWorkspace('shared');
  const [bea] = await onBoth('bea', 'shared');
  const [, cem] = await onBoth('cem', 'shared');
  const body = (hostname: string) => ({ workspace: 'shared', hostname, plan: '1xCPU-1GB' });
  const made = [
    await askForServer(bea, 'b-1', body('b-1')),
    await askForServer(bea, 'b-2', body('b-2')),
    await askForServer(bea, 'b-3', body('b-3')),
    await askForServer(cem, 'c-1', body('c-1')),
    await askForServer(cem, 'c-2', body('c-2')),
  ];
  const refused = await cem.request('POST', '/v1/servers/create', {
    ...{ ...body('c-3'), provider: 'simulated', zone: 'de-fra1' },
  });
  assert.deepEqual(detailsOf(refused, 409, 'LIMIT_REACHED'), {
    ...{ limit: 'workspace_operations', per: 'workspace', workspace: 'shared', used: 5, allowed: 5 },
  });
  for (const { id } of made) await completed(admin, id);
});

test('nodes of a workflow wait for room, and none is lost', async () => {
  await makeWorkspace('waiting');
  const [dan] = await onBoth('dan', 'waiting');
  const steps = Array.from({ length: 6 }, (_, n) =>
    makes(`s${n}`, `w-${n}`, {
      with: { hostname: `w-${n}`, plan: '1xCPU-1GB', zone: 'de-fra1', provider: 'simulated' },
    }),
  );
  const run = await submitBatch(dan, steps, {}, 'waiting');
  const underWay = async () =>
    Object.values(await statuses(dan, run.id)).filter((status) => status === 'running').length;
  await until(async () => (await underWay()) === 3, 'the first three nodes to run');
  const lines = JSON.stringify((await dan.request('GET', `/v1/operations/${run.id}/events`)).body);
  await until(
    async () =>
      JSON.stringify((await dan.request('GET', `/v1/operations/${run.id}/events`)).body).includes('user_operations'),
    `the run to say why: ${lines}`,
  );
  assert.equal(await underWay(), 3);
  await completed(dan, run.id);
  assert.deepEqual((await workflowOf(dan, run.id)).nodes, { completed: 6 });
});

test('runs of workflows, and nodes of one', async () => {
  await makeWorkspace('runs');
  const [eve, eveElsewhere] = await onBoth('eve', 'runs');
  const long = [{ id: 'w', kind: 'wait', with: { seconds: 3_600 } }];
  const runs = [await submitBatch(eve, long, {}, 'runs'), await submitBatch(eveElsewhere, long, {}, 'runs')];
  const body = { workspace: 'runs', workflow_type: 'batch', parameters: { operations: long } };
  assert.deepEqual(detailsOf(await eve.request('POST', '/v1/workflows/submit', body), 409, 'LIMIT_REACHED'), {
    ...{ limit: 'user_workflows', per: 'user', used: 2, allowed: 2 },
  });
  const [gus] = await onBoth('gus', 'runs');
  const [, ivo] = await onBoth('ivo', 'runs');
  runs.push(await submitBatch(gus, long, {}, 'runs'));
  assert.deepEqual(detailsOf(await ivo.request('POST', '/v1/workflows/submit', body), 409, 'LIMIT_REACHED'), {
    ...{ limit: 'workspace_workflows', per: 'workspace', workspace: 'runs', used: 3, allowed: 3 },
  });
  for (const { id } of runs) expectOk(await admin.request('POST', `/v1/workflows/${id}/cancel`));
  for (const { id } of runs) assert.equal((await ended(admin, id)).status, 'cancelled');
  const many = Array.from({ length: 7 }, (_, n) => ({ id: `w${n}`, kind: 'wait', with: { seconds: 0 } }));
  const tooMany = { ...body, parameters: { operations: many } };
  assert.deepEqual(detailsOf(await eve.request('POST', '/v1/workflows/submit', tooMany), 409, 'LIMIT_REACHED'), {
    ...{ limit: 'workflow_nodes', per: 'workflow', used: 7, allowed: 6 },
  });
  assert.equal((await ended(eve, (await submitBatch(eve, many.slice(1), {}, 'runs')).id)).status, 'completed');
});

test('nodes of nested workflows that are planned only when they start', async () => {
  await makeWorkspace('nested');
  const types = `${server.dataDir}/workspaces/nested/workflows`;
  await mkdir(types, { recursive: true });
  await writeFile(
    `${types}/many.yaml`,
    'name: many\nparameters: { type: object, properties: { items: { type: array, items: { type: string } } } }\n' +
      `operations: [{ id: each, kind: wait, for_each: "\${{ parameters.items }}", with: { seconds: 0 } }]\n`,
  );
  const [fin] = await onBoth('fin', 'nested');
  const items = [`\${{ operations.first.status }}`, 'another'];
  const nested = (id: string, after: string) => ({
    ...{ id, kind: 'workflow', depends_on: ['first', after], retry: { max_attempts: 1 } },
    with: { workflow_type: 'many', parameters: { items } },
  });
  const steps = [{ id: 'first', kind: 'wait', with: { seconds: 0 } }, nested('fits', 'first'), nested('not', 'fits')];
  const run = await submitBatch(fin, steps, {}, 'nested');
  assert.equal((await ended(fin, run.id, 60)).status, 'failed');
  assert.equal((await statuses(fin, run.id)).fits, 'completed');
  const [, , refused] = await stepsOf(fin, run.id);
  assert.match(refused?.error ?? '', /has 7 nodes, but at most 6 are allowed \(limit workflow_nodes\)/);
});

test('schedules: so many, and a minute apart', async () => {
  await makeWorkspace('clock');
  const clients = await onBoth('fay', 'clock');
  const ask = (n: number, cron = '0 3 * * *') =>
    (clients[n % 2] ?? admin).request('POST', '/v1/schedules', {
      ...{ workspace: 'clock', name: `s-${n}`, workflow_type: 'batch', cron },
      parameters: { operations: [{ id: 'w', kind: 'wait', with: { seconds: 0 } }] },
    });
  for (const cron of ['* * * * * *', '0,59 0 3 * * *', '*/30 * * * * *', '0,30 0 0 29 2 *'])
    assert.match(
      expectError(await ask(0, cron), 400).message,
      /lie at least 60 s apart \(limit schedule_interval\)/,
      cron,
    );
  const answers = await Promise.all(Array.from({ length: 6 }, (_, n) => ask(n, '30 * * * * *')));
  assert.equal(answers.filter(({ status }) => status === 200).length, 2);
  for (const answer of answers.filter(({ status }) => status !== 200)) {
    assert.deepEqual(detailsOf(answer, 409, 'LIMIT_REACHED'), {
      ...{ limit: 'workspace_schedules', per: 'workspace', workspace: 'clock', used: 2, allowed: 2 },
    });
  }
  assert.equal((await shown(clients[0], 'workspace_schedules', 'clock')).used, 2);
});

test('a schedule of an earlier version that comes every second comes a minute later', async () => {
  const made = expectOk(
    await admin.request<{ id: string }>('POST', '/v1/schedules', {
      ...{ workspace: 'default', name: 'fast', workflow_type: 'batch', cron: '0 3 * * *' },
      parameters: { operations: [{ id: 'w', kind: 'wait', with: { seconds: 0 } }] },
    }),
  );
  const { rows } = await database.pool.query<{ due: Date }>(
    `update provisioning.schedules set cron = '* * * * * *', next_run_at = now() - interval '1 second'
     where id = $1 returning next_run_at as due`,
    [made.id],
  );
  const due = rows[0]?.due ?? assert.fail();
  const read = async () =>
    expectOk(
      await admin.request<{ next_run_at: string; last_error: string | null }>('GET', `/v1/schedules/${made.id}`),
    );
  await until(
    async () => new Date((await read()).next_run_at) > due && (await read()).next_run_at !== due.toISOString(),
    'it to run',
  );
  const { next_run_at: next, last_error: error } = await read();
  assert.equal(error, null);
  assert.ok(new Date(next).getTime() >= due.getTime() + 59_000, `${next} after ${due.toISOString()}`);
  expectOk(await admin.request('DELETE', `/v1/schedules/${made.id}`));
});

test('webhooks of a workspace and of the installation', async () => {
  await makeWorkspace('hooks');
  const clients = await onBoth('gil', 'hooks');
  const ask = (n: number) =>
    (clients[n % 2] ?? admin).request<{ id: string }>('POST', '/v1/webhooks', {
      ...{ url: `https://hooks.example.com/${n}`, workspace: 'hooks' },
    });
  const answers = await Promise.all(Array.from({ length: 6 }, (_, n) => ask(n)));
  assert.equal(answers.filter(({ status }) => status === 200).length, 2);
  for (const answer of answers.filter(({ status }) => status !== 200)) {
    assert.deepEqual(detailsOf(answer, 409, 'LIMIT_REACHED'), {
      ...{ limit: 'workspace_webhooks', per: 'workspace', workspace: 'hooks', used: 2, allowed: 2 },
    });
  }
  const everywhere = { url: 'https://hooks.example.com/all' };
  expectOk(await admin.request('POST', '/v1/webhooks', everywhere));
  assert.deepEqual(detailsOf(await second.admin.request('POST', '/v1/webhooks', everywhere), 409, 'LIMIT_REACHED'), {
    ...{ limit: 'webhooks', per: 'installation', used: 3, allowed: 3 },
  });
});

/** Opens an event stream and keeps it open. */
async function openStream(on: TestServer, token: string) {
  const connection = new AbortController();
  const response = await fetch(`${on.url}/v1/events`, {
    headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream' },
    signal: connection.signal,
  });
  const close = () => connection.abort();
  if (response.status === 200) return { status: 200, body: null, headers: response.headers, close };
  return { status: response.status, body: await response.json(), headers: response.headers, close };
}

test('event streams: both replicas at once open as many as there may be; one that is closed makes room', async () => {
  const { token } = await makeClient(server, 'hal', [{ role: 'viewer' }]);
  const streams = await Promise.all(
    Array.from({ length: 8 }, (_, n) => openStream(n % 2 === 0 ? server : second, token)),
  );
  const open = streams.filter(({ status }) => status === 200);
  assert.equal(open.length, 3);
  for (const stream of streams.filter(({ status }) => status !== 200)) {
    assert.deepEqual(detailsOf(stream, 429, 'TOO_MANY_STREAMS'), {
      ...{ limit: 'streams', per: 'user', used: 3, allowed: 3 },
    });
    assert.ok(Number(stream.headers.get('retry-after')) >= 1);
  }
  open[0]?.close();
  let again = await openStream(second, token);
  await until(async () => {
    if (again.status !== 200) again = await openStream(second, token);
    return again.status === 200;
  }, 'room for another stream');
  for (const { close } of [...open, again]) close();
});

test('streams of a replica that was killed count no longer', async () => {
  const { token } = await makeClient(server, 'ivy', [{ role: 'viewer' }]);
  const doomed = await installation.replica({ ROLE: 'api' });
  for (let n = 0; n < 3; n += 1) assert.equal((await openStream(doomed, token)).status, 200);
  assert.equal((await openStream(second, token)).status, 429);
  await doomed.kill();
  let again = await openStream(second, token);
  await until(async () => {
    if (again.status !== 200) again = await openStream(second, token);
    return again.status === 200;
  }, 'room after its death');
  again.close();
});

test('requests that wait for an operation', async () => {
  const client = await makeClient(server, 'jon', [{ role: 'operator' }]);
  const elsewhere = await second.login('jon', USER_PASSWORD);
  const { id } = await askForServer(client, 'polled', { plan: '1xCPU-1GB' });
  const wait = (on: Client) => on.request<Operation>('POST', `/v1/operations/${id}/wait?timeout=60`);
  const waiting = [wait(client), wait(elsewhere)];
  await until(async () => (await shown(client, 'long_polls')).used === 2, 'both to wait');
  assert.deepEqual(detailsOf(await wait(client), 429, 'TOO_MANY_REQUESTS'), {
    ...{ limit: 'long_polls', per: 'user', used: 2, allowed: 2 },
  });
  await completed(client, id);
  for (const { body } of await Promise.all(waiting)) assert.equal(body.status, 'completed');
  expectOk(await wait(client));
});

test('long lists without paging: those that are not taken count', async () => {
  const client = await makeClient(server, 'kim', [{ role: 'viewer' }]);
  await database.pool.query(
    `insert into provisioning.operations (id, kind, status, workspace, input, result, created_by, finished_at)
     select gen_random_uuid(), 'server.create', 'completed', 'default', '{}', jsonb_build_object('filler', repeat('x', 2000)),
            'admin', now() from generate_series(1, 12000)`,
  );
  const ask = (on: TestServer) =>
    fetch(`${on.url}/v1/operations`, { headers: { authorization: `Bearer ${client.token}` } });
  const held = await ask(server);
  assert.equal(held.status, 200);
  const refused = await ask(second);
  assert.deepEqual(
    detailsOf(
      { status: refused.status, headers: refused.headers, body: await refused.json() },
      429,
      'TOO_MANY_REQUESTS',
    ),
    {
      ...{ limit: 'whole_lists', per: 'user', used: 1, allowed: 1 },
    },
  );
  expectOk(await client.request('GET', '/v1/operations?per_page=100'));
  const rows = (await held.json()) as unknown[];
  assert.ok(rows.length >= 12_000);
  let again = await ask(second);
  await until(async () => {
    if (again.status !== 200) again = await ask(second);
    return again.status === 200;
  }, 'room for another list');
  await again.body?.cancel();
});

test('a long list whose client has left before it was begun does not count', async () => {
  const client = await makeClient(server, 'ned', [{ role: 'viewer' }]);
  const lock = await database.pool.connect();
  try {
    await lock.query('begin');
    await lock.query('lock table provisioning.operations in access exclusive mode');
    const leaving = connect(Number(new URL(server.url).port), '127.0.0.1');
    leaving.write(
      `GET /v1/operations?sort=created_at HTTP/1.1\r\nhost: ${new URL(server.url).host}\r\nauthorization: Bearer ${client.token}\r\n\r\n`,
    );
    await until(async () => {
      // The statement that reads the first page, by its order, in which no other list of this file is read.
      const { rows } = await database.pool.query(
        `select from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock' and query like '%string_agg(json%'
           and query like '%order by "created_at" asc%'`,
      );
      return rows.length > 0;
    }, 'the first page to be read');
    leaving.resume().end();
    // The server has closed its side as well.
    await once(leaving, 'close');
  } finally {
    await lock.query('rollback');
    lock.release();
  }
  const list = () => fetch(`${server.url}/v1/operations`, { headers: { authorization: `Bearer ${client.token}` } });
  let answer = await list();
  await until(async () => {
    if (answer.status !== 200) answer = await list();
    return answer.status === 200;
  }, 'room for another list');
  await answer.body?.cancel();
  await until(async () => (await shown(client, 'whole_lists')).used === 0, 'nothing to count any more');
});

test('a viewer of one workspace is shown their own limits and those of that workspace alone', async () => {
  const client = await makeClient(server, 'lea', [{ role: 'viewer', workspace: 'shared' }]);
  const limits = expectOk(await client.request<Limit[]>('GET', '/v1/limits'));
  assert.deepEqual([...new Set(limits.map(({ workspace }) => workspace))], [null, 'shared']);
  expectError(await client.request('GET', '/v1/limits?workspace=default'), 404);
  for (const { name, limit } of limits) assert.ok(limit === null || limit > 0, name);
});
