import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';
import { createAwsProvider } from '../../src/providers/aws/provider.ts';
import type { MutationOptions, ProviderErrorCode, ServerSpec } from '../../src/providers/contract.ts';
import { type FakeAws, type FakeAwsSettings, startFakeAws } from '../clouds/aws.ts';
import { providerSuite } from './provider.testsuite.ts';

providerSuite('aws', async () => {
  const fake = await startFakeAws();
  return {
    provider: createAwsProvider(settingsFor(fake)),
    spec,
    loseNextCreateAnswer: () => fake.next(/Action=RunInstances/, 'lost_answer'),
    requestCounts: fake.counts,
    dispose: async () => fake[Symbol.asyncDispose](),
  };
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
    assert.match(made?.userData ?? '', /hostname: "web-1"[\s\S]*ssh-ed25519 AAAA x[\s\S]*#!\/bin\/sh\ntrue/);
    assert.deepEqual((await it.provider.listServers())[0]?.tags, ['blue', 'env=prod']);
    await it.provider.deleteServer(ref, options);
    while ((await it.provider.observeServers([ref])).size > 0);
    assert.deepEqual([it.fake.alive().length, it.fake.volumes.size], [0, 0]);
  });

  test('P9: two processes that make one server at once make one', async () => {
    await using it = await open();
    const other = createAwsProvider(settingsFor(it.fake));
    for (let round = 0; round < 5; round++) {
      const options = permitted();
      const [a, b] = await Promise.all([
        it.provider.ensureServer(spec(), options),
        other.ensureServer(spec(), options),
      ]);
      assert.equal(a.ref, b.ref);
    }
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
    for (const [status, code, expected, message] of cases) {
      it.fake.refusing.creates = { status, code, message: `Refused with ${code}` };
      await assert.rejects(it.provider.ensureServer(spec(), permitted()), {
        code: expected,
        retryable: false,
        message,
      });
    }
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
    const provider = createAwsProvider({ ...settingsFor(it.fake), timeoutMs: 200 });
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
    installation: 'test',
    limit: { calls: 60_000, perSeconds: 60 },
  };
}

async function open(settings: FakeAwsSettings = {}) {
  const fake = await startFakeAws(settings);
  const provider = createAwsProvider(settingsFor(fake));
  return {
    fake,
    provider,
    async [Symbol.asyncDispose]() {
      await provider.close?.();
      await fake[Symbol.asyncDispose]();
    },
  };
}

function spec(overrides: Partial<ServerSpec> = {}): ServerSpec {
  return { workspace: 'w', hostname: 'web-1', plan: '2xCPU-4GB', zone: 'eu-central-1a', tags: [], ...overrides };
}

function permitted(): MutationOptions {
  return { operationId: randomUUID(), guard: () => {} };
}
