/**
 * Rules of docs/contracts/operation.md at every request that changes something. O7, O10: with `check_mode` it answers what the
 * request would, and changes nothing: no row, no file, nothing at a provider. O9: what it changes is locked. O16, O17: it is held
 * against protection and against the limits of the workspace. A new endpoint needs a line in REQUESTS.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { OPERATION_KINDS } from '../../src/operation-kinds.ts';
import { generateSshKey } from '../../src/transports/keys.ts';
import { expectError, expectOk, makeServer, makeUser, PROOF, USER_PASSWORD } from '../support/acceptance.ts';
import { assertNotStored } from '../support/canaries.ts';
import { startCloudInstallation } from '../support/cloud-installation.ts';
import { startIssuer } from '../support/issuer.ts';
import { assertDescribed, type Endpoint, readEndpoints } from '../support/openapi.ts';
import { startReceiver } from '../support/receiver.ts';
import {
  ADMIN_PASSWORD,
  type Answer,
  type Client,
  ended,
  type Operation,
  serverRequest,
  until,
} from '../support/server.ts';
import { codesNow } from '../support/totp.ts';
import { deliveryThat, makeWebhook } from '../support/webhooks.ts';
import { runBatch, stepsOf, submitBatch } from '../support/workflows.ts';

const receiver = await startReceiver();
const issuer = await startIssuer({ callbacks: [] });
const another = await startIssuer({ callbacks: [] });
const installation = await startCloudInstallation({
  SWEEP_INTERVAL: '0',
  HEALTH_CHECK_INTERVAL: '0',
  EGRESS_ALLOW: '127.0.0.0/8',
  WEBHOOK_ALLOW: 'http,local,private',
});
after(async () => {
  await installation.close();
  await receiver[Symbol.asyncDispose]();
  await issuer.stop();
  await another.stop();
});
const machine = await startMachine();
after(() => machine.close());
const { server, database, clouds } = installation;
const { admin } = server;
const { pool } = database;
const [cloud] = clouds;
assert.ok(cloud);

interface CheckedOperation extends Operation {
  kind: string;
  title: string | null;
  check_mode: boolean;
  resource: string | null;
}

/** What requests bring that must never rest as it is. */
const SECRETS = { userData: 'canary-in-user-data', password: 'canary-in-a-config' };

/** Things that exist, by what REQUESTS call them. */
const ids: Record<string, string> = {};

/** Secrets of the authenticator apps of `admin`: the one that is asked for, and one that waits for its first code. */
const apps = { present: '', next: '' };

/** Sets an app up for whoever is logged in. @returns its secret, and a recovery code. */
async function setUpApp(client: Client, password: string): Promise<{ secret: string; recovery: string }> {
  const enrolled = await client.request<{ secret: string }>('POST', '/v1/auth/totp', { password });
  const { secret } = expectOk(enrolled);
  const confirmed = await client.request<{ recovery_codes: string[] }>('POST', '/v1/auth/totp/confirm', {
    code: codesNow(secret)[0],
  });
  return { secret, recovery: expectOk(confirmed).recovery_codes[0] ?? '' };
}

interface Sent {
  path: string;
  body?: object;
  /** The kind of the operation that the check is stored as; absent: it is stored as none. */
  kind?: string;
  /** What it locks: while another operation holds that, it is refused. */
  resource?: string;
}

