import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createAwsProvider } from '../../src/providers/aws/provider.ts';
import { type FakeAws, startFakeAws } from '../clouds/aws.ts';
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

const spec = specsIn('eu-central-1a');
const open = opener(startFakeAws, (fake) => createAwsProvider(settingsFor(fake)));

cloudSuite({
  name: 'aws',
  spec,
  open,
  connect: (fake, { stranger, ...own }) =>
    createAwsProvider({
      ...settingsFor(fake),
      ...own,
      ...(stranger ? { credentials: { accessKeyId: 'AKIAWRONG', secretAccessKey: CANARY } } : {}),
    }),
  create: /Action=RunInstances/,
  refusals: [
    [400, 'VcpuLimitExceeded', 'QUOTA_EXCEEDED', /Service Quotas/],
    [400, 'InstanceLimitExceeded', 'QUOTA_EXCEEDED', /Service Quotas/],
    [500, 'InsufficientInstanceCapacity', 'CAPACITY_EXHAUSTED', /another zone or plan/],
    [403, 'UnauthorizedOperation', 'FORBIDDEN', /policy/],
    [401, 'AuthFailure', 'AUTHENTICATION_FAILED', /access key/],
    [400, 'RequestExpired', 'AUTHENTICATION_FAILED', /clock/],
    [400, 'InvalidParameterValue', 'INVALID_REQUEST', /InvalidParameterValue/],
    [400, 'Unsupported', 'INVALID_REQUEST', /Unsupported/],
  ],
  passing: [[500, 'InternalError']],
});

describe('the aws provider', () => {
  test('P12, P23: what is made carries its tags, key, image and user data, and goes with its disk', async () => {
    await using it = await open();
    const options = permitted();
    const { ref } = await it.provider.ensureServer(
      spec({ ssh_public_key: 'ssh-ed25519 AAAA x', user_data: '#!/bin/sh\ntrue', tags: ['env=prod', 'blue'] }),
      options,
    );
    const made = it.fake.instances.get(ref);
    assert.deepEqual(Object.fromEntries(made?.tags ?? []), {
      Name: 'web-1',
      'provisioning-operation': options.operationId,
      'provisioning-installation': 'test',
      'provisioning-workspace': 'w',
      'provisioning-plan': '2xCPU-4GB',
      'provisioning-type': 't3.medium',
      env: 'prod',
      blue: '',
    });
    assert.equal(made?.image, 'ami-00000000000debian', 'the newest image');
    assert.match(made?.userData ?? '', /#!\/bin\/sh\ntrue[\s\S]*hostname: "web-1"[\s\S]*ssh-ed25519 AAAA x/);
    assert.deepEqual((await it.provider.listServers())[0]?.tags, ['blue', 'env=prod']);
    await it.provider.deleteServer(ref, options);
    while ((await it.provider.observeServers([ref])).size > 0);
    assert.deepEqual([it.fake.alive().length, it.fake.volumes.size], [0, 0]);
  });

  test('P41: the host key goes to cloud-init, beside the user data', async () => {
    await using it = await open();
    for (const user_data of [null, '#!/bin/sh\ntrue']) {
      const { ref } = await it.provider.ensureServer(spec({ ssh_host_key: HOST_KEY, user_data }), permitted());
      const userData = it.fake.instances.get(ref)?.userData ?? '';
      assertGivesHostKey(userData);
      assert.equal(userData.includes('#!/bin/sh\ntrue'), user_data !== null);
    }
  });

  test('P10: lists that lag do not lead to a second server, nor do other parameters', async () => {
    await using it = await open({ listingLagMs: 60_000 });
    const options = permitted();
    const first = await it.provider.ensureServer(spec(), options);
    assert.equal((await it.provider.ensureServer(spec(), options)).ref, first.ref);
    await assert.rejects(it.provider.ensureServer(spec({ plan: '1xCPU-1GB' }), options), {
      code: 'CONFLICT',
      retryable: true,
    });
    assert.equal(it.fake.alive().length, 1);
  });

  test('a neutral plan is the type of its size that is usual, and only where the zone has it', async () => {
    await using it = await open();
    const plans = new Map((await it.provider.listPlans()).map((plan) => [plan.name, plan]));
    assert.equal(plans.get('2xCPU-4GB')?.native_name, 't3.medium');
    assert.equal(plans.get('1xCPU-1GB')?.native_name, 't2.micro');
    assert.ok(plans.has('c6i.xlarge') && plans.has('t3.nano'));
    const problems = await it.provider.validate(spec({ plan: '4xCPU-8GB', zone: 'eu-central-1c', image: 'debian-9' }));
    assert.deepEqual(
      problems.map(({ field, near_matches: near }) => [field, near.length > 0]),
      [
        ['plan', true],
        ['image', true],
      ],
    );
    assert.deepEqual(await it.provider.validate(spec({ image: 'ami-0123456789abcdef0', networks: ['private'] })), []);
  });
});

function settingsFor(fake: FakeAws) {
  const { endpoint, credentials, region } = fake;
  return {
    region,
    endpoint,
    credentials,
    securityGroups: [],
    ...COMMON,
  };
}
