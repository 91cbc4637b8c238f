/** Starting and stopping: refused with a reason, or up; told to stop, everything under way is answered first. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { askForServer, expectOk, startInstallation } from '../support/acceptance.ts';
import { createTestDatabase } from '../support/database.ts';
import {
  ADMIN_PASSWORD,
  type CommandRun,
  createClient,
  ended,
  freePort,
  type Operation,
  serverRequest,
  spawnProvisioning,
  until,
} from '../support/server.ts';

const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-test-'));
const database = await createTestDatabase({ poolSize: 2 });
const up = await startInstallation({ ROLE: 'api' });
after(async () => {
  await database.close();
  await up.close();
  await rm(directory, { recursive: true, force: true });
});
const settings = {
  DATA_DIR: directory,
  DATABASE_URL: database.url,
  PROVIDERS: 'simulated',
  LOG_FORMAT: 'json',
};

const runs: CommandRun[] = [];
after(() => Promise.all(runs.map(({ process: child, exited }) => (child.kill('SIGKILL') ? exited : null))));

function serve(own: Record<string, string>, args: string[] = []): CommandRun {
  const run = spawnProvisioning(['serve', ...args], { ...settings, ...own });
  runs.push(run);
  return run;
}

/** Starts a server that must not come up. */
async function assertRefused(own: Record<string, string>, message: RegExp, args: string[] = []): Promise<void> {
  const run = serve({ ADMIN_PASSWORD, ...own }, args);
  assert.equal(await run.closed, 2, run.output());
  const [line = '', ...rest] = run
    .output()
    .trim()
    .split('\n')
    .filter((text) => !text.startsWith('{'));
  assert.match(line, /^provisioning: /);
  assert.match(line, message);
  assert.deepEqual(rest, [], 'one line, no stack');
}

test('a setting that cannot be used ends the start with status 2 and says what would be right', async () => {
  const file = path.join(directory, 'settings.toml');
  await writeFile(file, 'prot = 8083\n');
  await Promise.all([
    assertRefused({ PORT: '80a' }, /PROVISIONING_PORT .*0 to 65535.*"80a"/),
    assertRefused({ JWT_SECRET: 'short' }, /PROVISIONING_JWT_SECRET .*32 bytes/),
    assertRefused({ ADMIN_PASSWORD: 'admin' }, /PROVISIONING_ADMIN_PASSWORD .*8 to 1024/),
  ]);
  await Promise.all([
    assertRefused({ DATABASE_URL: 'mysql://me:hidden@x/y' }, /PROVISIONING_DATABASE_URL(?!.*hidden)/),
    assertRefused({}, /settings\.toml.*unknown setting "prot".*port/, ['--config', file]),
    assertRefused({}, /missing\.toml cannot be read/, ['--config', path.join(directory, 'missing.toml')]),
    assertRefused({ PROVIDERS: 'simulated,upclout' }, /PROVISIONING_PROVIDERS .*upclout/),
  ]);
});

test('a database or an address that cannot be had is told in one line too', async () => {
  const occupied = net.createServer().listen(0, '127.0.0.1');
  await once(occupied, 'listening');
  const { port } = occupied.address() as net.AddressInfo;
  const missing = database.url.replace(database.settings.database, 'no_such_database');
  await Promise.all([
    assertRefused({ PORT: String(port) }, /Cannot listen on 127\.0\.0\.1 port \d+: another program listens there/),
    assertRefused({ DATABASE_URL: missing }, /database "no_such_database" does not exist.*PROVISIONING_DATABASE_URL/),
  ]);
  occupied.close();
});

test('the first start shows a generated password once; a start beyond the loopback address warns of missing TLS', async () => {
  await using own = await createTestDatabase({ poolSize: 2 });
  const start = async (more: Record<string, string>) => {
    const port = await freePort();
    const run = serve({ DATABASE_URL: own.url, PORT: String(port), ...more });
    const url = `http://127.0.0.1:${port}`;
    await until(
      async () =>
        fetch(`${url}/health/ready`).then(
          ({ ok }) => ok,
          () => false,
        ),
      'the server to be ready',
      60_000,
    );
    const login = (password: string) =>
      createClient(url).request('POST', '/v1/auth/login', { username: 'admin', password });
    return { run, login };
  };
  const first = await start({ HOST: '0.0.0.0', LOG_LEVEL: 'trace' });
  const lines = first.run
    .output()
    .split('\n')
    .filter((line) => line.includes('password'));
  assert.equal(lines.length, 1, lines.join('\n'));
  const [, password = ''] = /"admin" with the password {2}(\S+)$/.exec(lines[0] ?? '') ?? [];
  assert.match(password, /^[\w-]{24}$/);
  assert.match(first.run.output(), /listening on 0\.0\.0\.0 without TLS/);
  expectOk(await first.login(password));
  first.run.process.kill('SIGTERM');
  assert.equal(await first.run.closed, 0);
  assert.equal(first.run.output().split(password).length, 2, 'shown once, in no log');

  const again = await start({});
  assert.doesNotMatch(again.run.output(), /password|without TLS/);
  expectOk(await again.login(password));
  for (const usual of ['admin', 'admin123', 'password', 'changeme'])
    assert.equal((await again.login(usual)).status, 401);
  again.run.process.kill('SIGINT');
  assert.equal(await again.run.closed, 0);
});

