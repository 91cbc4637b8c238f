/**
 * Who may have something done to a server or a taskserv: every kind of operation, by every role, over their own things,
 * over those of others and over those of another workspace, on every way to it. What must come of it is the table below;
 * the kinds are those of the registry, so that a new one fails here until it has its row.
 */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { Client as Assistant, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { SERVER_OPERATIONS } from '../../src/servers/operations.ts';
import { TASKSERV_OPERATIONS } from '../../src/taskservs/operations.ts';
import { allKinds } from '../../src/workflows/kinds/plain-rules.ts';
import { rulesOf } from '../../src/workflows/kinds/rules.ts';
import { expectOk, makeUser, startInstallation, USER_PASSWORD } from '../support/acceptance.ts';
import { type Client, ended, type Operation, serverRequest, until } from '../support/server.ts';
import { type Step, type StepInput, stepsOf, submitBatch } from '../support/workflows.ts';

/** `own`: what they made themselves. `any`: all in their workspace. Nobody anything in another workspace. */
type May = 'any' | 'own' | 'none';
type Role = 'admin' | 'operator' | 'developer' | 'viewer' | 'auditor';

//                      admin   operator developer viewer  auditor
const row = (admin: May, operator: May, developer: May, viewer: May, auditor: May) =>
  ({ admin, operator, developer, viewer, auditor }) satisfies Record<Role, May>;
const REACH = row('any', 'any', 'own', 'none', 'none');

const TABLE: Record<string, Record<Role, May>> = {
  // Reach a host: `server_update` over it, or more.
  'server.start': REACH,
  'server.stop': REACH,
  'server.restart': REACH,
  'server.resize': REACH,
  'server.guard': REACH,
  'server.repair': REACH,
  'server.delete': REACH,
  'taskserv.create': REACH,
  'taskserv.update': REACH,
  'taskserv.guard': REACH,
  'taskserv.delete': REACH,
  'taskserv.check': REACH,
  'taskserv.retry': REACH,
  command: REACH,
  // Asks the provider alone, and no host.
  'server.refresh': row('any', 'any', 'any', 'none', 'none'),
};
/** Kinds that are asked for without naming a server that there is. */
const WITHOUT_TARGET = ['server.create', 'server.import', 'orphan.delete'];
const ROLES = Object.keys(REACH) as Role[];
const WHOSE = ['own', "another's", 'elsewhere'] as const;
type Whose = (typeof WHOSE)[number];

function permitted(kind: string, role: Role, whose: Whose): boolean {
  const may = TABLE[kind]?.[role];
  return whose !== 'elsewhere' && (may === 'any' || (may === 'own' && whose === 'own'));
}

interface Target {
  workspace: string;
  server: string;
  taskserv: string;
}

const OPERATIONS = [...SERVER_OPERATIONS, ...TASKSERV_OPERATIONS];
/** As nodes, in an order in which one server takes all of them. */
const NODES: Record<string, (target: Target) => Record<string, unknown>> = {
  'server.stop': ({ server }) => ({ server }),
  'server.start': ({ server }) => ({ server }),
  'server.restart': ({ server }) => ({ server }),
  'server.resize': ({ server }) => ({ server, tags: ['resized'] }),
  'server.guard': ({ server }) => ({ server, ttl: '30d' }),
  command: ({ server }) => ({ servers: [server], script: 'true' }),
  'taskserv.create': ({ server }) => ({ name: 'nginx', servers: [server] }),
  'taskserv.update': ({ taskserv, server }) => ({ taskserv, servers: [server] }),
  'taskserv.guard': ({ taskserv }) => ({ taskserv, ttl: '30d' }),
  'taskserv.delete': ({ taskserv }) => ({ taskserv }),
  'server.delete': ({ server }) => ({ server, force: true }),
};
/** As requests, only checked. */
const REQUESTS: Record<string, (target: Target) => [method: string, path: string, body?: object]> = {
  'server.start': ({ server }) => ['POST', `/v1/servers/${server}/start`],
  'server.stop': ({ server }) => ['POST', `/v1/servers/${server}/stop`],
  'server.restart': ({ server }) => ['POST', `/v1/servers/${server}/restart`],
  'server.resize': ({ server }) => ['PATCH', `/v1/servers/${server}`, { tags: ['resized'] }],
  'server.guard': ({ server }) => ['PATCH', `/v1/servers/${server}`, { ttl: '30d' }],
  'server.repair': ({ server }) => ['POST', `/v1/servers/${server}/repair`],
  'server.delete': ({ server }) => ['DELETE', `/v1/servers/${server}`, { force: true }],
  'server.refresh': ({ server, workspace }) => ['POST', '/v1/servers/refresh', { workspace, servers: [server] }],
  'taskserv.create': ({ server, workspace }) => [
    'POST',
    '/v1/taskservs/create',
    { workspace, name: 'nginx', servers: [server] },
  ],
  'taskserv.update': ({ taskserv, server }) => ['PATCH', `/v1/taskservs/${taskserv}`, { servers: [server] }],
  'taskserv.guard': ({ taskserv }) => ['PATCH', `/v1/taskservs/${taskserv}`, { ttl: '30d' }],
  'taskserv.delete': ({ taskserv }) => ['DELETE', `/v1/taskservs/${taskserv}`],
  'taskserv.check': ({ taskserv }) => ['POST', `/v1/taskservs/${taskserv}/check`],
  'taskserv.retry': ({ taskserv }) => ['POST', `/v1/taskservs/${taskserv}/retry`],
};

const installation = await startInstallation({ HEALTH_CHECK_INTERVAL: '3600' });
after(() => installation.close());
const { server, database } = installation;
const { admin } = server;
/** A type that can stand inside of another one. */
const GRAPH = `name: graph
parameters: { type: object, properties: { operations: { type: array, items: { type: object } } } }
operations: "\${{ parameters.operations }}"
`;
/** Ways on which what is asked for is carried out, each with servers of its own. */
const WAYS = ['request', 'assistant', 'node', 'nested', 'schedule', 'rollback'] as const;
type Way = (typeof WAYS)[number];
interface Caller {
  role: Role;
  client: Client;
  userId: string;
  own: Map<Way, Target>;
  others: Map<Way, Target>;
}
const callers: Caller[] = [];
let elsewhere: Target;
/** What has run on hosts until everybody has their role. */
let lastRun: string;

before(async () => {
  for (const name of ['here', 'there']) {
    expectOk(await admin.request('POST', '/v1/workspaces/create', { name }));
  }
  const types = `${server.dataDir}/workspaces/here/workflows`;
  await mkdir(types, { recursive: true });
  await writeFile(`${types}/graph.yaml`, GRAPH);
  [elsewhere] = (await makeTargets(admin, 'there', ['elsewhere'])) as [Target];
  await makeUser(admin, 'maker', [{ role: 'operator', workspace: 'here' }]);
  const maker = await server.login('maker', USER_PASSWORD);
  for (const role of ROLES) {
    // All make their things as operators: what a viewer owns, they made when they might.
    const userId = await makeUser(admin, `the-${role}`, [{ role: 'operator', workspace: 'here' }]);
    const client = await server.login(`the-${role}`, USER_PASSWORD);
    const names = (who: string) => WAYS.map((way) => `${who}-${role}-${way}`);
    const own = await makeTargets(client, 'here', names('own'));
    const others = await makeTargets(maker, 'here', names('others'));
    const byWay = (targets: Target[]) => new Map(WAYS.map((way, at) => [way, targets[at] as Target]));
    callers.push({ role, client, userId, own: byWay(own), others: byWay(others) });
  }
  for (const caller of callers) await runBeforeRollback(caller);
  const { rows } = await database.pool.query<{ last: string }>('select max(id) as last from simulated_cloud.runs');
  lastRun = rows[0]?.last ?? '';
  for (const { role, userId } of callers) {
    expectOk(await admin.request('PATCH', `/v1/users/${userId}`, { roles: [{ role, workspace: 'here' }] }));
  }
});

/** Servers that run, each with a taskserv, made by the client. */
async function makeTargets(client: Client, workspace: string, hostnames: string[]): Promise<Target[]> {
  const make = async (hostname: string): Promise<Target> => {
    const asked = await client.request<Operation>('POST', '/v1/servers/create', serverRequest(hostname, { workspace }));
    const made = await ended(client, expectOk(asked).id, 60);
    const id = String(made.result?.server_id);
    const body = { workspace, name: 'memcached', servers: [id] };
    const installed = await ended(
      client,
      expectOk(await client.request<Operation>('POST', '/v1/taskservs/create', body)).id,
      60,
    );
    return { workspace, server: id, taskserv: String(installed.result?.taskserv_id) };
  };
  return Promise.all(hostnames.map(make));
}

function targetsOf({ own, others }: Caller, way: Way): [Whose, Target][] {
  return [
    ['own', own.get(way) as Target],
    ["another's", others.get(way) as Target],
    ['elsewhere', elsewhere],
  ];
}

/** A step for each kind over each target, one after the other on each server; what they name is known only then. */
function graphOver(caller: Caller, way: Way): StepInput[] {
  const late = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(late);
    return typeof value === 'string' && /^(srv|tsk)-/.test(value)
      ? `\${{ operations.first.status == 'completed' && '${value}' || 'nothing' }}`
      : value;
  };
  const steps = targetsOf(caller, way).flatMap(([whose, target]) =>
    Object.entries(NODES).map(([kind, fields], at, all) => ({
      id: idOf(kind, whose),
      kind,
      with: Object.fromEntries(Object.entries(fields(target)).map(([name, value]) => [name, late(value)])),
      on_failure: 'continue',
      depends_on: ['first', ...(at === 0 ? [] : [{ id: idOf(all[at - 1]?.[0] ?? '', whose), type: 'soft' }])],
    })),
  );
  return [{ id: 'first', kind: 'wait', with: { seconds: 0 } }, ...steps];
}

