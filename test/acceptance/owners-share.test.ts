/** What one user has done on hosts, however much and however long, holds up nobody else's. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { after, test } from 'node:test';
import { expectOk, makeClient, makeServer, startInstallation } from '../support/acceptance.ts';
import { type Client, ended, freePort, type Operation, until } from '../support/server.ts';
import { stepsOf, submitBatch } from '../support/workflows.ts';

const AT_ONCE = 4;
const installation = await startInstallation({ WORKER_CONCURRENCY: String(AT_ONCE), EGRESS_ALLOW: '127.0.0.1' });
after(() => installation.close());
const { server, database } = installation;

test('scripts that run for a day on one server take the places of their owner alone', async () => {
  const developer = await makeClient(server, 'dora', [{ role: 'developer', workspace: 'default' }]);
  const { server: own } = await makeServer(developer, 'busy');
  await makeServer(server.admin, 'other');
  await database.pool.query(
    `insert into simulated_cloud.failures (ref, label, hangs)
     select provider_ref, 'command', true from provisioning.servers where id = $1`,
    [own.id],
  );
  const scripts = Array.from({ length: 3 * AT_ONCE }, (_, n) => ({
    ...{ id: `s${n}`, kind: 'command' },
    with: { servers: ['busy'], script: 'sleep 86400', timeout: 86_400 },
  }));
  const { id } = await submitBatch(developer, scripts, { parallel_limit: scripts.length });
  const running = async () => {
    const ids = (await stepsOf(developer, id)).flatMap(({ operation_id: one }) => one ?? []);
    const { rows } = await database.pool.query<{ n: number }>(
      `select count(*)::int as n from provisioning.operations where status = 'running' and id = any($1)`,
      [ids],
    );
    return rows[0]?.n ?? 0;
  };
  await until(async () => (await running()) === AT_ONCE, 'the places of their owner to be taken');
  const body = { workspace: 'default', name: 'redis', servers: ['other'] };
  const install = expectOk(await server.admin.request<Operation>('POST', '/v1/taskservs/create', body));
  assert.equal((await ended(server.admin, install.id)).status, 'completed');
  assert.equal(await running(), AT_ONCE);
  expectOk(await developer.request('POST', `/v1/workflows/${id}/cancel`));
  await ended(developer, id, 60);
});

test('machines that do not answer take the places of whoever imports them alone', async () => {
  const developer = await makeClient(server, 'iris', [{ role: 'developer', workspace: 'default' }]);
  const silent = await Promise.all(
    Array.from({ length: 3 * AT_ONCE }, async () => {
      const listener = createServer(() => 'it says nothing').listen(0, '127.0.0.1');
      await once(listener, 'listening');
      return listener;
    }),
  );
  after(() => silent.map((listener) => listener.close()));
  const adopt = async (client: Client, hostname: string, port: number) => {
    const body = { workspace: 'default', hostname, ip_address: '127.0.0.1', ssh: { port } };
    return expectOk(await client.request<Operation>('POST', '/v1/servers/import', body)).id;
  };
  const statusOf = async (id: string) =>
    expectOk(await server.admin.request<Operation>('GET', `/v1/operations/${id}`)).status;
  const ids: string[] = [];
  for (const [n, listener] of silent.entries())
    ids.push(await adopt(developer, `silent-${n}`, (listener.address() as AddressInfo).port));
  const running = async () => (await Promise.all(ids.map(statusOf))).filter((status) => status === 'running').length;
  await until(async () => (await running()) === AT_ONCE, 'the places of their owner to be taken');
  const own = await adopt(server.admin, 'own', await freePort());
  await until(async () => (await statusOf(own)) !== 'pending', 'the other import to begin', 10_000);
  assert.equal(await running(), AT_ONCE);
  for (const id of [...ids, own]) await server.admin.request('POST', `/v1/operations/${id}/cancel`);
});
