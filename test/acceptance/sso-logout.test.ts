/** What ends, here and at the issuer, when somebody who signed in by single sign-on logs out; and their names. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { expectError, expectOk, PROOF, startInstallation } from '../support/acceptance.ts';
import { createBrowser, startIssuer } from '../support/issuer.ts';
import { type Client, createClient, freePort, SHARED_MASTER_KEY, spawnProvisioning, until } from '../support/server.ts';

const DAY = 86_400;
const port = await freePort();
const issuer = await startIssuer({ callbacks: [`http://127.0.0.1:${port}/v1/auth/sso/main/callback`] });
const installation = await startInstallation({ ROLE: 'api', PORT: String(port), EGRESS_ALLOW: '127.0.0.1' });
after(async () => {
  await installation.close();
  await issuer.stop();
});
const { server, database } = installation;
const { admin } = server;
expectOk(
  await admin.request('POST', '/v1/auth/providers', {
    ...{ name: 'main', issuer: issuer.issuer, client_id: issuer.clientId, client_secret: issuer.clientSecret },
    ...{ group_roles: [{ group: 'readers', role: 'viewer' }], roles_hold_seconds: 30 * DAY, ...PROOF },
  }),
);

async function signIn(subject: string, name = subject): Promise<Client> {
  issuer.people.set(subject, { preferred_username: name, groups: ['readers'] });
  const browser = createBrowser();
  const start = `${server.url}/v1/auth/sso/main/start`;
  const back = await browser.visit(start, { as: subject, stays: (at) => !at.pathname.endsWith('/callback') });
  const end = await browser.visit(back.url.href, { stays: (at) => at.pathname !== '/login' });
  const ticket = /^#sso=(.+)$/.exec(end.url.hash)?.[1];
  const cookie = browser.cookiesFor(server.url);
  const traded = await server.anonymous.request<{ token: string }>(
    'POST',
    '/v1/auth/sso/token',
    { ticket },
    { cookie },
  );
  return createClient(server.url, expectOk(traded).token);
}

const revoked = () => issuer.requests.filter((path) => path === '/token/revocation').length;
const waiting = async () => {
  const { rows } = await database.pool.query<{ n: number }>(
    'select count(*)::int as n from provisioning.sso_revocations',
  );
  return rows[0]?.n ?? 0;
};

test('the issuer’s tokens of a session are revoked there, whichever way the session ends', async () => {
  const first = await signIn('ada');
  expectOk(await first.request('POST', '/v1/auth/logout'));
  await until(async () => revoked() === 1 && (await waiting()) === 0, 'the first to be revoked');
  const { session_id: id } = expectOk(
    await (await signIn('ada')).request<{ session_id: string }>('GET', '/v1/auth/me'),
  );
  expectOk(await admin.request('DELETE', `/v1/auth/sessions/${id}`));
  await until(async () => revoked() === 2 && (await waiting()) === 0, 'the second to be revoked');
  const [user] = expectOk(await admin.request<{ id: string }[]>('GET', '/v1/users?username=main:ada'));
  await signIn('ada');
  expectOk(await admin.request('DELETE', `/v1/users/${user?.id}`));
  await until(async () => revoked() === 3 && (await waiting()) === 0, 'the third to be revoked');
});

test('an issuer that is away is asked again, and holds up no logout', async () => {
  const before = revoked();
  const client = await signIn('bo');
  issuer.broken.set('/token/revocation', 503);
  expectOk(await client.request('POST', '/v1/auth/logout'));
  await until(async () => revoked() === before + 1, 'the issuer to be asked');
  issuer.broken.delete('/token/revocation');
  assert.equal(await waiting(), 1);
  await database.pool.query('update provisioning.sso_revocations set due_at = now()');
  await until(async () => revoked() === before + 2 && (await waiting()) === 0, 'it to be revoked');
});

test('after a logout the roles of API tokens hold for a day at most', async () => {
  const held = async () => {
    const { rows } = await database.pool.query<{ seconds: number }>(`
      select extract(epoch from i.vouched_at + make_interval(secs => p.roles_hold_seconds) - now())::int as seconds
      from provisioning.identities i join provisioning.identity_providers p using (issuer) where i.subject = 'cy'`);
    return rows[0]?.seconds ?? 0;
  };
  const one = await signIn('cy');
  const other = await signIn('cy');
  expectOk(await other.request('POST', '/v1/tokens', { name: 'ci' }));
  const { session_id: id } = expectOk(await one.request<{ session_id: string }>('GET', '/v1/auth/me'));
  expectOk(await other.request('DELETE', `/v1/auth/sessions/${id}`));
  assert.ok((await held()) > DAY, 'another session goes on, by which the issuer is asked');
  expectOk(await other.request('POST', '/v1/auth/logout'));
  assert.ok((await held()) <= DAY, `${await held()} s are left`);
});

test('nobody is kept out by many of the same name', async () => {
  const names = new Set<string>();
  for (let number = 1; number <= 7; number += 1) {
    const client = await signIn(`sam-${number}`, '山田');
    const { username } = expectOk(await client.request<{ username: string }>('GET', '/v1/auth/me'));
    assert.match(username, /^main:user(-[2-5]|-[0-9a-f]{12})?$/);
    names.add(username);
  }
  assert.equal(names.size, 7);
});

test('no password is set for whom an issuer vouches', async () => {
  const settings = { DATABASE_URL: database.url, DATA_DIR: server.dataDir, MASTER_KEY: SHARED_MASTER_KEY };
  const reset = spawnProvisioning(['reset-login', 'main:bo'], settings);
  assert.notEqual(await reset.closed, 0);
  assert.match(reset.output(), /An identity provider vouches for "main:bo"/);
});

test('a pattern of a rule has a bounded number of wildcards', async () => {
  expectOk(
    await admin.request('POST', '/v1/workspaces/default/service-accounts', { name: 'deploy', roles: ['viewer'] }),
  );
  const rule = (sub: string) => ({
    ...{ name: 'deploy', audience: 'https://provisioning.test', claims: { sub }, service_account: 'deploy@default' },
  });
  const set = (sub: string) => admin.request('PATCH', '/v1/auth/providers/main', { exchange: [rule(sub)], ...PROOF });
  const { message } = expectError(await set(`repo:acme/site:${'a*'.repeat(9)}`), 400, 'VALIDATION_ERROR');
  assert.match(message, /at most 8 wildcards/);
  expectOk(await set(`repo:acme/site:${'a*'.repeat(8)}`));
});