function idOf(kind: string, whose: Whose): string {
  return `${kind.replace('.', '_')}_${whose.replace(/\W/g, '')}`;
}

/** As a server of another workspace is answered: as one that there is not. */
const refusals = ['FORBIDDEN', 'NOT_FOUND', 'VALIDATION_ERROR'];

function assertSteps(caller: Caller, steps: readonly Step[]): void {
  for (const kind of Object.keys(NODES)) {
    for (const whose of WHOSE) {
      const step = steps.find(({ id }) => id === idOf(kind, whose));
      const what = `${caller.role}: ${kind} over ${whose}: ${JSON.stringify(step)}`;
      assert.ok(step !== undefined, what);
      assert.equal(step.operation_id !== null, permitted(kind, caller.role, whose), what);
      if (step.operation_id === null) {
        assert.equal(step.status, 'failed', what);
        assert.ok(refusals.includes(String(step.error_code)), what);
      }
    }
  }
}

const maySubmit = (role: Role) => !['viewer', 'auditor'].includes(role);

test('every kind that can be asked for has its row here', () => {
  const asked = OPERATIONS.filter(({ endpoints }) => endpoints.length > 0).map(({ kind }) => kind);
  const changing = allKinds().filter((kind) => rulesOf(kind).target !== undefined);
  assert.deepEqual(
    asked.filter((kind) => REQUESTS[kind] === undefined && !WITHOUT_TARGET.includes(kind)),
    [],
  );
  assert.deepEqual(changing.toSorted(), Object.keys(NODES).toSorted());
  assert.deepEqual(Object.keys(TABLE).toSorted(), [...new Set([...Object.keys(REQUESTS), ...changing])].toSorted());
});