/** One request that would be carried out, for each endpoint that changes something. */
const REQUESTS: Record<string, () => Sent> = {
  'POST /v1/auth/logout': () => ({ path: '/v1/auth/logout' }),
  'POST /v1/auth/password': () => ({
    path: '/v1/auth/password',
    body: {
      ...{ current_password: ADMIN_PASSWORD, new_password: 'another password of mine' },
      totp: codesNow(apps.present)[1],
    },
  }),
  'DELETE /v1/auth/sessions/{id}': () => ({ path: `/v1/auth/sessions/${ids.session}` }),
  'POST /v1/auth/totp': () => ({
    path: '/v1/auth/totp',
    body: { password: ADMIN_PASSWORD, totp: codesNow(apps.present)[1] },
  }),
  'POST /v1/auth/totp/confirm': () => ({ path: '/v1/auth/totp/confirm', body: { code: codesNow(apps.next)[1] } }),
  'POST /v1/auth/totp/remove': () => ({
    path: '/v1/auth/totp/remove',
    body: { password: ADMIN_PASSWORD, totp: codesNow(apps.present)[1] },
  }),
  'POST /v1/users/{id}/totp/remove': () => ({
    path: `/v1/users/${ids.user}/totp/remove`,
    body: { password: ADMIN_PASSWORD, totp: codesNow(apps.present)[1] },
  }),
  'POST /v1/workspaces/{name}/service-accounts': () => ({
    path: '/v1/workspaces/default/service-accounts',
    body: { name: 'new', roles: ['developer'] },
  }),
  'PATCH /v1/workspaces/{name}/service-accounts/{account}': () => ({
    path: '/v1/workspaces/default/service-accounts/deploy',
    body: { roles: ['viewer'], disabled: true },
  }),
  'DELETE /v1/workspaces/{name}/service-accounts/{account}': () => ({
    path: '/v1/workspaces/default/service-accounts/deploy',
  }),
  'POST /v1/workspaces/{name}/service-accounts/{account}/tokens': () => ({
    path: '/v1/workspaces/default/service-accounts/deploy/tokens',
    body: { name: 'new' },
  }),
  'POST /v1/auth/providers': () => ({
    path: '/v1/auth/providers',
    body: {
      name: 'new',
      issuer: another.issuer,
      client_id: 'x',
      client_secret: SECRETS.password,
      proof: { password: ADMIN_PASSWORD, totp: codesNow(apps.present)[1] },
    },
  }),
  'PATCH /v1/auth/providers/{name}': () => ({
    path: '/v1/auth/providers/kept',
    body: { title: 'Changed', client_secret: SECRETS.password, group_roles: [] },
  }),
  'DELETE /v1/auth/providers/{name}': () => ({ path: '/v1/auth/providers/kept' }),
  'POST /v1/users': () => ({
    path: '/v1/users',
    body: { username: 'new.one', password: 'a password of its own', roles: [] },
  }),
  'PATCH /v1/users/{id}': () => ({ path: `/v1/users/${ids.user}`, body: { disabled: true } }),
  'DELETE /v1/users/{id}': () => ({ path: `/v1/users/${ids.user}` }),
  'POST /v1/tokens': () => ({ path: '/v1/tokens', body: { name: 'new' } }),
  'DELETE /v1/tokens/{id}': () => ({ path: `/v1/tokens/${ids.token}` }),
  'POST /v1/workspaces/create': () => ({
    path: '/v1/workspaces/create',
    body: { name: 'new', path: `${server.dataDir}/workspaces/deep/new`, activate: true },
  }),
  'POST /v1/workspaces/{name}/activate': () => ({ path: '/v1/workspaces/other/activate' }),
  'PATCH /v1/workspaces/{name}': () => ({ path: '/v1/workspaces/other', body: { limits: { servers: 1 } } }),
  'DELETE /v1/workspaces/{name}': () => ({ path: '/v1/workspaces/other' }),
  'PUT /v1/workspaces/{name}/credentials/{provider}': () => ({
    path: `/v1/workspaces/default/credentials/${cloud.name}`,
    body: cloud.credentials,
  }),
  'DELETE /v1/workspaces/{name}/credentials/{provider}': () => ({
    path: `/v1/workspaces/other/credentials/${cloud.name}`,
  }),
  'PUT /v1/workspaces/{name}/secrets/{key}': () => ({
    path: '/v1/workspaces/default/secrets/new',
    body: { value: 'a secret that is only checked' },
  }),
  'DELETE /v1/workspaces/{name}/secrets/{key}': () => ({ path: '/v1/workspaces/other/secrets/kept' }),
  'PUT /v1/workspaces/{name}/ssh-key': () => ({
    path: '/v1/workspaces/other/ssh-key',
    body: { private_key: generateSshKey('new').privateKey },
  }),
  'POST /v1/servers/create': () => ({
    path: '/v1/servers/create',
    // The first at a provider that is given a key of the workspace, which has none yet.
    body: {
      ...{ ...cloud.spec(), workspace: 'other', provider: cloud.name, hostname: 'new-01' },
      user_data: `#!/bin/sh\necho ${SECRETS.userData}\n`,
    },
    kind: 'server.create',
  }),
  'POST /v1/servers/import': () => ({
    path: '/v1/servers/import',
    body: { workspace: 'default', hostname: 'old-01', ip_address: '127.0.0.1', ssh: { port: machine.port } },
    kind: 'server.import',
  }),
  'POST /v1/servers/import, of a provider': () => ({
    path: '/v1/servers/import',
    body: { workspace: 'default', provider: cloud.name, label: 'team=web' },
    kind: 'server.adopt',
  }),
  'POST /v1/servers/refresh': () => ({
    path: '/v1/servers/refresh',
    body: { workspace: 'default' },
    kind: 'server.refresh',
  }),
  'PATCH /v1/servers/{id}': () => ({
    path: `/v1/servers/${ids.server}`,
    body: { tags: ['blue'], plan: '4xCPU-8GB' },
    kind: 'server.resize',
    resource: `server:${ids.server}`,
  }),
  'PATCH /v1/servers/{id}, its guards': () => ({
    path: `/v1/servers/${ids.server}`,
    body: { protect: true, ttl: '8h' },
    kind: 'server.guard',
  }),
  'DELETE /v1/servers/{id}': () => ({
    path: `/v1/servers/${ids.server}?force=true`,
    kind: 'server.delete',
    resource: `server:${ids.server}`,
  }),
  'POST /v1/servers/{id}/repair': () => ({
    path: `/v1/servers/${ids.server}/repair`,
    body: { recreate: true },
    kind: 'server.repair',
    resource: `server:${ids.server}`,
  }),
  'POST /v1/servers/{id}/start': () => power('start'),
  'POST /v1/servers/{id}/stop': () => power('stop'),
  'POST /v1/servers/{id}/restart': () => power('restart'),
  'DELETE /v1/servers/{id}/host-key': () => ({ path: `/v1/servers/${ids.server}/host-key` }),
  'PATCH /v1/orphans/{id}': () => ({ path: `/v1/orphans/${ids.orphan}`, body: { protect: true } }),
  'DELETE /v1/orphans/{id}': () => ({
    path: `/v1/orphans/${ids.orphan}`,
    kind: 'orphan.delete',
    resource: `orphan:${ids.orphan}`,
  }),
  'POST /v1/taskservs/create': () => ({
    path: '/v1/taskservs/create',
    // Changes the one that is there.
    body: {
      workspace: 'default',
      name: 'redis',
      servers: ['web-01'],
      config: { port: 6380, password: SECRETS.password },
    },
    kind: 'taskserv.create',
    resource: `taskserv:${ids.taskserv}`,
  }),
  'POST /v1/taskservs/{id}/check': () => ({ path: `/v1/taskservs/${ids.taskserv}/check`, kind: 'taskserv.check' }),
  'POST /v1/taskservs/{id}/retry': () => ({
    path: `/v1/taskservs/${ids.taskserv}/retry`,
    kind: 'taskserv.retry',
    resource: `taskserv:${ids.taskserv}`,
  }),
  'PATCH /v1/taskservs/{id}': () => ({
    path: `/v1/taskservs/${ids.taskserv}`,
    body: { config: { port: 6381, password: SECRETS.password } },
    kind: 'taskserv.update',
    resource: `taskserv:${ids.taskserv}`,
  }),
  'PATCH /v1/taskservs/{id}, its guards': () => ({
    path: `/v1/taskservs/${ids.taskserv}`,
    body: { protect: true, expires_at: '2030-01-31T18:00:00Z' },
    kind: 'taskserv.guard',
  }),
  'DELETE /v1/taskservs/{id}': () => ({
    path: `/v1/taskservs/${ids.taskserv}`,
    kind: 'taskserv.delete',
    resource: `taskserv:${ids.taskserv}`,
  }),
  'POST /v1/workflows/submit': () => ({
    path: '/v1/workflows/submit',
    body: {
      workspace: 'default',
      workflow_type: 'cluster_create',
      parameters: { cluster_name: 'blue', node_count: 2, provider: 'simulated', plan: '1xCPU-1GB', zone: 'de-fra1' },
    },
    kind: 'workflow.run',
  }),
  'POST /v1/workflows/{id}/retry': () => ({
    path: `/v1/workflows/${ids.failed}/retry`,
    kind: 'workflow.run',
    resource: `workflow:${ids.failed}`,
  }),
  'POST /v1/workflows/{id}/rollback': () => ({
    path: `/v1/workflows/${ids.failed}/rollback`,
    kind: 'workflow.rollback',
    resource: `workflow:${ids.failed}`,
  }),
  'POST /v1/workflows/{id}/cancel': () => ({ path: `/v1/workflows/${ids.waiting}/cancel` }),
  'POST /v1/workflows/{id}/steps/{step}/approve': () => ({ path: `/v1/workflows/${ids.waiting}/steps/ask/approve` }),
  'POST /v1/schedules': () => ({
    path: '/v1/schedules',
    body: { ...SCHEDULE, name: 'new' },
  }),
  'DELETE /v1/schedules/{id}': () => ({ path: `/v1/schedules/${ids.schedule}` }),
  'POST /v1/operations/{id}/cancel': () => ({ path: `/v1/operations/${ids.approval}/cancel` }),
  'POST /v1/webhooks': () => ({ path: '/v1/webhooks', body: { url: `${receiver.url}/new` } }),
  'PATCH /v1/webhooks/{id}': () => ({ path: `/v1/webhooks/${ids.webhook}`, body: { active: false } }),
  'DELETE /v1/webhooks/{id}': () => ({ path: `/v1/webhooks/${ids.webhook}` }),
  'POST /v1/webhooks/{id}/test': () => ({ path: `/v1/webhooks/${ids.webhook}/test` }),
  'POST /v1/webhooks/{id}/deliveries/{delivery}/redeliver': () => ({
    path: `/v1/webhooks/${ids.webhook}/deliveries/${ids.delivery}/redeliver`,
  }),
};

