/** The stand-in for Hetzner Cloud, and what the provider asks of it, as Hetzner's own libraries see them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StepCall } from '../../src/engine/procedure.ts';
import { createHetznerProvider } from '../../src/providers/hetzner/provider.ts';
import { changePlan } from '../../src/servers/plan-change.ts';
import { startFakeHetzner } from '../clouds/hetzner.ts';
import { COMMON, HOST_KEY, permitted, specsIn } from '../contracts/cloud.testsuite.ts';
import { openGo } from './go.ts';
import { openPython } from './python.ts';

const go = await openGo(new URL('hetzner', import.meta.url).pathname);
const python = await openPython(['hcloud==2.27.0']);
const version = go.skip === false ? String(await go.program.run(['version'])) : 'hcloud-go';

const LIVELY = { settle: { create: 40, stop: 20, start: 20, remove: 10 } };
const KEY = `ssh-ed25519 ${Buffer.from('a public key').toString('base64')} provisioning`;
/** What is accepted, and fails. */
const FAILING = { code: 'action_failed', message: 'it did not come back' };

test(`hcloud-go leads servers through their whole life at the stand-in (${version})`, { skip: go.skip }, async () => {
  await using fake = await startFakeHetzner(LIVELY);
  fake.failing.set('reboot_server', FAILING);
  assert.deepEqual(await go.program.run(['life', fake.endpoint], { env: { HCLOUD_TOKEN: fake.token } }), {
    cx23: {
      fsn1: 'available=false deprecated=false',
      nbg1: 'available=true deprecated=false',
      hel1: 'available=true deprecated=false',
    },
    ...{ currency: 'EUR', 'keys by label': 1, 'key twice': 'uniqueness_error', 'by label': 1, 'over pages': 30 },
    made: ['web-1', 'running', 'fsn1', 'cpx22', 'debian-12', 1, 'prod', true, true],
    ...{ 'type of one that runs': 'server_not_stopped', changed: ['cx33', 'running'] },
    ...{ 'failed action': 'action: action_failed', snapshot: ['snapshot', 'available', 'web-1'] },
    errors: {
      ...{ 'name taken': 'uniqueness_error', 'sold out': 'resource_unavailable', 'going away': 'invalid_server_type' },
      ...{ invalid: 'invalid_input', 'wrong token': 'unauthorized', 'not there': true, 'delete locked': 'protected' },
    },
  });
  assert.deepEqual([fake.servers.size, fake.keys.size, fake.networks.size], [0, 0, 1]);
});

test(`hcloud-python leads servers through their whole life at the stand-in (${python.versions || 'hcloud'})`, {
  skip: python.skip,
}, async () => {
  await using fake = await startFakeHetzner(LIVELY);
  fake.failing.set('reboot_server', FAILING);
  const script = new URL('hcloud_life.py', import.meta.url).pathname;
  const said = await python.python.run([script], { env: { ENDPOINT: fake.endpoint, TOKEN: fake.token } });
  assert.deepEqual(JSON.parse(said), {
    cx23: { fsn1: false, nbg1: true, hel1: true },
    images: ['alma-9', 'centos-stream-9', 'debian-12', 'rocky-9', 'ubuntu-24.04'],
    ...{ keys: ['me', 1], 'password with a key': null, 'password without a key': true, private: true },
    made: ['web-1', 'running', 'fsn1', 'cpx22', 'debian-12', true, true],
    ...{ 'by label': ['web-1'], changed: ['cx33', 'running'], 'type of one that runs': 'server_not_stopped' },
    'failed action': 'action: action_failed',
    actions: ['change_server_type', 'create_server', 'reboot_server', 'shutdown_server', 'start_server', 'stop_server'],
    snapshot: ['available', 'none'],
    errors: {
      ...{ protected: 'protected', 'name taken': 'uniqueness_error', 'sold out': 'resource_unavailable' },
      ...{ 'going away': 'invalid_server_type', invalid: 'invalid_input', 'no image': 'invalid_input' },
      ...{ 'not there': 'not_found', 'wrong token': 'unauthorized' },
    },
    ...{ page: [10, 32, 3], 'over pages': 32 },
  });
  assert.deepEqual([fake.servers.size, fake.keys.size, fake.networks.size], [0, 0, 1]);
});

/** All that goes over the wire meanwhile, requests and answers. */
async function recorded(work: () => Promise<void>): Promise<Record<string, unknown>[]> {
  const exchanges: Record<string, unknown>[] = [];
  const { fetch } = globalThis;
  globalThis.fetch = async (address, init) => {
    const response = await fetch(address, init);
    const { pathname, search } = new URL(String(address));
    const text = await response.clone().text();
    exchanges.push({
      ...{ method: init?.method ?? 'GET', path: `${pathname}${search}`, status: response.status },
      request: typeof init?.body === 'string' ? JSON.parse(init.body) : null,
      response: text === '' ? null : JSON.parse(text),
    });
    return response;
  };
  try {
    await work();
  } finally {
    globalThis.fetch = fetch;
  }
  return exchanges;
}

test(`what the provider and the stand-in say fits the schemas of ${version}`, { skip: go.skip }, async () => {
  await using fake = await startFakeHetzner(LIVELY);
  const provider = createHetznerProvider({
    ...COMMON,
    ...{ endpoint: fake.endpoint, credentials: { token: fake.token }, shutdownMs: 100 },
  });
  const spec = specsIn('fsn1');
  const exchanges = await recorded(async () => {
    const options = permitted();
    await provider.validate(spec());
    const wanted = spec({ ssh_public_key: KEY, ssh_host_key: HOST_KEY, user_data: '#!/bin/sh\n', tags: ['env=prod'] });
    const { ref } = await provider.ensureServer(wanted, options);
    await provider.ensureServer(spec({ networks: ['7'] }), permitted());
    while ((await provider.readServer?.(ref))?.status !== 'running');
    await provider.listServers({ unlabelled: true });
    await provider.labelServer?.(ref, { operationId: options.operationId, workspace: 'w', tags: ['blue'] }, options);
    await provider.restartServer(ref, options);
    await provider.stopServer(ref, options);
    await provider.startServer(ref, options);
    await provider.stopServer(ref, options);
    const call = { ...options, signal: new AbortController().signal, log: async () => {}, waited: () => {} };
    await changePlan(provider, ref, { plan: '4xCPU-8GB', zone: 'fsn1' }, true, call as unknown as StepCall);
    fake.stubborn.systems = true;
    await provider.stopServer(ref, options);
    fake.refusing.creates = { status: 412, code: 'resource_unavailable', message: 'sold out' };
    await assert.rejects(provider.ensureServer(spec(), permitted()));
    await provider.deleteServer(ref, options);
    assert.equal(await provider.readServer?.('1'), null);
  });
  await provider.close?.();
  const { problems, seen } = (await go.program.run(['judge'], { input: JSON.stringify(exchanges) })) as {
    problems: string[];
    seen: string[];
  };
  assert.deepEqual(problems, []);
  // Each call that the provider ever makes.
  assert.equal(seen.length, 17, seen.join('\n'));
});
