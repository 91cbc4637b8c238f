import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createAwsProvider } from '../../src/providers/aws/provider.ts';
import type { ProviderErrorCode } from '../../src/providers/contract.ts';
import { type FakeAws, startFakeAws } from '../clouds/aws.ts';
import { assertOneForTwo, assertRefused, COMMON, cloudSuite, opener, permitted, specsIn } from './cloud-setup.ts';

const spec = specsIn('eu-central-1a');
const open = opener(startFakeAws, (fake) => createAwsProvider(settingsFor(fake)));

cloudSuite('aws', open, spec, /Action=RunInstances/);

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
    assert.match(made?.userData ?? '', /hostname: "web-1"[\s\S]*ssh-ed25519 AAAA x[\s\S]*#!\/bin\/sh\ntrue/);
    assert.deepEqual((await it.provider.listServers())[0]?.tags, ['blue', 'env=prod']);
    await it.provider.deleteServer(ref, options);
    while ((await it.provider.observeServers([ref])).size > 0);
    assert.deepEqual([it.fake.alive().length, it.fake.volumes.size], [0, 0]);
  });

  test('P9: two processes that make one server at once make one', async () => {
    await using it = await open();
    const other = createAwsProvider(settingsFor(it.fake));
    await assertOneForTwo(it.provider, other, spec());
    await other.close?.();
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

  test('P30, P32: what a user can cause is refused once, with what to do', async () => {
    const cases: [number, string, ProviderErrorCode, RegExp][] = [
      [400, 'VcpuLimitExceeded', 'QUOTA_EXCEEDED', /Service Quotas/],
      [400, 'InstanceLimitExceeded', 'QUOTA_EXCEEDED', /Service Quotas/],
      [500, 'InsufficientInstanceCapacity', 'CAPACITY_EXHAUSTED', /another zone or plan/],
      [403, 'UnauthorizedOperation', 'FORBIDDEN', /policy/],
      [401, 'AuthFailure', 'AUTHENTICATION_FAILED', /access key/],
      [400, 'RequestExpired', 'AUTHENTICATION_FAILED', /clock/],
      [400, 'InvalidParameterValue', 'INVALID_REQUEST', /InvalidParameterValue/],
      [400, 'Unsupported', 'INVALID_REQUEST', /Unsupported/],
    ];
    await using it = await open();
    await assertRefused(it, spec(), cases);
    it.fake.refusing.creates = { status: 500, code: 'InternalError', message: 'later' };
    await assert.rejects(it.provider.ensureServer(spec(), permitted()), { retryable: true });
    assert.equal(it.fake.created.size, 0);
  });

  test('P7, P33: wrong credentials are no problem of the spec, and are not told', async () => {
    await using it = await open();
    const credentials = { accessKeyId: 'AKIAWRONG', secretAccessKey: 'canary-secret' };
    const stranger = createAwsProvider({ ...settingsFor(it.fake), credentials });
    const error = await stranger.validate(spec()).catch((reason: unknown) => reason);
    assert.equal(Reflect.get(Object(error), 'code'), 'AUTHENTICATION_FAILED');
    assert.ok(!JSON.stringify([error, String(error)]).includes('canary-secret'));
    await stranger.close?.();
  });

  test('P28, P30: garbage, half an answer, a lost one and none at all can be tried again', async () => {
    await using it = await open();
    const provider = createAwsProvider({ ...settingsFor(it.fake), timeoutMs: 2_000 });
    for (const fault of ['garbage', 'truncated', 'lost_answer', 'half_open', 'lost_request', 'server_error'] as const) {
      const options = permitted();
      it.fake.next(/Action=RunInstances/, fault);
      await assert.rejects(provider.ensureServer(spec(), options), { name: 'ProviderError', retryable: true }, fault);
      await provider.ensureServer(spec(), options);
      assert.equal(it.fake.created.get(options.operationId), 1, fault);
    }
    await provider.close?.();
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
