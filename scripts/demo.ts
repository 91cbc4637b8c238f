/**
 * The two-minute story on a fresh machine: starts the server on its embedded database, creates a server, shows every
 * event live, stops and starts it, installs a service on it, makes a cluster by a workflow, and leaves the API up.
 *
 *   npm run demo                          on the simulated cloud
 *   npm run demo -- --provider docker     on containers of this machine
 *   npm run demo -- --exit                ends after the story: 0 when all went well
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { watchGraph } from './demo-cluster.ts';

const { values: flags } = parseArgs({
  options: { provider: { type: 'string', default: 'simulated' }, exit: { type: 'boolean', default: false } },
});
const DATA_DIR = path.resolve('.provisioning/demo');
const PASSWORD_FILE = path.join(DATA_DIR, 'admin-password');
const START_TIMEOUT_MS = 60_000;
const color = process.stdout.isTTY && process.env.NO_COLOR === undefined;
const paint = (code: number, text: string) => (color ? `\u001b[${code}m${text}\u001b[0m` : text);
const say = (text: string) => process.stdout.write(`${text}\n`);
const heading = (text: string) => say(`\n${paint(1, text)}`);

interface Operation {
  id: string;
  status: string;
  result: Record<string, unknown> | null;
  error: string | null;
}

/** The password of this demo's `admin`, kept beside its database. */
async function demoPassword(): Promise<string> {
  await mkdir(DATA_DIR, { recursive: true, mode: 0o711 });
  const known = await readFile(PASSWORD_FILE, 'utf8').catch(() => null);
  if (known !== null) return known.trim();
  const made = randomBytes(15).toString('base64url');
  await writeFile(PASSWORD_FILE, `${made}\n`, { mode: 0o600 });
  return made;
}

/** 8083 where it is free, another one otherwise. */
async function choosePort(): Promise<number> {
  for (const port of [8083, 0]) {
    const probe = createServer();
    const free = await new Promise<number | null>((resolve) => {
      probe.once('error', () => resolve(null));
      probe.listen(port, '127.0.0.1', () => {
        const address = probe.address();
        resolve(typeof address === 'object' && address !== null ? address.port : null);
      });
    });
    if (free === null) continue;
    probe.close();
    await once(probe, 'close');
    return free;
  }
  throw new Error('No port is free on 127.0.0.1.');
}

async function untilReady(base: string, server: ChildProcess): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (Date.now() < deadline) {
    if (server.exitCode !== null)
      throw new Error(`The server ended with status ${server.exitCode}; its messages are above.`);
    const ready = await fetch(`${base}/health/ready`).then(
      (response) => response.ok,
      () => false,
    );
    if (ready) return;
    await sleep(100);
  }
  throw new Error(`The server was not ready within ${START_TIMEOUT_MS / 1_000} s.`);
}