const SCHEDULE = {
  workspace: 'default',
  workflow_type: 'batch',
  parameters: { operations: [{ id: 'ask', kind: 'approval' }] },
  cron: '0 3 1 1 *',
};

function power(action: string): Sent {
  return {
    path: `/v1/servers/${ids.server}/${action}`,
    kind: `server.${action}`,
    resource: `server:${ids.server}`,
  };
}

const checkMode = ({ path, body }: Sent, where: 'query' | 'body'): Sent =>
  where === 'query'
    ? {
        path: withQuery(path, 'check_mode=true'),
        ...(body === undefined ? {} : { body: { ...body, check_mode: false } }),
      }
    : { path: withQuery(path, 'check_mode=false'), body: { ...body, check_mode: true } };

const withQuery = (path: string, query: string) => `${path}${path.includes('?') ? '&' : '?'}${query}`;

const send = (endpoint: Endpoint, { path, body }: Sent) => admin.request(endpoint.method, path, body);

const CHECKED_IDS = 'select id::text from provisioning.operations where check_mode';
const CHECKS = `operation_id::text in (${CHECKED_IDS})`;

/** Tables of what is never rolled back, of what goes on by itself (uses of sessions), and of what the simulated cloud was asked. */
const ASIDE = ['sessions', 'audit_log', 'audit_checkpoints', 'replicas', 'webhook_cursor', 'calls', 'shared_counts'];
/** What of a table counts; else all of it. */
const ROWS: Record<string, string> = {
  'provisioning.operations': 'not check_mode',
  'provisioning.operation_events': `not ${CHECKS}`,
  // On a host nothing may be done but looking.
  'simulated_cloud.runs': "kind <> 'run'",
};

