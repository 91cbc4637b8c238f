/**
 * A real server in a process of its own, for tests through the outside: HTTP, signals, a real database. It imports
 * nothing of the server from src.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { currentBundle } from '../../bin/bundle.js';
import { tellSeed } from './seed.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BUNDLE = currentBundle(ROOT);
const SOURCES = path.join(ROOT, 'src/main.ts');
/** The server's bundle, which a whole run makes first (global-setup.ts); by hand and without one, the sources. */
export const MAIN = BUNDLE ?? SOURCES;
/**
 * For the environment of its processes. What they have compiled stays, so that the next ones start in half the time: the
 * bundle's beside the bundle, that of the sources here.
 */
export const COMPILE_CACHE: Record<string, string> =
  BUNDLE === null ? { NODE_COMPILE_CACHE: path.join(ROOT, 'node_modules/.cache/node-compile') } : {};
/** A machine that is busy with other things takes long. */
const READY_TIMEOUT_MS = 180_000;
export const ADMIN_PASSWORD = 'correct horse battery staple';

/** All replicas on one database have the same. */
export const SHARED_MASTER_KEY = 'the master key of every server of a test';

export interface ServerOptions {
  /** An external database; absent: the embedded one in `dataDir`. */
  databaseUrl?: string;
  /** Kept by the caller; absent: a temporary one, removed at the end. */
  dataDir?: string;
  /** Further PROVISIONING_… settings, without the prefix. */
  settings?: Record<string, string>;
  /** `NODE_OPTIONS` of its process. */
  nodeOptions?: string;
  /** Not from the bundle, so that `nodeOptions` can reach into its modules. */
  fromSources?: boolean;
}

export interface Answer<T = unknown> {
  status: number;
  headers: Headers;
  body: T;
}

