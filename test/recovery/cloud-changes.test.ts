/** A server that is killed with -9 while it adopts or repairs servers at clouds: it is finished, and nothing is done twice. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { Cloud } from '../clouds/all.ts';
import type { HeldCall } from '../clouds/fake.ts';
import { expectOk, type Server } from '../support/acceptance.ts';
import { type CloudInstallation, startCloudInstallation } from '../support/cloud-installation.ts';
import { type Client, ended, type Operation } from '../support/server.ts';

const PATIENCE_SECONDS = 60;
const OURS = ['operation', 'workspace', 'installation'].map((word) => `provisioning-${word}`);
const OTHER: Record<string, string> = { upcloud: '4xCPU-8GB', hetzner: 'cx33', aws: 't3.large' };

/** All servers of an installation open its secrets with this key. */
const startClouds = () => startCloudInstallation({ MASTER_KEY: randomBytes(32).toString('base64') });

/** Counts the changes that a cloud is asked for from now on. */
function changesAt(cloud: Cloud): () => number {
  const before = cloud.fake.counts().mutations;
  return () => cloud.fake.counts().mutations - before;
}

/** Lets all changes before the `place`th through and holds that one, without effect yet. */
async function arrivalOf(cloud: Cloud, place: number, start: () => Promise<unknown>): Promise<HeldCall> {
  let held = cloud.fake.hold('change');
  await start();
  for (let n = 1; n < place; n++) {
    await held.arrived;
    const { letGo } = held;
    held = cloud.fake.hold('change');
    letGo();
  }
  await held.arrived;
  return held;
}

/** Kills every server while these calls are at the clouds, which carry them out all the same, and starts one anew. */
async function killAndStart(installation: CloudInstallation, held: readonly HeldCall[]): Promise<Client> {
  await installation.killAll();
  for (const { letGo } of held) letGo();
  return (await installation.replica()).admin;
}

async function completed(client: Client, id: string): Promise<Operation> {
  const operation = await ended(client, id, PATIENCE_SECONDS);
  assert.equal(operation.status, 'completed', JSON.stringify(operation));
  return operation;
}

test('an adoption goes on after a kill -9: each server is taken over and labelled once', async () => {
  await using installation = await startClouds();
  const { clouds, create, database, server } = installation;
  const jobs = await Promise.all(
    clouds.map(async (cloud) => {
      const made = await Promise.all(
        [1, 2].map((n) => create(cloud, { hostname: `at-${cloud.name}-${n}`, tags: ['team=web'] })),
      );
      for (const { id } of made) await completed(server.admin, id);
      return { cloud, there: made.map(({ id }) => cloud.console(id)) };
    }),
  );
  // Nobody here has made them.
  await database.pool.query('delete from provisioning.servers');
  await database.pool.query('delete from provisioning.departed_servers');
  for (const { there } of jobs) {
    for (const each of there) each.relabel(Object.fromEntries(OURS.map((label) => [label, null])));
  }
  const ids = new Map<Cloud, string>();
  const counts = jobs.map(({ cloud }) => changesAt(cloud));
  const held = await Promise.all(
    clouds.map((cloud) =>
      arrivalOf(cloud, 2, async () => {
        const body = { workspace: 'default', provider: cloud.name, label: 'team=web' };
        ids.set(cloud, expectOk(await server.admin.request<Operation>('POST', '/v1/servers/import', body)).id);
      }),
    ),
  );
  const admin = await killAndStart(installation, held);
  for (const [place, { cloud, there }] of jobs.entries()) {
    const { result } = await completed(admin, ids.get(cloud) ?? '');
    const { adopted, refused } = result as { adopted: { provider_id: string }[]; refused: unknown[] };
    const refs = there.map(({ ref }) => ref).toSorted();
    assert.deepEqual([adopted.map(({ provider_id: ref }) => ref).toSorted(), refused], [refs, []]);
    assert.equal(counts[place]?.(), 2, `${cloud.name} was asked for more than a label a server`);
    for (const each of there) assert.equal(each.labels()['provisioning-workspace'], 'default');
    const rows = expectOk(await admin.request<Server[]>('GET', `/v1/servers?provider=${cloud.name}`));
    assert.deepEqual(
      rows.map(({ status }) => status),
      ['running', 'running'],
    );
  }
});

test('a repair goes on after a kill -9: each difference is mended once', async () => {
  await using installation = await startClouds();
  const { clouds, create, record, server } = installation;
  const jobs = await Promise.all(
    clouds.map(async (cloud, place) => {
      const { id } = await create(cloud, { hostname: `at-${cloud.name}`, tags: ['env=prod'] });
      const made = await completed(server.admin, id);
      const there = cloud.console(id);
      there.switchOff();
      there.resize(OTHER[cloud.name] ?? '');
      there.relabel({ env: 'test' });
      // Labels, plan, power: each cloud is at another one of them.
      return { cloud, there, before: await record(made), killedAt: place + 1 };
    }),
  );
  const ids = new Map<Cloud, string>();
  const counts = jobs.map(({ cloud }) => changesAt(cloud));
  const held = await Promise.all(
    jobs.map(({ cloud, before, killedAt }) =>
      arrivalOf(cloud, killedAt, async () => {
        const route = `/v1/servers/${before.id}/repair`;
        ids.set(cloud, expectOk(await server.admin.request<Operation>('POST', route)).id);
      }),
    ),
  );
  const admin = await killAndStart(installation, held);
  for (const [place, { cloud, there, before }] of jobs.entries()) {
    const { result } = await completed(admin, ids.get(cloud) ?? '');
    assert.equal((result?.repaired as unknown[] | undefined)?.length, 3);
    // Hetzner starts a server when it has changed its plan.
    const changes = cloud.name === 'hetzner' ? 2 : 3;
    assert.equal(
      counts[place]?.(),
      changes,
      `${cloud.name} was asked for something else than a label, a plan and a start`,
    );
    assert.equal(there.labels().env, 'prod');
    const { id: look } = expectOk(
      await admin.request<Operation>('POST', '/v1/servers/refresh', { servers: [before.id], workspace: 'default' }),
    );
    assert.deepEqual((await completed(admin, look)).result?.changed, [], 'it is not what the repair says');
    const now = expectOk(await admin.request<Server>('GET', `/v1/servers/${before.id}`));
    assert.deepEqual([now.status, now.plan], ['running', before.plan]);
  }
});
