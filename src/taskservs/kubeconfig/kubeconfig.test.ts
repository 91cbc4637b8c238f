/** Kubeconfigs, made on a real sshd by a definition's own script. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { expectError, expectOk, makeClient } from '../../../test/support/acceptance.ts';
import { assertFree, assertNotStored } from '../../../test/support/canaries.ts';
import { createTestDatabase, type TestDatabase } from '../../../test/support/database.ts';
import { needs } from '../../../test/support/needs.ts';
import { ended, type Operation, startTestServer, type TestServer } from '../../../test/support/server.ts';
import { needsSshd, startSshd, type TestSshd } from '../../../test/support/sshd.ts';
import { defineTaskserv } from '../../../test/support/taskserv-definitions.ts';

const KEY = 'kubeconfig-canary-5d81aa';
const SCRIPTS = { install: 'true', check: 'true', remove: 'forget' };

interface Kubeconfig {
  user: string;
  expires_at: string;
  kubeconfig: string;
}

describe('kubeconfigs', { skip: needsSshd() || needs('unshare') }, () => {
  let database: TestDatabase;
  let server: TestServer;
  let sshd: TestSshd;
  before(async () => {
    database = await createTestDatabase();
    const settings = { HEALTH_CHECK_INTERVAL: '0', EGRESS_ALLOW: '127.0.0.0/8' };
    server = await startTestServer({ databaseUrl: database.url, settings });
    const { body } = await server.admin.request<{ public_key: string }>('GET', '/v1/workspaces/default/ssh-key');
    sshd = await startSshd(body.public_key, { apart: true });
    const machine = { workspace: 'default', hostname: 'plane-1', ip_address: '127.0.0.1' };
    await send('/v1/servers/import', { ...machine, ssh: { user: 'root', port: sshd.port } });
  });
  after(async () => {
    await server[Symbol.asyncDispose]();
    await sshd[Symbol.asyncDispose]();
    await database.close();
  });

  const send = async (route: string, body: unknown): Promise<Operation> => {
    const { id } = expectOk(await server.admin.request<Operation>('POST', route, body));
    const operation = await ended(server.admin, id, 60);
    assert.equal(operation.status, 'completed', operation.error ?? '');
    return operation;
  };
  /** @returns the route of its kubeconfig. */
  const install = async (name: string, kubeconfig?: string) => {
    await defineTaskserv(server.dataDir, 'default', name, { ...SCRIPTS, ...(kubeconfig && { kubeconfig }) });
    const body = { workspace: 'default', name, servers: ['plane-1'] };
    const { result } = await send('/v1/taskservs/create', body);
    return `/v1/taskservs/${result?.taskserv_id}/kubeconfig`;
  };

  test('it is made for the caller and some hours, told once, audited, and kept nowhere', async () => {
    const route = await install('plane', `say "for ${KEY}"\nfact KUBECONFIG "${KEY} $CALLER_NAME $CALLER_HOURS"`);
    const answer = await server.admin.request<Kubeconfig>('GET', `${route}?hours=2`);
    const { user, expires_at: expires, kubeconfig } = expectOk(answer);
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    assert.equal(user, 'provisioning:admin');
    assert.equal(kubeconfig, `${KEY} provisioning:admin 2`);
    const seconds = (Date.parse(expires) - Date.now()) / 1_000;
    assert.ok(seconds > 7_000 && seconds <= 7_200, expires);
    const [entry] = expectOk(
      await server.admin.request<Record<string, unknown>[]>('GET', '/v1/audit?action=taskserv.kubeconfig'),
    );
    assert.deepEqual(entry?.details, { name: 'plane', user: 'provisioning:admin', hours: 2, server: 'plane-1' });
    await assertNotStored(database.pool, { kubeconfig });
    assertFree(server.output(), { kubeconfig }, "in the server's log");
    expectError(await server.admin.request('GET', `${route}?hours=25`), 400);
  });

  test('operators get one, developers and viewers do not, strangers do not see the taskserv', async () => {
    const route = await install('rights', 'fact KUBECONFIG "$CALLER_NAME"');
    const as = async (role: 'operator' | 'developer' | 'viewer', workspace: string) => {
      const client = await makeClient(server, `${role}-${workspace}`, [{ role, workspace }]);
      return client.request<Kubeconfig>('GET', route);
    };
    assert.equal(expectOk(await as('operator', 'default')).kubeconfig, 'provisioning:operator-default');
    for (const role of ['developer', 'viewer'] as const) expectError(await as(role, 'default'), 403);
    expectError(await server.anonymous.request('GET', route), 401);
  });

  test('what fails is told without the secret; what is no cluster is refused', async () => {
    const failing = await install('failing', `fact KUBECONFIG "${KEY}"\nfail "no certificate for ${KEY} today"`);
    const { message } = expectError(await server.admin.request('GET', failing), 503);
    assert.match(message, /plane-1: kubeconfig\.sh of failing ended with status 1: .*no certificate for .* today/);
    assertFree(message, { key: KEY }, 'in the answer');
    const silent = await install('silent', 'true');
    assert.match(expectError(await server.admin.request('GET', silent), 503).message, /did not create a kubeconfig/);
    const plain = await install('plain');
    assert.match(expectError(await server.admin.request('GET', plain), 409).message, /no kubeconfig\.sh/);
    await sshd.stop();
    assert.match(expectError(await server.admin.request('GET', silent), 503).message, /plane-1/);
    await sshd.start();
  });
});
