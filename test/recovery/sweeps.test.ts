/** Looking after accounts that workspaces have at clouds, by two replicas of which one is killed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLOUDS, type Cloud, startCloud } from '../clouds/all.ts';
import { expectOk, type Installation, makeServer, type Server, startInstallation } from '../support/acceptance.ts';
import { until } from '../support/server.ts';

/** Rounds of both replicas that a look of one of them outlasts. */
const ROUNDS = 3;

/** An installation that has no account of its own at these clouds, with a workspace that has one at each. */
async function startWithWorkspace(
  names: readonly (typeof CLOUDS)[number][],
): Promise<AsyncDisposable & { installation: Installation; clouds: Cloud[]; workspace: string }> {
  const stack = new AsyncDisposableStack();
  const clouds = await Promise.all(names.map((name) => startCloud(name)));
  for (const { fake } of clouds) stack.use(fake);
  const places = clouds.flatMap(({ settings }) =>
    Object.entries(settings).filter(([name]) => /_(ENDPOINT|REGION)$/.test(name)),
  );
  const installation = await startInstallation({
    PROVIDERS: `simulated,${names.join(',')}`,
    SWEEP_INTERVAL: '1',
    MASTER_KEY: Buffer.alloc(32, 7).toString('base64'),
    ...Object.fromEntries(names.map((name) => [`${name.toUpperCase()}_CALLS_PER_MINUTE`, '60000'])),
    ...Object.fromEntries(places),
  }).catch(async (error: unknown) => {
    await stack.disposeAsync();
    throw error;
  });
  stack.use(installation);
  const { admin, dataDir } = installation.server;
  const workspace = 'blue';
  const path = `${dataDir}/workspaces/${workspace}`;
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name: workspace, path }));
  for (const { name, credentials } of clouds) {
    expectOk(await admin.request('PUT', `/v1/workspaces/${workspace}/credentials/${name}`, credentials));
  }
  return { installation, clouds, workspace, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

test("one replica looks at a workspace's account at a time, and another one when it is killed", async (t) => {
  await using started = await startWithWorkspace(['upcloud']);
  const { installation, clouds } = started;
  const [cloud] = clouds;
  assert.ok(cloud);
  const servers = [installation.server, await installation.replica()];
  const sweepOf = async (provider: string) => {
    const { rows } = await installation.database.pool.query<{ holder: string | null; listed_at: Date | null }>(
      'select holder, listed_at from provisioning.account_sweeps where provider = $1',
      [provider],
    );
    return rows[0];
  };
  const held = cloud.fake.hold('look');
  await held.arrived;
  const { reads } = cloud.fake.counts();
  const holder = (await sweepOf('upcloud'))?.holder;
  // Rounds go by, as another account shows: it is not held up by the one that does not answer.
  let seen = (await sweepOf('simulated'))?.listed_at?.getTime();
  for (let round = 0; round < ROUNDS; round++) {
    const last = seen;
    await until(async () => {
      seen = (await sweepOf('simulated'))?.listed_at?.getTime();
      return seen !== last;
    }, 'another account to be looked at');
  }
  assert.equal(cloud.fake.counts().reads, reads, 'the other replica looks at the same account');

  const { rows } = await installation.database.pool.query<{ pid: number }>(
    'select pid from provisioning.replicas where id = $1',
    [holder],
  );
  const victim = servers.find(({ process }) => process.pid === rows[0]?.pid);
  assert.ok(victim, 'nobody holds the account that is being looked at');
  const before = (await sweepOf('upcloud'))?.listed_at?.getTime();
  await victim.kill();
  const killed = performance.now();
  held.letGo();
  await until(async () => (await sweepOf('upcloud'))?.listed_at?.getTime() !== before, 'the other replica to look');
  t.diagnostic(`taken over ${(performance.now() - killed).toFixed(0)} ms after the kill`);
});

test("sweeps of workspaces' accounts find what nobody knows and what has changed there", async () => {
  await using started = await startWithWorkspace(CLOUDS);
  const { installation, clouds, workspace } = started;
  const { database, server } = installation;
  const { admin } = server;
  await Promise.all(
    clouds.map(async (cloud) => {
      const request = { workspace, provider: cloud.name, zone: cloud.zone };
      const kept = await makeServer(admin, `kept-${cloud.name}`, request);
      const lost = await makeServer(admin, `lost-${cloud.name}`, request);
      await database.pool.query('delete from provisioning.servers where id = $1', [lost.server.id]);
      await database.pool.query('delete from provisioning.departed_servers where operation_id = $1', [
        lost.operation.id,
      ]);
      cloud.console(kept.operation.id).switchOff();
      // What has just been made is not judged where lists lag.
      await database.pool.query(
        "update provisioning.servers set updated_at = now() - interval '1 minute' where id = $1",
        [kept.server.id],
      );
      const view = async () =>
        expectOk(await admin.request<Server & { drift: { field: string }[] }>('GET', `/v1/servers/${kept.server.id}`));
      await until(async () => (await view()).status === 'stopped', `${cloud.name}: the change to be seen`);
      assert.deepEqual(
        (await view()).drift.map(({ field }) => field),
        ['status'],
      );
      const orphans = async () =>
        expectOk(
          await admin.request<{ hostname: string; account: string | null }[]>(
            'GET',
            `/v1/orphans?provider=${cloud.name}&workspace=${workspace}`,
          ),
        );
      await until(async () => (await orphans()).length > 0, `${cloud.name}: the orphan to be found`);
      assert.deepEqual(
        (await orphans()).map(({ hostname, account }) => [hostname, account]),
        [[`lost-${cloud.name}`, workspace]],
      );
    }),
  );
});
