import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { untilObserved } from '../../src/providers/observer.ts';
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

const NEVER = new AbortController().signal;
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
    [409, 'RESOURCE_ALREADY_EXISTS', 'CONFLICT', /name is taken/],
    // These codes are upcloud-go-api's (error_codes.go).
    [409, 'TAG_EXISTS', 'CONFLICT', /name is taken/],
    [400, 'DUPLICATE_LABEL_KEYS', 'INVALID_REQUEST', /each key once/],
    [400, 'INVALID_LABEL_KEY', 'INVALID_REQUEST', /2 to 32 characters/],
    [409, 'STORAGE_IN_USE', 'CONFLICT', /detach it there/],
    [409, 'STORAGE_ATTACHED_AS_DISK', 'CONFLICT', /detach it there/],
    [403, 'TRIAL_PLAN', 'FORBIDDEN', /end the trial/],
  ],
  passing: [
    [409, 'SERVER_STATE_ILLEGAL'],
    [409, 'DEVICE_ADDRESS_NOT_IN_USE'],
  ],
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

  // The defaults of UpCloud's own clients keep disks and backups: upcloud-api deletes with `storages=0&backups=keep`.
  test('P42: a disk that was attached later stays with its backups, and so does a backup of the server’s own', async () => {
    await using it = await open();
    for (const oldTitle of [false, true]) {
      const options = permitted();
      const { ref } = await it.provider.ensureServer(spec(), options);
      const [own = ''] = it.fake.servers.get(ref)?.devices.map(({ storage }) => storage) ?? [];
      const disk = it.fake.storages.get(own);
      assert.match(disk?.title ?? '', /^web-1-disk-\d{17}$/);
      // As earlier versions made them.
      if (oldTitle && disk !== undefined) disk.title = 'web-1-disk';
      const data = await storageOf(it.fake, 'POST', '', { title: 'data', size: 10, zone: 'de-fra1' });
      await attach(it.fake, ref, data);
      const backup = await storageOf(it.fake, 'POST', `/${own}/backup`, { title: 'of its own' });
      const kept = [data, await storageOf(it.fake, 'POST', `/${data}/backup`, { title: 'of data' }), backup];
      const notices: string[] = [];
      await it.provider.deleteServer(ref, { ...options, onNotice: (notice) => notices.push(notice) });
      assert.equal(it.fake.servers.size, 0);
      assert.deepEqual([...it.fake.storages.keys()].toSorted(), kept.toSorted());
      assert.equal(notices.length, 2);
      assert.ok(notices[0]?.includes(data) && notices[0].includes('"data"'), notices[0]);
      assert.match(notices[1] ?? '', new RegExp(`backup ${backup}`));
      it.fake.storages.clear();
    }
  });

  test('P22: a deletion that another one overtakes, which takes the disk too, succeeds', async () => {
    let fake: FakeUpcloud | undefined;
    let overtaken = 0;
    await using it = await open({
      // Comes right after the last look at the stopped server.
      heard: ({ method, path }) => {
        const server = method === 'GET' ? fake?.servers.get(path.replace('/1.3/server/', '')) : undefined;
        if (server?.state !== 'stopped') return;
        overtaken += 1;
        fake?.servers.clear();
        fake?.storages.clear();
      },
    });
    const options = permitted();
    const { ref } = await it.provider.ensureServer(spec(), options);
    fake = it.fake;
    await it.provider.deleteServer(ref, options);
    assert.equal(overtaken, 1);
  });

  test('P42: what stays is told also where the first try did not come to its end', async () => {
    await using it = await open();
    const options = permitted();
    const { ref } = await it.provider.ensureServer(spec(), options);
    const data = await storageOf(it.fake, 'POST', '', { title: 'data', size: 10, zone: 'de-fra1' });
    await attach(it.fake, ref, data);
    const notices: string[] = [];
    // The process ends between what is detached and the delete.
    let changes = 0;
    const guard = () => {
      changes += 1;
      if (changes === 3) throw new Error('another process took over');
    };
    const told = { ...options, onNotice: (notice: string) => notices.push(notice) };
    await assert.rejects(it.provider.deleteServer(ref, { ...told, guard }), /another process/);
    assert.deepEqual(it.fake.servers.get(ref)?.devices.length, 1, 'detached');
    await it.provider.deleteServer(ref, told);
    assert.deepEqual([...it.fake.storages.keys()], [data]);
    assert.deepEqual(
      notices.map((notice) => notice.includes(data)),
      [true],
    );
  });

  test('P42: a disk with an old title of the server’s that is not the first is not its own', async () => {
    await using it = await open();
    const options = permitted();
    const { ref } = await it.provider.ensureServer(spec(), options);
    const [own] = it.fake.servers.get(ref)?.devices ?? [];
    const data = await storageOf(it.fake, 'POST', '', { title: 'web-1-disk', size: 10, zone: 'de-fra1' });
    await attach(it.fake, ref, data);
    const disk = it.fake.storages.get(own?.storage ?? '');
    if (disk !== undefined) disk.title = 'renamed';
    await it.provider.deleteServer(ref, options);
    assert.equal(it.fake.storages.size, 2);
  });

  test('P42: of a server that was made elsewhere, no disk is deleted', async () => {
    await using it = await open();
    const options = permitted();
    const { ref } = await it.provider.ensureServer(spec(), options);
    const server = it.fake.servers.get(ref);
    if (server !== undefined) server.labels = [{ key: 'env', value: 'prod' }];
    await it.provider.labelServer?.(ref, { operationId: options.operationId, workspace: 'w', tags: [] }, options);
    const notices: string[] = [];
    await it.provider.deleteServer(ref, { ...options, onNotice: (notice) => notices.push(notice) });
    assert.deepEqual([it.fake.servers.size, it.fake.storages.size, notices.length], [0, 1, 1]);
  });

  // upcloud-api says of both: "API responds immediately, with state: started".
  test('P43: a server that restarts does not count as running before it has', async () => {
    await using it = await open();
    const options = permitted();
    const { ref } = await it.provider.ensureServer(spec(), options);
    await untilObserved(it.provider, ref, (server) => server?.status === 'running', NEVER);
    await it.provider.restartServer(ref, options);
    assert.equal((await it.provider.readServer?.(ref))?.status, 'starting');
    await untilObserved(it.provider, ref, (server) => server?.status === 'running', NEVER);
    assert.equal(it.fake.servers.get(ref)?.state, 'started');
  });

  // upcloud-go-api has four states of a server, of which UpCloud's reference lets one be deleted.
  test('a broken server is tried again, with whom to ask', async () => {
    await using it = await open();
    const options = permitted();
    const { ref } = await it.provider.ensureServer(spec(), options);
    const server = it.fake.servers.get(ref);
    await untilObserved(it.provider, ref, (seen) => seen?.status === 'running', NEVER);
    if (server !== undefined) server.state = 'error';
    await assert.rejects(it.provider.deleteServer(ref, options), {
      ...{ code: 'CONFLICT', retryable: true },
      message: /\(error\).*support/,
    });
    assert.deepEqual([it.fake.servers.size, it.fake.storages.size], [1, 1]);
  });

  test('plans with a GPU are not offered', async () => {
    await using it = await open();
    assert.ok(!(await it.provider.listPlans()).some(({ name }) => name.startsWith('GPU-')));
  });

  test('P36: labels that UpCloud keeps for itself are no tags', async () => {
    await using it = await open();
    const { ref } = await it.provider.ensureServer(spec({ tags: ['env=prod'] }), permitted());
    it.fake.servers.get(ref)?.labels.push({ key: '_managed', value: 'yes' });
    assert.deepEqual((await it.provider.readServer?.(ref))?.tags, ['env=prod']);
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

/** Somebody else's call. @returns the UUID of the storage that it answers. */
async function storageOf(fake: FakeUpcloud, method: string, path: string, storage: object): Promise<string> {
  const { body } = await call(fake, method, `/storage${path}`, { storage });
  return body.storage?.uuid ?? assert.fail('no storage');
}

async function attach(fake: FakeUpcloud, server: string, storage: string): Promise<void> {
  const { status } = await call(fake, 'POST', `/server/${server}/storage/attach`, { storage_device: { storage } });
  assert.equal(status, 200);
}

async function call({ endpoint, token }: FakeUpcloud, method: string, path: string, body: object) {
  const headers = { authorization: `Bearer ${token}` };
  const answer = await fetch(`${endpoint}/1.3${path}`, { method, headers, body: JSON.stringify(body) });
  const shown: { storage?: { uuid: string } } = JSON.parse(await answer.text());
  return { status: answer.status, body: shown };
}

function settingsFor(fake: FakeUpcloud) {
  return {
    endpoint: fake.endpoint,
    credentials: { token: fake.token },
    ...COMMON,
  };
}
