/** Credentials that are replaced while somebody adopts, repairs or refreshes with them: it goes on with the new ones. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Cloud } from '../clouds/all.ts';
import { expectOk, type Server } from '../support/acceptance.ts';
import { startCloudInstallation } from '../support/cloud-installation.ts';
import { ended, type Operation } from '../support/server.ts';

const installation = await startCloudInstallation();
after(() => installation.close());
const { clouds, create, lines, server } = installation;
const { admin } = server;

interface ServerView extends Server {
  drift: unknown[];
}

const OURS = ['operation', 'workspace', 'installation'].map((word) => `provisioning-${word}`);

// The clouds have nothing to do with each other.
describe('an account whose credentials are replaced', { concurrency: true }, () => {
  for (const cloud of clouds) describe(cloud.name, { concurrency: 1 }, () => accountTests(cloud));
});

function accountTests(cloud: Cloud): void {
  const workspace = `own-${cloud.name}`;
  let used = '';

  /** Gives the workspace new credentials; the ones before are not accepted any more. */
  async function replace(): Promise<void> {
    const { id, credentials } = cloud.renewed();
    const endpoint = `/v1/workspaces/${workspace}/credentials/${cloud.name}`;
    expectOk(await admin.request('PUT', endpoint, credentials));
    cloud.accepted.delete(used);
    used = id;
  }

  /** Asks for an operation, and replaces the credentials while each of these calls of it is at the cloud. */
  async function underReplacement(
    kinds: ('look' | 'change')[],
    route: string,
    body?: object,
    method = 'POST',
  ): Promise<Operation> {
    const before = cloud.fake.counts().refused;
    let held = cloud.fake.hold(kinds[0] ?? 'look');
    const { id } = expectOk(await admin.request<Operation>(method, route, body));
    const end = ended(admin, id, 60);
    for (const [place] of kinds.entries()) {
      await Promise.race([held.arrived, end.then(({ error }) => assert.fail(`it ended before: ${error}`))]);
      await replace();
      const next = kinds[place + 1];
      const { letGo } = held;
      if (next !== undefined) held = cloud.fake.hold(next);
      letGo();
    }
    const operation = await end;
    assert.equal(operation.status, 'completed', `${operation.error}: ${await lines(id)}`);
    assert.equal(
      cloud.fake.counts().refused - before,
      kinds.length,
      'the old credentials were not refused in the middle',
    );
    return operation;
  }

  const read = async (id: unknown) => expectOk(await admin.request<ServerView>('GET', `/v1/servers/${id}`));

  before(async () => {
    const path = `${server.dataDir}/workspaces/${workspace}`;
    expectOk(await admin.request('POST', '/v1/workspaces/create', { name: workspace, path }));
    await replace();
  });

  test('while a server is adopted: it is taken over once, and labelled', async () => {
    const made = await ended(admin, (await create(cloud, { workspace, hostname: 'strange' })).id, 60);
    assert.equal(made.status, 'completed', String(made.error));
    await installation.database.pool.query('delete from provisioning.servers where id = $1', [made.result?.server_id]);
    const there = cloud.console(made.id);
    there.relabel({ ...Object.fromEntries(OURS.map((label) => [label, null])), team: 'web' });
    const body = { workspace, provider: cloud.name, server: there.ref, hostname: 'adopted' };
    const { result } = await underReplacement(['look', 'change'], '/v1/servers/import', body);
    const { adopted, refused } = result as {
      adopted: { provider_id: string; server_id: string }[];
      refused: unknown[];
    };
    assert.deepEqual([adopted.map(({ provider_id: ref }) => ref), refused], [[there.ref], []]);
    assert.equal((await read(adopted[0]?.server_id)).status, 'running');
    const labels = there.labels();
    assert.deepEqual([labels['provisioning-workspace'], labels.team], [workspace, 'web']);
  });

  test('while a server is repaired: it is as it was left', async () => {
    const made = await ended(admin, (await create(cloud, { workspace, hostname: 'worn', tags: ['env=prod'] })).id, 60);
    assert.equal(made.status, 'completed', String(made.error));
    const id = made.result?.server_id;
    const there = cloud.console(made.id);
    there.switchOff();
    there.relabel({ env: 'test' });
    const { result } = await underReplacement(['look', 'change', 'change'], `/v1/servers/${id}/repair`);
    assert.equal((result?.repaired as unknown[] | undefined)?.length, 2);
    const now = await read(id);
    assert.deepEqual([now.status, now.drift], ['running', []]);
    assert.equal(there.labels().env, 'prod');
  });

  test('while servers are looked at: all of them are asked for', async () => {
    const { result } = await underReplacement(['look'], '/v1/servers/refresh', { workspace });
    assert.deepEqual([result?.looked_at, result?.not_asked], [2, []]);
  });

  test('while an orphan is deleted: it is gone, and nothing else', async () => {
    const made = await ended(admin, (await create(cloud, { workspace, hostname: 'lost' })).id, 60);
    assert.equal(made.status, 'completed', String(made.error));
    const { pool } = installation.database;
    await pool.query('delete from provisioning.servers where id = $1', [made.result?.server_id]);
    await pool.query('delete from provisioning.departed_servers where operation_id = $1', [made.id]);
    // As a sweep enters it.
    const orphan = `orp-${cloud.name}`;
    await pool.query(
      `insert into provisioning.orphans
         (id, provider, ref, account, operation_id, workspace, hostname, plan, zone, status, tags)
       values ($1, $2, $3, $4, $5, $4, 'lost', '', '', 'running', '{}')`,
      [orphan, cloud.name, cloud.console(made.id).ref, workspace, made.id],
    );
    const before = cloud.alive().length;
    await underReplacement(['look', 'change'], `/v1/orphans/${orphan}`, undefined, 'DELETE');
    assert.deepEqual([cloud.alive().includes(made.id), cloud.alive().length], [false, before - 1]);
  });

  test('credentials that are refused and not replaced end an operation, with what to do', async () => {
    cloud.accepted.delete(used);
    const { id } = expectOk(await admin.request<Operation>('POST', '/v1/servers/refresh', { workspace }));
    const { result } = await ended(admin, id, 60);
    const [first] = (result?.not_asked ?? []) as { servers: number; reason: string }[];
    assert.equal(first?.servers, 2);
    assert.match(first?.reason ?? '', /Check the (API )?(token|access key)|Set credentials that are valid/);
    cloud.accepted.add(used);
  });
}
