/** A secret written out in a workflow's config is kept for the run alone, and nobody sees it again. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { expectError, expectOk, makeClient, makeServer, startInstallation } from '../support/acceptance.ts';
import { assertFree, assertNotStored } from '../support/canaries.ts';
import { ended, type Operation, until } from '../support/server.ts';
import { stepsOf, submit, submitBatch } from '../support/workflows.ts';

const root = await mkdtemp(path.join(tmpdir(), 'provisioning-test-given-'));
const installation = await startInstallation({
  WORKSPACE_ROOTS: root,
  LIMIT_SCHEDULE_INTERVAL: '0',
  MASTER_KEY: randomBytes(32).toString('base64'),
});
after(async () => {
  await installation.close();
  await rm(root, { recursive: true, force: true });
});
const { server, database } = installation;
const { admin } = server;
expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'own', path: `${root}/own` }));
await mkdir(`${root}/own/workflows`);
const define = (name: string, text: string) => writeFile(`${root}/own/workflows/${name}.yaml`, text);
const HOSTS = ['db-1', 'db-2', 'db-3', 'redis'];
for (const hostname of HOSTS) await makeServer(admin, hostname, { workspace: 'own' });

/** What a secret is tried against: whether the service has it shows in whether the same config would change it. */
async function assertHas(host: string, password: string): Promise<void> {
  const check = await admin.request<Operation>('POST', '/v1/taskservs/create', {
    ...{ workspace: 'own', name: 'redis', servers: [host], config: { password }, check_mode: true },
  });
  const operation = await ended(admin, expectOk(check).id);
  const { plan } = operation.result as { plan: { change: { differences: Record<string, unknown> }[] } };
  assert.equal(plan.change.length, 1);
  assert.equal('password' in (plan.change[0]?.differences ?? {}), false, `${host} has another password`);
}

/** No answer about a workflow, and no row, holds the secrets. */
async function assertNowhere(secrets: Record<string, string>, ids: string[]): Promise<void> {
  await assertNotStored(database.pool, secrets);
  const routes = [
    ...ids.flatMap((id) => [`/v1/workflows/${id}`, `/v1/workflows/${id}/steps`, `/v1/operations/${id}`]),
    ...['/v1/workflows', '/v1/operations', '/v1/events', '/v1/schedules', '/v1/taskservs', '/v1/audit'],
  ];
  for (const route of routes) {
    const answer = await admin.request('GET', route, undefined, { accept: 'application/json' });
    assertFree(JSON.stringify(expectOk(answer)), secrets, route);
  }
  assertFree(server.output(), secrets, 'in the log of the server');
}

async function completed(id: string): Promise<Operation> {
  const run = await ended(admin, id, 60);
  assert.equal(run.status, 'completed', JSON.stringify(run));
  return run;
}

const redis = (server: string, password: unknown) => ({
  ...{ id: 'db', kind: 'taskserv.create' },
  with: { name: 'redis', servers: [server], config: { password, maxmemory: '64mb' } },
});

test('written into a step, it reaches the host and shows nowhere; so does the change of one', async () => {
  const secrets = { first: 'Canary-written-into-a-step', second: 'Canary-of-the-change' };
  const run = await submitBatch(admin, [redis('db-1', secrets.first)], {}, 'own');
  await completed(run.id);
  await assertHas('db-1', secrets.first);
  const change = {
    ...{ id: 'change', kind: 'taskserv.update' },
    with: { taskserv: 'redis', config: { password: secrets.second } },
  };
  const changed = await submitBatch(admin, [change], {}, 'own');
  await completed(changed.id);
  await assertHas('db-1', secrets.second);
  await assertNowhere(secrets, [run.id, changed.id]);
  const [step] = await stepsOf(admin, run.id);
  const { password, maxmemory } = (step?.with?.config ?? {}) as Record<string, unknown>;
  assert.match(JSON.stringify(password), /^\{"\$secret":"given:[0-9a-f]{12}"\}$/);
  assert.equal(maxmemory, '64mb', 'what is no secret is shown');
});