function createApi(base: string) {
  let token = '';
  const call = async <T>(method: string, route: string, body?: unknown): Promise<T> => {
    const response = await fetch(`${base}${route}`, {
      method,
      headers: {
        ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer = (await response.json()) as T & { message?: string };
    if (!response.ok) throw new Error(`${method} ${route}: ${response.status} ${answer.message}`);
    return answer;
  };
  return {
    call,
    async login(password: string) {
      token = (await call<{ token: string }>('POST', '/v1/auth/login', { username: 'admin', password })).token;
    },
    /** Prints the operation's events as they happen, until its end. @throws when it did not complete. */
    async follow(operation: Operation): Promise<Operation> {
      const started = Date.now();
      const response = await fetch(`${base}/v1/operations/${operation.id}/events`, {
        headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream' },
      });
      if (response.body === null) throw new Error('The event stream has no body.');
      let buffer = '';
      for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
        buffer += chunk;
        const messages = buffer.split('\n\n');
        buffer = messages.pop() ?? '';
        for (const message of messages) printEvent(message, started);
      }
      const ended = await call<Operation>('GET', `/v1/operations/${operation.id}`);
      if (ended.status !== 'completed') throw new Error(`Operation ${ended.id} ended ${ended.status}: ${ended.error}`);
      return ended;
    },
  };
}

function printEvent(message: string, started: number): void {
  const line = message.split('\n').find((part) => part.startsWith('data:'));
  if (line === undefined) return;
  const event = JSON.parse(line.slice(5)) as {
    type?: string;
    status?: string;
    line?: string;
    stream?: string;
    progress?: number;
  };
  const text =
    event.type === 'status'
      ? paint(event.status === 'completed' ? 32 : 36, event.status ?? '')
      : event.stream !== undefined
        ? paint(2, `│ ${event.line}`)
        : (event.line ?? (event.progress === undefined ? '' : `${event.progress} %`));
  if (text !== '') say(`  ${paint(2, `${((Date.now() - started) / 1_000).toFixed(1).padStart(5)} s`)}  ${text}`);
}

async function story(base: string, password: string): Promise<void> {
  const api = createApi(base);
  await api.login(password);
  const zone = flags.provider === 'docker' ? 'local' : 'de-fra1';
  const plan = flags.provider === 'docker' ? '1xCPU-1GB' : '2xCPU-4GB';
  const request = {
    workspace: 'default',
    provider: flags.provider,
    plan,
    zone,
    hostname: `demo-${randomBytes(3).toString('hex')}`,
    tags: ['demo'],
  };

  heading(`1. What would happen? POST /v1/servers/create {"check_mode": true, "hostname": "${request.hostname}", …}`);
  const plannedOperation = await api.call<Operation>('POST', '/v1/servers/create', { ...request, check_mode: true });
  const planned = await api.follow(plannedOperation);
  say(`  ${JSON.stringify(planned.result)}`);

  heading(
    `2. Create it: POST /v1/servers/create {"hostname": "${request.hostname}", "provider": "${request.provider}", "plan": "${request.plan}", …}`,
  );
  const created = await api.follow(await api.call<Operation>('POST', '/v1/servers/create', request));
  const id = String(created.result?.server_id);
  say(`  ${paint(32, `${request.hostname} (${id}) runs at ${String(created.result?.ip_address)}`)}`);

  heading(`3. Stop and start it: POST /v1/servers/${id}/stop, …/start`);
  await api.follow(await api.call<Operation>('POST', `/v1/servers/${id}/stop`));
  await api.follow(await api.call<Operation>('POST', `/v1/servers/${id}/start`));

  heading(
    `4. Install a service on it: POST /v1/taskservs/create {"name": "redis", "servers": ["${request.hostname}"], …}`,
  );
  const redis = { workspace: 'default', name: 'redis', servers: [request.hostname], config: { maxmemory: '64mb' } };
  await api.follow(await api.call<Operation>('POST', '/v1/taskservs/create', redis));
  say('\n  The same again: everything is there already.');
  await api.follow(await api.call<Operation>('POST', '/v1/taskservs/create', redis));

  const cluster = `cluster-${randomBytes(2).toString('hex')}`;
  heading(
    `5. A cluster of three: POST /v1/workflows/submit {"workflow_type": "cluster_create", "parameters": {"cluster_name": "${cluster}", "node_count": 3, …}}`,
  );
  const workflow = await api.call<Operation>('POST', '/v1/workflows/submit', {
    workspace: 'default',
    workflow_type: 'cluster_create',
    parameters: { cluster_name: cluster, node_count: 3, provider: flags.provider, plan, zone },
  });
  await watchGraph(api.call, workflow.id, { paint, terminal: process.stdout.isTTY });

  heading('6. What there is now: GET /v1/servers, GET /v1/taskservs');
  const servers = await api.call<{ hostname: string; provider: string; status: string; ip_address: string | null }[]>(
    'GET',
    '/v1/servers',
  );
  for (const server of servers)
    say(
      `  ${server.hostname.padEnd(16)} ${server.provider.padEnd(10)} ${server.status.padEnd(10)} ${server.ip_address ?? ''}`,
    );
  const taskservs = await api.call<{ id: string; name: string; status: string; servers: string[] }[]>(
    'GET',
    '/v1/taskservs',
  );
  for (const { name, status, servers: on } of taskservs)
    say(`  ${name.padEnd(16)} ${'taskserv'.padEnd(10)} ${status.padEnd(10)} ${on.join(', ')}`);

  if (flags.exit) {
    heading('7. Undo the cluster: POST /v1/workflows/…/rollback; delete the rest');
    await api.follow(await api.call<Operation>('POST', `/v1/workflows/${workflow.id}/rollback`));
    const own = taskservs.find(({ servers: on }) => on.includes(request.hostname));
    await api.follow(await api.call<Operation>('DELETE', `/v1/taskservs/${own?.id}`));
    await api.follow(await api.call<Operation>('DELETE', `/v1/servers/${id}`));
  }
}

const password = await demoPassword();
const port = await choosePort();
const base = `http://127.0.0.1:${port}`;
const server = spawn(
  process.execPath,
  ['bin/provisioning.js', 'serve', '--port', String(port), '--data-dir', DATA_DIR],
  {
    stdio: ['ignore', 'inherit', 'inherit'],
    // Its own session: Ctrl-C reaches this script alone, which then stops the server in order.
    detached: true,
    env: {
      ...process.env,
      PROVISIONING_ADMIN_PASSWORD: password,
      PROVISIONING_LOG_LEVEL: process.env.PROVISIONING_LOG_LEVEL ?? 'warn',
      PROVISIONING_LOGIN_RATE_LIMIT: '0',
    },
  },
);
const ended = once(server, 'exit');
const stop = async () => {
  if (server.exitCode === null) server.kill('SIGTERM');
  await ended;
};
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void stop().then(() => process.exit(0)));

try {
  heading(`Starting the server at ${base} on its embedded PostgreSQL (${DATA_DIR})`);
  await untilReady(base, server);
  await story(base, password);
} catch (error) {
  process.stderr.write(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}\n`);
  await stop();
  process.exit(1);
}
if (flags.exit) {
  await stop();
  say('\nDone.');
} else {
  heading('It stays up. Look around:');
  say(`  dashboard          ${base}/`);
  say(`  API documentation  ${base}/docs`);
  say(`  log in             user "admin", password in ${path.relative('.', PASSWORD_FILE)}`);
  say('  stop               Ctrl-C\n');
  await ended;
}
