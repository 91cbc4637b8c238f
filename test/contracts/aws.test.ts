import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createAwsProvider } from '../../src/providers/aws/provider.ts';
import type { ProviderError } from '../../src/providers/contract.ts';
import { untilObserved } from '../../src/providers/observer.ts';
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

const NEVER = new AbortController().signal;
/** In place of EC2's, which is a matter of seconds. */
const LAG_MS = 400;
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
    // These codes are those of EC2's own list of error codes.
    [400, 'VPCIdNotSpecified', 'INVALID_REQUEST', /name a subnet/],
    [400, 'MissingInput', 'INVALID_REQUEST', /name a subnet/],
    [400, 'InsufficientFreeAddressesInSubnet', 'CAPACITY_EXHAUSTED', /subnet has no address left/],
    [400, 'OptInRequired', 'FORBIDDEN', /payment, verification/],
    [400, 'OperationNotPermitted', 'CONFLICT', /protection off/],
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
    assert.equal(made?.image, 'ami-0000000000000deb2', 'the newest image');
    assert.match(made?.userData ?? '', /#!\/bin\/sh\ntrue[\s\S]*hostname: "web-1"[\s\S]*ssh-ed25519 AAAA x/);
    assert.deepEqual((await it.provider.listServers())[0]?.tags, ['blue', 'env=prod']);
    await it.provider.deleteServer(ref, options);
    while ((await it.provider.observeServers([ref])).size > 0);
    assert.deepEqual([it.fake.alive().length, it.fake.volumes.size], [0, 0]);
  });

  test('P21, P22, P44: what EC2 has forgotten does not exist, though nobody may change it then', async () => {
    await using it = await open();
    const options = permitted();
    const { ref } = await it.provider.ensureServer(spec(), options);
    it.fake.instances.delete(ref);
    await it.provider.deleteServer(ref, options);
    for (const change of ['startServer', 'stopServer', 'restartServer'] as const) {
      await assert.rejects(it.provider[change](ref, options), { code: 'NOT_FOUND', retryable: false }, change);
    }
    const to = { plan: '1xCPU-1GB', zone: 'eu-central-1a' };
    assert.ok(it.provider.resizeServer !== undefined);
    await assert.rejects(it.provider.resizeServer(ref, to, options), { code: 'NOT_FOUND', retryable: false });
    assert.equal(it.fake.calls.filter(({ line }) => line.includes('Action=TerminateInstances')).length, 1);
  });

  test('P21, P22, P44: what a list does not show yet is not believed gone because nobody may change it', async () => {
    await using it = await open({ listingLagMs: LAG_MS / 2 });
    const options = permitted();
    for (const action of ['Terminate', 'Start', 'Stop', 'Reboot']) it.fake.denied.add(`${action}Instances`);
    for (const change of ['deleteServer', 'startServer', 'stopServer', 'restartServer'] as const) {
      // Made a moment ago: the list lacks it.
      const { ref } = await it.provider.ensureServer(spec(), permitted());
      assert.equal(await it.provider.readServer?.(ref), null);
      await assert.rejects(it.provider[change](ref, options), { code: 'FORBIDDEN' }, change);
    }
    const { ref } = await it.provider.ensureServer(spec(), permitted());
    await it.provider.labelServer?.(ref, { operationId: options.operationId, workspace: 'w', tags: ['a=b'] }, options);
    assert.equal(it.fake.instances.get(ref)?.tags.get('a'), 'b');
  });

  // `aws sts decode-authorization-message` takes the encoded message whole.
  test('P32: who may not is told what, and the encoded reason is kept whole', async () => {
    await using it = await open();
    const encoded = 'x'.repeat(2_500);
    const message = `You are not authorized to perform this operation. Encoded authorization failure message: ${encoded}`;
    it.fake.refusing.creates = { status: 403, code: 'UnauthorizedOperation', message };
    const notices: string[] = [];
    const options = { ...permitted(), onNotice: (notice: string) => void notices.push(notice) };
    await assert.rejects(it.provider.ensureServer(spec(), options), (error: ProviderError) => {
      assert.match(
        error.message,
        /not authorized to perform this operation \(UnauthorizedOperation\)\. Give the account/,
      );
      assert.ok(!error.message.includes('xxx'));
      return true;
    });
    assert.deepEqual(
      notices.map((notice) => notice.replace(/^.*: /, '')),
      [`aws sts decode-authorization-message --encoded-message ${encoded}`],
    );
  });

  test('P32: an image of the Marketplace is told apart from an account that is not opened', async () => {
    await using it = await open();
    const message =
      'In order to use this AWS Marketplace product you need to accept terms and subscribe. To do so please visit https://aws.amazon.com/marketplace/pp?sku=x';
    it.fake.refusing.creates = { status: 401, code: 'OptInRequired', message };
    await assert.rejects(it.provider.ensureServer(spec(), permitted()), { code: 'FORBIDDEN', message: /Subscribe/ });
  });

  // Codes and meaning are those that botocore's model of EC2 lists under StateReason.
  for (const [code, becomes, words] of [
    ['Client.VolumeLimitExceeded', 'QUOTA_EXCEEDED', /Service Quotas/],
    ['Client.InternalError', 'FORBIDDEN', /KMS/],
    ['Client.InvalidSnapshot.NotFound', 'INVALID_REQUEST', /another image/],
    ['Client.InstanceInitiatedShutdown', 'FAILED', /shut itself down/],
    ['Server.InsufficientInstanceCapacity', 'CAPACITY_EXHAUSTED', /another zone or plan/],
    ['Server.InternalError', 'FAILED', /Server\.InternalError/],
  ] as const) {
    test(`P48: a launch that ends with ${code} says why, and is not tried again`, async () => {
      await using it = await open();
      it.fake.ending.launches = { code, message: `${code}: reason of EC2` };
      const options = permitted();
      const { ref } = await it.provider.ensureServer(spec(), options);
      assert.equal(await untilObserved(it.provider, ref, (server) => server === null, NEVER), null);
      const why = await it.provider.whyGone?.(ref);
      assert.deepEqual([why?.code, why?.retryable], [becomes, false]);
      assert.match(why?.message ?? '', words);
      await assert.rejects(it.provider.ensureServer(spec(), options), { code: becomes, retryable: false });
      assert.equal(it.fake.created.get(options.operationId), 1);
    });
  }

  test('P48: an instance that somebody terminated did not end by itself', async () => {
    await using it = await open();
    const options = permitted();
    const { ref } = await it.provider.ensureServer(spec(), options);
    await it.provider.deleteServer(ref, options);
    await untilObserved(it.provider, ref, (server) => server === null, NEVER);
    assert.equal(await it.provider.whyGone?.(ref), null);
    await assert.rejects(it.provider.ensureServer(spec(), options), { code: 'NOT_FOUND', retryable: false });
  });

  test('P36, P37: tags that Amazon keeps for itself are not shown, not sent and not taken away', async () => {
    await using it = await open();
    const options = permitted();
    const { ref } = await it.provider.ensureServer(spec({ tags: ['env=prod'] }), options);
    it.fake.instances.get(ref)?.tags.set('aws:autoscaling:groupName', 'web');
    const { tags = [] } = (await it.provider.readServer?.(ref)) ?? {};
    assert.deepEqual(tags, ['env=prod']);
    await it.provider.labelServer?.(ref, { operationId: options.operationId, workspace: 'w', tags }, options);
    assert.equal(it.fake.instances.get(ref)?.tags.get('aws:autoscaling:groupName'), 'web');
  });

  test('an account without a default network says so, and makes servers in a subnet that is named', async () => {
    await using it = await open({ defaultVpc: false });
    await assert.rejects(it.provider.ensureServer(spec(), permitted()), { message: /name a subnet/, retryable: false });
    await it.provider.ensureServer(spec({ networks: ['public', 'subnet-0a1b2c3d4e5f60710'] }), permitted());
    assert.equal(it.fake.alive()[0]?.subnet, 'subnet-0a1b2c3d4e5f60710');
  });

  test('a pinned image may be deprecated; one of another processor is told at the door', async () => {
    await using it = await open();
    assert.deepEqual(await it.provider.validate(spec({ image: 'ami-0000000000000deb1' })), []);
    const [problem] = await it.provider.validate(spec({ image: 'ami-0000000000000deba' }));
    assert.match(`${problem?.field}: ${problem?.message}`, /^image: .*arm64.*x86_64/);
    const graviton = spec({ plan: 't4g.medium', image: 'debian-12' });
    assert.deepEqual(await it.provider.validate(graviton), []);
    await it.provider.ensureServer(graviton, permitted());
    assert.equal(it.fake.alive()[0]?.image, 'ami-0000000000000deba', 'the image of its processor');
    // What runs on x86 does not run on the other: no neutral plan means that one.
    const plans = (await it.provider.listPlans()).map(({ name, native_name: native }) => [name, native]);
    assert.ok(!plans.some(([name, native]) => name !== native && /^(t4|m7)g/.test(native ?? '')));
    assert.ok(!plans.some(([name]) => name === 'p5.48xlarge'), 'a family that is not offered');
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
    listingLagMs: LAG_MS,
    ...COMMON,
  };
}
