import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { sql } from 'kysely';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { ended, type Operation, startTestServer, type TestServer } from '../../test/support/server.ts';
import { needsSshd, startSshd, type TestSshd } from '../../test/support/sshd.ts';
import { generateSshKey } from '../transports/keys.ts';

interface ServerBody {
  id: string;
  hostname: string;
  provider: string;
  plan: string;
  zone: string;
  ip_address: string;
  status: string;
  tags: string[];
}

describe('existing machines', { skip: needsSshd() }, () => {
  let database: TestDatabase;
  let server: TestServer;
  let sshd: TestSshd;
  before(async () => {
    database = await createTestDatabase();
    server = await startTestServer({ databaseUrl: database.url, settings: { EGRESS_ALLOW: '127.0.0.0/8' } });
    const { body } = await server.admin.request<{ public_key: string }>('GET', '/v1/workspaces/default/ssh-key');
    sshd = await startSshd(body.public_key);
  });
  after(async () => {
    await server[Symbol.asyncDispose]();
    await sshd[Symbol.asyncDispose]();
    await database.close();
  });

  const request = (hostname: string, overrides: Record<string, unknown> = {}, ssh: Record<string, unknown> = {}) => ({
    workspace: 'default',
    hostname,
    ip_address: '127.0.0.1',
    ssh: { user: 'root', port: sshd.port, ...ssh },
    ...overrides,
  });
  const send = (body: unknown) =>
    server.admin.request<Operation & { message: string }>('POST', '/v1/servers/import', body);
  const importing = async (body: unknown) => {
    const { status, body: operation, headers } = await send(body);
    assert.equal(status, 200, JSON.stringify(operation));
    assert.equal(headers.get('location'), `/v1/operations/${operation.id}`);
    return ended(server.admin, operation.id);
  };
  const servers = async () => (await server.admin.request<ServerBody[]>('GET', '/v1/servers?provider=existing')).body;
  const remove = async (id: string) => {
    const { status, body } = await server.admin.request<Operation>('DELETE', `/v1/servers/${id}`);
    assert.equal(status, 200);
    return ended(server.admin, body.id);
  };

  test('check mode connects, says what the machine is, and keeps nothing', async () => {
    const operation = await importing(request('old-01', { check_mode: true }));
    assert.equal(operation.status, 'completed', operation.error ?? '');
    assert.equal(operation.result?.check_mode, true);
    assert.equal(operation.result?.host_key, sshd.hostKey);
    assert.match(String(operation.result?.os), /\w/);
    assert.deepEqual(await servers(), []);
    const { rows } = await sql`select from provisioning.server_ssh`.execute(database.db);
    assert.equal(rows.length, 0);
  });

  test('a machine is adopted after a real connection, as it is, and its host key is pinned', async () => {
    const operation = await importing(request('old-01', { tags: ['rack=7'] }));
    assert.equal(operation.status, 'completed', operation.error ?? '');
    const [adopted] = await servers();
    assert.ok(adopted !== undefined);
    assert.equal(operation.result?.server_id, adopted.id);
    assert.match(String(operation.result?.host_key_fingerprint), /^SHA256:/);
    const { hostname, provider, zone, ip_address, status, tags } = adopted;
    assert.deepEqual(
      { hostname, provider, zone, ip_address, status, tags },
      {
        hostname: 'old-01',
        provider: 'existing',
        zone: 'existing',
        ip_address: '127.0.0.1',
        status: 'running',
        tags: ['rack=7'],
      },
    );
    assert.match(adopted.plan, /^\d+xCPU-\d+GB$/);
    const { rows } = await sql<{ host_key: string }>`select host_key from provisioning.server_ssh`.execute(database.db);
    assert.deepEqual(rows, [{ host_key: sshd.hostKey }]);
  });

  test('the same machine is not adopted twice, nor a taken hostname', async () => {
    const again = await send(request('old-02'));
    assert.equal(again.status, 409);
    assert.match(again.body.message, /127\.0\.0\.1 port \d+ is already recorded as server srv-/);
    for (const ip_address of ['::ffff:127.0.0.1', '0:0:0:0:0:FFFF:7f00:0001']) {
      assert.equal((await send(request('old-02', { ip_address }))).status, 409, ip_address);
    }
    assert.equal((await send(request('old-01', {}, { port: 1 }))).status, 409);
    assert.equal((await send(request('old-01', { check_mode: true }, { port: 1 }))).status, 409);
  });

  test('it cannot be started, stopped or restarted, and the answer says why', async () => {
    const [adopted] = await servers();
    for (const action of ['start', 'stop', 'restart']) {
      const { status, body } = await server.admin.request<{ message: string }>(
        'POST',
        `/v1/servers/${adopted?.id}/${action}`,
      );
      assert.equal(status, 409);
      assert.match(body.message, new RegExp(`without a provider: ${action} it`));
    }
    assert.equal((await servers())[0]?.status, 'running');
  });

  test('a changed host key is refused until it is forgotten', async () => {
    const [adopted] = await servers();
    const looked = async () => {
      const { status, body } = await server.admin.request<Operation>('POST', '/v1/taskservs/create', {
        workspace: 'default',
        name: 'os-base',
        servers: ['old-01'],
        check_mode: true,
      });
      assert.equal(status, 200, JSON.stringify(body));
      return ended(server.admin, body.id, 60);
    };
    assert.equal((await looked()).status, 'completed');
    await sshd.changeHostKey();
    assert.match(JSON.stringify(await looked()), /host key has changed/);
    const route = `/v1/servers/${adopted?.id}/host-key`;
    assert.deepEqual((await server.admin.request('DELETE', route)).body, { server_id: adopted?.id, forgotten: true });
    const after = await looked();
    assert.equal(after.status, 'completed', after.error ?? '');
    assert.doesNotMatch(JSON.stringify(after), /host key has changed/);
  });

  test('deleting it forgets it and leaves the machine alone: it can be adopted again', async () => {
    const [adopted] = await servers();
    const deleted = await remove(adopted?.id ?? '');
    assert.equal(deleted.status, 'completed');
    assert.deepEqual(deleted.result, { server_id: adopted?.id, deleted: true, forgotten: true });
    assert.deepEqual(await servers(), []);
    const again = await importing(request('old-01'));
    assert.equal(again.status, 'completed');
    await remove(String(again.result?.server_id));
  });

  test('a machine that does not let us in is not adopted, and the reason says what to do', async () => {
    const other = generateSshKey('other').publicKey.split(' ').slice(0, 2).join(' ');
    await server.admin.request('POST', '/v1/workspaces/create', { name: 'strangers' });
    for (const [body, reason] of [
      [request('old-03', { workspace: 'strangers' }), /old-03 \(127\.0\.0\.1\).*"root".*ssh-key/],
      [request('old-03', {}, { user: 'nobody-of-that-name' }), /"nobody-of-that-name"/],
      [request('old-03', {}, { host_key: other }), /host key/],
      [
        request('old-03', {}, { jump: { address: '127.0.0.1', port: sshd.port, host_key: other } }),
        /jump host 127.*host key/,
      ],
    ] as const) {
      const operation = await importing(body);
      assert.equal(operation.status, 'failed');
      assert.match(operation.error ?? '', reason);
    }
    assert.deepEqual(await servers(), []);
  });

  test('through a jump host, with both host keys given', async () => {
    await using jump = await startSshd(
      (await server.admin.request<{ public_key: string }>('GET', '/v1/workspaces/default/ssh-key')).body.public_key,
    );
    const ssh = { host_key: sshd.hostKey, jump: { address: '127.0.0.1', port: jump.port, host_key: jump.hostKey } };
    const operation = await importing(request('old-04', {}, ssh));
    assert.equal(operation.status, 'completed', operation.error ?? '');
    assert.match(jump.log(), /Accepted publickey/);
    await remove(String(operation.result?.server_id));
  });

  test('a cancelled import leaves nothing behind', async () => {
    await sshd.stop();
    const { body } = await send(request('old-05'));
    await server.admin.request('POST', `/v1/operations/${body.id}/cancel`);
    assert.equal((await ended(server.admin, body.id)).status, 'cancelled');
    assert.deepEqual(await servers(), []);
    await sshd.start();
  });

  test('requests that make no sense are refused with the field that is wrong', async () => {
    for (const [body, field] of [
      [request('old-06', { ip_address: 'somewhere' }), /ip_address/],
      [request('old-06', {}, { port: 0 }), /port/],
      [request('old-06', {}, { host_key: 'ssh-ed25519 nonsense' }), /ssh\.host_key/],
      [request('old-06', {}, { user: '-oProxyCommand=x' }), /user/],
      [request('old-06', { workspace: 'nowhere' }), /workspace/],
      [request('old-06', { plan: '1xCPU-1GB' }), /plan/],
    ] as const) {
      const answer = await send(body);
      assert.equal(answer.status, 400, String(field));
      assert.match(answer.body.message, field);
    }
  });
});