/** Every row and file that a change could touch, and how often the clouds were asked to change something. */
async function everything(): Promise<Record<string, unknown>> {
  const { rows: tables } = await pool.query<{ name: string }>(
    `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
     where table_schema in ('provisioning', 'simulated_cloud') and table_type = 'BASE TABLE' and table_name <> all($1)`,
    [ASIDE],
  );
  const reads = tables.map(
    ({ name }) =>
      `select '${name}' as name, array(select t::text from ${name} t where ${ROWS[name] ?? true} order by 1) as rows`,
  );
  const { rows } = await pool.query<{ name: string; rows: string[] }>(reads.join(' union all '));
  const state: Record<string, unknown> = Object.fromEntries(rows.map((table) => [table.name, table.rows]));
  const procedures = `select count(*) from dbos.workflow_status where workflow_uuid not in (${CHECKED_IDS})`;
  state.procedures = (await pool.query(procedures)).rows;
  state.files = await filesIn(server.dataDir);
  state.clouds = clouds.map(({ fake }) => fake.counts().mutations);
  return state;
}

async function filesIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return Promise.all(
    entries.map(async (entry) => {
      const file = `${entry.parentPath}/${entry.name}`;
      return entry.isFile()
        ? `${file} ${createHash('sha256')
            .update(await readFile(file))
            .digest('hex')}`
        : file;
    }),
  ).then((files) => files.toSorted());
}

