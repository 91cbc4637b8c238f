/** What is asked of a server and what the cloud gets: images, networks, user data, tags, and what is shown of them. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import type { Cloud } from '../clouds/all.ts';
import { expectError } from '../support/acceptance.ts';
import { assertFree, assertNotStored } from '../support/canaries.ts';
import { startCloudInstallation } from '../support/cloud-installation.ts';
import { ended, type Operation } from '../support/server.ts';

const installation = await startCloudInstallation({ LOG_LEVEL: 'debug' });
after(() => installation.close());
const { clouds, create, lines, server } = installation;
const { admin } = server;

/** A neutral name and what the cloud calls it, an id of the cloud's own, and one of its networks. */
const NATIVE: Record<string, { neutral: [name: string, id: string][]; image: string; network: string }> = {
  upcloud: {
    neutral: [
      ['debian-12', '01000000-0000-4000-8000-000020070100'],
      ['ubuntu-24.04', '01000000-0000-4000-8000-000030240200'],
    ],
    image: '01000000-0000-4000-8000-000020060100',
    network: '03000000-0000-4000-8000-000000000007',
  },
  hetzner: {
    neutral: [
      ['debian-12', '100'],
      ['ubuntu-24.04', '102'],
      ['almalinux-9', '106'],
      ['centos-9', '108'],
    ],
    image: '104',
    network: '7',
  },
  aws: {
    neutral: [
      ['debian-12', 'ami-0000000000000deb2'],
      ['ubuntu-24.04', 'ami-00000000000000bb1'],
    ],
    image: 'ami-0123456789abcdef0',
    network: 'subnet-0123456789abcdef0',
  },
};

describe('what is asked of a server', { concurrency: true }, () => {
  for (const cloud of clouds) describe(cloud.name, { concurrency: 1 }, () => specTests(cloud));
});

let servers = 0;
async function make(cloud: Cloud, wishes: Record<string, unknown>): Promise<Operation> {
  servers += 1;
  const { id } = await create(cloud, { hostname: `host-${servers}`, ...wishes });
  const operation = await ended(admin, id, 60);
  assert.equal(operation.status, 'completed', String(operation.error));
  return operation;
}

function specTests(cloud: Cloud): void {
  const { neutral = [], image = '', network = '' } = NATIVE[cloud.name] ?? {};

  test('images: neutral names become what the cloud calls them, and its own ids are taken as they are', async () => {
    for (const [wish, id] of [...neutral, [image, image], [undefined, neutral[0]?.[1]]] as const) {
      const operation = await make(cloud, wish === undefined ? {} : { image: wish });
      assert.equal(cloud.made(operation.id)?.image, id, `${wish}`);
    }
  });

  test('networks: public is the default, private has no public address, and own ones are taken by their id', async () => {
    const wishes: [string[] | undefined, boolean][] = [
      [undefined, true],
      [['public'], true],
      [['public', network], true],
      [[network], false],
    ];
    // Hetzner has no private network of its own accord: one has to be named.
    if (cloud.name !== 'hetzner') wishes.push([['private'], false]);
    for (const [networks, isPublic] of wishes) {
      const operation = await make(cloud, networks === undefined ? {} : { networks });
      assert.equal(cloud.made(operation.id)?.isPublic, isPublic, `${networks}`);
      const { ip_address: address } = await installation.record(operation);
      assert.equal(/^(10|172\.31)\./.test(address ?? ''), !isPublic, `${networks}: ${address}`);
    }
    const wrong = await admin.request('POST', '/v1/servers/create', {
      ...{ ...cloud.spec(), workspace: 'default', provider: cloud.name, hostname: 'wrong', networks: ['lan'] },
    });
    assert.match(JSON.stringify(expectError(wrong, 400)), /networks.*lan/);
  });

  test('tags become labels, labels become tags, and ours are there and not shown', async () => {
    const operation = await make(cloud, { tags: ['env=prod', 'team=edge'] });
    const labels = cloud.made(operation.id)?.labels ?? {};
    assert.deepEqual([labels.env, labels.team], ['prod', 'edge']);
    assert.deepEqual(
      [labels['provisioning-operation'], labels['provisioning-workspace'], labels['provisioning-plan']],
      [operation.id, 'default', '2xCPU-4GB'],
    );
    assert.match(labels['provisioning-installation'] ?? '', /^.{8,63}$/);
    assert.deepEqual((await installation.record(operation)).tags.toSorted(), ['env=prod', 'team=edge']);
    const provider = cloud.provider({ calls: 6_000, perSeconds: 60 });
    const listed = (await provider.listServers()).find((each) => each.operation_id === operation.id);
    await provider.close?.();
    assert.deepEqual(listed?.tags, ['env=prod', 'team=edge']);
  });

  test('user data reaches cloud-init; neither it nor any secret of the cloud rests or shows anywhere', async () => {
    const canary = `canary-of-user-data-at-${cloud.name}`;
    const operation = await make(cloud, { user_data: `#!/bin/sh\necho ${canary} > /root/token\n` });
    assert.match(cloud.made(operation.id)?.userData ?? '', new RegExp(canary));
    const secrets: Record<string, string> = { 'user data': canary, ...cloud.secrets };
    for (const [place, password] of cloud.passwords().entries()) secrets[`one-time password ${place}`] = password;
    const shown = JSON.stringify([operation, await installation.record(operation), await lines(operation.id)]);
    assertFree(shown, secrets, 'in an answer or an event');
    assertFree(server.output(), secrets, 'in the log');
    await assertNotStored(installation.database.pool, secrets);
    const keys = `${shown}${server.output()}`;
    assert.doesNotMatch(keys, /PRIVATE KEY/);
  });
}
