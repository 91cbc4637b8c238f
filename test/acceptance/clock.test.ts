/** A machine's clock is set forward by more than a day, and back: what was asked meanwhile leaves nothing behind. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { expectError, expectOk, USER_PASSWORD } from '../support/acceptance.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { createClient, startTestServer, type TestServer } from '../support/server.ts';

const JUMP_MS = 28 * 3_600_000;
/** Every process asks its clock's file at least so often. */
const SEEN_MS = 100;

let directory: string;
let database: TestDatabase;
let server: TestServer;
const clock = () => path.join(directory, 'clock');

async function setClock(shift: number): Promise<void> {
  await writeFile(clock(), String(shift));
  await delay(SEEN_MS);
}

before(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'provisioning-clock-'));
  await writeFile(clock(), '0');
  database = await createTestDatabase({ poolSize: 2 });
  const preload = new URL('../support/shifted-clock.ts', import.meta.url);
  preload.searchParams.set('file', clock());
  server = await startTestServer({
    databaseUrl: database.url,
    nodeOptions: `--import=${preload}`,
    settings: { LOGIN_RATE_LIMIT: '3', RATE_LIMIT: '200' },
  });
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  await database?.close();
  await rm(directory, { recursive: true, force: true });
});

const me = (token: string) => createClient(server.url, token).request('GET', '/v1/auth/me');

test('tokens that were refused as expired meanwhile hold again', async () => {
  const made = await server.admin.request<{ token: string }>('POST', '/v1/tokens', {
    name: 'clock',
    expires_in: 3_600,
  });
  const tokens = [server.admin.token, expectOk(made).token];
  await setClock(JUMP_MS);
  for (const token of tokens) expectError(await me(token), 401);
  await setClock(0);
  for (const token of tokens) expectOk(await me(token));
});

test('what a user may is looked up again, not kept until the clock has caught up', async () => {
  const body = { username: 'clock', password: USER_PASSWORD, roles: [{ role: 'viewer' }] };
  const { id } = expectOk(await server.admin.request<{ id: string }>('POST', '/v1/users', body));
  await setClock(JUMP_MS);
  const { token } = await server.login('clock', USER_PASSWORD);
  expectOk(await me(token));
  await setClock(0);
  // No NOTIFY tells of it, as where one was lost.
  await database.pool.query('update provisioning.users set disabled = true where id = $1', [id]);
  await delay(6_000);
  expectError(await me(token), 401);
});

test('a limit that was reached meanwhile ends with its minute', async () => {
  await setClock(JUMP_MS);
  const tooMany = async () => {
    const logins = Array.from({ length: 5 }, () =>
      server.anonymous.request('POST', '/v1/auth/login', { username: 'nobody', password: 'x'.repeat(12) }),
    );
    return Math.max(...(await Promise.all(logins)).map(({ headers }) => Number(headers.get('ratelimit-reset'))));
  };
  await tooMany();
  await setClock(0);
  assert.ok((await tooMany()) <= 60);
  const { headers } = await me(server.admin.token);
  assert.ok(Number(headers.get('ratelimit-reset')) <= 60, String(headers.get('ratelimit-reset')));
});