/** Something that lets itself be connected to, and says nothing. */
async function startMachine() {
  const sockets = new Set<Socket>();
  const listener = createServer((socket) => sockets.add(socket)).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return {
    port: (listener.address() as AddressInfo).port,
    /** Waits for a connection. */
    async met() {
      if (sockets.size === 0) await once(listener, 'connection');
      for (const socket of sockets) socket.destroy();
      sockets.clear();
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      listener.close();
      await once(listener, 'close');
    },
  };
}

/** As another answer to the same request would be. */
function comparable({ status, body }: Answer): unknown {
  const { request_id: _, ...rest } = body as Record<string, unknown>;
  return { status, ...rest };
}

before(async () => {
  const { server: made } = await makeServer(admin, 'web-01');
  ids.server = made.id;
  ids.user = await makeUser(admin, 'somebody', []);
  ids.token = expectOk(await admin.request<{ id: string }>('POST', '/v1/tokens', { name: 'some' })).id;
  const somebody = await server.login('somebody', USER_PASSWORD);
  ids.session = expectOk(await somebody.request<{ session_id: string }>('GET', '/v1/auth/me')).session_id;
  const kept = { name: 'kept', issuer: issuer.issuer, client_id: 'x', group_roles: [{ group: 'all', role: 'viewer' }] };
  expectOk(await admin.request('POST', '/v1/auth/providers', { ...kept, ...PROOF }));
  await setUpApp(somebody, USER_PASSWORD);
  const { secret, recovery } = await setUpApp(admin, ADMIN_PASSWORD);
  const another = { password: ADMIN_PASSWORD, totp: recovery };
  const next = expectOk(await admin.request<{ secret: string }>('POST', '/v1/auth/totp', another)).secret;
  Object.assign(apps, { present: secret, next });
  const account = { name: 'deploy', roles: ['developer'] };
  expectOk(await admin.request('POST', '/v1/workspaces/default/service-accounts', account));
  const path = `${server.dataDir}/workspaces/other`;
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'other', path }));
  expectOk(await admin.request('PUT', `/v1/workspaces/other/credentials/${cloud.name}`, cloud.credentials));
  expectOk(await admin.request('PUT', '/v1/workspaces/other/secrets/kept', { value: 'kept' }));
  const redis = { workspace: 'default', name: 'redis', servers: ['web-01'] };
  const { id: installing } = expectOk(await admin.request<Operation>('POST', '/v1/taskservs/create', redis));
  ids.taskserv = String((await ended(admin, installing)).result?.taskserv_id);
  await pool.query("update provisioning.taskserv_hosts set status = 'failed' where taskserv_id = $1", [ids.taskserv]);
  const { server: foreign, operation } = await makeServer(admin, 'foreign', { provider: cloud.name, zone: cloud.zone });
  await pool.query('delete from provisioning.servers where id = $1', [foreign.id]);
  const ours = ['operation', 'workspace', 'installation'].map((word) => [`provisioning-${word}`, null]);
  cloud.console(operation.id).relabel({ ...Object.fromEntries(ours), team: 'web' });
  ids.orphan = 'orp-000000000001';
  await pool.query(
    `insert into provisioning.orphans (id, provider, ref, workspace, hostname, plan, zone, status)
     values ($1, 'simulated', 'sim-lost', 'default', 'lost', '1xCPU-1GB', 'de-fra1', 'running')`,
    [ids.orphan],
  );
  const failing = { id: 'fails', kind: 'wait', with: { tcp: '127.0.0.1:1', within: 0.1 }, depends_on: ['waits'] };
  const steps = [{ id: 'waits', kind: 'wait', with: { seconds: 0 } }, failing];
  ids.failed = (await runBatch(admin, steps, { rollback: false })).id;
  ids.waiting = (await submitBatch(admin, [{ id: 'ask', kind: 'approval' }])).id;
  await until(async () => {
    const [step] = await stepsOf(admin, String(ids.waiting));
    ids.approval = step?.operation_id ?? '';
    if (ids.approval === '') return false;
    const { body } = await admin.request<Operation>('GET', `/v1/operations/${ids.approval}`);
    return body.status === 'running';
  }, 'the approval to be waited for');
  ids.schedule = expectOk(
    await admin.request<{ id: string }>('POST', '/v1/schedules', { ...SCHEDULE, name: 'yearly' }),
  ).id;
  ids.webhook = (await makeWebhook(admin, { url: receiver.url, events: ['operation.*'] })).id;
  expectOk(await admin.request('POST', `/v1/webhooks/${ids.webhook}/test`));
  ids.delivery = (await deliveryThat(admin, ids.webhook, ({ status }) => status === 'delivered', 'the test')).id;
});

