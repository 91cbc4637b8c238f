import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { after, test } from 'node:test';
import { startInstallation } from '../support/acceptance.ts';
import { startReceiver } from '../support/receiver.ts';
import { ADMIN_PASSWORD, until } from '../support/server.ts';
import { createCommandLine } from './support.ts';

const installation = await startInstallation({
  TOKEN_TTL: '3',
  SIMULATED_LATENCY_MS: '300',
  WEBHOOK_ALLOW: 'http,local',
});
const { server } = installation;
const cli = await createCommandLine();
after(async () => {
  await cli[Symbol.asyncDispose]();
  await installation.close();
});

const login = await cli.run(['login', server.url, '--name', 'test', '--password-stdin'], {
  input: `${ADMIN_PASSWORD}\n`,
});
const CREATE = ['--provider', 'simulated', '--plan', '2xCPU-4GB', '--zone', 'de-fra1'];

test('login keeps the tokens where only their owner can read them, and says so on standard error', async () => {
  assert.deepEqual([login.status, login.stdout], [0, '']);
  assert.match(login.stderr, /Logged in as admin\. Current context: "test"\./);
  const file = path.join(cli.home, '.config', 'provisioning', 'contexts.json');
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.equal((await stat(path.dirname(file))).mode & 0o777, 0o700);
  assert.doesNotMatch(await readFile(file, 'utf8'), new RegExp(ADMIN_PASSWORD));
});

test('a wrong password ends with 4 and leaves the context that works alone', async () => {
  const wrong = await cli.run(['login', server.url, '--name', 'test', '--password-stdin'], { input: 'wrong-password' });
  assert.equal(wrong.status, 4);
  assert.equal((await cli.run(['whoami', '-o', 'name'])).stdout, 'admin\n');
});

test('create waits, shows progress on standard error, and prints only data on standard output', async () => {
  const created = await cli.run(['server', 'create', 'web-01', ...CREATE, '--tag', 'a', '--tag', 'b', '-o', 'json']);
  assert.equal(created.status, 0, created.stderr);
  assert.match(created.stderr, /simulated accepted web-01/);
  assert.match(created.stderr, /server\.create completed/);
  const operation = JSON.parse(created.stdout);
  assert.deepEqual([operation.status, operation.kind], ['completed', 'server.create']);
  const shown = JSON.parse((await cli.run(['server', 'show', 'web-01', '-o', 'json'])).stdout);
  assert.deepEqual([shown.id, shown.tags], [operation.result.server_id, ['a', 'b']]);
});

test('a number that would not be kept exactly is refused in words, and kept in quotes', async () => {
  const graph = ['workflow', 'graph', 'batch', '-p', 'operations=[{id: a, kind: approval, with: {message: hello}}]'];
  const big = '1909198862420847982';
  for (const [args, words] of [
    [[...graph, '-p', `n=${big}`], /--parameter n=1909198862420847982: .* past ±9007199254740991, .* in place: '"…"'/],
    [[...graph, '-p', 'n={a: [1, 1e400]}'], /1e400 is a number past/],
    [['taskserv', 'create', 'redis', '--server', 'web-01', '--config', `port=${big}`], /--config port=/],
    [['api', 'POST', '/v1/servers/create', '--data', `{"a":{"b":${big}}}`], /--data: a\.b: is a number past/],
    [['api', 'POST', '/v1/servers/create', '--data', '{"check_mode":true,"check_mode":false}'], /more than once/],
  ] as const) {
    const { status, stderr } = await cli.run([...args]);
    assert.deepEqual([status, words.test(stderr)], [2, true], `${args.join(' ')}: ${stderr}`);
  }
  const quoted = await cli.run([
    ...['workflow', 'validate', 'batch', '-p', `operations=[{id: a, kind: approval, with: {message: "${big}"}}]`],
    ...['-o', 'json'],
  ]);
  assert.equal(quoted.status, 0, quoted.stderr);
  assert.equal(JSON.parse(quoted.stdout).nodes[0].with.message, big);
});

