/** Accounts at clouds while something is wrong with them, and while their credentials are replaced. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import type { Cloud } from '../clouds/all.ts';
import { expectError, expectOk } from '../support/acceptance.ts';
import { assertFree, assertNotStored } from '../support/canaries.ts';
import { startCloudInstallation } from '../support/cloud-installation.ts';
import { ended, type Operation, until } from '../support/server.ts';

const installation = await startCloudInstallation({ LOG_LEVEL: 'debug' });
after(() => installation.close());
const { clouds, create, lines, server } = installation;
const { admin } = server;

interface ProviderView {
  name: string;
  account?: { state: string; reason: string | null; retry_after: number };
}

async function accountOf(cloud: Cloud, workspace?: string) {
  const query = workspace === undefined ? '' : `?workspace=${workspace}`;
  const providers = expectOk(await admin.request<ProviderView[]>('GET', `/v1/providers${query}`));
  return providers.find(({ name }) => name === cloud.name)?.account;
}

async function metricsSay(cloud: Cloud, state: string): Promise<boolean> {
  const { body } = await admin.request<string>('GET', '/metrics');
  const line = `provisioning_provider_account_state{provider="${cloud.name}",workspace="(installation)",state="${state}"} 1`;
  return body.includes(line);
}

const workspaces = new Map<Cloud, string>();
for (const cloud of clouds) {
  const name = `own-${cloud.name}`;
  expectOk(
    await admin.request('POST', '/v1/workspaces/create', { name, path: `${server.dataDir}/workspaces/${name}` }),
  );
  workspaces.set(cloud, name);
}
const put = (workspace: string, cloud: Cloud, credentials: object) =>
  admin.request('PUT', `/v1/workspaces/${workspace}/credentials/${cloud.name}`, credentials);

let servers = 0;
const newName = () => {
  servers += 1;
  return `host-${servers}`;
};

// The clouds have nothing to do with each other; what one account goes through comes one after the other.
describe('an account', { concurrency: true }, () => {
  for (const cloud of clouds) describe(cloud.name, { concurrency: 1 }, () => accountTests(cloud));
});

function accountTests(cloud: Cloud): void {
  test('that does not answer is left alone; what waits says why, and goes on when it is back', async () => {
    expectOk(await admin.request('GET', `/v1/providers/${cloud.name}/plans`));
    cloud.fake.chances.server_error = 1;
    const { id } = await create(cloud, { hostname: newName() });
    const seen = { account: false, metrics: false, events: false };
    await until(async () => {
      const account = await accountOf(cloud);
      seen.account ||=
        account?.state === 'unreachable' &&
        /did not answer \d+ calls in a row; asking again in \d+ s/.test(account.reason ?? '');
      seen.metrics ||= await metricsSay(cloud, 'unreachable');
      seen.events ||= /did not answer \d+ calls in a row/.test(await lines(id));
      return Object.values(seen).every(Boolean);
    }, 'the account to be held, and all places to say so');
    cloud.fake.chances.server_error = 0;
    const operation = await ended(admin, id, 90);
    assert.equal(operation.status, 'completed', String(operation.error));
    assert.equal((await accountOf(cloud))?.state, 'ok');
    assert.ok(await metricsSay(cloud, 'ok'));
    assert.equal((await installation.remove(operation)).status, 'completed');
  });

  test('whose credentials are replaced while its servers are made and deleted loses none', async () => {
    const workspace = workspaces.get(cloud) ?? '';
    const first = cloud.renewed();
    expectOk(await put(workspace, cloud, first.credentials));
    const begin = (hostname: string) => create(cloud, { workspace, hostname });

    // Nothing stands there yet that would prove that the next credentials belong to the same account.
    cloud.refuse({ status: 503, code: 'unavailable', message: 'later' });
    const early = await begin(newName());
    const second = cloud.renewed();
    const conflict = expectError(await put(workspace, cloud, second.credentials), 409);
    assert.match(conflict.message, /are being created .* Try again when these operations have ended/);
    cloud.refuse(null);
    const one = await ended(admin, early.id, 90);
    assert.equal(one.status, 'completed', String(one.error));

    cloud.refuse({ status: 503, code: 'unavailable', message: 'later' });
    const two = await begin(newName());
    await until(async () => (await lines(two.id)).includes('Trying again in'), 'the create to be under way');
    expectOk(await put(workspace, cloud, second.credentials));
    cloud.accepted.delete(first.id);
    cloud.refuse(null);
    const made = await ended(admin, two.id, 90);
    assert.equal(made.status, 'completed', String(made.error));
    assert.equal((await accountOf(cloud, workspace))?.state, 'ok');

    const endpoint = `/v1/workspaces/${workspace}/credentials/${cloud.name}`;
    assert.match(expectError(await admin.request('DELETE', endpoint), 409).message, /Delete the servers first/);
    for (const operation of [one, made]) {
      const gone = await installation.remove(operation);
      assert.equal(gone.status, 'completed', String(gone.error));
    }
    expectOk(await admin.request('DELETE', endpoint));
    const secrets = { first: first.id, second: second.id, ...cloud.secrets };
    assertFree(server.output(), secrets, 'in the log');
    await assertNotStored(installation.database.pool, secrets);
  });

  for (const [how, begin] of Object.entries({
    'has revoked them': (id: string) => cloud.accepted.delete(id),
    'never answers': () => {
      cloud.fake.chances.half_open = 1;
    },
  })) {
    test(`whose cloud ${how} does not keep workflows from being accepted, and each server says why`, async () => {
      // An account that has not been used remembers nothing of what the cloud offers.
      const workspace = `${cloud.name}-${how.split(' ')[0]}`;
      const path = `${server.dataDir}/workspaces/${workspace}`;
      expectOk(await admin.request('POST', '/v1/workspaces/create', { name: workspace, path }));
      const { id, credentials } = cloud.renewed();
      expectOk(await put(workspace, cloud, credentials));
      const { hostname: _, workspace: __, ...spec } = cloud.spec();
      const step = (hostname: string) => ({
        ...{ id: hostname.replace('-', '_'), kind: 'server.create' },
        with: { ...spec, provider: cloud.name, hostname, tags: [`of-${hostname}`] },
      });
      const operations = Array.from({ length: 5 }, () => step(newName()));
      const body = { workspace, workflow_type: 'batch', parameters: { operations } };
      begin(id);
      const asked = performance.now();
      const checked = await admin.request<{ unpriced: number }>('POST', '/v1/workflows/validate', body);
      assert.equal(expectOk(checked).unpriced, operations.length);
      const submitted = expectOk(await admin.request<Operation>('POST', '/v1/workflows/submit', body));
      // Not as many times the patience as there are questions.
      assert.ok(performance.now() - asked < 25_000, `${performance.now() - asked} ms`);
      const onlyChecked = expectOk(
        await admin.request<Operation>('POST', '/v1/servers/create', {
          ...spec,
          workspace,
          provider: cloud.name,
          hostname: newName(),
          check_mode: true,
        }),
      );
      if (how === 'has revoked them') {
        const run = await ended(admin, submitted.id, 60);
        assert.equal(run.status, 'failed');
        assert.match(run.error ?? '', /Check the (API )?(token|access key)|Set credentials that are valid/);
      }
      cloud.fake.chances.half_open = 0;
      await admin.request('POST', `/v1/workflows/${submitted.id}/cancel`);
      await ended(admin, submitted.id, 120);
      await ended(admin, onlyChecked.id, 120);
      cloud.accepted.add(id);
    });
  }

  test('whose credentials are not accepted fails operations at once, and after some of them is not even asked', async () => {
    const kept = [...cloud.accepted];
    cloud.accepted.clear();
    const attempt = async () => ended(admin, (await create(cloud, { hostname: newName() })).id, 60);
    for (let n = 0; (await accountOf(cloud))?.state !== 'refused'; n++) {
      assert.ok(n < 6, 'the account is never left alone');
      const operation = await attempt();
      assert.equal(operation.status, 'failed');
      assert.match(operation.error ?? '', /Check the (API )?(token|access key)|Set credentials that are valid/);
    }
    // Now and then one call asks whether they are accepted again; the pauses between these grow.
    await until(async () => {
      const asked = cloud.fake.calls.length;
      const refused = await attempt();
      if (cloud.fake.calls.length > asked) return false;
      assert.match(refused.error ?? '', /refused the credentials .* in a row; .* Set credentials that are valid/);
      return true;
    }, 'an operation to fail without a call');
    assert.ok(await metricsSay(cloud, 'refused'));
    for (const id of kept) cloud.accepted.add(id);
    await until(async () => (await attempt()).status === 'completed', 'one call to find them good again', 60_000);
    assert.equal((await accountOf(cloud))?.state, 'ok');
  });
}

test('one workspace has an account at each cloud, and its servers stand in them', async () => {
  const workspace = 'everywhere';
  expectOk(
    await admin.request('POST', '/v1/workspaces/create', { name: workspace, path: `${server.dataDir}/workspaces/all` }),
  );
  const owned = await Promise.all(
    clouds.map(async (cloud) => {
      const { id, credentials } = cloud.renewed();
      expectOk(await put(workspace, cloud, credentials));
      return { cloud, id };
    }),
  );
  const listed = expectOk(
    await admin.request<{ provider: string }[]>('GET', `/v1/workspaces/${workspace}/credentials`),
  );
  assert.deepEqual(listed.map(({ provider }) => provider).toSorted(), clouds.map(({ name }) => name).toSorted());
  // The installation's own account does not work any more: what is made is made with the workspace's.
  for (const { cloud, id } of owned) {
    cloud.accepted.clear();
    cloud.accepted.add(id);
  }
  const made = await Promise.all(
    owned.map(async ({ cloud }) => ended(admin, (await create(cloud, { workspace, hostname: cloud.name })).id, 60)),
  );
  assert.deepEqual(
    made.map(({ status, error }) => [status, error]),
    made.map(() => ['completed', null]),
  );
  for (const [place, { cloud }] of owned.entries()) assert.ok(cloud.made(made[place]?.id ?? ''), cloud.name);
});