test('by request', async () => {
  for (const caller of callers) {
    for (const [whose, target] of targetsOf(caller, 'request')) {
      for (const [kind, request] of Object.entries(REQUESTS)) {
        const [method, path, body] = request(target);
        const answer = await caller.client.request(method, `${path}?check_mode=true`, body);
        const what = `${caller.role}: ${kind} over ${whose}: ${JSON.stringify(answer.body)}`;
        // 409: it may, and there is nothing to do.
        if (permitted(kind, caller.role, whose)) assert.ok([200, 409].includes(answer.status), what);
        else assert.ok([400, 403, 404].includes(answer.status), what);
      }
    }
  }
});

test('a taskserv is taken only to servers that the caller may reach', async () => {
  for (const caller of callers.filter(({ role }) => maySubmit(role))) {
    const [own, others] = [caller.own.get('request') as Target, caller.others.get('request') as Target];
    const body = { servers: [own.server, others.server] };
    const answer = await caller.client.request('PATCH', `/v1/taskservs/${own.taskserv}?check_mode=true`, body);
    const may = permitted('taskserv.update', caller.role, "another's");
    assert.ok(may ? [200, 409].includes(answer.status) : answer.status === 403, JSON.stringify(answer.body));
  }
});

test('by an assistant', async () => {
  const TOOLS: [kind: string, tool: string, input: (target: Target) => Record<string, unknown>][] = [
    ['server.restart', 'power_server', ({ server: id }) => ({ id, action: 'restart' })],
    [
      'taskserv.create',
      'install_taskserv',
      ({ server: id, workspace }) => ({ workspace, name: 'nginx', servers: [id] }),
    ],
    ['taskserv.delete', 'delete_taskserv', ({ taskserv: id }) => ({ id })],
    ['server.delete', 'delete_server', ({ server: id }) => ({ id, force: true })],
  ];
  for (const caller of callers) {
    const assistant = new Assistant({ name: 'test', version: '1' });
    const requestInit = { headers: { authorization: `Bearer ${caller.client.token}` } };
    await assistant.connect(new StreamableHTTPClientTransport(new URL(`${server.url}/mcp`), { requestInit }));
    for (const [whose, target] of targetsOf(caller, 'assistant')) {
      for (const [kind, name, input] of TOOLS) {
        // A tool that the caller may use nowhere is not there.
        const { isError, content } = await assistant
          .callTool({ name, arguments: input(target) })
          .catch((error: Error) => ({ isError: true, content: error.message }));
        const what = `${caller.role}: ${kind} over ${whose}: ${JSON.stringify(content)}`;
        assert.equal(isError !== true, permitted(kind, caller.role, whose), what);
        if (isError !== true) await untilIdle(target.server);
      }
    }
    await assistant.close();
  }
});