test('a first start that fails after the first user was made has shown their password', async () => {
  await using own = await createTestDatabase({ poolSize: 2 });
  const run = serve({ DATABASE_URL: own.url, HOST: 'no.such.host.invalid' });
  assert.equal(await run.closed, 2, run.output());
  assert.match(run.output(), /log in as "admin" with the password {2}\S+/);
});

/**
 * Sends a request in two halves; the server has begun it when this resolves.
 * @returns what sends the second half and answers all that came back.
 */
async function halfSent(url: string, token: string, body: string) {
  const { hostname, port } = new URL(url);
  const socket = net.connect(Number(port), hostname);
  const closed = new Promise((resolve) => socket.once('close', resolve).on('error', resolve));
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk.toString();
  });
  await once(socket, 'connect');
  const head = `POST /v1/servers/create HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nexpect: 100-continue\r\n\r\n`;
  socket.write(head + body.slice(0, 20));
  await until(async () => text.includes('100 Continue'), 'the request to be begun');
  return async () => {
    socket.write(body.slice(20));
    await closed;
    return text;
  };
}

test('SIGTERM: what is under way is answered, streams and long polls end, nothing new is let in, exit status 0', async () => {
  await using own = await startInstallation({ ROLE: 'api' });
  const { admin, url, process: child } = own.server;
  const { id } = await askForServer(admin, 'pending');
  const poll = admin.request<Operation>('POST', `/v1/operations/${id}/wait?timeout=300`);
  const headers = { authorization: `Bearer ${admin.token}`, accept: 'text/event-stream' };
  const stream = await fetch(`${url}/v1/events`, { headers });
  assert.equal(stream.status, 200);
  const finish = await halfSent(url, admin.token, JSON.stringify(serverRequest('half-sent')));
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await until(async () => own.server.output().includes('SIGTERM: stopping'), 'the server to begin stopping');
  assert.equal(expectOk(await poll).status, 'pending');
  await stream.text();
  await until(
    async () =>
      fetch(`${url}/health`).then(
        () => false,
        () => true,
      ),
    'the door to be closed',
  );
  assert.match(await finish(), /\r\nHTTP\/1\.1 200 OK\r\n[\s\S]*"status"\s*:\s*"pending"/);
  await exited;
  assert.equal(child.exitCode, 0, own.server.output());
  // Accepted is kept: it is there after the next start, which carries both out.
  const next = createClient((await own.replica({ ROLE: 'all' })).url, admin.token);
  await until(async () => {
    const servers = expectOk(await next.request<unknown[]>('GET', '/v1/servers?status=running'));
    return servers.length === 2;
  }, 'both servers to run');
});

test('SIGTERM: a client that says nothing, or half of something, is cut off, and holds no work back', async () => {
  await using own = await startInstallation();
  const { hostname, port } = new URL(own.server.url);
  const token = own.server.admin.token;
  const halves = [
    '',
    'GET /v1/servers HTTP/1.1\r\nhost: x\r\n',
    `POST /v1/servers/create HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"a`,
  ];
  const sockets = await Promise.all(
    halves.map(async (half) => {
      const socket = net.connect(Number(port), hostname);
      socket.on('error', () => 'it is to be cut off');
      await once(socket, 'connect');
      socket.write(half);
      return socket;
    }),
  );
  const exited = once(own.server.process, 'exit');
  const begun = performance.now();
  own.server.process.kill('SIGTERM');
  assert.deepEqual(await exited, [0, null], own.server.output());
  // Less than the 30 s after which a request that is not whole is refused anyway, and the 60 s of a stop.
  assert.ok(performance.now() - begun < 25_000, `it took ${performance.now() - begun} ms`);
  for (const socket of sockets) socket.destroy();
});

