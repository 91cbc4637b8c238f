import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createUpcloudProvider } from '../../src/providers/upcloud/provider.ts';
import { type FakeUpcloud, startFakeUpcloud } from '../clouds/upcloud.ts';
import {
  assertGivesHostKey,
  CANARY,
  COMMON,
  cloudSuite,
  HOST_KEY,
  opener,
  permitted,
  specsIn,
} from './cloud.testsuite.ts';

const spec = specsIn('de-fra1');
const open = opener(startFakeUpcloud, (fake) => createUpcloudProvider(settingsFor(fake)));

cloudSuite({
  name: 'upcloud',
  spec,
  open,
  connect: (fake, { stranger, ...own }) =>
    createUpcloudProvider({
      ...settingsFor(fake),
      ...own,
      ...(stranger ? { credentials: { username: 'u', password: CANARY } } : {}),
    }),
  create: /^POST \/1\.3\/server$/,
  refusals: [
    [402, 'INSUFFICIENT_CREDITS', 'QUOTA_EXCEEDED', /top it up/],
    [403, 'SERVER_CORE_LIMIT_REACHED', 'QUOTA_EXCEEDED', /raise the limit/],
    [403, 'PUBLIC_IPV4_LIMIT_REACHED', 'QUOTA_EXCEEDED', /raise the limit/],
    [503, 'SERVER_RESOURCES_UNAVAILABLE', 'CAPACITY_EXHAUSTED', /another zone or plan/],
    [403, 'SERVER_FORBIDDEN', 'FORBIDDEN', /access to servers/],
    [401, 'AUTHENTICATION_FAILED', 'AUTHENTICATION_FAILED', /token/],
    [404, 'ZONE_NOT_FOUND', 'INVALID_REQUEST', /ZONE_NOT_FOUND/],
    [400, 'PLAN_INVALID', 'INVALID_REQUEST', /PLAN_INVALID/],
    [409, 'RESOURCE_ALREADY_EXISTS', 'CONFLICT', /RESOURCE_ALREADY_EXISTS/],
  ],
  passing: [],
  problem: true,
  pages: { servers: 205, reads: 4 },
});

describe('the upcloud provider', () => {
  test('P12, P23: what is made carries its labels, key, image and user data, and goes with its disk', async () => {
    await using it = await open();
    const options = permitted();
    const { ref } = await it.provider.ensureServer(
      spec({
        ssh_public_key: 'ssh-ed25519 AAAA x',
        user_data: '#!/bin/sh\ntrue',
        image: 'ubuntu-24.04',
        tags: ['env=prod'],
      }),
      options,
    );
    const made = it.fake.servers.get(ref);
    const { 'provisioning-sent': sent, ...labels } = Object.fromEntries(
      (made?.labels ?? []).map(({ key, value }) => [key, value]),
    );
    assert.ok(Date.now() - Date.parse(sent ?? '') < 60_000);
    assert.deepEqual(labels, {
      'provisioning-operation': options.operationId,
      'provisioning-installation': 'test',
      'provisioning-workspace': 'w',
      'provisioning-plan': '2xCPU-4GB',
      env: 'prod',
    });
    assert.deepEqual(made?.keys, ['ssh-ed25519 AAAA x']);
    assert.match(made?.userData ?? '', /#!\/bin\/sh\ntrue[\s\S]*hostname: "web-1"/);
    assert.deepEqual((await it.provider.listServers())[0]?.tags, ['env=prod']);
    // Made a moment ago, it is in maintenance still: deleting waits, stops and deletes.
    await it.provider.deleteServer(ref, options);
    assert.deepEqual([it.fake.servers.size, it.fake.storages.size], [0, 0]);
  });

  test('P41: the host key goes to cloud-init, where there is no user data', async () => {
    await using it = await open();
    const { ref } = await it.provider.ensureServer(spec({ ssh_host_key: HOST_KEY }), permitted());
    assertGivesHostKey(it.fake.servers.get(ref)?.userData ?? '');
  });

  test('P30: a state that does not allow it now can be tried again', async () => {
    await using it = await open({ settle: { create: 60_000 } });
    const options = permitted();
    const { ref } = await it.provider.ensureServer(spec(), options);
    for (const change of ['startServer', 'stopServer', 'restartServer'] as const) {
      await assert.rejects(it.provider[change](ref, options), { code: 'CONFLICT', retryable: true });
    }
  });

  test('prices come by zone, in units and not in hundredths', async () => {
    await using it = await open();
    const plan = (await it.provider.listPlans()).find(({ name }) => name === '2xCPU-4GB');
    assert.deepEqual(plan?.prices?.['de-fra1'], { currency: null, hourly: 0.02976, monthly: 20 });
    assert.ok(!('uk-tst1' in (plan?.prices ?? {})));
  });

  test('an image, zone or network that is not there is named with what is', async () => {
    await using it = await open();
    const problems = await it.provider.validate(
      spec({ image: 'debian12', networks: ['lan'], tags: ['x', 'aa=1', 'aa=2'] }),
    );
    assert.deepEqual(
      problems.map(({ field, near_matches: near }) => [field, near[0]]),
      [
        ['image', 'debian-12'],
        ['networks', 'public'],
        ['tags', undefined],
        ['tags', undefined],
      ],
    );
  });
});

function settingsFor(fake: FakeUpcloud) {
  return {
    endpoint: fake.endpoint,
    credentials: { token: fake.token },
    ...COMMON,
  };
}