test('every output format of a list', async () => {
  await cli.run(['server', 'create', 'formats', ...CREATE]);
  const list = async (format: string) =>
    (await cli.run(['server', 'list', '--hostname', 'formats', '--output', format])).stdout;
  const [heading, row] = (await list('table')).split('\n');
  assert.match(heading ?? '', /^ID +HOSTNAME +WORKSPACE +PROVIDER +PLAN +ZONE +ADDRESS +STATUS +GUARDS$/);
  assert.match(row ?? '', /^srv-\w+ +formats +default +simulated +2xCPU-4GB +de-fra1 +10\.\S+ +running +-$/);
  assert.equal(JSON.parse(await list('json'))[0].hostname, 'formats');
  assert.match(await list('yaml'), /^ {2}hostname: formats$/m);
  assert.equal(await list('name'), 'formats\n');
});

test('check says what would happen and makes nothing', async () => {
  const checked = await cli.run(['server', 'create', 'only-checked', ...CREATE, '--check', '-o', 'json']);
  assert.equal(checked.status, 0, checked.stderr);
  assert.equal(JSON.parse(checked.stdout).result.check_mode, true);
  assert.equal((await cli.run(['server', 'show', 'only-checked'])).status, 3);
});

test('check asks the server: its plan where a change is accepted, its refusal and exit status where it is not', async () => {
  await cli.run(['server', 'create', 'checked-01', ...CREATE]);
  const checked = await cli.run(['server', 'delete', 'checked-01', '--check', '-o', 'json']);
  assert.equal(checked.status, 0, checked.stderr);
  const { title, check_mode, result } = JSON.parse(checked.stdout);
  assert.deepEqual([title, check_mode, result.plan.delete.length], ['Delete checked-01', true, 1]);
  assert.match(checked.stderr, /nothing was changed/);
  assert.equal((await cli.run(['server', 'show', 'checked-01'])).status, 0);

  const refusals: [string[], number][] = [
    [['server', 'create', 'checked-01', ...CREATE, '--check'], 5],
    [['server', 'stop', 'srv-nothing', '--check'], 3],
    [['workspace', 'delete', 'default', '--check'], 5],
    [['workspace', 'create', 'Not A Name', '--check'], 2],
    [['workflow', 'submit', 'no_such_type', '--check'], 2],
    [['operation', 'cancel', JSON.parse(checked.stdout).id, '--check'], 5],
  ];
  for (const [words, status] of refusals) {
    const refused = await cli.run(words);
    assert.deepEqual([words, refused.status, refused.stdout], [words, status, '']);
    assert.doesNotMatch(refused.stderr, /nothing was changed/);
  }
  const told = await cli.run(['workspace', 'activate', 'default', '--check', '-o', 'name']);
  assert.deepEqual([told.status, told.stdout], [0, 'default\n']);
});

// Its hostname begins like an id.
test('the life of a server, then exit status 3 for what is gone', async () => {
  await cli.run(['server', 'create', 'srv-short-lived', ...CREATE]);
  for (const verb of ['stop', 'start', 'restart']) {
    const done = await cli.run(['server', verb, 'srv-short-lived']);
    assert.equal(done.status, 0, done.stderr);
  }
  const unasked = await cli.run(['server', 'delete', 'srv-short-lived']);
  assert.equal(unasked.status, 2);
  assert.match(unasked.stderr, /Give --yes to confirm without a terminal/);
  const deleted = await cli.run(['server', 'delete', 'srv-short-lived', '--yes']);
  assert.equal(deleted.status, 0, deleted.stderr);
  const gone = await cli.run(['server', 'show', 'srv-short-lived']);
  assert.equal(gone.status, 3);
  assert.match(gone.stderr, /There is no server "srv-short-lived"/);
});

test('without waiting the operation is printed at once; wait and logs come back to it', async () => {
  const id = (await cli.run(['server', 'create', 'unwaited', ...CREATE, '--no-wait', '-o', 'name'])).stdout.trim();
  assert.match(id, /^[0-9a-f-]{36}$/);
  assert.equal((await cli.run(['operation', 'wait', id])).status, 0);
  const followed = await cli.run(['operation', 'logs', '-f', id]);
  assert.equal(followed.status, 0, followed.stderr);
  const logs = followed.stdout.trimEnd().split('\n');
  assert.match(logs[0] ?? '', /^ {3}1 {2}\S+ {2}running$/);
  assert.match(logs.at(-1) ?? '', /completed$/);
  const late = await cli.run(['operation', 'cancel', id]);
  assert.equal(late.status, 5);
});