/** Of a name in REQUESTS. */
const endpointOf = (name: string) => name.split(',')[0] ?? '';
const changing = (await readEndpoints(admin)).filter(
  ({ method, parameters }) => method !== 'GET' && parameters.some(({ name }) => name === 'check_mode'),
);

test('every endpoint that changes something is among those that are tried here', () => {
  const tried = [...new Set(Object.keys(REQUESTS).map(endpointOf))];
  assert.deepEqual(changing.map(({ method, path }) => `${method} ${path}`).sort(), tried.sort());
});

/** Kinds that lock nothing: they make something new, or only look, or are done when they are accepted. */
const LOCK_NOTHING = [
  ...[
    'server.adopt',
    'server.create',
    'server.guard',
    'server.import',
    'server.refresh',
    'taskserv.check',
    'taskserv.guard',
  ],
  ...['workflow.run'],
];

test('O7, O9, O10: every kind that a request starts is tried here, and locks what it changes', () => {
  const requests = Object.values(REQUESTS).map((request) => request());
  const tried = new Set(requests.flatMap(({ kind }) => kind ?? []));
  const started = OPERATION_KINDS.filter(
    ({ endpoints, startedBy = '' }) => endpoints.length > 0 || /`(POST|PATCH) /.test(startedBy),
  );
  assert.deepEqual([...tried].sort(), started.map(({ kind }) => kind).sort());
  const locks = new Set(requests.flatMap(({ kind, resource }) => (resource === undefined ? [] : (kind ?? []))));
  assert.deepEqual(
    [...tried].filter((kind) => !locks.has(kind)).sort(),
    LOCK_NOTHING.filter((kind) => !locks.has(kind)),
  );
});

for (const [name, request] of Object.entries(REQUESTS)) {
  const endpoint = changing.find(({ method, path }) => endpointOf(name) === `${method} ${path}`);
  if (endpoint === undefined) throw new Error(`There is no ${name} with check_mode.`);
  describe(`${name}, only checked`, () => {
    // Also where the other place says the contrary.
    for (const where of ['query', 'body'] as const) {
      test(`O10: is answered and changes nothing (asked for in the ${where})`, async () => {
        const state = await everything();
        const { kind } = request();
        const answer = await send(endpoint, checkMode(request(), where));
        const body = expectOk(answer) as CheckedOperation;
        assertDescribed(endpoint, answer);
        assert.equal(answer.headers.get('x-check-mode'), 'true');
        if (kind !== undefined) {
          assert.deepEqual([body.kind, body.check_mode], [kind, true]);
          assert.match(body.title ?? '', /^[A-Z]/);
          if (kind === 'server.import') {
            await machine.met();
            await admin.request('POST', `/v1/operations/${body.id}/cancel`);
            assert.equal((await ended(admin, body.id)).status, 'cancelled');
          } else {
            const operation = await ended(admin, body.id);
            assert.equal(operation.status, 'completed', JSON.stringify(operation));
            const { plan } = operation.result as { plan: object };
            assert.deepEqual(
              ['create', 'change', 'delete', 'order'].filter((part) => !(part in plan)),
              [],
            );
          }
        }
        const now = await everything();
        for (const [what, rows] of Object.entries(now)) assert.deepEqual(rows, state[what], what);
      });
    }

    test('O7, O9: is refused as the request itself is, also where another operation has what it changes', async () => {
      const same = async (wrong: Sent, status: number) => {
        const real = await send(endpoint, wrong);
        expectError(real, status);
        assert.deepEqual(comparable(await send(endpoint, checkMode(wrong, 'query'))), comparable(real));
      };
      const sent = request();
      await same({ ...sent, body: { ...sent.body, nonsense: 1 } }, 400);
      await same({ ...sent, path: withQuery(sent.path, 'nonsense=1') }, 400);
      const [parameter] = /\{\w+\}/.exec(endpoint.path) ?? [];
      if (parameter !== undefined) {
        const [before = '', behind = ''] = endpoint.path.split(parameter);
        const rest = behind
          .replace('{provider}', cloud.name)
          .replace('{step}', 'ask')
          .replace('{key}', 'kept')
          .replace('{account}', 'deploy')
          .replace('{delivery}', ids.delivery ?? '');
        await same({ ...sent, path: `${before}nothing${rest}` }, 404);
      }
      if (sent.resource === undefined) return;
      const { rows } = await pool.query<{ id: string }>(
        `insert into provisioning.operations (id, kind, status, workspace, resource, input, created_by)
         values (gen_random_uuid(), 'test.hold', 'running', 'default', $1, '{}', 'test') returning id`,
        [sent.resource],
      );
      try {
        await same(sent, 409);
      } finally {
        await pool.query('delete from provisioning.operations where id = $1', [rows[0]?.id]);
      }
    });
  });
}

/** Which kinds are refused with this error when each request is checked. */
async function refusedWith(code: string): Promise<string[]> {
  const refused = new Set<string>();
  for (const [name, request] of Object.entries(REQUESTS)) {
    const { kind } = request();
    const endpoint = changing.find(({ method, path }) => endpointOf(name) === `${method} ${path}`);
    if (kind === undefined || kind === 'server.import' || endpoint === undefined) continue;
    const { body } = await send(endpoint, checkMode(request(), 'query'));
    if ((body as { error?: string }).error === code) refused.add(kind);
    else await ended(admin, (body as Operation).id);
  }
  return [...refused].sort();
}

test('O16: what is protected is deleted by no kind', async () => {
  const things = ['servers/server', 'taskservs/taskserv', 'orphans/orphan'].map((thing) => {
    const [list, name = ''] = thing.split('/');
    return `/v1/${list}/${ids[name]}`;
  });
  for (const path of things) expectOk(await admin.request('PATCH', path, { protect: true }));
  assert.deepEqual(await refusedWith('PROTECTED'), [
    'orphan.delete',
    'server.delete',
    'server.repair',
    'taskserv.delete',
  ]);
  for (const path of things) expectOk(await admin.request('PATCH', path, { protect: false }));
});

test('O17: what makes a server or enlarges one is held against the limits of its workspace', async () => {
  const limit = async (limits: object) => {
    for (const name of ['default', 'other'])
      expectOk(await admin.request('PATCH', `/v1/workspaces/${name}`, { limits }));
  };
  await limit({ servers: 0, cpus: 1 });
  // What a workflow makes meets the limits in its nodes.
  const refused = ['server.adopt', 'server.create', 'server.repair', 'server.resize'];
  assert.deepEqual(await refusedWith('LIMIT_REACHED'), refused);
  const machine = REQUESTS['POST /v1/servers/import']?.();
  expectError(await admin.request('POST', '/v1/servers/import', machine?.body), 409, 'LIMIT_REACHED');
  await limit({ servers: null, cpus: null });
});

test('nobody is told of a check', async () => {
  const { rows } = await pool.query(`select 1 from provisioning.webhook_deliveries where ${CHECKS}`);
  assert.equal(rows.length, 0);
});

test('a check of what is taken is refused, and one of what is free is not', async () => {
  const create = (hostname: string) =>
    admin.request('POST', '/v1/servers/create?check_mode=true', serverRequest(hostname));
  expectError(await create('web-01'), 409);
  expectOk(await create('web-02'));
});

test('O8: no secret of a request rests as it is, checked or not', async () => {
  const { body } = REQUESTS['POST /v1/taskservs/create']?.() ?? {};
  const { id } = expectOk(await admin.request<Operation>('POST', '/v1/taskservs/create', body));
  await ended(admin, id);
  await assertNotStored(pool, SECRETS);
});

test('O6: while a provider is asked, no transaction is open', async () => {
  for (const { name, fake, spec, credentials } of clouds) {
    const requests: [method: string, path: string, body: object][] = [
      ['PUT', `/v1/workspaces/other/credentials/${name}`, credentials],
      ['POST', '/v1/servers/create', { ...spec(), workspace: 'default', provider: name, hostname: `asked-${name}` }],
    ];
    let met = 0;
    for (const [method, path, body] of requests) {
      const held = fake.hold('look');
      const answered = admin.request(method, `${path}?check_mode=true`, body);
      // A create asks nothing where the provider's plans are known already.
      const asked = await Promise.race([held.arrived.then(() => true), answered.then(() => false)]);
      if (asked) {
        const { rows: clock } = await pool.query('select clock_timestamp() as now');
        // Those of before end. One that waited for the provider would not, as that does not answer until it is let go.
        await until(async () => {
          const { rows } = await pool.query(
            `select 1 from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid() and xact_start <= $1`,
            [clock[0].now],
          );
          return rows.length === 0;
        }, `every transaction to end while ${method} ${path} asks ${name}`);
        met += 1;
      }
      held.letGo();
      expectOk(await answered);
    }
    assert.ok(met > 0, name);
  }
});
