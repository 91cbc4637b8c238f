/**
 * How many requests a caller may make: of an address before anybody is authenticated, of a user after that; counted over
 * two replicas. Denials of callers whom nobody knows do not fill the audit log.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pool } from 'pg';
import { expectError, expectOk, makeClient, startInstallation, USER_PASSWORD } from '../support/acceptance.ts';
import { type Answer, createClient, type TestServer, until } from '../support/server.ts';

const USER_LIMIT = 60;
const ADDRESS_LIMIT = 200;

interface Details {
  limit: string;
  per: string;
  used: number;
  allowed: number;
}
interface AuditRow {
  principal: string;
  action: string;
  outcome: string;
  address: string | null;
  details: { denied?: number; requests?: Record<string, number> } | null;
}

function refused(answer: Answer): Details {
  const { details } = expectError(answer, 429, 'RATE_LIMITED');
  const seconds = Number(answer.headers.get('retry-after'));
  assert.ok(seconds >= 1 && seconds <= 60, String(seconds));
  return details as Details;
}

/** Resolves when a replica has told the others that it has let so many through. */
async function told(pool: Pool, count: number): Promise<void> {
  await until(async () => {
    const { rows } = await pool.query('select from provisioning.shared_counts where count >= $1', [count]);
    return rows.length > 0;
  }, 'the first replica to tell');
}

test('of a user: what one replica has let through counts at the other', async () => {
  await using installation = await startInstallation({ RATE_LIMIT: String(USER_LIMIT) });
  const { server } = installation;
  const second = await installation.replica();
  await makeClient(server, 'ann', [{ role: 'viewer' }]);
  const { token } = await server.login('ann', USER_PASSWORD);
  const here = createClient(server.url, token);
  const there = createClient(second.url, token);
  for (let n = 0; n < USER_LIMIT / 2; n += 1) expectOk(await here.request('GET', '/v1/auth/me'));
  await told(installation.database.pool, USER_LIMIT / 2);
  let let_through = 0;
  let last: Answer | undefined;
  await until(async () => {
    last = await there.request('GET', '/v1/auth/me');
    if (last.status === 200) let_through += 1;
    return last.status === 429;
  }, 'the other replica to refuse');
  const details = refused(last ?? assert.fail());
  assert.deepEqual([details.limit, details.per, details.allowed], ['requests', 'user', USER_LIMIT]);
  // What was let through here, and no whole limit of its own.
  assert.ok(let_through <= 0.75 * USER_LIMIT, `${let_through} at the other replica`);
  // By now both know of each other.
  await until(async () => (await here.request('GET', '/v1/auth/me')).status === 429, 'the first one to refuse as well');
  // Others are not held up.
  expectOk(await server.admin.request('GET', '/v1/auth/me'));
});

test('of an address: also where nothing valid is sent, and before the token is looked at', async () => {
  await using installation = await startInstallation({ ADDRESS_RATE_LIMIT: String(ADDRESS_LIMIT) });
  const { server } = installation;
  const second = await installation.replica();
  const guess = (on: TestServer, n: number) => createClient(on.url, `prov_${n}`).request('GET', '/v1/servers');
  for (let n = 0; n < ADDRESS_LIMIT / 2; n += 1) expectError(await guess(server, n), 401);
  await told(installation.database.pool, ADDRESS_LIMIT / 2);
  let own = 0;
  let last: Answer | undefined;
  await until(async () => {
    last = await guess(second, 0);
    if (last.status === 401) own += 1;
    return last.status === 429;
  }, 'the other replica to refuse');
  assert.ok(own <= 0.75 * ADDRESS_LIMIT, `${own} at the other replica`);
  assert.deepEqual(refused(last ?? assert.fail()).limit, 'address_requests');
  assert.equal(refused(await second.admin.request('GET', '/v1/servers')).per, 'address');
  // Whoever looks after the server still hears from it.
  expectOk(await second.anonymous.request('GET', '/health/live'));
});

test('denials of callers whom nobody knows: the first of a minute is a row, the others are one; many of others, too', async () => {
  await using installation = await startInstallation();
  const { server } = installation;
  const viewer = await makeClient(server, 'ivy', [{ role: 'viewer' }]);
  const DENIED = 250;
  for (let n = 0; n < DENIED; n += 1) {
    expectError(await server.anonymous.request('POST', '/v1/servers/create', {}), 401);
    expectError(await server.anonymous.request('DELETE', '/v1/workspaces/default'), 401);
  }
  // What a user whom somebody knows is denied stays a row each.
  for (let n = 0; n < 3; n += 1) expectError(await viewer.request('POST', '/v1/users', {}), 403);
  // Unless it is very much.
  const insistent = await makeClient(server, 'oz', [{ role: 'viewer' }]);
  for (let n = 0; n < DENIED; n += 1) expectError(await insistent.request('POST', '/v1/users', {}), 403);
  const { replica } = installation;
  // It writes its sums when it ends.
  assert.equal(await server.stop(), 0);
  const { admin } = await replica();
  const rows = expectOk(await admin.request<AuditRow[]>('GET', '/v1/audit?outcome=denied&per_page=1000'));
  const anonymous = rows.filter(({ principal }) => principal === 'anonymous');
  assert.ok(anonymous.length <= 2 * 3, `${anonymous.length} rows`);
  const sums = anonymous.filter(({ action }) => action === 'denials');
  const singles = anonymous.length - sums.length;
  const denied = sums.reduce((sum, { details }) => sum + (details?.denied ?? 0), 0);
  assert.equal(singles + denied, 2 * DENIED);
  assert.ok((sums[0]?.details?.requests?.['POST /v1/servers/create'] ?? 0) > 0, JSON.stringify(sums));
  assert.equal(sums[0]?.address, '127.0.0.1');
  assert.equal(rows.filter(({ principal }) => principal === 'ivy').length, 3);
  const ofOz = rows.filter(({ principal }) => principal === 'oz');
  assert.ok(ofOz.length < DENIED / 2, `${ofOz.length} rows`);
  const summed = ofOz.map(({ action, details }) => (action === 'denials' ? (details?.denied ?? 0) : 1));
  assert.equal(
    summed.reduce((sum, one) => sum + one, 0),
    DENIED,
  );
});
