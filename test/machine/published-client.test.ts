/** What is published, installed into an empty project and used there: in Node, Bun and Deno, by the compiler, as a command. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startInstallation } from '../support/acceptance.ts';
import { ADMIN_PASSWORD } from '../support/server.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** The runtimes as their makers publish them; for this test alone, so that nobody else has to fetch them. */
const RUNTIMES = ['@oven/bun-linux-x64@1.4.5', '@deno/linux-x64-glibc@2.9.6'];

const project = await mkdtemp(path.join(tmpdir(), 'provisioning-published-'));
const installation = await startInstallation({ SIMULATED_LATENCY_MS: '50', TOKEN_TTL: '2' });
after(async () => {
  await installation.close();
  await rm(project, { recursive: true, force: true });
});
const file = (...names: string[]) => path.join(project, ...names);

/** The whole of the library once, in the words of its guide. */
const PROGRAM = `import { ApiError, ConnectionError, createClient, OperationFailedError } from 'provisioning/client';

const [url, password, name] = JSON.parse(SETTINGS);
const client = createClient({ url });
await client.login('admin', password);
const body = { workspace: 'default', provider: 'simulated', plan: '2xCPU-4GB', hostname: name, zone: 'de-fra1' };
const operation = await client.post('/v1/servers/create', { body });
const statuses = [];
for await (const event of client.follow(operation.id)) if (event.type === 'status') statuses.push(event.status);
const { result } = await client.wait(operation.id);
const server = await client.get('/v1/servers/{id}', { path: { id: String(result?.server_id) } });
const names = [];
for await (const each of client.list('/v1/servers', { hostname: name })) names.push(each.hostname);
// Long enough for the access token to expire.
await new Promise((resolve) => setTimeout(resolve, 2100));
const { username } = await client.get('/v1/auth/me');
const refused = await client.post('/v1/servers/create', { body }).catch((error) => error);
const away = await createClient({ url: 'http://127.0.0.1:9', tries: 1 }).get('/health').catch((error) => error);
console.log(JSON.stringify([
  statuses, server.hostname, names, username,
  refused instanceof ApiError && refused.code, away instanceof ConnectionError, typeof OperationFailedError,
]));
`;
const expected = (name: string) =>
  [['running', 'completed'], name, [name], 'admin', 'CONFLICT', true, 'function'] satisfies unknown[];

/** The program with its settings in it: the runtimes read arguments and environments each in a way of their own. */
async function programFor(name: string): Promise<string> {
  const settings = JSON.stringify(JSON.stringify([installation.server.url, ADMIN_PASSWORD, name]));
  await writeFile(file(`${name}.mjs`), PROGRAM.replace('SETTINGS', settings));
  return `${name}.mjs`;
}

await run('npm', ['run', 'build:client'], { cwd: ROOT });
await run('npm', ['pack', path.join(ROOT, 'dist/client'), '--pack-destination', project], { cwd: project });
await writeFile(file('package.json'), '{"type": "module", "private": true}');
await run('npm', ['install', '--no-audit', '--no-fund', './provisioning-0.1.0.tgz'], { cwd: project });

test('the package holds nothing of the server', async () => {
  const holds = await readdir(file('node_modules', 'provisioning'));
  const parts = ['LICENSE', 'README.md', 'cli', 'documents', 'man', 'mcp', 'package.json', 'sdk', 'version.js'];
  assert.deepEqual(holds.sort(), parts);
  const installed = await readdir(file('node_modules'));
  for (const name of ['fastify', 'pg', 'kysely', 'ssh2', '@dbos-inc']) assert.ok(!installed.includes(name), name);
});

test('Node uses it', async () => {
  const { stdout } = await run(process.execPath, [await programFor('by-node')], { cwd: project });
  assert.deepEqual(JSON.parse(stdout), expected('by-node'));
});

test('Bun and Deno use it', async () => {
  await run('npm', [
    'install',
    '--no-audit',
    '--no-fund',
    '--ignore-scripts',
    '--prefix',
    file('runtimes'),
    ...RUNTIMES,
  ]);
  const runtimes = file('runtimes', 'node_modules');
  const bun = path.join(runtimes, '@oven/bun-linux-x64/bin/bun');
  const byBun = await run(bun, [await programFor('by-bun')], { cwd: project });
  assert.deepEqual(JSON.parse(byBun.stdout), expected('by-bun'));
  const deno = path.join(runtimes, '@deno/linux-x64-glibc/deno');
  const allowed = ['run', '--no-prompt', '--allow-net=127.0.0.1', '--node-modules-dir=manual'];
  const byDeno = await run(deno, [...allowed, await programFor('by-deno')], {
    cwd: project,
    env: { PATH: process.env.PATH, HOME: project, DENO_DIR: file('deno') },
  });
  assert.deepEqual(JSON.parse(byDeno.stdout), expected('by-deno'));
});

test('its types are there: the compiler takes what is right and refuses what is not', async () => {
  const { paths } = JSON.parse(await readFile(path.join(ROOT, 'openapi/openapi.json'), 'utf8')) as {
    paths: Record<string, Record<string, unknown>>;
  };
  const calls = Object.entries(paths).flatMap(([route, methods]) =>
    Object.keys(methods).map((method) => `void client.${method}('${route}', {} as never);`),
  );
  const lines = [
    "import { createClient } from 'provisioning/client';",
    "const client = createClient({ url: 'https://x' });",
    ...calls,
    "void client.get('/v1/servers', { query: { status: 'running' } }).then((servers) => servers[0]?.hostname);",
    '// @ts-expect-error no such request',
    "void client.get('/v1/nothing');",
    '// @ts-expect-error the id is missing',
    "void client.get('/v1/servers/{id}');",
    '// @ts-expect-error no such field',
    "void client.get('/v1/servers').then((servers) => servers[0]?.hostnam);",
  ];
  await writeFile(file('typed.ts'), lines.join('\n'));
  const options = [
    '--noEmit',
    '--strict',
    '--target',
    'es2022',
    '--module',
    'nodenext',
    '--lib',
    'es2022,dom,dom.iterable',
  ];
  const tsc = path.join(ROOT, 'node_modules/typescript/bin/tsc');
  await run(process.execPath, [tsc, ...options, 'typed.ts'], { cwd: project }).catch((error) => {
    throw new Error(error.stdout);
  });
});

test('the command line comes with it', async () => {
  const command = file('node_modules', '.bin', 'provisioning');
  // The first login's token has expired by now.
  const admin = await installation.server.login('admin', ADMIN_PASSWORD);
  const token = (await admin.request<{ token: string }>('POST', '/v1/tokens', { name: 'packed' })).body;
  const env = {
    PATH: process.env.PATH,
    HOME: project,
    PROVISIONING_URL: installation.server.url,
    PROVISIONING_TOKEN: token.token,
  };
  const { stdout } = await run(command, ['whoami', '--output', 'name'], { env });
  assert.equal(stdout, 'admin\n');
});