test('handed through parameters, lists and nested workflows, it is a reference from the first row on', async () => {
  await define(
    'inner',
    'parameters: { type: object, required: [host, pw], properties: { host: { type: string }, pw: { type: string, minLength: 8 } } }\n' +
      'operations:\n  - id: db\n    kind: taskserv.create\n' +
      '    with: { name: redis, servers: ["${{ parameters.host }}"], config: { password: "${{ parameters.pw }}" } }\n',
  );
  await define(
    'outer',
    'parameters: { type: object, required: [all], properties: { all: { type: array, items: { type: object } } } }\n' +
      'operations:\n  - id: each\n    kind: workflow\n    for_each: "${{ parameters.all }}"\n' +
      '    with: { workflow_type: inner, parameters: { host: "${{ item.host }}", pw: "${{ item.pw }}" } }\n' +
      'outputs: { told: "${{ parameters.all }}" }\n',
  );
  const secrets = { 'password of db-2': 'Canary-through-a-list-2', 'password of db-3': 'Canary-through-a-list-3' };
  const all = [
    { host: 'db-2', pw: secrets['password of db-2'] },
    { host: 'db-3', pw: secrets['password of db-3'] },
  ];
  const run = await submit(admin, 'outer', { all }, 'own');
  await completed(run.id);
  for (const { host, pw } of all) await assertHas(host, pw);
  const inner = (await stepsOf(admin, run.id)).flatMap(({ operation_id: id }) => id ?? []);
  assert.equal(inner.length, 2);
  await assertNowhere(secrets, [run.id, ...inner]);
});

const FIRST = '  - { id: first, kind: command, with: { servers: [db-1], script: "true" } }\n';
const MEMORY = "${{ operations.first.status == 'completed' && '64mb' || '32mb' }}";
await define(
  'late-config',
  `parameters: { type: object, properties: { db_pw: { type: string } } }\noperations:\n${FIRST}` +
    '  - id: db\n    kind: taskserv.create\n    with:\n      name: redis\n      servers: [db-1]\n' +
    `      config: { password: "\${{ parameters.db_pw }}", maxmemory: "${MEMORY}" }\n`,
);
await define(
  'late-inner',
  'parameters:\n  type: object\n  required: [pw, memory]\n' +
    '  properties: { pw: { type: string, pattern: "^Canary" }, memory: { type: string } }\n' +
    'operations:\n  - id: db\n    kind: taskserv.create\n    with:\n      name: redis\n      servers: [db-2]\n' +
    '      config: { password: "${{ parameters.pw }}", maxmemory: "${{ parameters.memory }}" }\n',
);
await define(
  'late-nested',
  `parameters: { type: object, properties: { all: { type: array } } }\noperations:\n${FIRST}` +
    '  - id: each\n    kind: workflow\n    for_each: "${{ parameters.all }}"\n    with:\n      workflow_type: late-inner\n' +
    `      parameters: { pw: "\${{ item }}", memory: "${MEMORY}" }\n`,
);
const first = { id: 'first', kind: 'command', with: { servers: ['db-1'], script: 'true' } };

test('beside results of other steps, under any name, it is a reference from the first row on', async () => {
  const secrets = { config: 'Canary-beside-a-result', nested: 'Canary-of-a-late-workflow' };
  const config = await submit(admin, 'late-config', { db_pw: secrets.config }, 'own');
  assertFree(JSON.stringify(await stepsOf(admin, config.id)), secrets, 'in the steps before they run');
  const nested = await submit(admin, 'late-nested', { all: [secrets.nested] }, 'own');
  await assertNowhere(secrets, [config.id, nested.id]);
  await completed(config.id);
  await assertHas('db-1', secrets.config);
  await completed(nested.id);
  await assertHas('db-2', secrets.nested);
  const [inner] = (await stepsOf(admin, nested.id)).filter(({ id }) => id === 'each[0]');
  assert.ok(typeof inner?.operation_id === 'string');
  await assertNowhere(secrets, [config.id, nested.id, inner.operation_id]);
});

test('that does not fit the parameter of a workflow inside is not told by the failure', async () => {
  const secrets = { refused: 'A-Canary-that-does-not-fit' };
  const run = await ended(admin, (await submit(admin, 'late-nested', { all: [secrets.refused] }, 'own')).id);
  assert.match(run.error ?? '', /parameters\.pw.*does not match \^Canary/);
  await assertNowhere(secrets, [run.id]);
});

test('for a taskserv that only a result names, or in a step that is left out, it is kept too', async () => {
  await define(
    'left-out',
    'parameters: { type: object, properties: { x: { type: string } } }\noperations:\n' +
      '  - id: db\n    kind: taskserv.create\n    when: false\n' +
      '    with: { name: redis, servers: [db-1], config: { password: "${{ parameters.x }}" } }\n',
  );
  const secrets = {
    create: 'Canary-before-the-update',
    update: 'Canary-of-a-late-update',
    skipped: 'Canary-that-is-skipped',
    parameter: 'Canary-that-leads-to-a-skipped-step',
  };
  const change = {
    ...{ id: 'change', kind: 'taskserv.update' },
    with: { taskserv: '${{ operations.db.result.taskserv_id }}', config: { password: secrets.update } },
  };
  const leftOut = { ...redis('db-3', secrets.skipped), id: 'left-out', when: false };
  const run = await submitBatch(admin, [redis('db-3', secrets.create), change, leftOut], {}, 'own');
  await completed(run.id);
  await assertHas('db-3', secrets.update);
  const skipped = await submit(admin, 'left-out', { x: secrets.parameter }, 'own');
  await completed(skipped.id);
  await assertNowhere(secrets, [run.id, skipped.id]);
});