async function untilIdle(serverId: string): Promise<void> {
  await until(async () => {
    const { rows } = await database.pool.query(
      `select from provisioning.operations o left join provisioning.host_turns t on t.operation_id = o.id
       where o.status in ('pending', 'running') and (o.resource = $1 or t.server_id = $2)`,
      [`server:${serverId}`, serverId],
    );
    return rows.length === 0;
  }, 'the server to be idle');
}

test('by a node of a workflow', async () => {
  for (const caller of callers) {
    const operations = graphOver(caller, 'node');
    if (!maySubmit(caller.role)) {
      const body = { workspace: 'here', workflow_type: 'batch', parameters: { operations } };
      assert.equal((await caller.client.request('POST', '/v1/workflows/submit', body)).status, 403);
      continue;
    }
    const { id } = await submitBatch(caller.client, operations, {}, 'here');
    await ended(admin, id, 60);
    assertSteps(caller, await stepsOf(admin, id));
  }
});

/** Expressions as the inner workflow is to have them: the outer one leaves them alone. */
function asText(steps: StepInput[]): StepInput[] {
  return JSON.parse(JSON.stringify(steps).replaceAll('$', '$$$$')) as StepInput[];
}

test('by a node of a nested workflow', async () => {
  for (const caller of callers.filter(({ role }) => maySubmit(role))) {
    const inner = { workflow_type: 'graph', parameters: { operations: asText(graphOver(caller, 'nested')) } };
    const { id } = await submitBatch(
      caller.client,
      [{ id: 'inner', kind: 'workflow', with: inner, on_failure: 'continue' }],
      {},
      'here',
    );
    await ended(admin, id, 60);
    const [nested] = await stepsOf(admin, id);
    assertSteps(caller, await stepsOf(admin, String(nested?.operation_id)));
  }
});