test('SHUTDOWN_DELAY: not ready at once, yet requests are served until it has passed', async () => {
  await using own = await startInstallation({ ROLE: 'api', SHUTDOWN_DELAY: '3' });
  const { url, admin, process: child } = own.server;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await until(async () => (await fetch(`${url}/health/ready`)).status === 503, 'it to be not ready');
  assert.equal((await fetch(`${url}/health/live`)).status, 200);
  expectOk(await admin.request('GET', '/v1/servers'));
  await askForServer(admin, 'late');
  assert.deepEqual(await exited, [0, null], own.server.output());
});

test('SIGTERM while work runs: it is handed over, and the next start ends it', async () => {
  await using own = await startInstallation({ SIMULATED_LATENCY_MS: '6000' });
  const { admin } = own.server;
  const { id } = await askForServer(admin, 'handed-over');
  const status = async () => expectOk(await admin.request<Operation>('GET', `/v1/operations/${id}`)).status;
  await until(async () => (await status()) === 'running', 'the work to begin');
  assert.equal(await own.server.stop(), 0);
  const { rows } = await own.database.pool.query('select status from provisioning.operations');
  assert.deepEqual(rows, [{ status: 'running' }], 'the stop did not wait for the end');
  const next = createClient((await own.replica()).url, admin.token);
  assert.equal((await ended(next, id)).status, 'completed');
});

test('SIGTERM to `npm start` ends the server cleanly, not npm alone', async () => {
  await using own = await createTestDatabase({ poolSize: 2 });
  const port = await freePort();
  const npm = spawn('npm', ['start'], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      ...process.env,
      PROVISIONING_DATABASE_URL: own.url,
      PROVISIONING_DATA_DIR: directory,
      PROVISIONING_ADMIN_PASSWORD: ADMIN_PASSWORD,
      PROVISIONING_PORT: String(port),
    },
  });
  let log = '';
  npm.stderr.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  const exited = once(npm, 'exit');
  const answers = () =>
    fetch(`http://127.0.0.1:${port}/health`).then(
      ({ ok }) => ok,
      () => false,
    );
  try {
    await until(answers, 'the server to be up', 60_000);
    npm.kill('SIGTERM');
    await exited;
    assert.equal(npm.exitCode, 0, log);
    assert.equal(await answers(), false, 'it has gone with npm');
    assert.match(log, /SIGTERM: stopping/);
  } finally {
    // The whole group, should anything be left of it.
    if (npm.exitCode === null || (await answers())) process.kill(-(npm.pid ?? 0), 'SIGKILL');
  }
});

test('a second SIGTERM does not wait', async () => {
  await using own = await startInstallation({ ROLE: 'api' });
  const finish = await halfSent(own.server.url, own.server.admin.token, JSON.stringify(serverRequest('never-sent')));
  own.server.process.kill('SIGTERM');
  await until(async () => own.server.output().includes('SIGTERM: stopping'), 'the server to begin stopping');
  assert.equal(await own.server.stop(), 130);
  await finish();
});

test('health: alive and ready tell load balancers apart what is wrong', async () => {
  const { anonymous } = up.server;
  assert.deepEqual(expectOk(await anonymous.request('GET', '/health/live')), { status: 'alive' });
  const ready = expectOk(await anonymous.request('GET', '/health/ready'));
  assert.deepEqual(ready, { status: 'ready', database: 'up', engine: 'up' });
  const file = JSON.parse(await readFile(new URL('../../openapi/openapi.json', import.meta.url), 'utf8'));
  assert.deepEqual(expectOk(await anonymous.request('GET', '/openapi.json')), file, 'the file is what is served');
});

test('/docs loads from this host alone', async () => {
  const page = await fetch(`${up.server.url}/docs`);
  assert.equal(page.status, 200);
  const html = await page.text();
  const policy = page.headers.get('content-security-policy') ?? '';
  for (const kind of ['default-src', 'script-src', 'style-src', 'connect-src']) {
    assert.match(policy, new RegExp(`${kind} 'self'`), policy);
  }
  assert.doesNotMatch(policy, /https?:|\*/);
  assert.doesNotMatch(/script-src [^;]*/.exec(policy)?.[0] ?? '', /unsafe/);
  const loaded = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, target]) => new URL(target ?? '', page.url));
  assert.ok(loaded.length > 0);
  for (const target of loaded) {
    assert.equal(target.origin, up.server.url, String(target));
    assert.equal((await fetch(target)).status, 200, String(target));
  }
});
