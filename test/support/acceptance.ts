/** What the acceptance tests share: servers on a database of their own, and the shapes that the reference promises. */
import assert from 'node:assert/strict';
import { createTestDatabase, type TestDatabase } from './database.ts';
import {
  ADMIN_PASSWORD,
  type Answer,
  type Client,
  ended,
  type Operation,
  serverRequest,
  startTestServer,
  type TestServer,
} from './server.ts';

/** A server and the database it runs on. */
export interface Installation extends AsyncDisposable {
  server: TestServer;
  database: TestDatabase;
  /** A further server on the same database; it ends with the installation. */
  replica(settings?: Record<string, string>): Promise<TestServer>;
  /** kill -9 of every server that there is. */
  killAll(): Promise<void>;
  close(): Promise<void>;
}

/**
 * @param settings PROVISIONING_… without the prefix; those of every server of this installation.
 * @param nodeOptions `NODE_OPTIONS` of its servers.
 */
export async function startInstallation(
  settings: Record<string, string> = {},
  nodeOptions?: string,
): Promise<Installation> {
  const database = await createTestDatabase({ poolSize: 2 });
  const servers: TestServer[] = [];
  const close = async () => {
    await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
    await database.close();
  };
  const replica = async (own: Record<string, string> = {}) => {
    const server = await startTestServer({
      databaseUrl: database.url,
      settings: { POOL_SIZE: '8', SIMULATED_LATENCY_MS: '5', ...settings, ...own },
      ...(nodeOptions === undefined ? {} : { nodeOptions }),
    });
    servers.push(server);
    return server;
  };
  try {
    const killAll = async () => {
      await Promise.all(servers.map((server) => server.kill()));
    };
    return { server: await replica(), database, replica, killAll, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

export interface ErrorBody {
  error: string;
  message: string;
  code: string;
  details?: unknown;
  request_id?: string;
}

/** Asserts an error in the reference's format. @returns its body. */
export function expectError(answer: Answer, status: number, error?: string): ErrorBody {
  assert.equal(answer.status, status, `expected ${status}, got ${answer.status}: ${JSON.stringify(answer.body)}`);
  const body = answer.body as ErrorBody;
  assert.match(answer.headers.get('content-type') ?? '', /^application\/json/);
  assert.match(body.error, /^[A-Z][A-Z0-9_]*$/);
  assert.equal(typeof body.message, 'string');
  assert.notEqual(body.message, '');
  assert.equal(body.code, String(status), 'code is the status as a string');
  if (error !== undefined) assert.equal(body.error, error);
  return body;
}

/** Asserts success. @returns the body. */
export function expectOk<T>(answer: Answer<T>): T {
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body;
}

export interface Server {
  id: string;
  hostname: string;
  provider: string;
  plan: string;
  zone: string;
  ip_address: string | null;
  status: string;
  created_at: string;
  workspace: string;
  tags: string[];
  created_by: string;
}

/** Asks for a server and answers its operation, not yet ended. */
export async function askForServer(
  client: Client,
  hostname: string,
  overrides: Record<string, unknown> = {},
): Promise<Operation> {
  return expectOk(await client.request<Operation>('POST', '/v1/servers/create', serverRequest(hostname, overrides)));
}

/** Creates a server and waits until it runs. @returns its record and the operation that made it. */
export async function makeServer(
  client: Client,
  hostname: string,
  overrides: Record<string, unknown> = {},
): Promise<{ server: Server; operation: Operation }> {
  const operation = await ended(client, (await askForServer(client, hostname, overrides)).id);
  assert.equal(operation.status, 'completed', JSON.stringify(operation));
  const server = expectOk(await client.request<Server>('GET', `/v1/servers/${String(operation.result?.server_id)}`));
  return { server, operation };
}

export const USER_PASSWORD = 'a password for tests';

export interface Role {
  role: string;
  workspace?: string | null;
}

/** What the first user shows to do what a session alone does not. */
export const PROOF = { proof: { password: ADMIN_PASSWORD } };

/** Of an administrator of the installation. */
export const ADMIN_ROLE: Role = { role: 'admin' };

/** Creates a user with these roles. @returns the id. */
export async function makeUser(admin: Client, username: string, roles: Role[]): Promise<string> {
  const administers = roles.some(({ role, workspace = null }) => role === 'admin' && workspace === null);
  const user = { username, password: USER_PASSWORD, roles, ...(administers ? PROOF : {}) };
  const { id } = expectOk(await admin.request<{ id: string }>('POST', '/v1/users', user));
  return id;
}

/** Creates a user and logs in. */
export async function makeClient(server: TestServer, username: string, roles: Role[]): Promise<Client> {
  await makeUser(server.admin, username, roles);
  return server.login(username, USER_PASSWORD);
}

/** How many rows a list has. */
export async function countRows(client: Client, list: string): Promise<number> {
  return expectOk(await client.request<unknown[]>('GET', list)).length;
}