test('by a schedule', async () => {
  for (const caller of callers) {
    const parameters = { operations: graphOver(caller, 'schedule') };
    const body = { name: caller.role, workspace: 'here', workflow_type: 'batch', cron: '0 0 1 1 *', parameters };
    const answer = await caller.client.request<{ id: string }>('POST', '/v1/schedules', body);
    assert.equal(answer.status, maySubmit(caller.role) ? 200 : 403, caller.role);
    if (answer.status !== 200) continue;
    const { id } = answer.body;
    await database.pool.query('update provisioning.schedules set next_run_at = now() where id = $1', [id]);
    let run: string | null = null;
    await until(async () => {
      run = expectOk(
        await admin.request<{ last_workflow_id: string | null }>('GET', `/v1/schedules/${id}`),
      ).last_workflow_id;
      return run !== null;
    }, 'the schedule to start its workflow');
    await ended(admin, String(run), 60);
    assertSteps(caller, await stepsOf(admin, String(run)));
  }
});

describe('by a rollback', () => {
  for (const role of ROLES) {
    test(`of what a ${role} did when they might do more`, async () => {
      const caller = callers.find((one) => one.role === role) as Caller;
      const { run } = beforeRollback.get(role) as { run: string };
      const asker = maySubmit(role) ? caller.client : admin;
      const { id } = expectOk(await asker.request<Operation>('POST', `/v1/workflows/${run}/rollback`));
      await ended(admin, id, 60);
      const steps = await stepsOf(admin, run);
      for (const [whose, target] of targetsOf(caller, 'rollback').slice(0, 2)) {
        for (const kind of ['server.resize', 'taskserv.create', 'command']) {
          const step = steps.find((one) => one.id === idOf(kind, whose));
          // What is undone acts for whoever asks; a script for whoever wrote it.
          const may = asker === admin && kind !== 'command' ? true : permitted(kind, role, whose);
          assert.equal(
            step?.undo,
            may ? 'undone' : 'failed',
            `${role}: ${kind} over ${whose}: ${JSON.stringify(step)}`,
          );
        }
        const { rows } = await database.pool.query<{ jobs: number }>(
          `select count(*)::int as jobs from simulated_cloud.runs r
           join provisioning.servers s on s.provider_ref = r.ref where s.id = $1 and r.label = 'command'`,
          [target.server],
        );
        assert.equal(rows[0]?.jobs, permitted('command', role, whose) ? 2 : 1, `${role}: scripts over ${whose}`);
      }
    });
  }
});

const beforeRollback = new Map<Role, { run: string }>();

/** What every role's rollback undoes, done while all of them are operators. */
async function runBeforeRollback(caller: Caller): Promise<void> {
  const steps = targetsOf(caller, 'rollback')
    .slice(0, 2)
    .flatMap(([whose, { server: id }]) => {
      const after = (kind: string) => [idOf(kind, whose)];
      return [
        { id: idOf('server.resize', whose), kind: 'server.resize', with: { server: id, tags: ['resized'] } },
        {
          ...{ id: idOf('taskserv.create', whose), kind: 'taskserv.create', depends_on: after('server.resize') },
          with: { name: 'nginx', servers: [id] },
        },
        {
          ...{ id: idOf('command', whose), kind: 'command', depends_on: after('taskserv.create') },
          with: { servers: [id], script: 'true', undo_script: 'true' },
        },
      ];
    });
  const { id } = await submitBatch(caller.client, steps, {}, 'here');
  const run = await ended(caller.client, id, 60);
  assert.equal(run.status, 'completed', JSON.stringify(run));
  beforeRollback.set(caller.role, { run: id });
}

test('no host was reached by those who may not', async () => {
  const untouchable = callers
    .filter(({ role }) => permitted('command', role, "another's") === false)
    .flatMap(({ others }) => WAYS.filter((way) => way !== 'rollback').map((way) => others.get(way)?.server));
  const { rows } = await database.pool.query(
    `select s.hostname, r.kind, r.label from simulated_cloud.runs r join provisioning.servers s on s.provider_ref = r.ref
     where s.id = any($1) and r.id > $2`,
    [[...untouchable, elsewhere.server], lastRun],
  );
  assert.deepEqual(rows, []);
});
