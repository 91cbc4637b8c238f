/** Whoever is root on one server passes our connections on to another one, which the key of the workspace opens as well. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { after, describe, test } from 'node:test';
import { expectOk, makeClient, startInstallation } from '../support/acceptance.ts';
import { type Client, ended, type Operation } from '../support/server.ts';
import { needsSshd, startSshd } from '../support/sshd.ts';
import { runBatch } from '../support/workflows.ts';

describe('relayed connections', { skip: needsSshd() }, async () => {
  const installation = await startInstallation({ EGRESS_ALLOW: '127.0.0.0/8' });
  after(() => installation.close());
  const { server } = installation;
  const { admin } = server;
  const workspace = 'default';
  const developer = await makeClient(server, 'dora', [{ role: 'developer', workspace }]);
  const { public_key: key } = expectOk(
    await admin.request<{ public_key: string }>('GET', `/v1/workspaces/${workspace}/ssh-key`),
  );

  /** A port that leads to wherever it is set to lead. */
  const startRelay = async (to: number) => {
    const relay = { to, port: 0, close: () => listener.close() };
    const listener = createServer((inward) => {
      const outward = connect(relay.to, '127.0.0.1');
      for (const socket of [inward, outward]) socket.on('error', () => [inward, outward].map((one) => one.destroy()));
      inward.pipe(outward).pipe(inward);
    }).listen(0, '127.0.0.1');
    await once(listener, 'listening');
    relay.port = (listener.address() as AddressInfo).port;
    return relay;
  };
  const adopt = async (client: Client, hostname: string, ssh: Record<string, unknown>) => {
    const body = { workspace, hostname, ip_address: '127.0.0.1', ssh };
    const { id } = expectOk(await client.request<Operation>('POST', '/v1/servers/import', body));
    return ended(client, id, 60);
  };
  const run = (client: Client, hostname: string) =>
    runBatch(client, [{ id: 'enter', kind: 'command', with: { servers: [hostname], script: 'true\n' } }]);
  const forget = (client: Client, { result }: Operation) =>
    client.request('DELETE', `/v1/servers/${String(result?.server_id)}/host-key`);
  const logins = (log: string) => log.split('Accepted publickey').length - 1;

  test('nobody enters another server by one of their own whose host key is forgotten', async () => {
    await using theirs = await startSshd(key);
    await using own = await startSshd(key);
    assert.equal((await adopt(admin, 'theirs', { port: theirs.port })).status, 'completed');
    const relay = await startRelay(own.port);
    try {
      const adopted = await adopt(developer, 'relay', { port: relay.port });
      assert.equal(adopted.status, 'completed', String(adopted.error));
      assert.equal((await run(developer, 'relay')).status, 'completed');

      relay.to = theirs.port;
      const before = logins(theirs.log());
      assert.equal((await forget(developer, adopted)).status, 200);
      await own.stop();
      const refused = await run(developer, 'relay');
      assert.equal(refused.status, 'failed');
      assert.match(refused.error ?? '', /host key of another server/);
      assert.equal(logins(theirs.log()), before, 'nobody has been let in');

      await own.start();
      relay.to = own.port;
      assert.equal((await forget(developer, adopted)).status, 200);
      const entered = await run(developer, 'relay');
      assert.equal(entered.status, 'completed', String(entered.error));
    } finally {
      relay.close();
    }
  });

  test('nor as the machine on the way to another one', async () => {
    await using theirs = await startSshd(key);
    await using own = await startSshd(key);
    assert.equal((await adopt(admin, 'bastion', { port: theirs.port })).status, 'completed');
    const relay = await startRelay(theirs.port);
    try {
      const before = logins(theirs.log());
      const jump = { address: '127.0.0.1', port: relay.port };
      const refused = await adopt(developer, 'behind', { port: own.port, jump });
      assert.equal(refused.status, 'failed');
      assert.match(refused.error ?? '', /host key of another server/);
      assert.equal(logins(theirs.log()), before, 'nobody has been let in');
      const operator = await makeClient(server, 'olga', [{ role: 'operator', workspace }]);
      assert.equal((await adopt(operator, 'behind', { port: own.port, jump })).status, 'completed');
    } finally {
      relay.close();
    }
  });
});