/** A client with one token. */
export interface Client {
  token: string;
  /** Sends JSON where there is a body. Never throws for a status. */
  request<T = unknown>(
    method: string,
    route: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer<T>>;
}

export interface Operation {
  id: string;
  status: string;
  created_at: string;
  updated_at: string;
  result: Record<string, unknown> | null;
  error: string | null;
  cancel_requested_at?: string | null;
}

export interface TestServer extends AsyncDisposable {
  url: string;
  dataDir: string;
  process: ChildProcess;
  /** Everything it has printed. */
  output(): string;
  /** Without a token. */
  anonymous: Client;
  /** Logged in as `admin`. */
  admin: Client;
  login(username: string, password: string): Promise<Client>;
  /** kill -9 of this process alone; an embedded Postgres goes on. Resolves when it is gone. */
  kill(): Promise<void>;
  /** SIGTERM; answers the exit status. */
  stop(): Promise<number | null>;
}

export function createClient(url: string, token = ''): Client {
  return {
    token,
    async request(method, route, body, headers = {}) {
      const response = await fetch(`${url}${route}`, {
        method,
        headers: {
          ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
      const text = await response.text();
      const json = response.headers.get('content-type')?.includes('json') === true && text !== '';
      return { status: response.status, headers: response.headers, body: json ? JSON.parse(text) : text };
    },
  };
}

/** The command line in a process of its own. */
export interface CommandRun {
  process: ChildProcess;
  /** Everything it has printed. */
  output(): string;
  /** Resolves when it has ended, with its exit status; null: by a signal. */
  exited: Promise<number | null>;
  /** The same, once everything it has printed has been read. */
  closed: Promise<number | null>;
}

/**
 * Runs `provisioning` with these arguments.
 * @param settings PROVISIONING_… without the prefix; no others apply. @param environment further variables.
 * @param main the module that is run.
 */
export function spawnProvisioning(
  args: string[],
  settings: Record<string, string>,
  environment: Record<string, string> = {},
  main = MAIN,
): CommandRun {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('PROVISIONING_') && !['NODE_TEST_CONTEXT', 'NODE_COMPILE_CACHE'].includes(name),
  );
  const own = Object.entries(settings).map(([name, value]) => [`PROVISIONING_${name}`, value]);
  const child = spawn(process.execPath, [main, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...COMPILE_CACHE,
      ...Object.fromEntries(inherited),
      ...Object.fromEntries(own),
      ...environment,
    },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const status = () => child.exitCode;
  return {
    process: child,
    output: () => output,
    exited: once(child, 'exit').then(status),
    closed: once(child, 'close').then(status),
  };
}

/** Starts a server and waits until it is ready. Dispose of it, or its process and data stay. */
export async function startTestServer(options: ServerOptions = {}): Promise<TestServer> {
  const temporary = options.dataDir === undefined;
  const dataDir = options.dataDir ?? (await mkdtemp(path.join(tmpdir(), 'provisioning-test-')));
  // So that another user, as whom Postgres runs where we are root, can pass through.
  if (temporary) await chmod(dataDir, 0o711);
  const port = Number(options.settings?.PORT ?? (await freePort()));
  const url = `http://127.0.0.1:${port}`;
  const settings: Record<string, string> = {
    PORT: String(port),
    DATA_DIR: dataDir,
    ADMIN_PASSWORD,
    RATE_LIMIT: '0',
    LOGIN_RATE_LIMIT: '0',
    LOG_FORMAT: 'json',
    LOG_LEVEL: 'info',
    PROVIDERS: 'simulated',
    SIMULATED_LATENCY_MS: '50',
    ...(options.databaseUrl === undefined ? {} : { DATABASE_URL: options.databaseUrl, MASTER_KEY: SHARED_MASTER_KEY }),
    ...options.settings,
  };
  if (settings.SIMULATED_FAULTS) settings.SIMULATED_FAULTS += `,seed=${tellSeed()}`;
  const {
    process: child,
    output,
    exited,
  } = spawnProvisioning(
    ['serve'],
    settings,
    options.nodeOptions === undefined ? {} : { NODE_OPTIONS: options.nodeOptions },
    options.fromSources === true ? SOURCES : MAIN,
  );
  const running = () => child.exitCode === null && child.signalCode === null;
  const end = async (signal: NodeJS.Signals) => {
    if (running()) child.kill(signal);
    await exited;
  };
  const anonymous = createClient(url);
  const login = async (username: string, password: string) => {
    const { status, body } = await anonymous.request<{ token: string }>('POST', '/v1/auth/login', {
      username,
      password,
    });
    if (status !== 200) throw new Error(`login as ${username}: ${status} ${JSON.stringify(body)}`);
    return createClient(url, body.token);
  };

  const worker = settings.ROLE === 'worker';
  const deadline = Date.now() + READY_TIMEOUT_MS;
  for (;;) {
    if (!running()) throw new Error(`The server ended with ${child.exitCode ?? child.signalCode}:\n${output()}`);
    const ready = worker
      ? output().includes('worker running')
      : await fetch(`${url}/health/ready`).then(
          (r) => r.ok,
          () => false,
        );
    if (ready) break;
    if (Date.now() > deadline) {
      await end('SIGKILL');
      throw new Error(`The server was not ready in time:\n${output()}`);
    }
    await sleep(50);
  }
  return {
    url,
    dataDir,
    process: child,
    output,
    anonymous,
    admin: worker ? anonymous : await login('admin', settings.ADMIN_PASSWORD ?? ADMIN_PASSWORD),
    login,
    kill: () => end('SIGKILL'),
    async stop() {
      await end('SIGTERM');
      return child.exitCode;
    },
    async [Symbol.asyncDispose]() {
      if (child.signalCode === 'SIGKILL' && options.databaseUrl === undefined) await stopLeftPostgres(dataDir);
      else await end('SIGTERM');
      if (temporary) await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** After a kill -9 the embedded Postgres goes on: end it. */
async function stopLeftPostgres(dataDir: string): Promise<void> {
  const { readFile } = await import('node:fs/promises');
  const text = await readFile(path.join(dataDir, 'postgres', 'postmaster.pid'), 'utf8').catch(() => '');
  const pid = Number(text.split('\n')[0]);
  if (!(pid > 1)) return;
  process.kill(pid, 'SIGINT');
  await until(async () => !alive(pid), 'the embedded Postgres to end');
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** A port that nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (typeof address !== 'object' || address === null) throw new Error('no free port');
  return address.port;
}

/** Polls until `condition` holds. @throws naming `what` after `timeoutMs`. */
export async function until(
  condition: () => Promise<boolean>,
  what: string,
  timeoutMs = 30_000,
  everyMs = 50,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`Waited ${timeoutMs} ms in vain for ${what}.`);
    await sleep(everyMs);
  }
}

/** Waits until the operation has ended. */
export async function ended(client: Client, id: string, timeoutSeconds = 30): Promise<Operation> {
  const deadline = Date.now() + timeoutSeconds * 1_000;
  for (;;) {
    const { body, status } = await client.request<Operation>('POST', `/v1/operations/${id}/wait?timeout=10`);
    if (status === 200 && ['completed', 'failed', 'cancelled'].includes(body.status)) return body;
    if (Date.now() > deadline)
      throw new Error(`Operation ${id} did not end within ${timeoutSeconds} s: ${JSON.stringify(body)}`);
  }
}

/** The body of a create request, as the reference writes it, for the simulated cloud. */
export function serverRequest(hostname: string, overrides: Record<string, unknown> = {}) {
  return { workspace: 'default', provider: 'simulated', plan: '2xCPU-4GB', hostname, zone: 'de-fra1', ...overrides };
}
