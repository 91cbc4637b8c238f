/** What people see, word for word. After a change: node --test --test-update-snapshots test/cli/snapshots.test.ts */
import { after, type TestContext, test } from 'node:test';
import { startInstallation } from '../support/acceptance.ts';
import { needs } from '../support/needs.ts';
import { ADMIN_PASSWORD } from '../support/server.ts';
import { createCommandLine, ended } from './support.ts';

const installation = await startInstallation({ SIMULATED_LATENCY_MS: '100' });
const { server, database } = installation;
const cli = await createCommandLine();
after(async () => {
  await cli[Symbol.asyncDispose]();
  await installation.close();
});
await cli.run(['login', server.url, '--name', 'test', '--password-stdin'], { input: ADMIN_PASSWORD });
const CREATE = ['--provider', 'simulated', '--plan', '2xCPU-4GB', '--zone', 'de-fra1'];

/** The same text whenever and wherever it is printed. */
function stable(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .replaceAll(server.url, 'http://server')
    .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'f'.repeat(36))
    .replaceAll(/(srv|sim)-\w{12}/g, '$1-xxxxxxxxxxxx')
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '2026-01-01T00:00:00.000Z')
    .replaceAll(/ +\d+\.\d s/g, '   0.0 s')
    .replaceAll(/10\.\d+\.\d+\.\d+/g, '10.0.0.1')
    .replaceAll(/request id[^\n]*/gi, 'request id');
}

const lines = (text: string) => stable(text).split('\n');
const shows = (t: TestContext, { status, stdout, stderr }: { status: number | null; stdout: string; stderr: string }) =>
  t.assert.snapshot({ status, stdout: lines(stdout), stderr: lines(stderr) });

test('help of a group and of commands', async (t) => {
  for (const name of ['context', 'server create', 'operation cancel', 'server list'])
    shows(t, await cli.run([...name.split(' '), '--help']));
});

test('progress of a creation, in a pipe', async (t) => {
  shows(t, await cli.run(['server', 'create', 'web-01', ...CREATE, '-o', 'name']));
});

test('a list as a table, an empty one, one that is cut', async (t) => {
  await cli.run(['server', 'create', 'web-02', ...CREATE, '--tag', 'b']);
  shows(t, await cli.run(['server', 'list', '--tag', 'b']));
  shows(t, await cli.run(['server', 'list', '--tag', 'nobody']));
  shows(t, await cli.run(['server', 'list', '--sort', 'hostname', '--limit', '1']));
});

test('one record as a table', async (t) => {
  shows(t, await cli.run(['workspace', 'show', 'default', '-o', 'name']));
  shows(t, await cli.run(['user', 'show', 'admin']));
});

test('what the server would answer', async (t) => {
  shows(t, await cli.run(['server', 'delete', 'web-01', '--check']));
  const password = 'a password that is not shown';
  shows(t, await cli.run(['user', 'create', 'dev.one', '--password-stdin', '--check'], { input: password }));
});

test('errors say what was wrong and what to do', async (t) => {
  const refused = ['server', 'create', 'x', '--provider', 'simulated', '--plan', '2xCPU-4G', '--zone', 'de-fra'];
  shows(t, await cli.run(refused));
  shows(t, await cli.run(['server', 'show', 'nobody']));
  shows(t, await cli.run(['server', 'show', '']));
  shows(t, await cli.run(['server', 'create', 'x']));
  shows(t, await cli.run(['server', 'lst']));
  shows(t, await cli.run(['server', 'delete', 'web-01']));
  shows(t, await cli.run(['server', 'create', 'web-01', ...CREATE]));
  shows(t, await cli.run(['login', 'localhost:8083', '--password-stdin'], { input: 'x' }));
  shows(t, await cli.run(['workflow', 'validate']));
});

test('not logged in, a token that has expired, a server that is away, a wrong address', async (t) => {
  shows(t, await cli.run(['server', 'list'], { env: { XDG_CONFIG_HOME: '/nonexistent' } }));
  const token = (await cli.run(['token', 'create', 'short', '--expires-in', '1m', '-o', 'name'])).stdout.trim();
  await database.pool.query("update provisioning.api_tokens set expires_at = now() - interval '1 second'");
  const env = { PROVISIONING_URL: server.url, PROVISIONING_TOKEN: token };
  shows(t, await cli.run(['server', 'list'], { env }));
  shows(t, await cli.run(['server', 'list'], { env: { ...env, PROVISIONING_URL: 'http://127.0.0.1:1' } }));
  shows(t, await cli.run(['server', 'list'], { env: { ...env, PROVISIONING_URL: 'localhost' } }));
});

test('under a terminal: moving progress, colours', { skip: needs('script') }, async (t) => {
  const { status, stdout, stderr } = await ended(cli.terminal(['operation', 'wait', await endedOperation()]));
  t.assert.snapshot({ status, screen: [...new Set(lines(stdout).flatMap((line) => line.split('\r')))], stderr });
});

/** An operation that has ended, so that what is shown does not depend on how fast it goes. */
async function endedOperation(): Promise<string> {
  const { stdout } = await cli.run(['server', 'stop', 'web-01', '-o', 'name']);
  return stdout.trim();
}
