/** The stand-in for UpCloud, and what the provider asks of it, as UpCloud's own clients see them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { untilObserved } from '../../src/providers/observer.ts';
import { createUpcloudProvider } from '../../src/providers/upcloud/provider.ts';
import { startFakeUpcloud } from '../clouds/upcloud.ts';
import { COMMON, permitted, specsIn } from '../contracts/cloud.testsuite.ts';
import { openPython } from './python.ts';
import { ANSWERS, differences, REQUESTS } from './upcloud-fields.ts';

const { skip, python, versions } = await openPython(['upcloud-api==2.9.0']);

test(`upcloud-api leads a server through its whole life at the stand-in (${versions})`, { skip }, async () => {
  await using fake = await startFakeUpcloud();
  const life = new URL('upcloud_life.py', import.meta.url).pathname;
  const said = await python.run([life], { env: { ENDPOINT: fake.endpoint, TOKEN: fake.token } });
  assert.deepEqual(JSON.parse(said), {
    networks: ['private', 'public', 'utility'],
    // "API responds immediately, with state: started", says the client of a restart.
    states: ['started', 'maintenance', 'started'],
    attached: [
      ['web-1-disk', 'virtio:0'],
      ['data', 'virtio:1'],
    ],
    listed: [['web-1', 'renamed', 'started']],
    address: true,
    labels: [{ key: 'usage', value: 'system' }],
    left: ['data', 'of data'],
    backup: 'backup',
    errors: {
      ...{ running: 'SERVER_STATE_ILLEGAL', started: 'SERVER_STATE_ILLEGAL', in_use: 'STORAGE_ATTACHED' },
      ...{ gone: 'SERVER_NOT_FOUND', invalid: 'SERVER_INVALID', zone: 'ZONE_NOT_FOUND' },
      token: 'AUTHENTICATION_FAILED',
    },
  });
  assert.equal(fake.servers.size, 0);
});

test('what provider and stand-in say to each other has the fields that UpCloud’s own clients know', async () => {
  const wrong = new Set<string>();
  const lines = new Set<string>();
  await using fake = await startFakeUpcloud({
    heard: ({ method, path, text }, { status, body }) => {
      const line = `${method} ${path.replace(/\/$/, '')}`;
      if (text !== '') {
        const [form, shape] = REQUESTS.find(([pattern]) => pattern.test(line)) ?? [];
        if (form !== undefined) lines.add(form.source);
        const found = shape === undefined ? [`nobody sends ${line}`] : differences(JSON.parse(text), shape, line);
        for (const difference of found) wrong.add(difference.replace(/[0-9a-f-]{36}/, 'UUID'));
      }
      if (status >= 300 || body === undefined) return;
      for (const difference of differences(body, ANSWERS, 'answer')) wrong.add(difference);
    },
  });
  const { endpoint, token } = fake;
  const provider = createUpcloudProvider({ endpoint, credentials: { token }, ...COMMON });
  const spec = specsIn('de-fra1')({ tags: ['env=prod'], user_data: '#!/bin/sh', ssh_public_key: 'ssh-ed25519 AAAA x' });
  const options = permitted();
  const reached = (status: string) =>
    untilObserved(provider, ref, (server) => server?.status === status, new AbortController().signal);
  await provider.validate(spec);
  const { ref } = await provider.ensureServer(spec, options);
  await reached('running');
  await provider.restartServer(ref, options);
  await reached('running');
  await provider.stopServer(ref, options);
  await reached('stopped');
  await provider.resizeServer?.(ref, { plan: '4xCPU-8GB', zone: spec.zone }, options);
  await provider.labelServer?.(ref, { operationId: options.operationId, workspace: 'w', tags: ['blue'] }, options);
  await provider.startServer(ref, options);
  const headers = { authorization: `Bearer ${token}` };
  const disk = { storage: { title: 'data', size: '10', zone: 'de-fra1', tier: 'maxiops' } };
  const made = await fetch(`${endpoint}/1.3/storage`, { method: 'POST', headers, body: JSON.stringify(disk) });
  const { storage }: { storage: { uuid: string } } = JSON.parse(await made.text());
  const device = { storage_device: { storage: storage.uuid, type: 'disk' } };
  const path = `${endpoint}/1.3/server/${ref}/storage/attach`;
  await fetch(path, { method: 'POST', headers, body: JSON.stringify(device) });
  await provider.deleteServer(ref, options);
  await provider.close?.();
  // These two are of this test.
  const own = [...wrong].filter(
    (each) => !/^nobody sends POST \/1\.3\/(storage|server\/UUID\/storage\/attach)$/.test(each),
  );
  assert.deepEqual(own, []);
  assert.equal(lines.size, REQUESTS.length, 'requests that were sent');
  assert.deepEqual([fake.servers.size, fake.storages.size], [0, 1]);
});
