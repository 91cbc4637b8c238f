import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createHetznerProvider } from '../../src/providers/hetzner/provider.ts';
import { type FakeHetzner, startFakeHetzner } from '../clouds/hetzner.ts';
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

const KEY = `ssh-ed25519 ${Buffer.from('a public key').toString('base64')} provisioning`;

const spec = specsIn('fsn1');
const open = opener(startFakeHetzner, (fake) => createHetznerProvider(settingsFor(fake)));

cloudSuite({
  name: 'hetzner',
  spec,
  open,
  connect: (fake, { stranger, ...own }) =>
    createHetznerProvider({ ...settingsFor(fake), ...own, ...(stranger ? { credentials: { token: CANARY } } : {}) }),
  create: /^POST \/v1\/servers$/,
  refusals: [
    [403, 'resource_limit_exceeded', 'QUOTA_EXCEEDED', /raise the limit/],
    [422, 'resource_unavailable', 'CAPACITY_EXHAUSTED', /another zone or plan/],
    [412, 'placement_error', 'CAPACITY_EXHAUSTED', /another zone or plan/],
    [401, 'unauthorized', 'AUTHENTICATION_FAILED', /API token/],
    [403, 'token_readonly', 'FORBIDDEN', /Read & Write/],
    [422, 'invalid_input', 'INVALID_REQUEST', /invalid_input/],
    [409, 'uniqueness_error', 'CONFLICT', /Rename or delete it/],
  ],
  passing: [
    [409, 'conflict'],
    [504, 'timeout'],
    [502, 'bad_gateway'],
  ],
  pages: { servers: 105, reads: 3 },
});

describe('the hetzner provider', () => {
  test('P12: what is made carries its labels, key, image and user data', async () => {
    await using it = await open();
    const options = permitted();
    const { ref } = await it.provider.ensureServer(
      spec({ ssh_public_key: KEY, user_data: '#!/bin/sh\ntrue', image: 'almalinux-9', tags: ['env=prod', 'blue'] }),
      options,
    );
    const made = it.fake.servers.get(Number(ref));
    assert.deepEqual(made?.labels, {
      'provisioning-operation': options.operationId,
      'provisioning-installation': 'test',
      'provisioning-workspace': 'w',
      'provisioning-plan': '2xCPU-4GB',
      'provisioning-type': 'cx22',
      'provisioning-hostname': 'web-1',
      env: 'prod',
      blue: '',
    });
    assert.match(made?.userData ?? '', /multipart\/mixed[\s\S]*#!\/bin\/sh\ntrue[\s\S]*hostname: "web-1"/);
    assert.deepEqual((await it.provider.listServers())[0]?.tags, ['blue', 'env=prod']);
    // A second server of the workspace uses the same key.
    const second = await it.provider.ensureServer(spec({ ssh_public_key: KEY }), permitted());
    assert.equal(it.fake.keys.size, 1);
    assert.deepEqual(it.fake.servers.get(Number(second.ref))?.keys, made?.keys);
    assert.equal(made?.rootPassword, null);
  });

  test('P41: the host key goes to cloud-init, beside the user data', async () => {
    await using it = await open();
    for (const user_data of [null, '#!/bin/sh\ntrue']) {
      const { ref } = await it.provider.ensureServer(spec({ ssh_host_key: HOST_KEY, user_data }), permitted());
      const userData = it.fake.servers.get(Number(ref))?.userData ?? '';
      assertGivesHostKey(userData);
      assert.equal(userData.includes('#!/bin/sh\ntrue'), user_data !== null);
    }
  });

  test('P9: two processes that need one key at once upload it once', async () => {
    await using it = await open();
    const other = createHetznerProvider(settingsFor(it.fake));
    await Promise.all(
      [it.provider, other].map((provider) => provider.ensureServer(spec({ ssh_public_key: KEY }), permitted())),
    );
    assert.deepEqual([it.fake.servers.size, it.fake.keys.size], [2, 1]);
    await other.close?.();
  });

  test('a system that does not shut down is switched off', async () => {
    await using it = await open();
    const provider = createHetznerProvider({ ...settingsFor(it.fake), shutdownMs: 150 });
    const options = permitted();
    const { ref } = await provider.ensureServer(spec(), options);
    while ((await provider.observeServers([ref])).get(ref)?.status !== 'running');
    it.fake.stubborn.systems = true;
    await provider.stopServer(ref, options);
    assert.deepEqual(
      it.fake.calls.flatMap(({ line }) => /actions\/(\w+)/.exec(line)?.[1] ?? []),
      ['shutdown', 'poweroff'],
    );
    await provider.close?.();
  });

  test('a neutral plan is the cheapest type of its size that the zone has', async () => {
    await using it = await open();
    const plans = new Map((await it.provider.listPlans()).map((plan) => [plan.name, plan]));
    assert.deepEqual(plans.get('2xCPU-4GB')?.prices, {
      fsn1: { currency: 'EUR', hourly: 0.006, monthly: 3.6 },
      nbg1: { currency: 'EUR', hourly: 0.006, monthly: 3.6 },
      hel1: { currency: 'EUR', hourly: 0.005, monthly: 3 },
    });
    assert.ok(plans.has('cax11') && !plans.has('cx11'));
    for (const [zone, type] of [
      ['hel1', 'cx23'],
      ['fsn1', 'cx22'],
    ] as const) {
      const { ref } = await it.provider.ensureServer(spec({ zone }), permitted());
      assert.equal(it.fake.servers.get(Number(ref))?.type, type);
    }
    const problems = await it.provider.validate(spec({ plan: 'cax11', zone: 'hel1' }));
    assert.deepEqual(
      problems.map(({ field }) => field),
      ['plan'],
    );
  });

  test('a server without a public address has the one of its network', async () => {
    await using it = await open();
    const { ref } = await it.provider.ensureServer(spec({ networks: ['7'] }), permitted());
    assert.equal((await it.provider.observeServers([ref])).get(ref)?.ip_address, '10.0.0.2');
    assert.deepEqual(
      (await it.provider.validate(spec({ networks: ['lan'] }))).map(({ field }) => field),
      ['networks'],
    );
  });
});

function settingsFor(fake: FakeHetzner) {
  return {
    endpoint: fake.endpoint,
    credentials: { token: fake.token },
    ...COMMON,
  };
}
