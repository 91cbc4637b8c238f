/** New servers of clouds show a host key that was made here: the first login trusts nothing that it sees. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { parse } from 'yaml';
import type { Cloud } from '../clouds/all.ts';
import { expectOk } from '../support/acceptance.ts';
import { assertFree, assertNotStored } from '../support/canaries.ts';
import { startCloudInstallation } from '../support/cloud-installation.ts';
import { ended, type Operation } from '../support/server.ts';
import { needsSshd, startSshd } from '../support/sshd.ts';
import { runBatch } from '../support/workflows.ts';

const installation = await startCloudInstallation({ LOG_LEVEL: 'debug', EGRESS_ALLOW: '127.0.0.0/8' });
after(() => installation.close());
const { clouds, create, lines, server, database } = installation;
const { admin } = server;

interface HostKey {
  ed25519_private: string;
  ed25519_public: string;
}

let servers = 0;
async function make(cloud: Cloud, wishes: Record<string, unknown> = {}): Promise<Operation> {
  servers += 1;
  const { id } = await create(cloud, { hostname: `host-${servers}`, ...wishes });
  const operation = await ended(admin, id, 60);
  assert.equal(operation.status, 'completed', String(operation.error));
  return operation;
}

/** What cloud-init gets as host key; null: nothing. */
function givenKey(userData: string): HostKey | null {
  const document = /#cloud-config\n[\s\S]*?(?=\n--==|$)/.exec(userData)?.[0] ?? '';
  const { ssh_keys: keys } = (parse(document) ?? {}) as { ssh_keys?: HostKey };
  return keys ?? null;
}

async function pinned(id: unknown): Promise<string | null> {
  const { rows } = await database.pool.query<{ host_key: string | null }>(
    'select host_key from provisioning.server_ssh where server_id = $1',
    [id],
  );
  return rows[0]?.host_key ?? null;
}

const withoutComment = (key: string) => key.split(' ').slice(0, 2).join(' ');

describe('host keys', { concurrency: true }, () => {
  for (const cloud of clouds)
    test(`${cloud.name}: the key is made here, pinned and sent, and its private part is nowhere else`, async () => {
      const operation = await make(cloud);
      const key = givenKey(cloud.made(operation.id)?.userData ?? '');
      assert.ok(key !== null);
      assert.equal(await pinned(operation.result?.server_id), withoutComment(key.ed25519_public));
      const another = givenKey(cloud.made((await make(cloud)).id)?.userData ?? '');
      assert.notEqual(another?.ed25519_public, key.ed25519_public);

      // The line of it that holds the seed.
      const secrets = { 'private host key': key.ed25519_private.split('\n').at(-3) ?? '' };
      assert.ok(secrets['private host key'].length > 30);
      const shown = JSON.stringify([operation, await installation.record(operation), await lines(operation.id)]);
      assertFree(shown, secrets, 'in an answer or an event');
      assertFree(server.output(), secrets, 'in the log');
      await assertNotStored(database.pool, secrets);
    });

  for (const cloud of clouds)
    test(`${cloud.name}: the user's own user data is kept, and what sees to host keys itself is left alone`, async () => {
      const script = '#!/bin/sh\necho mine\n';
      const scripted = await make(cloud, { user_data: script });
      const { userData = '' } = cloud.made(scripted.id) ?? {};
      assert.ok(userData.includes(script));
      // UpCloud hands user data over as one document.
      const given = cloud.name !== 'upcloud';
      assert.equal(givenKey(userData) !== null, given);
      assert.equal((await pinned(scripted.result?.server_id)) !== null, given);

      const own = '#cloud-config\nssh_keys: { ed25519_private: mine, ed25519_public: mine }\n';
      const operation = await make(cloud, { user_data: own });
      assert.equal(await pinned(operation.result?.server_id), null);
      assert.equal(cloud.made(operation.id)?.userData.match(/ed25519_private/g)?.length, 1);
    });

  test('a server that is made anew shows the key that it had', async () => {
    const [cloud] = clouds;
    assert.ok(cloud !== undefined);
    const made = await make(cloud);
    const id = String(made.result?.server_id);
    const before = givenKey(cloud.made(made.id)?.userData ?? '');
    cloud.console(made.id).remove();
    const repair = await admin.request<Operation>('POST', `/v1/servers/${id}/repair`, { recreate: true });
    const anew = await ended(admin, expectOk(repair).id, 60);
    assert.equal(anew.status, 'completed', String(anew.error));
    assert.deepEqual(givenKey(cloud.made(anew.id)?.userData ?? ''), before);
    assert.equal(await pinned(id), withoutComment(before?.ed25519_public ?? ''));
  });

  test('whoever answers in its place at the first login is not let near', { skip: needsSshd() }, async () => {
    const cloud = clouds.find(({ name }) => name === 'hetzner');
    assert.ok(cloud !== undefined);
    const made = await make(cloud, { hostname: 'first-login' });
    const key = givenKey(cloud.made(made.id)?.userData ?? '');
    assert.ok(key !== null);
    const { public_key } = expectOk(
      await admin.request<{ public_key: string }>('GET', '/v1/workspaces/default/ssh-key'),
    );
    const moveTo = async (port: number) => {
      const id = made.result?.server_id;
      await database.pool.query(`update provisioning.servers set ip_address = '127.0.0.1' where id = $1`, [id]);
      await database.pool.query('update provisioning.server_ssh set port = $2 where server_id = $1', [id, port]);
    };
    const enter = () =>
      runBatch(admin, [{ id: 'enter', kind: 'command', with: { servers: ['first-login'], script: 'true\n' } }]);
    // It lets the workspace's key in, but shows another host key.
    await using stranger = await startSshd(public_key);
    await moveTo(stranger.port);
    const refused = await enter();
    assert.equal(refused.status, 'failed');
    assert.match(refused.error ?? '', /host key/i);
    assert.doesNotMatch(stranger.log(), /Accepted/);
    await using right = await startSshd(public_key, { hostKey: key.ed25519_private });
    await moveTo(right.port);
    const entered = await enter();
    assert.equal(entered.status, 'completed', entered.error ?? '');
  });
});
