/** The audit log as those see it who have to believe it: what is in it, whether it is whole, and how it leaves. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { createCommandLine } from '../cli/support.ts';
import {
  expectError,
  expectOk,
  makeServer,
  makeUser,
  startInstallation,
  USER_PASSWORD,
} from '../support/acceptance.ts';
import { createClient, ended, SHARED_MASTER_KEY, spawnProvisioning, until } from '../support/server.ts';
import { rolledBack, stepsOf, submitBatch } from '../support/workflows.ts';

const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-audit-'));
const exported = path.join(directory, 'exported.jsonl');
const installation = await startInstallation({ AUDIT_EXPORT: `file://${exported}` });
const { server, database } = installation;
const { admin } = server;
const cli = await createCommandLine();
after(async () => {
  await cli[Symbol.asyncDispose]();
  await installation.close();
  await rm(directory, { recursive: true, force: true });
});

interface Row {
  principal: string;
  action: string;
  workspace: string | null;
  resource: string | null;
  outcome: string;
  address: string | null;
  details: Record<string, unknown> | null;
  position: number | null;
}

const denials = async () => expectOk(await admin.request<Row[]>('GET', '/v1/audit?outcome=denied'));
const at = (name: string) => path.join(directory, name);
const run = (...args: string[]) =>
  cli.run(args, { env: { PROVISIONING_URL: server.url, PROVISIONING_TOKEN: admin.token } });

async function sealed(): Promise<void> {
  const all = async () =>
    (await admin.request<Row[]>('GET', '/v1/audit')).body.every(({ position }) => position !== null);
  await until(all, 'the log to be sealed');
}

test('logins that are throttled leave one row a minute for an address, not one each', async () => {
  const limited = await installation.replica({ LOGIN_RATE_LIMIT: '2' });
  const login = { username: 'nobody', password: 'whatever it is' };
  const statuses: number[] = [];
  for (let tries = 0; tries < 6; tries += 1) {
    statuses.push((await limited.anonymous.request('POST', '/v1/auth/login', login)).status);
  }
  assert.equal(statuses.filter((status) => status === 429).length, 5);
  const throttled = async () => (await denials()).filter(({ details }) => details?.code === 'RATE_LIMITED');
  await until(async () => (await throttled()).length > 0, 'the row');
  const rows = await throttled();
  assert.equal(rows.length, 1);
  assert.deepEqual([rows[0]?.action, rows[0]?.address], ['POST /v1/auth/login', '127.0.0.1']);
});

test('what is answered as "not found" because it is hidden leaves a row, and what is not there none', async () => {
  const { server: made, operation } = await makeServer(admin, 'hidden');
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'elsewhere' }));
  await makeUser(admin, 'outsider', [{ role: 'operator', workspace: 'elsewhere' }]);
  const outsider = await server.login('outsider', USER_PASSWORD);
  const hidden = [`/v1/servers/${made.id}`, `/v1/operations/${operation.id}`, '/v1/workspaces/default'];
  // Whoever asks for the same again and again fills no log.
  for (const route of [...hidden, ...hidden, hidden[0]?.replace('srv', '%73rv') ?? ''])
    expectError(await outsider.request('GET', route), 404, 'NOT_FOUND');
  expectError(await outsider.request('DELETE', `/v1/servers/${made.id}`), 404, 'NOT_FOUND');
  expectError(await outsider.request('GET', '/v1/servers/srv-000000000000'), 404, 'NOT_FOUND');
  const rows = async () => (await denials()).filter(({ principal }) => principal === 'outsider');
  await until(async () => (await rows()).length >= 4, 'the rows');
  assert.deepEqual((await rows()).map(({ action, details }) => [action, details?.hidden, details?.code]).sort(), [
    ['DELETE /v1/servers/:id', true, 'NOT_FOUND'],
    ['GET /v1/operations/:id', true, 'NOT_FOUND'],
    ['GET /v1/servers/:id', true, 'NOT_FOUND'],
    ['GET /v1/workspaces/:name', true, 'NOT_FOUND'],
  ]);
});

test('what is refused inside a workflow, a rollback and a schedule leaves a row that names them', async () => {
  const userId = await makeUser(admin, 'leaver', [{ role: 'operator', workspace: 'default' }]);
  const leaver = await server.login('leaver', USER_PASSWORD);
  const { id } = await submitBatch(leaver, [
    { id: 'first', kind: 'server.create', with: { hostname: 'first' } },
    { id: 'go', kind: 'approval', depends_on: ['first'], with: {} },
    { id: 'make', kind: 'server.create', depends_on: ['go'], with: { hostname: 'never' } },
  ]);
  const parameters = { operations: [{ id: 'w', kind: 'wait', with: { seconds: 0 } }] };
  const schedule = { name: 's', workspace: 'default', workflow_type: 'batch', cron: '0 0 1 1 *', parameters };
  const planned = expectOk(await leaver.request<{ id: string }>('POST', '/v1/schedules', schedule));
  const waits = async () => (await stepsOf(admin, id)).find((step) => step.id === 'go')?.status === 'running';
  await until(waits, 'the approval to wait');
  expectOk(await admin.request('PATCH', `/v1/users/${userId}`, { roles: [] }));
  await database.pool.query('update provisioning.schedules set next_run_at = now() where id = $1', [planned.id]);
  expectOk(await admin.request('POST', `/v1/workflows/${id}/steps/go/approve`));
  assert.equal((await ended(admin, id)).status, 'failed');

  // What follows from the failure acts for them as well.
  assert.equal((await rolledBack(admin, await ended(admin, id))).status, 'failed');

  const rows = async () => (await denials()).filter(({ principal }) => principal.startsWith('leaver ('));
  await until(async () => (await rows()).length >= 3, 'the rows');
  const told = (await rows()).map(({ principal, action, resource, workspace, details }) => {
    return [principal, action, resource, workspace, details?.step, details?.code];
  });
  assert.deepEqual(told.sort(), [
    [`leaver (rollback of workflow ${id})`, 'server.delete', `workflow:${id}`, 'default', 'first', 'AUTHORITY_ENDED'],
    [
      `leaver (schedule ${planned.id})`,
      'workflow.submit',
      `schedule:${planned.id}`,
      'default',
      undefined,
      'AUTHORITY_ENDED',
    ],
    [`leaver (workflow ${id})`, 'server.create', `workflow:${id}`, 'default', 'make', 'AUTHORITY_ENDED'],
  ]);
});

test('verify: against the server, against an export without one, and against a checkpoint noted elsewhere', async () => {
  await sealed();
  const checkpoint = await run('audit', 'checkpoint', '-o', 'json');
  assert.equal(checkpoint.status, 0, checkpoint.stderr);
  await writeFile(at('noted.json'), checkpoint.stdout);
  const online = await run('audit', 'verify', '--checkpoint', at('noted.json'), '-o', 'json');
  assert.equal(online.status, 0, online.stderr);
  const report = JSON.parse(online.stdout) as { ok: boolean; rows: number; judged_by: string; vouched_from: number };
  assert.deepEqual([report.ok, report.judged_by, report.vouched_from], [true, 'server', 1]);
  assert.ok(report.rows > 10);

  const written = await run('audit', 'export', at('log.jsonl'));
  assert.equal(written.status, 0, written.stderr);
  assert.equal((await run('audit', 'export', at('log.jsonl'))).status, 2, 'no file is written over');
  const settings = { DATABASE_URL: database.url, MASTER_KEY: SHARED_MASTER_KEY };
  const printing = spawnProvisioning(['audit-key'], settings);
  assert.equal(await printing.closed, 0, printing.output());
  const key = /^[0-9a-f]{64}$/m.exec(printing.output())?.[0] ?? '';
  await writeFile(at('key'), `${key}\n`);
  const offline = (file: string, ...more: string[]) => cli.run(['audit', 'verify', '--file', at(file), ...more]);
  const right = await offline('log.jsonl', '--key-file', at('key'), '--checkpoint', at('noted.json'));
  assert.equal(right.status, 0, right.stderr);
  assert.doesNotMatch(right.stderr, /Not verified/);
  const refused = await offline('log.jsonl');
  assert.equal(refused.status, 2);
  assert.match(refused.stderr, /Give --key-file, or --chain-only/);
  const undecided = await offline('log.jsonl', '--chain-only');
  assert.equal(undecided.status, 0, undecided.stderr);
  assert.match(undecided.stderr, /Not verified: the checkpoints\. Give --key-file/);

  // The key of another installation; a changed row; rows cut off; something else altogether.
  await writeFile(at('other-key'), `${'0'.repeat(64)}\n`);
  const foreign = await offline('log.jsonl', '--key-file', at('other-key'));
  assert.equal(foreign.status, 5);
  assert.match(foreign.stderr, /was not made with the key/);
  const lines = (await readFile(at('log.jsonl'), 'utf8')).trimEnd().split('\n');
  await writeFile(at('changed.jsonl'), `${lines.join('\n').replaceAll('outsider', 'somebody')}\n`);
  assert.match((await offline('changed.jsonl', '--chain-only')).stderr, /is not what was sealed/);
  const half = lines.slice(0, lines.findIndex((line) => line.includes('"checkpoint"')) + 1);
  await writeFile(at('half.jsonl'), `${half.join('\n')}\n`);
  assert.equal((await offline('half.jsonl', '--key-file', at('key'))).status, 0);
  assert.match(
    (await offline('half.jsonl', '--chain-only', '--checkpoint', at('noted.json'))).stderr,
    /rows were cut off/,
  );
  await writeFile(at('none.jsonl'), 'a line\n');
  assert.match((await offline('none.jsonl', '--chain-only')).stderr, /none.jsonl line 1 is not a line of an export/);
  await writeFile(at('empty.jsonl'), '');
  const empty = await offline('empty.jsonl', '--key-file', at('key'));
  assert.equal(empty.status, 5);
  assert.match(empty.stderr, /empty.jsonl is empty/);
  assert.equal((await offline('missing.jsonl', '--key-file', at('key'))).status, 2);
});

test('the export to a file has every row, and its verification needs nothing but the key', async () => {
  await sealed();
  const { position } = expectOk(await admin.request<{ position: number }>('GET', '/v1/audit/checkpoint'));
  const reached = async () => (await readFile(exported, 'utf8').catch(() => '')).includes(`"position":${position},`);
  await until(reached, 'the export');
  const verified = await cli.run(['audit', 'verify', '--file', exported, '--key-file', at('key'), '-o', 'json']);
  assert.equal(verified.status, 0, verified.stderr);
  const { rows, last } = JSON.parse(verified.stdout) as { rows: number; last: number };
  assert.ok(rows === last && last >= position);
});

test('whoever changes the log in the database is found out by the server itself', async () => {
  await sealed();
  await database.pool.query('alter table provisioning.audit_log disable trigger user');
  await database.pool.query(`update provisioning.audit_log set principal = 'somebody' where position = 2`);
  const refused = await run('audit', 'verify');
  assert.equal(refused.status, 5);
  assert.match(refused.stderr, /Row 2 is not what was sealed/);
});

test('the log and its checkpoints are for those who may read it', async () => {
  await makeUser(admin, 'reader', [{ role: 'viewer', workspace: null }]);
  const reader = await server.login('reader', USER_PASSWORD);
  for (const route of ['/v1/audit', '/v1/audit/checkpoint', '/v1/audit/export'])
    expectError(await reader.request('GET', route), 403, 'FORBIDDEN');
  expectError(await createClient(server.url).request('GET', '/v1/audit/checkpoint'), 401);
  expectError(await admin.request('GET', '/v1/audit/export?limit=100000'), 400, 'VALIDATION_ERROR');
});

test('retention is refused where nothing tells that rows have arrived elsewhere', async () => {
  const cases: [Record<string, string>, RegExp][] = [
    [{}, /needs PROVISIONING_AUDIT_EXPORT/],
    [{ AUDIT_EXPORT: 'syslog+udp://127.0.0.1:9' }, /cannot be used with an export to syslog\+udp/],
  ];
  for (const [settings, reason] of cases) {
    const { exited, output } = spawnProvisioning(['serve'], {
      ...settings,
      ...{ AUDIT_RETENTION_DAYS: '30', DATABASE_URL: database.url, MASTER_KEY: SHARED_MASTER_KEY },
    });
    assert.equal(await exited, 2, output());
    assert.match(output(), reason);
  }
});
