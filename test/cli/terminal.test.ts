import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startInstallation } from '../support/acceptance.ts';
import { startCutProxy } from '../support/cut-proxy.ts';
import { needs } from '../support/needs.ts';
import { ADMIN_PASSWORD, ended as operationEnded } from '../support/server.ts';
import { createCommandLine, ended, printed } from './support.ts';

const installation = await startInstallation({ SIMULATED_LATENCY_MS: '2000' });
const { server } = installation;
const cli = await createCommandLine();
after(async () => {
  await cli[Symbol.asyncDispose]();
  await installation.close();
});
await cli.run(['login', server.url, '--password-stdin'], { input: ADMIN_PASSWORD });
const CREATE = ['--provider', 'simulated', '--plan', '2xCPU-4GB', '--zone', 'de-fra1'];

test('a password is asked for and not shown', { skip: needs('script') }, async () => {
  const child = cli.terminal(['login', server.url, '--name', 'typed']);
  await printed(child, /Password of admin at .*: /);
  const run = ended(child);
  child.stdin.write(`${ADMIN_PASSWORD}\r`);
  const { status, stdout } = await run;
  assert.equal(status, 0, stdout);
  assert.match(stdout, /Logged in as admin/);
  assert.doesNotMatch(stdout, new RegExp(ADMIN_PASSWORD));
});

test('deleting asks first; anything but yes changes nothing', { skip: needs('script') }, async () => {
  await cli.run(['server', 'create', 'asked-for', ...CREATE]);
  const child = cli.terminal(['server', 'delete', 'asked-for']);
  await printed(child, /Delete asked-for .*Type "yes" to continue: /);
  const run = ended(child);
  child.stdin.write('y\r');
  assert.equal((await run).status, 2);
  assert.equal((await cli.run(['server', 'show', 'asked-for'])).status, 0);
});

test('Ctrl-C in a wait ends with 130 and leaves the operation running, named', { skip: needs('script') }, async () => {
  const child = cli.terminal(['server', 'create', 'left-running', ...CREATE]);
  await printed(child, /server\.create running/);
  const run = ended(child);
  child.stdin.write('\u0003');
  const { status, stdout } = await run;
  assert.equal(status, 130, stdout);
  const id = /Operation (\S+) continues/.exec(stdout)?.[1] ?? '';
  assert.equal((await operationEnded(server.admin, id)).status, 'completed');
});

test('Ctrl-C with --cancel-on-interrupt cancels the operation', async () => {
  const child = cli.start(['server', 'create', 'to-be-cancelled', ...CREATE, '--cancel-on-interrupt']);
  const id = /Operation (\S+): server\.create/.exec(await printed(child, /server\.create/))?.[1] ?? '';
  const run = ended(child);
  child.kill('SIGINT');
  const { status, stderr } = await run;
  assert.equal(status, 130, stderr);
  assert.match(stderr, new RegExp(`Requested cancellation of operation ${id}`));
  assert.equal((await operationEnded(server.admin, id)).status, 'cancelled');
});

test('colours and moving lines are for terminals; NO_COLOR and pipes have none', {
  skip: needs('script'),
}, async () => {
  const coloured = await ended(cli.terminal(['server', 'create', 'coloured', ...CREATE]));
  assert.ok(coloured.stdout.includes('\u001b[32mserver.create completed'), coloured.stdout);
  const plain = await ended(cli.terminal(['server', 'create', 'plain', ...CREATE], { NO_COLOR: '1' }));
  assert.ok(!plain.stdout.includes('\u001b[3'), plain.stdout);
  const piped = await cli.run(['server', 'create', 'piped', ...CREATE]);
  assert.ok(!(piped.stdout + piped.stderr).includes('\u001b'), piped.stderr);
});

test('a server that goes away during a wait is said so, and waited for', { skip: needs('script') }, async () => {
  await using proxy = await startCutProxy({ port: Number(new URL(server.url).port) });
  await using other = await createCommandLine();
  const address = `http://127.0.0.1:${proxy.port}`;
  await other.run(['login', address, '--password-stdin'], { input: ADMIN_PASSWORD });
  const child = other.terminal(['server', 'create', 'outlasted', ...CREATE]);
  await printed(child, /server\.create running/);
  const run = ended(child);
  const away = printed(child, /lost the connection to the server; reconnecting/);
  proxy.mode = 'refuse';
  proxy.cut();
  await away;
  proxy.mode = 'pass';
  const { status, stdout } = await run;
  assert.equal(status, 0, stdout);
  assert.match(stdout, /server\.create completed/);
});

test('whoever reads a list may stop reading', async () => {
  const child = cli.start(['operation', 'list', '--limit', '0', '-o', 'json']);
  child.stdout.destroy();
  const { status, stderr } = await ended(child);
  assert.deepEqual([status, stderr], [0, '']);
});