test('the same idempotency key makes one server', async () => {
  const args = ['server', 'create', 'once', ...CREATE, '--idempotency-key', 'cli-once', '--no-wait', '-o', 'name'];
  const first = await cli.run(args);
  assert.equal((await cli.run(args)).stdout, first.stdout);
  const conflict = await cli.run(['server', 'create', 'twice', ...CREATE, '--idempotency-key', 'cli-once']);
  assert.equal(conflict.status, 5);
});

test('a refused request ends with 2 and names the field with what is near', async () => {
  const refused = await cli.run([
    'server',
    'create',
    'bad',
    '--provider',
    'simulated',
    '--plan',
    '2xCPU-4G',
    '--zone',
    'de-fra1',
  ]);
  assert.equal(refused.status, 2);
  assert.match(refused.stderr, /^ {2}plan: .*did you mean .*2xCPU-4GB/m);
  assert.equal(refused.stdout, '');
});

test('a failed operation ends with 1 and its reason; an unknown option with 2', async () => {
  const { id } = (
    await installation.database.pool.query<{ id: string }>(
      `insert into provisioning.operations (id, kind, workspace, status, input, created_by, error)
     values (gen_random_uuid(), 'server.stop', 'default', 'failed', '{}', 'admin', 'It is on fire.') returning id`,
    )
  ).rows[0] ?? { id: '' };
  const failed = await cli.run(['operation', 'wait', id]);
  assert.equal(failed.status, 1);
  assert.match(failed.stderr, /failed: It is on fire\./);
  const unknown = await cli.run(['server', 'list', '--stauts', 'running']);
  assert.equal(unknown.status, 2);
  assert.match(unknown.stderr, /Did you mean --status\?/);
});

test('a new administrator takes the password of whoever makes them, in the line after theirs', async () => {
  const make = ['user', 'create', 'cli.admin', '--role', 'admin', '--password-stdin'];
  const alone = await cli.run(make, { input: 'a password for tests\n' });
  assert.equal(alone.status, 2);
  assert.match(alone.stderr, /also needs your own password/);
  assert.equal((await cli.run(make, { input: 'a password for tests\nnot my password\n' })).status, 4);
  assert.deepEqual(JSON.parse((await cli.run(['user', 'list', '--username', 'cli.admin', '-o', 'json'])).stdout), []);
  const made = await cli.run(make, { input: `a password for tests\n${ADMIN_PASSWORD}\n` });
  assert.equal(made.status, 0, made.stderr);
});

test('what a role may not do ends with 4', async () => {
  const made = await cli.run(['user', 'create', 'cli.viewer', '--role', 'viewer:default', '--password-stdin'], {
    input: 'a password for tests',
  });
  assert.equal(made.status, 0, made.stderr);
  await using other = await createCommandLine();
  await other.run(['login', server.url, '--username', 'cli.viewer', '--password-stdin'], {
    input: 'a password for tests',
  });
  const denied = await other.run(['server', 'create', 'denied', ...CREATE]);
  assert.equal(denied.status, 4);
  assert.equal((await other.run(['server', 'list'])).status, 0);
  assert.match((await cli.run(['user', 'list', '--username', 'cli.viewer'])).stdout, /viewer:default/);
  assert.equal((await cli.run(['user', 'update', 'cli.viewer', '--disable'])).status, 0);
  assert.equal((await other.run(['server', 'list'])).status, 4);
  assert.equal((await cli.run(['user', 'delete', 'cli.viewer', '--yes'])).status, 0);
});

test('a pipeline needs an address and a token, and no file', async () => {
  const token = (await cli.run(['token', 'create', 'pipeline', '--expires-in', '1h', '-o', 'name'])).stdout.trim();
  await using other = await createCommandLine();
  const env = { PROVISIONING_URL: server.url, PROVISIONING_TOKEN: token };
  assert.equal((await other.run(['whoami', '-o', 'name'], { env })).stdout, 'admin\n');
  await assert.rejects(stat(path.join(other.home, '.config')), { code: 'ENOENT' });
});