test('that is put together from a result is a reference in the row of its node', async () => {
  const secrets = { composed: 'Canary-is-completed' };
  const run = await submitBatch(admin, [first, redis('db-1', 'Canary-is-${{ operations.first.status }}')], {}, 'own');
  await completed(run.id);
  await assertHas('db-1', secrets.composed);
  await assertNowhere(secrets, [run.id]);
});

test('that only results will tell from other values is refused with its field', async () => {
  const either = redis('db-1', "${{ operations.first.status == 'completed' && item.one || item.other }}");
  const operations = [first, { ...either, for_each: [{ one: 'Canary-a-or-b', other: 'Canary-b-or-a' }] }];
  const body = { workspace: 'own', workflow_type: 'batch', parameters: { operations } };
  const { message } = expectError(await admin.request('POST', '/v1/workflows/submit', body), 400);
  assert.match(message, /operations\[1\]\.with\.config\.password: .*refer to it \(\$\{\{ secrets\.workspace/);
});

test('that equals other settings leaves them alone', async () => {
  await define(
    'alike',
    'parameters: { type: object, properties: { name: { type: string }, pw: { type: string } } }\noperations:\n' +
      '  - id: db\n    kind: taskserv.create\n    with:\n      name: postgresql\n      servers: [db-1]\n' +
      '      config: { database: "${{ parameters.name }}", user: "${{ parameters.name }}", password: "${{ parameters.pw }}" }\n' +
      'outputs: { name: "${{ parameters.name }}" }\n',
  );
  const config = { database: 'app_user', user: 'app_user', password: 'app_user' };
  const written = { id: 'db', kind: 'taskserv.create', with: { name: 'postgresql', servers: ['db-1'], config } };
  const literal = await submitBatch(admin, [written], {}, 'own');
  await completed(literal.id);
  const named = await submit(admin, 'alike', { name: 'app_user', pw: 'app_user' }, 'own');
  assert.equal((await completed(named.id)).result?.name, 'app_user');
  for (const { id } of [literal, named]) {
    const [step] = await stepsOf(admin, id);
    const { password, ...shown } = (step?.with?.config ?? {}) as Record<string, unknown>;
    assert.deepEqual(shown, { database: 'app_user', user: 'app_user' });
    assert.match(JSON.stringify(password), /^\{"\$secret":"given:[0-9a-f]{12}"\}$/);
  }
});

test('that equals many other settings is told from each', async () => {
  await define(
    'many',
    'parameters: { type: object, properties: { all: { type: array, items: { type: object } } } }\noperations:\n' +
      '  - { id: gate, kind: approval }\n' +
      '  - id: db\n    kind: taskserv.create\n    depends_on: [gate]\n    for_each: "${{ parameters.all }}"\n    with:\n' +
      '      name: postgresql\n      servers: [db-1]\n' +
      '      config: { database: "${{ item.name }}", password: "${{ item.pw }}" }\n',
  );
  const all = Array.from({ length: 40 }, () => ({ name: 'app_user', pw: 'app_user' }));
  const { id } = await submit(admin, 'many', { all }, 'own');
  const { rows } = await database.pool.query<{ name: string; pw: unknown }>(
    `select item ->> 'name' as name, item -> 'pw' as pw from provisioning.workflow_nodes
     where workflow_id = $1 and step = 'db'`,
    [id],
  );
  assert.equal(rows.length, all.length);
  for (const { name, pw } of rows) {
    assert.equal(name, 'app_user');
    assert.match(JSON.stringify(pw), /^\{"\$secret":"given:[0-9a-f]{12}"\}$/);
  }
  expectOk(await admin.request('POST', `/v1/workflows/${id}/cancel`));
});

test('that equals a name elsewhere leaves that name alone', async () => {
  const run = await submitBatch(admin, [redis('redis', 'redis-redis')], {}, 'own');
  await completed(run.id);
  const same = { ...redis('redis', 'db-1-and-more'), id: 'db-1-and-more' };
  const named = await submitBatch(admin, [same], {}, 'own');
  await completed(named.id);
  assert.deepEqual(
    (await stepsOf(admin, named.id)).map(({ id }) => id),
    ['db-1-and-more'],
  );
  await assertHas('redis', 'db-1-and-more');
});

test('cannot become a part of a text that others see', async () => {
  await define(
    'leak',
    'parameters: { type: object, properties: { pw: { type: string } } }\noperations:\n' +
      '  - { id: db, kind: taskserv.create, with: { name: redis, servers: [db-1], config: { password: "${{ parameters.pw }}" } } }\n' +
      '  - { id: told, kind: command, with: { servers: [db-1], script: "true", env: { P: "${{ parameters.pw }}" } } }\n' +
      'outputs: { pw: "${{ parameters.pw }}", text: "it is ${{ parameters.pw }}" }\n',
  );
  const secrets = { password: 'Canary-that-an-output-asks-for' };
  const run = await submit(admin, 'leak', { pw: secrets.password }, 'own');
  const { result } = await completed(run.id);
  assert.equal(result?.text, null);
  assert.match(JSON.stringify(result?.pw), /^\{"\$secret":"given:/);
  await assertNowhere(secrets, [run.id]);
});

test('whoever may use only their own secrets gets none of others by running their workflow again', async () => {
  const developer = await makeClient(server, 'retrying', [{ role: 'developer', workspace: 'own' }]);
  const later = { ...redis('lent', 'Canary-for-a-server-that-is-not-there'), depends_on: ['gate'] };
  const run = await submitBatch(admin, [{ id: 'gate', kind: 'approval' }, later], {}, 'own');
  await admin.request('POST', `/v1/workflows/${run.id}/cancel`);
  await ended(admin, run.id);
  await makeServer(developer, 'lent', { workspace: 'own' });
  const retry = `/v1/workflows/${run.id}/retry`;
  assert.match(expectError(await developer.request('POST', retry), 403, 'FORBIDDEN').message, /which has secrets/);
  const operator = await makeClient(server, 'retries', [{ role: 'operator', workspace: 'own' }]);
  const { id } = expectOk(await operator.request<Operation>('POST', retry));
  expectOk(await operator.request('POST', `/v1/workflows/${id}/cancel`));
});

test('a run that is retried has it still; a check stores nothing of it', async () => {
  const secrets = { password: 'Canary-of-a-retried-run', checked: 'Canary-that-is-only-checked' };
  const gate = { id: 'gate', kind: 'approval' };
  const run = await submitBatch(admin, [gate, { ...redis('db-1', secrets.password), depends_on: ['gate'] }], {}, 'own');
  await admin.request('POST', `/v1/workflows/${run.id}/cancel`);
  await ended(admin, run.id);
  const again = expectOk(await admin.request<Operation>('POST', `/v1/workflows/${run.id}/retry`));
  await until(
    async () => (await admin.request('POST', `/v1/workflows/${again.id}/steps/gate/approve`, {})).status === 200,
    'the approval to wait',
  );
  await completed(again.id);
  await assertHas('db-1', secrets.password);
  const parameters = { operations: [redis('db-1', secrets.checked)] };
  const body = { workspace: 'own', workflow_type: 'batch', parameters };
  const graph = expectOk(await admin.request('POST', '/v1/workflows/validate', body));
  assertFree(JSON.stringify(graph), secrets, 'in the resolved graph');
  const check = expectOk(await admin.request('POST', '/v1/workflows/submit', { ...body, check_mode: true }));
  assertFree(JSON.stringify(check), secrets, 'in the answer to a check');
  const broken = { ...body, parameters: { operations: [redis('db-1', `${secrets.checked}\n`)] } };
  assertFree(
    JSON.stringify(expectError(await admin.request('POST', '/v1/workflows/submit', broken), 400)),
    secrets,
    'in an error',
  );
  await assertNowhere(secrets, [run.id, again.id]);
});

test('of a schedule is kept for its runs, and each of them has it', async () => {
  const secrets = { password: 'Canary-of-a-schedule' };
  const schedule = expectOk(
    await admin.request<{ id: string; parameters: unknown }>('POST', '/v1/schedules', {
      ...{ workspace: 'own', name: 'often', workflow_type: 'batch', cron: '* * * * * *' },
      parameters: { operations: [redis('db-2', secrets.password)] },
    }),
  );
  assertFree(JSON.stringify(schedule), secrets, 'in the answer');
  let last: string | null = null;
  await until(async () => {
    const now = await admin.request<{ last_workflow_id: string | null }>('GET', `/v1/schedules/${schedule.id}`);
    last = expectOk(now).last_workflow_id;
    return last !== null;
  }, 'the schedule to start a workflow');
  expectOk(await admin.request('DELETE', `/v1/schedules/${schedule.id}`));
  assert.ok(last !== null);
  await completed(last);
  await assertHas('db-2', secrets.password);
  await assertNowhere(secrets, [last]);
});
