import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ProcedureContext, StepCall } from '../../src/engine/procedure.ts';
import { createHetznerProvider } from '../../src/providers/hetzner/provider.ts';
import { untilRunning } from '../../src/servers/create/procedure.ts';
import { changePlan } from '../../src/servers/plan-change.ts';
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
    // hcloud-go/hcloud/error.go says what each code means.
    [423, 'resource_locked', 'FORBIDDEN', /ask its support/],
    [422, 'invalid_server_type', 'INVALID_REQUEST', /Choose another plan/],
    [422, 'no_subnet_available', 'INVALID_REQUEST', /no subnet in this zone/],
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
      'provisioning-type': 'cpx22',
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
      fsn1: { currency: 'EUR', hourly: 0.01, monthly: 6 },
      nbg1: { currency: 'EUR', hourly: 0.005, monthly: 3 },
      hel1: { currency: 'EUR', hourly: 0.005, monthly: 3 },
    });
    assert.ok(plans.has('cax11'));
    for (const [zone, type] of [
      ['hel1', 'cx23'],
      ['fsn1', 'cpx22'],
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
    // Without any network Hetzner makes a server and then cannot start it: hcloud-go/hcloud/server.go, Create.
    for (const networks of [['lan'], []]) {
      assert.deepEqual(
        (await it.provider.validate(spec({ networks }))).map(({ field }) => field),
        ['networks'],
      );
    }
  });

  test('what is sold out or going away in a location is not offered there', async () => {
    // hcloud-go/hcloud/schema/server_type.go, ServerTypeLocation: available and deprecation, for each location.
    await using it = await open();
    const plans = new Map((await it.provider.listPlans()).map((plan) => [plan.name, Object.keys(plan.prices ?? {})]));
    assert.deepEqual(
      ['cx22', 'ccx13', 'cx23', 'cpx22', '2xCPU-4GB'].map((name) => plans.get(name)?.toSorted()),
      // What is sold out keeps its size and price, which servers have that stand there.
      [undefined, ['fsn1'], ['fsn1', 'hel1', 'nbg1'], ['fsn1', 'nbg1'], ['fsn1', 'hel1', 'nbg1']],
    );
    for (const [plan, words] of [
      ['cx22', /has no plan "cx22"/],
      ['ccx13', /sold out in fsn1 at the moment/],
      ['cx23', /sold out in fsn1 at the moment/],
      ['2xCPU-4GB', null],
    ] as const) {
      const problems = await it.provider.validate(spec({ plan, zone: 'fsn1' }));
      assert.equal(problems.length, words === null ? 0 : 1, plan);
      if (words === null) continue;
      assert.match(problems[0]?.message ?? '', words);
      assert.ok((problems[0]?.near_matches.length ?? 0) > 0, plan);
    }
    for (const plan of ['ccx13', 'cx23']) {
      // It was to be had when the request was checked.
      await assert.rejects(it.provider.ensureServer(spec({ plan, zone: 'fsn1' }), permitted()), {
        ...{ code: 'CAPACITY_EXHAUSTED', retryable: false },
        message: /sold out.*Choose another zone or plan/,
      });
    }
    const { ref } = await it.provider.ensureServer(spec({ zone: 'fsn1' }), permitted());
    assert.equal(it.fake.servers.get(Number(ref))?.type, 'cpx22');
  });

  test('P45: a server that Hetzner leaves off is switched on', async () => {
    await using it = await open();
    it.fake.leavesOff.starts = 2;
    const seen = await untilRunning(oneStep(), spec(), {
      withProvider: (work) => work(it.provider),
      startPausesMs: [50, 50, 50],
    });
    assert.equal(seen.status, 'running');
    assert.equal(it.fake.calls.filter(({ line }) => line.endsWith('/actions/poweron')).length, 2);
  });

  test('what Hetzner accepts and then fails to do fails with its reason', async () => {
    // hcloud-go/hcloud/schema/action.go: status `error`, and `error` with code and message.
    await using it = await open();
    it.fake.failing.set('start_server', { code: 'resource_unavailable', message: 'no room on any host' });
    const options = permitted();
    const { ref } = await it.provider.ensureServer(spec(), options);
    while ((await it.provider.observeServers([ref])).get(ref)?.status !== 'stopped');
    it.fake.failing.set('start_server', { code: 'resource_unavailable', message: 'no room on any host' });
    await assert.rejects(it.provider.startServer(ref, options), {
      code: 'CAPACITY_EXHAUSTED',
      retryable: false,
      message:
        /accepted to start the server and then failed: no room on any host \(resource_unavailable\)\. .*another zone or plan/,
    });
    it.fake.failing.set('start_server', { code: 'action_failed', message: 'x' });
    await assert.rejects(it.provider.startServer(ref, options), { code: 'FAILED', retryable: true });
    await it.provider.startServer(ref, options);
    assert.equal((await it.provider.readServer?.(ref))?.status, 'running');
  });

  test('many actions at once are asked for together', async () => {
    await using it = await open();
    const made = await Promise.all(Array.from({ length: 60 }, () => it.provider.ensureServer(spec(), permitted())));
    while ((await it.provider.listServers()).some(({ status }) => status !== 'running'));
    const before = it.fake.calls.length;
    await Promise.all(made.map(({ ref }) => it.provider.restartServer(ref, permitted())));
    const asked = it.fake.calls.slice(before).filter(({ line }) => line.startsWith('GET /v1/actions?'));
    assert.ok(asked.length > 0 && asked.length < 20, `${asked.length} looks at 60 actions`);
  });

  test('a server that is repaired while it is off is off afterwards', async () => {
    // Hetzner starts a server whose type it has changed: its API's description of change_type.
    await using it = await open();
    const options = permitted();
    const { ref } = await it.provider.ensureServer(spec(), options);
    while ((await it.provider.readServer?.(ref))?.status !== 'running');
    const call = { ...options, signal: new AbortController().signal, log: async () => {}, waited: () => {} };
    for (const [plan, running] of [
      ['4xCPU-8GB', false],
      ['2xCPU-4GB', true],
    ] as const) {
      await it.provider.stopServer(ref, options);
      await changePlan(it.provider, ref, { plan, zone: 'fsn1' }, running, call as unknown as StepCall);
      const { status, plan: now } = (await it.provider.readServer?.(ref)) ?? {};
      assert.deepEqual([now, status], [plan, running ? 'running' : 'stopped']);
    }
  });
});

/** Runs each step once. */
function oneStep(): ProcedureContext['step'] {
  const call = {
    ...permitted(),
    signal: new AbortController().signal,
    repeated: false,
    log: async () => {},
    waited: () => {},
  };
  return ((_name: string, work: (call: StepCall) => Promise<unknown>) =>
    work(call as unknown as StepCall)) as ProcedureContext['step'];
}

function settingsFor(fake: FakeHetzner) {
  return {
    endpoint: fake.endpoint,
    credentials: { token: fake.token },
    ...COMMON,
  };
}