test('an access token that has expired is renewed, by many commands at once', async () => {
  await new Promise((resolve) => setTimeout(resolve, 3_100));
  const runs = await Promise.all(Array.from({ length: 5 }, () => cli.run(['whoami', '-o', 'name'])));
  assert.deepEqual(
    runs.map(({ stdout }) => stdout),
    Array(5).fill('admin\n'),
    runs[0]?.stderr,
  );
});

test('a server that is away ends with 1 and says where it was looked for', async () => {
  const away = await cli.run(['status'], { env: { PROVISIONING_URL: 'http://127.0.0.1:1', PROVISIONING_TOKEN: 'x' } });
  assert.equal(away.status, 1);
  assert.match(away.stderr, /http:\/\/127\.0\.0\.1:1 could not be reached/);
});

test('workspaces, providers, audit, status, and any request at all', async () => {
  assert.equal((await cli.run(['workspace', 'create', 'staging', '-o', 'name'])).stdout, 'staging\n');
  assert.equal((await cli.run(['workspace', 'activate', 'staging'])).status, 0);
  assert.equal((await cli.run(['workspace', 'delete', 'staging', '--yes'])).status, 0);
  assert.equal((await cli.run(['provider', 'list', '-o', 'name'])).stdout, 'simulated\n');
  assert.match((await cli.run(['provider', 'plans', 'simulated'])).stdout, /^2xCPU-4GB/m);
  assert.match((await cli.run(['provider', 'zones', 'simulated', '-o', 'name'])).stdout, /^de-fra1$/m);
  assert.match((await cli.run(['audit', '--action', 'workspace.create'])).stdout, /workspace:staging/);
  assert.equal(JSON.parse((await cli.run(['status', '-o', 'json'])).stdout).status, 'healthy');
  assert.match((await cli.run(['metrics'])).stdout, /^# HELP /m);
  const api = await cli.run(['api', 'POST', '/v1/workspaces/create', '--data', '@-'], { input: '{"name":"by-api"}' });
  assert.equal(JSON.parse(api.stdout).name, 'by-api');
});

test('contexts are listed, chosen and forgotten', async () => {
  await cli.run(['login', server.url, '--name', 'second', '--password-stdin'], { input: ADMIN_PASSWORD });
  assert.match((await cli.run(['context', 'list'])).stdout, /^\* +second/m);
  assert.equal((await cli.run(['context', 'use', 'test'])).status, 0);
  assert.equal((await cli.run(['context', 'delete', 'second'])).status, 0);
  assert.equal((await cli.run(['context', 'use', 'second'])).status, 3);
  assert.equal((await cli.run(['context', 'list', '-o', 'name'])).stdout, 'test\n');
});

test('completion offers commands, options and the choices of an option', async () => {
  const offered = async (...words: string[]) =>
    (await cli.run(['__complete', '--', ...words])).stdout.split('\n').slice(0, -1);
  assert.deepEqual(await offered('ser'), ['serve', 'server', 'service-account']);
  assert.deepEqual(await offered('server', 'st'), ['start', 'stop']);
  assert.deepEqual(await offered('server', 'list', '--output', ''), ['table', 'json', 'yaml', 'name']);
  assert.deepEqual(await offered('server', 'create', '--pr'), ['--provider', '--protect']);
  for (const shell of ['bash', 'zsh', 'fish']) {
    assert.match((await cli.run(['completion', shell])).stdout, /__complete/);
  }
});

test('a taskserv is checked, installed, shown, checked and removed; the catalog is listed', async () => {
  await cli.run(['server', 'create', 'with-service', ...CREATE]);
  assert.match((await cli.run(['catalog', '-o', 'name'])).stdout, /^redis$/m);
  const install = ['taskserv', 'create', 'redis', '--server', 'with-service', '--config', 'port=6380'];
  const planned = await cli.run([...install, '--check', '-o', 'json']);
  assert.equal(planned.status, 0, planned.stderr);
  assert.equal(JSON.parse(planned.stdout).result.check_mode, true, planned.stderr);
  const installed = await cli.run(install);
  assert.equal(installed.status, 0, installed.stderr);
  assert.match(installed.stderr, /with-service: /);
  const answer = await cli.run(['taskserv', 'show', 'redis', '-o', 'json']);
  assert.equal(answer.status, 0, answer.stderr);
  const shown = JSON.parse(answer.stdout);
  assert.deepEqual([shown.status, shown.servers, shown.config.port], ['running', ['with-service'], 6380]);
  assert.match((await cli.run(['taskserv', 'list', '--hostname', 'with-service'])).stdout, /redis .* running/);
  assert.equal((await cli.run(['taskserv', 'check', 'redis'])).status, 0);
  assert.equal((await cli.run(['taskserv', 'delete', 'redis', '--yes'])).status, 0);
  assert.equal((await cli.run(['taskserv', 'show', 'redis'])).status, 3);
});

test('a workflow is validated, submitted and looked at', async () => {
  const parameters = ['-p', 'cluster_name=cli', '-p', 'node_count=2'];
  assert.match((await cli.run(['workflow', 'types', '-o', 'name'])).stdout, /^cluster_create$/m);
  const graph = await cli.run(['workflow', 'validate', 'cluster_create', ...parameters]);
  assert.match(graph.stdout, /^WAVE +STEP +KIND +NODES +NEEDS\n1 +\S+ +server\.create/, graph.stderr);
  assert.match(graph.stderr, /^Critical path: \S+ → /);
  const planned = await cli.run(['workflow', 'submit', 'cluster_create', ...parameters, '--check']);
  assert.equal(planned.stdout, graph.stdout);
  assert.match((await cli.run(['workflow', 'graph', 'cluster_create', ...parameters, '--format', 'dot'])).stdout, /->/);
  const submitted = await cli.run(['workflow', 'submit', 'cluster_create', ...parameters, '-o', 'json']);
  assert.equal(submitted.status, 0, submitted.stderr);
  const { id } = JSON.parse(submitted.stdout);
  assert.match(submitted.stderr, / server\.create completed$/m);
  assert.match((await cli.run(['workflow', 'steps', id])).stdout, /server\.create +completed/);
  assert.equal((await cli.run(['workflow', 'steps', id, '--status', 'failed', '-o', 'name'])).stdout, '');
  assert.match((await cli.run(['workflow', 'graph', id])).stdout, /server\.create +\d+ +.* 2 completed$/m);
  assert.equal(JSON.parse((await cli.run(['workflow', 'show', id, '-o', 'json'])).stdout).status, 'completed');
  assert.match((await cli.run(['workflow', 'list'])).stdout, /cluster_create/);
  assert.equal((await cli.run(['workflow', 'cancel', id])).status, 5);
  assert.equal((await cli.run(['workflow', 'watch', id])).status, 0);
});

test('webhook: made with its secret shown once, tested, its deliveries listed, deleted', async () => {
  await using receiver = await startReceiver();
  const json = async (...args: string[]) => {
    const { status, stdout, stderr } = await cli.run([...args, '-o', 'json']);
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout);
  };
  const { id, secret } = await json('webhook', 'create', `${receiver.url}/`, '--event', 'webhook.none');
  assert.match(secret, /^whsec_/);
  assert.equal((await json('webhook', 'show', id)).secret, undefined);
  assert.equal((await json('webhook', 'update', id, '--event', 'server.*')).events[0], 'server.*');
  const { id: delivery } = await json('webhook', 'test', id);
  const delivered = async () =>
    (await json('webhook', 'deliveries', id, '--status', 'delivered')).some(
      (row: { id: string }) => row.id === delivery,
    );
  await until(delivered, 'the test event');
  assert.equal((await json('webhook', 'redeliver', id, delivery)).status, 'pending');
  assert.match((await cli.run(['webhook', 'list'])).stdout, new RegExp(`${id} .*server\\.\\*`));
  assert.equal((await cli.run(['webhook', 'delete', id, '--yes'])).status, 0);
  assert.equal((await cli.run(['webhook', 'show', id])).status, 3);
});
