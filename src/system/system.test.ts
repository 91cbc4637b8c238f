import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, describe, test } from 'node:test';
import Fastify from 'fastify';
import { sql } from 'kysely';
import { createTestDatabase } from '../../test/support/database.ts';
import { createDatabase, createPool, type Database } from '../database/pool.ts';
import { installErrorHandler } from '../http/error-handler.ts';
import type { App, Services } from '../http/section.ts';
import { installValidation } from '../http/validation.ts';
import { type Provider, ProviderError } from '../providers/contract.ts';
import { createRegistry } from '../providers/registry.ts';
import { registerProviderRoutes } from './provider-routes.ts';
import { createReadiness } from './readiness.ts';
import { registerSystemRoutes } from './routes.ts';

const testDatabase = await createTestDatabase();
const away = createDatabase(
  createPool(
    { host: '127.0.0.1', port: 1, user: 'x', password: 'x', database: 'x' },
    { max: 1, applicationName: 'test' },
  ),
);
after(async () => {
  await away.destroy();
  await testDatabase.close();
});

function provider(name: string, answer: () => Promise<never[]>): Provider {
  return { name, concurrency: 1, listPlans: answer, listZones: answer } as unknown as Provider;
}

function start(db: Database, replicaId: string | null = null) {
  const app = Fastify() as unknown as App;
  installValidation(app);
  installErrorHandler(app, () => {});
  const readiness = createReadiness();
  const providers = createRegistry([
    provider('good', async () => []),
    provider('bad', async () => {
      throw new ProviderError('AUTHENTICATION_FAILED', 'The token is wrong.', { retryable: false });
    }),
  ]);
  const services = { db, engine: { replicaId }, providers } as unknown as Services;
  registerSystemRoutes(app, services, readiness, { pool: { totalCount: 3, idleCount: 1, waitingCount: 0 }, tls: null });
  registerProviderRoutes(app, services);
  const get = async (url: string) => {
    const response = await app.inject({ method: 'GET', url });
    return { status: response.statusCode, text: response.body, headers: response.headers, json: () => response.json() };
  };
  return { app, readiness, get, [Symbol.asyncDispose]: () => app.close() };
}

describe('health', () => {
  test('is exactly what the reference says', async () => {
    await using server = start(testDatabase.db);
    const { status, json } = await server.get('/health');
    assert.equal(status, 200);
    assert.deepEqual(Object.keys(json()).sort(), ['status', 'uptime_seconds', 'version']);
    assert.equal(json().status, 'healthy');
    assert.ok(Number.isInteger(json().uptime_seconds));
    assert.deepEqual((await server.get('/health/ready')).json(), { status: 'ready', database: 'up', engine: 'up' });
  });

  test('is 503 in the error format while the server drains; alive it is all the same', async () => {
    await using server = start(testDatabase.db);
    Object.assign(server.readiness, { leaving: true, draining: true });
    const { status, json, headers } = await server.get('/health');
    assert.equal(status, 503);
    assert.equal(json().code, '503');
    assert.equal(json().error, 'SERVICE_UNAVAILABLE');
    assert.ok(headers['retry-after']);
    assert.deepEqual((await server.get('/health/ready')).json().details, { missing: ['draining'] });
    assert.equal((await server.get('/health/live')).status, 200);
  });

  test('is 503 while the database is away', async () => {
    await using server = start(away);
    assert.equal((await server.get('/health')).status, 503);
    assert.deepEqual((await server.get('/health/ready')).json().details, { missing: ['database'] });
    assert.equal((await server.get('/health/live')).status, 200);
  });

  test('is 503 within little more than a second while the database does not answer', async () => {
    const settings = testDatabase.settings;
    const pool = createPool(settings, { max: 1, applicationName: 'test' });
    const db = createDatabase(pool);
    const held = await pool.connect();
    {
      await using server = start(db);
      const began = performance.now();
      const answers = await Promise.all(Array.from({ length: 20 }, () => server.get('/health')));
      assert.ok(answers.every(({ status }) => status === 503));
      assert.ok(performance.now() - began < 2_000);
      assert.equal(pool.waitingCount, 1, 'many questions are one at the database');
      held.release();
      await new Promise((resolve) => setTimeout(resolve, 100));
      assert.equal((await server.get('/health')).status, 200);
    }
    await db.destroy();
  });

  test('readiness names an engine that has lost its lease', async () => {
    await using server = start(testDatabase.db, 'me');
    assert.deepEqual((await server.get('/health/ready')).json().details, { missing: ['engine'] });
    await sql`insert into provisioning.replicas (id, lock_key, role, version, host, pid) values ('me', 1, 'all', '0', 'h', 1)`.execute(
      testDatabase.db,
    );
    assert.equal((await server.get('/health/ready')).status, 200);
  });
});

describe('metrics', () => {
  test('count operations', async () => {
    await using server = start(testDatabase.db);
    for (const status of ['running', 'running', 'completed'] as const) {
      await testDatabase.db
        .insertInto('provisioning.operations')
        .values({
          id: randomUUID(),
          kind: 'server.create',
          status,
          workspace: 'w',
          input: '{}',
          created_by: 'x',
          ...(status === 'completed' ? { finished_at: new Date() } : {}),
        })
        .execute();
    }
    assert.deepEqual((await server.get('/v1/metrics')).json().tasks, { total: 3, running: 2 });
    await server.get('/health');
    const { status, text, headers } = await server.get('/metrics');
    assert.equal(status, 200);
    assert.match(String(headers['content-type']), /^text\/plain/);
    for (const line of [
      'provisioning_database_up 1',
      'provisioning_operations_unfinished{kind="server.create",status="running"} 2',
      'provisioning_operations_finished_5m{kind="server.create",status="completed"} 1',
      'provisioning_queue_depth 0',
      'provisioning_database_pool_connections{state="in_use"} 2',
    ]) {
      assert.ok(text.includes(`${line}\n`), line);
    }
    assert.match(
      text,
      /provisioning_http_request_duration_seconds_count\{method="GET",route="\/health",status="200"\} 1/,
    );
    assert.match(text, /nodejs_eventloop_lag_seconds /);
  });

  test('past the limit the total is the estimate of the planner', async () => {
    await using server = start(testDatabase.db);
    await sql`insert into provisioning.operations (id, kind, status, workspace, input, created_by)
      select gen_random_uuid(), 'k', 'completed', 'w', '{}', 'x' from generate_series(1, 120000)`.execute(
      testDatabase.db,
    );
    await sql`analyze provisioning.operations`.execute(testDatabase.db);
    const { total } = (await server.get('/v1/metrics')).json().tasks;
    assert.ok(total > 115_000 && total < 125_000, String(total));
  });

  test('go out without the database’s figures while it is away', async () => {
    await using server = start(away);
    const { status, text } = await server.get('/metrics');
    assert.equal(status, 200);
    assert.match(text, /provisioning_database_up 0/);
    assert.doesNotMatch(text, /provisioning_queue_depth \d/);
  });
});

describe('providers', () => {
  test('are listed, and answer live', async () => {
    await using server = start(testDatabase.db);
    assert.deepEqual((await server.get('/v1/providers')).json(), [
      { name: 'good', enabled: true },
      { name: 'bad', enabled: true },
    ]);
    assert.deepEqual((await server.get('/v1/providers/good/plans')).json(), []);
    assert.equal((await server.get('/v1/providers/none/zones')).status, 404);
    const failed = await server.get('/v1/providers/bad/zones');
    assert.equal(failed.status, 503);
    assert.match(failed.json().message, /The token is wrong/);
  });
});
