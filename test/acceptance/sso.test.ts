/** Single sign-on by OpenID Connect, at a certified provider on the loopback address, in a browser that follows redirects. */
import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { after, test } from 'node:test';
import { exportSPKI, type JWTPayload, SignJWT } from 'jose';
import { expectError, expectOk, makeUser, PROOF, startInstallation } from '../support/acceptance.ts';
import { assertNotStored } from '../support/canaries.ts';
import { type Browser, createBrowser, startIssuer, type TestIssuer } from '../support/issuer.ts';
import { type Client, createClient, freePort, until } from '../support/server.ts';

/** The least that a provider can be set up with. Seconds. */
const RECHECK_SECONDS = 10;
/** What was decided is known on every replica by then. */
const KNOWN_WITHIN_MS = (RECHECK_SECONDS + 5) * 1_000;

const port = await freePort();
const secondPort = await freePort();
const callbacks = [port, secondPort].flatMap((one) =>
  ['main', 'other'].map((name) => `http://127.0.0.1:${one}/v1/auth/sso/${name}/callback`),
);
const issuer = await startIssuer({ callbacks, accessSeconds: 12 });
const other = await startIssuer({ callbacks, claimsInIdToken: true });
const installation = await startInstallation({ ROLE: 'api', PORT: String(port), EGRESS_ALLOW: '127.0.0.1' });
after(async () => {
  await installation.close();
  await issuer.stop();
  await other.stop();
});
const { server, database } = installation;
const { admin, anonymous } = server;
const second = await installation.replica({ PORT: String(secondPort) });

interface Pair {
  token: string;
  refresh_token: string;
}
interface Me {
  id: string;
  username: string;
  roles: { role: string; workspace: string | null }[];
  session_id: string | null;
}
interface AuditRow {
  principal: string;
  action: string;
  outcome: string;
  resource: string | null;
  details: Record<string, unknown> | null;
}

for (const name of ['north', 'south']) {
  const path = `${server.dataDir}/workspaces/${name}`;
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name, path }));
}
const GROUP_ROLES = [
  { group: 'platform', role: 'admin' },
  { group: 'north-devs', role: 'developer', workspace: 'north' },
  { group: 'south-readers', role: 'viewer', workspace: 'south' },
];
const providerOf = (name: string, at: TestIssuer) => ({
  ...{ name, title: `The ${name} issuer`, issuer: at.issuer, client_id: at.clientId, client_secret: at.clientSecret },
  ...{ group_roles: GROUP_ROLES, recheck_seconds: RECHECK_SECONDS, device_login: true, ...PROOF },
});
for (const [name, at] of [
  ['main', issuer],
  ['other', other],
] as const) {
  expectOk(await admin.request('POST', '/v1/auth/providers', providerOf(name, at)));
}

const ours = (url: URL) => url.port === String(port) || url.port === String(secondPort);
const me = (client: Client) => client.request<Me>('GET', '/v1/auth/me');
const auditRows = async (action: string): Promise<AuditRow[]> =>
  (await database.pool.query<AuditRow>('select * from provisioning.audit_log where action = $1 order by at', [action]))
    .rows;
const lastAudit = async (action: string) => (await auditRows(action)).at(-1);
const bindingsOf = ({ roles }: Me) => roles.map(({ role, workspace }) => `${role}:${workspace ?? '*'}`).sort();

/** Goes through the issuer's pages as this person, up to where our server is asked for the callback. */
async function toCallback(browser: Browser, name: string, as: string, base = server.url, query = ''): Promise<URL> {
  const { url } = await browser.visit(`${base}/v1/auth/sso/${name}/start${query}`, {
    as,
    stays: (at) => !at.pathname.endsWith('/callback'),
  });
  assert.match(url.pathname, /callback$/, `no way back: ${url.href}`);
  return url;
}

/** The callback's answer, not followed. */
async function callBack(browser: Browser, url: URL): Promise<URL> {
  const { url: end } = await browser.visit(url.href, { stays: (at) => at.pathname !== '/login' });
  return end;
}

function trade(browser: Browser, end: URL, base = server.url) {
  const ticket = /^#sso=(.+)$/.exec(end.hash)?.[1];
  assert.ok(ticket !== undefined, `no ticket: ${end.href}`);
  return createClient(base).request<Pair>(
    'POST',
    '/v1/auth/sso/token',
    { ticket },
    { cookie: browser.cookiesFor(base) },
  );
}

/** Signs in as a browser does, from the button to the session. */
async function signIn(
  name: string,
  as: string,
): Promise<{ here: Client; there: Client; pair: Pair; browser: Browser }> {
  const browser = createBrowser();
  const pair = expectOk(await trade(browser, await callBack(browser, await toCallback(browser, name, as))));
  return { pair, browser, here: createClient(server.url, pair.token), there: createClient(second.url, pair.token) };
}

/** What became of a sign-in that must not succeed: where the browser ends, and what administrators read. */
async function refusedWith(end: URL): Promise<string> {
  assert.match(end.hash, /^#sso_error=(refused|expired|unavailable)$/, end.href);
  const row = await lastAudit('auth.login');
  assert.equal(row?.outcome, 'denied');
  return String(row?.details?.reason);
}

test('whoever the issuer vouches for gets a user with the roles of their groups', async () => {
  issuer.people.set('sub-ada', { preferred_username: 'Ada', groups: ['north-devs', 'south-readers', 'unknown'] });
  const { here, there } = await signIn('main', 'sub-ada');
  for (const client of [here, there]) {
    const ada = expectOk(await me(client));
    assert.equal(ada.username, 'main:ada');
    assert.deepEqual(bindingsOf(ada), ['developer:north', 'viewer:south']);
  }
  const [session] = expectOk(await here.request<{ origin: string }[]>('GET', '/v1/auth/sessions'));
  assert.equal(session?.origin, 'sso:main');
  const users = expectOk(await admin.request<Record<string, unknown>[]>('GET', '/v1/users?username=main:ada'));
  assert.deepEqual(users[0]?.identity, { issuer: issuer.issuer, subject: 'sub-ada' });
  const made = (await auditRows('user.create')).find(({ resource }) => resource === 'user:main:ada');
  assert.deepEqual(made?.details, { provider: 'main', subject: 'sub-ada' });
  assert.deepEqual((await lastAudit('auth.login'))?.details, { provider: 'main', way: 'browser' });
  // The same user the next time.
  const again = expectOk(await me((await signIn('main', 'sub-ada')).here));
  assert.equal(again.id, expectOk(await me(here)).id);
});

test('a sign-in that is begun at one replica ends at another', async () => {
  issuer.people.set('sub-ben', { preferred_username: 'ben', groups: ['south-readers'] });
  const browser = createBrowser();
  const url = await toCallback(browser, 'main', 'sub-ben');
  // Behind one address: the browser knows of one host.
  browser.jar.set(`127.0.0.1:${secondPort}`, browser.jar.get(`127.0.0.1:${port}`) ?? new Map());
  url.port = String(secondPort);
  const end = await callBack(browser, url);
  assert.equal(
    expectOk(await me(createClient(second.url, expectOk(await trade(browser, end)).token))).username,
    'main:ben',
  );
});

test('without a group that gives a role nobody gets in, and no user is made', async () => {
  issuer.people.set('sub-eve', { preferred_username: 'eve', groups: ['others'] });
  const browser = createBrowser();
  const answer = await trade(browser, await callBack(browser, await toCallback(browser, 'main', 'sub-eve')));
  expectError(answer, 403, 'SSO_NO_ROLE');
  assert.match(String((await lastAudit('auth.login'))?.details?.reason), /none of their groups/);
  const { rows } = await database.pool.query("select from provisioning.users where username like '%eve%'");
  assert.equal(rows.length, 0);
});

test('nobody is taken over: not by name, not by another subject of that name, not by another issuer', async () => {
  await makeUser(admin, 'carl', [{ role: 'admin' }]);
  for (const at of [issuer, other])
    at.people.set('sub-carl', { preferred_username: 'carl', groups: ['south-readers'] });
  issuer.people.set('sub-carl-2', { preferred_username: 'carl', groups: ['south-readers'] });
  const names = [];
  for (const [name, who] of [
    ['main', 'sub-carl'],
    ['main', 'sub-carl-2'],
    ['other', 'sub-carl'],
  ] as const) {
    const carl = expectOk(await me((await signIn(name, who)).here));
    assert.deepEqual(bindingsOf(carl), ['viewer:south']);
    names.push(carl.username);
  }
  assert.deepEqual(names, ['main:carl', 'main:carl-2', 'other:carl']);
});

test('a callback and a ticket are good once, and only for the browser that began', async () => {
  issuer.people.set('sub-dora', { preferred_username: 'dora', groups: ['south-readers'] });
  const browser = createBrowser();
  const url = await toCallback(browser, 'main', 'sub-dora');
  // Somebody else's browser is led to it: it would be signed in as whoever began.
  assert.match(await refusedWith(await callBack(createBrowser(), url)), /another browser/);
  // It is used up by that.
  assert.match(await refusedWith(await callBack(browser, url)), /unknown, used or expired state/);

  const next = await toCallback(browser, 'main', 'sub-dora');
  const end = await callBack(browser, next);
  assert.match(await refusedWith(await callBack(browser, next)), /unknown, used or expired state/);
  expectError(await trade(createBrowser(), end), 401, 'SSO_EXPIRED');
  expectError(await trade(browser, end), 401, 'SSO_EXPIRED');
  const third = await callBack(browser, await toCallback(browser, 'main', 'sub-dora'));
  expectOk(await trade(browser, third));
  expectError(await trade(browser, third), 401, 'SSO_EXPIRED');
});

test('state, code and verifier belong together', async () => {
  const first = createBrowser();
  const url = await toCallback(first, 'main', 'sub-dora');
  const wrongState = new URL(url);
  wrongState.searchParams.set('state', 'A'.repeat(43));
  assert.match(await refusedWith(await callBack(first, wrongState)), /unknown, used or expired state/);
  // A code that was given to somebody else's sign-in: its verifier is not ours.
  const second = createBrowser();
  const own = await toCallback(second, 'main', 'sub-dora');
  own.searchParams.set('code', url.searchParams.get('code') ?? '');
  assert.match(await refusedWith(await callBack(second, own)), /invalid_grant/);
  const refusal = await toCallback(first, 'main', 'sub-dora');
  refusal.searchParams.delete('code');
  refusal.searchParams.set('error', 'access_denied');
  assert.match(await refusedWith(await callBack(first, refusal)), /access_denied/);
});

test('two issuers are not mixed up', async () => {
  const browser = createBrowser();
  const url = await toCallback(browser, 'main', 'sub-dora');
  const elsewhere = new URL(url.href.replace('/main/', '/other/'));
  assert.match(await refusedWith(await callBack(browser, elsewhere)), /another identity provider/);
  const claimed = await toCallback(browser, 'main', 'sub-dora');
  claimed.searchParams.set('iss', other.issuer);
  assert.match(await refusedWith(await callBack(browser, claimed)), /iss/);
  const silent = await toCallback(browser, 'main', 'sub-dora');
  silent.searchParams.delete('iss');
  assert.match(await refusedWith(await callBack(browser, silent)), /iss/);
});

test('a sign-in ends on a page of this server or at a port of the own machine, and nowhere else', async () => {
  for (const target of [
    'https://evil.example',
    '//evil.example',
    '/\\evil.example',
    'evil',
    'javascript:alert(1)',
    '/a\nb',
  ]) {
    const answer = await anonymous.request('GET', `/v1/auth/sso/main/start?return_to=${encodeURIComponent(target)}`);
    expectError(answer, 400, 'VALIDATION_ERROR');
  }
  for (const given of ['80', '0', '70000', 'evil.example', '8080%40evil.example']) {
    const query = `?port=${given}&challenge=${'A'.repeat(43)}`;
    expectError(await anonymous.request('GET', `/v1/auth/sso/main/start${query}`), 400, 'VALIDATION_ERROR');
  }
  const browser = createBrowser();
  const url = await toCallback(
    browser,
    'main',
    'sub-dora',
    server.url,
    `?return_to=${encodeURIComponent('/servers?x=1')}`,
  );
  const end = await callBack(browser, url);
  assert.equal(`${end.origin}${end.pathname}`, `${server.url}/login`);
  assert.equal(end.searchParams.get('from'), '/servers?x=1');
});

test('a command line on the own machine gets the ticket, and needs its verifier for it', async () => {
  const verifier = 'v'.repeat(43);
  const challenge = createHash('sha256').update(verifier).digest('base64url');
  const browser = createBrowser();
  const query = `?port=49999&challenge=${challenge}`;
  const say = (consent: string, cookie: string) =>
    fetch(`${server.url}/v1/auth/sso/main/consent`, {
      ...{ method: 'POST', redirect: 'manual', body: new URLSearchParams({ consent }), headers: { cookie } },
    });
  const arrive = async (spoiled = false) => {
    const url = await toCallback(browser, 'main', 'sub-dora', server.url, query);
    const { url: here, page } = await browser.visit(url.href, { stays: ours });
    assert.match(here.pathname, /callback$/, 'nothing goes to the port unasked');
    const code = createHash('sha256').update(challenge).digest('hex').toUpperCase();
    assert.ok(page.includes(`<strong>${code.slice(0, 4)}-${code.slice(4, 8)}</strong>`), page);
    assert.ok(page.includes('<strong>dora</strong>'), page);
    const consent = /name="consent" value="([^"]+)"/.exec(page)?.[1] ?? '';
    // Neither another browser can say yes, nor one that is led to it by another page: the cookie is not sent then.
    if (spoiled) assert.equal((await say(consent, '')).status, 401);
    const answer = await say(consent, browser.cookiesFor(server.url));
    if (spoiled) assert.equal(answer.status, 401);
    else assert.equal((await say(consent, browser.cookiesFor(server.url))).status, 401, 'once');
    if (spoiled) return null;
    assert.equal(answer.status, 303);
    const end = new URL(answer.headers.get('location') ?? '');
    assert.equal(`${end.origin}${end.pathname}`, 'http://127.0.0.1:49999/');
    return end.searchParams.get('ticket');
  };
  await arrive(true);
  const page = await fetch(`${server.url}/v1/auth/sso/main/consent`, { method: 'POST', body: '{"consent":1}' });
  assert.notEqual(page.status, 303);
  const stolen = await arrive();
  const shown = { cookie: browser.cookiesFor(server.url) };
  expectError(await anonymous.request('POST', '/v1/auth/sso/token', { ticket: stolen }, shown), 401, 'SSO_EXPIRED');
  const wrong = { ticket: await arrive(), verifier: 'w'.repeat(43) };
  expectError(await anonymous.request('POST', '/v1/auth/sso/token', wrong), 401, 'SSO_EXPIRED');
  expectOk(await anonymous.request('POST', '/v1/auth/sso/token', { ticket: await arrive(), verifier }));
});

/** Puts another ID token into the issuer's answer, made of the claims of the real one. */
async function withIdToken(forge: (claims: JWTPayload) => Promise<string> | string): Promise<string> {
  issuer.tamper.set('/token', async (answer) => {
    if (typeof answer.id_token !== 'string') return answer;
    const claims = JSON.parse(Buffer.from(answer.id_token.split('.')[1] ?? '', 'base64url').toString()) as JWTPayload;
    return { ...answer, id_token: await forge(claims) };
  });
  try {
    const browser = createBrowser();
    return await refusedWith(await callBack(browser, await toCallback(browser, 'main', 'sub-dora')));
  } finally {
    issuer.tamper.delete('/token');
  }
}
const encoded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const unsigned = (claims: JWTPayload) => `${encoded({ alg: 'none', typ: 'JWT' })}.${encoded(claims)}.`;
/** The public key taken for a secret that both share. */
async function confused(claims: JWTPayload): Promise<string> {
  const text = `${encoded({ alg: 'HS256', kid: issuer.kid, typ: 'JWT' })}.${encoded(claims)}`;
  const key = await exportSPKI(issuer.publicKey);
  return `${text}.${createHmac('sha256', key).update(text).digest('base64url')}`;
}
const signed = (claims: JWTPayload, kid = issuer.kid, at: TestIssuer = issuer) =>
  new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid }).sign(at.key);

test('an ID token is taken only as the issuer signs it, for us, for this sign-in, now', async () => {
  const past = Math.floor(Date.now() / 1_000) - 3_600;
  assert.match(await withIdToken((claims) => signed({ ...claims, iss: other.issuer })), /iss/);
  assert.match(await withIdToken((claims) => signed({ ...claims, aud: 'somebody else' })), /aud/);
  assert.match(await withIdToken((claims) => signed({ ...claims, aud: ['provisioning', 'somebody else'] })), /aud/);
  assert.match(await withIdToken((claims) => signed({ ...claims, nonce: 'of another sign-in' })), /nonce/);
  assert.match(await withIdToken(({ nonce: _, ...claims }) => signed(claims)), /nonce/);
  assert.match(await withIdToken((claims) => signed({ ...claims, iat: past - 60, exp: past })), /exp|timestamp/);
  assert.match(await withIdToken((claims) => signed(claims, issuer.kid, other)), /signature/);
  assert.match(await withIdToken((claims) => signed(claims, 'a key that it does not have')), /key/);
  assert.match(await withIdToken(unsigned), /alg/);
  assert.match(await withIdToken(confused), /alg/);
  // The user info is somebody else's.
  issuer.tamper.set('/me', (answer) => ({ ...answer, sub: 'sub-ada' }));
  const browser = createBrowser();
  assert.match(await refusedWith(await callBack(browser, await toCallback(browser, 'main', 'sub-dora'))), /sub/);
  issuer.tamper.delete('/me');
  await signIn('main', 'sub-dora');
});

test('another role within the time that is set, and no access when the group is gone, on every replica', async () => {
  issuer.people.set('sub-fay', { preferred_username: 'fay', groups: ['north-devs'] });
  const { here, there, pair } = await signIn('main', 'sub-fay');
  const { token } = expectOk(await here.request<{ token: string }>('POST', '/v1/tokens', { name: 'hers' }));
  const program = createClient(second.url, token);
  issuer.people.set('sub-fay', { preferred_username: 'fay', groups: ['south-readers'] });
  for (const client of [here, there]) {
    await until(
      async () => bindingsOf(expectOk(await me(client))).join() === 'viewer:south',
      'the role of the other group',
      KNOWN_WITHIN_MS,
    );
  }
  assert.match(String((await lastAudit('auth.sso.roles'))?.details?.reason), /groups at main/);
  issuer.people.set('sub-fay', { preferred_username: 'fay', groups: [] });
  for (const client of [there, here]) {
    await until(async () => (await me(client)).status === 401, 'the end of the session', KNOWN_WITHIN_MS);
  }
  expectError(await anonymous.request('POST', '/v1/auth/refresh', { refresh_token: pair.refresh_token }), 401);
  assert.deepEqual(bindingsOf(expectOk(await me(program))), []);
});

test('an API token has the roles of the groups as well, also where its owner uses nothing else', async () => {
  issuer.people.set('sub-gus', { preferred_username: 'gus', groups: ['north-devs'] });
  const { here } = await signIn('main', 'sub-gus');
  const { token } = expectOk(await here.request<{ token: string }>('POST', '/v1/tokens', { name: 'his' }));
  const program = createClient(second.url, token);
  assert.deepEqual(bindingsOf(expectOk(await me(program))), ['developer:north']);
  issuer.people.set('sub-gus', { preferred_username: 'gus', groups: [] });
  await until(
    async () => bindingsOf(expectOk(await me(program))).length === 0,
    'the end of the roles',
    KNOWN_WITHIN_MS,
  );
});

test('groups that stand in the ID token alone are asked for again, too', async () => {
  const omit = (answer: Record<string, unknown>) => ({ sub: answer.sub });
  other.tamper.set('/me', omit);
  other.people.set('sub-gil', { preferred_username: 'gil', groups: ['north-devs'] });
  const { here } = await signIn('other', 'sub-gil');
  assert.deepEqual(bindingsOf(expectOk(await me(here))), ['developer:north']);
  other.people.set('sub-gil', { preferred_username: 'gil', groups: ['south-readers'] });
  await until(
    async () => bindingsOf(expectOk(await me(here))).join() === 'viewer:south',
    'the role of the other group',
    KNOWN_WITHIN_MS,
  );
  other.tamper.delete('/me');
});

test('where the issuer no longer tells the groups, the session ends', async () => {
  other.tamper.set('/me', (answer) => ({ sub: answer.sub }));
  other.people.set('sub-ned', { preferred_username: 'ned', groups: ['north-devs'] });
  const { here, there } = await signIn('other', 'sub-ned');
  expectOk(await me(here));
  // A refresh may be answered without an ID token (OpenID Connect Core, 12.2).
  other.tamper.set('/token', ({ id_token: _, ...answer }) => answer);
  for (const client of [here, there]) {
    await until(async () => (await me(client)).status === 401, 'the end of the session', KNOWN_WITHIN_MS);
  }
  assert.match(
    String((await lastAudit('auth.session.end'))?.details?.reason),
    /tells the groups in its ID token alone/,
  );
  other.tamper.clear();
});

test('a session ends when the issuer no longer knows its user, and outlasts an issuer that is away for a moment', async () => {
  issuer.people.set('sub-hal', { preferred_username: 'hal', groups: ['south-readers'] });
  const { here, there, pair } = await signIn('main', 'sub-hal');
  const { session_id: id } = expectOk(await me(here));
  const age = () =>
    database.pool.query(
      "update provisioning.sso_sessions set verified_at = now() - interval '1 minute', retry_at = null where session_id = $1",
      [id],
    );
  for (const path of ['/me', '/token', '/jwks']) issuer.broken.set(path, 503);
  await age();
  const asked = issuer.requests.length;
  expectOk(await me(there));
  assert.ok(issuer.requests.length > asked, 'the issuer was asked');
  // Nobody could ask for too long.
  await database.pool.query(
    "update provisioning.sso_sessions set verified_at = now() - interval '1 hour', retry_at = null where session_id = $1",
    [id],
  );
  await until(async () => (await me(here)).status === 503, 'the refusal', KNOWN_WITHIN_MS);
  issuer.broken.delete('/token');
  // The refresh token is another one by now, and is kept though the rest failed.
  await database.pool.query('update provisioning.sso_sessions set retry_at = null where session_id = $1', [id]);
  const refreshed = issuer.requests.filter((path) => path === '/token').length;
  await until(
    async () => {
      await me(here);
      return issuer.requests.filter((path) => path === '/token').length > refreshed;
    },
    'a refresh',
    KNOWN_WITHIN_MS + 10_000,
  );
  issuer.broken.clear();
  await age();
  await until(async () => (await me(here)).status === 200, 'the session to hold again', KNOWN_WITHIN_MS);
  const hold = (seconds: number) =>
    admin.request('PATCH', '/v1/auth/providers/main', { roles_hold_seconds: seconds, ...PROOF });
  expectOk(await hold(7_776_000));
  issuer.people.delete('sub-hal');
  for (const client of [there, here]) {
    await until(async () => (await me(client)).status === 401, 'the end of the session', KNOWN_WITHIN_MS);
  }
  expectError(await anonymous.request('POST', '/v1/auth/refresh', { refresh_token: pair.refresh_token }), 401);
  // What goes on without a session has a day, however long roles hold.
  const { rows } = await database.pool.query(
    "select vouched_at + interval '90 days' < now() + interval '25 hours' as short from provisioning.identities where subject = 'sub-hal'",
  );
  assert.equal(rows[0].short, true);
  expectOk(await hold(86_400));
});

test('roles without a session that the issuer vouches for end after the time that is set', async () => {
  issuer.people.set('sub-ida', { preferred_username: 'ida', groups: ['north-devs'] });
  const { here } = await signIn('main', 'sub-ida');
  const { token } = expectOk(await here.request<{ token: string }>('POST', '/v1/tokens', { name: 'hers' }));
  const { id } = expectOk(await me(here));
  await database.pool.query('delete from provisioning.sessions where user_id = $1', [id]);
  await database.pool.query(
    "update provisioning.identities set vouched_at = now() - interval '8 days' where user_id = $1",
    [id],
  );
  const program = createClient(server.url, token);
  assert.deepEqual(bindingsOf(expectOk(await me(program))), ['developer:north']);
  await until(async () => bindingsOf(expectOk(await me(program))).length === 0, 'the round of a minute', 90_000, 1_000);
  // What they were a while ago is not believed again.
  for (const roles_hold_seconds of [7_776_000, 86_400]) {
    expectOk(await admin.request('PATCH', '/v1/auth/providers/main', { roles_hold_seconds, ...PROOF }));
    assert.deepEqual(bindingsOf(expectOk(await me(program))), []);
  }
});

test('what the mapping gives is given at once, and a provider that is switched off lets nobody in', async () => {
  other.people.set('sub-jo', { preferred_username: 'jo', groups: ['south-readers'] });
  const { here, there, pair } = await signIn('other', 'sub-jo');
  const change = async (body: object) =>
    expectOk(await admin.request('PATCH', '/v1/auth/providers/other', { ...body, ...PROOF }));
  await change({ group_roles: [{ group: 'south-readers', role: 'operator', workspace: 'south' }] });
  assert.deepEqual(bindingsOf(expectOk(await me(here))), ['operator:south']);
  await change({ enabled: false });
  expectError(await me(here), 401);
  await until(async () => (await me(there)).status === 401, 'the other replica to know', 4_000, 10);
  expectError(await anonymous.request('POST', '/v1/auth/refresh', { refresh_token: pair.refresh_token }), 401);
  expectError(await anonymous.request('GET', '/v1/auth/sso/other/start'), 404, 'NOT_FOUND');
  const offered = expectOk(await anonymous.request<{ name: string }[]>('GET', '/v1/auth/sso'));
  assert.deepEqual(offered, [{ name: 'main', title: 'The main issuer' }]);
  await change({ enabled: true, group_roles: GROUP_ROLES });
  const joUser = await database.pool.query("select groups from provisioning.identities where subject = 'sub-jo'");
  assert.deepEqual(joUser.rows[0].groups, []);
  await signIn('other', 'sub-jo');
});

test('a deleted workspace gives nothing any more, also when there is another one of its name', async () => {
  const make = async () =>
    expectOk(
      await admin.request('POST', '/v1/workspaces/create', {
        name: 'brief',
        path: `${server.dataDir}/workspaces/brief`,
      }),
    );
  await make();
  const group_roles = [...GROUP_ROLES, { group: 'brief-ops', role: 'operator', workspace: 'brief' }];
  expectOk(await admin.request('PATCH', '/v1/auth/providers/other', { group_roles, ...PROOF }));
  expectOk(await admin.request('DELETE', '/v1/workspaces/brief'));
  await make();
  other.people.set('sub-kim', { preferred_username: 'kim', groups: ['brief-ops', 'south-readers'] });
  assert.deepEqual(bindingsOf(expectOk(await me((await signIn('other', 'sub-kim')).here))), ['viewer:south']);
});

test('roles and passwords of their users are the issuer’s, and an administrator of this server alone stays', async () => {
  issuer.people.set('sub-lea', { preferred_username: 'lea', groups: ['platform'] });
  const { here } = await signIn('main', 'sub-lea');
  const lea = expectOk(await me(here));
  assert.deepEqual(bindingsOf(lea), ['admin:*']);
  const roles = [{ role: 'viewer' }];
  expectError(await admin.request('PATCH', `/v1/users/${lea.id}`, { roles }), 409, 'CONFLICT');
  const users = expectOk(await admin.request<{ id: string; username: string }[]>('GET', '/v1/users'));
  const idOf = (username: string) => users.find((user) => user.username === username)?.id;
  expectOk(await here.request('DELETE', `/v1/users/${idOf('carl')}`));
  expectError(await here.request('DELETE', `/v1/users/${idOf('admin')}`), 409, 'CONFLICT');
  // Barred here, whatever the issuer says.
  expectOk(await admin.request('PATCH', `/v1/users/${lea.id}`, { disabled: true }));
  const browser = createBrowser();
  const answer = await trade(browser, await callBack(browser, await toCallback(browser, 'main', 'sub-lea')));
  expectError(answer, 401, 'SSO_REFUSED');
  assert.equal((await lastAudit('auth.login'))?.details?.reason, 'disabled user');
});

test('a sign-in by another device: not before somebody has signed in there, and once', async () => {
  issuer.people.set('sub-max', { preferred_username: 'max', groups: ['south-readers'] });
  const begun = expectOk(
    await anonymous.request<{ device: string; verification_uri_complete: string; interval: number }>(
      'POST',
      '/v1/auth/sso/main/device',
    ),
  );
  const poll = (client: Client = anonymous) =>
    client.request<Pair>('POST', '/v1/auth/sso/device/token', { device: begun.device });
  expectError(await poll(), 400, 'AUTHORIZATION_PENDING');
  const asked = issuer.requests.filter((path) => path === '/token').length;
  expectError(await poll(second.anonymous), 400, 'AUTHORIZATION_PENDING');
  assert.equal(
    issuer.requests.filter((path) => path === '/token').length,
    asked,
    'the issuer is asked in its interval',
  );
  const { page } = await createBrowser().visit(begun.verification_uri_complete, { as: 'sub-max' });
  assert.match(page, /Sign-in Success/);
  let pair: Pair | undefined;
  const arrived = async () => {
    const answer = await poll();
    if (answer.status === 200) pair = answer.body;
    return answer.status === 200;
  };
  await until(arrived, 'the device', 30_000, 500);
  assert.equal(expectOk(await me(createClient(second.url, pair?.token ?? ''))).username, 'main:max');
  expectError(await poll(), 401, 'SSO_EXPIRED');
});

test('codes for another device are off unless an administrator switches them on', async () => {
  const set = (device_login: boolean) => admin.request('PATCH', '/v1/auth/providers/main', { device_login, ...PROOF });
  expectOk(await set(false));
  expectError(await anonymous.request('POST', '/v1/auth/sso/main/device'), 409, 'NO_DEVICE_LOGIN');
  expectOk(await set(true));
  expectOk(await anonymous.request('POST', '/v1/auth/sso/main/device'));
});

test('a provider may ask for a second factor, and without that its administrators have no roles where one is needed', async () => {
  const strict = (await installation.replica({ PORT: String(await freePort()), ADMIN_TOTP: 'true' })).url;
  issuer.people.set('sub-pia', { preferred_username: 'pia', groups: ['platform'] });
  const first = await signIn('main', 'sub-pia');
  assert.deepEqual(bindingsOf(expectOk(await me(first.here))), ['admin:*']);
  assert.deepEqual(bindingsOf(expectOk(await me(createClient(strict, first.pair.token)))), []);
  const set = (required_amr: string[]) => admin.request('PATCH', '/v1/auth/providers/main', { required_amr, ...PROOF });
  expectOk(await set(['mfa']));
  expectError(await me(first.here), 401);
  const browser = createBrowser();
  const end = await callBack(browser, await toCallback(browser, 'main', 'sub-pia'));
  assert.match(await refusedWith(end), /does not say that they signed in as this provider asks/);
  issuer.tamper.set('/token', async (answer) => {
    const [, claims = ''] = String(answer.id_token).split('.');
    const said = JSON.parse(Buffer.from(claims, 'base64url').toString()) as JWTPayload;
    return { ...answer, id_token: await signed({ ...said, amr: ['pwd', 'mfa'] }) };
  });
  const { pair } = await signIn('main', 'sub-pia');
  issuer.tamper.delete('/token');
  assert.deepEqual(bindingsOf(expectOk(await me(createClient(strict, pair.token)))), ['admin:*']);
  expectOk(await set([]));
});

test('sign-ins that are begun and left are bounded, and end', async () => {
  const { rows: before } = await database.pool.query('select count(*)::int as n from provisioning.sso_logins');
  await anonymous.request('GET', '/v1/auth/sso/main/start', undefined, {});
  const browser = createBrowser();
  const url = await toCallback(browser, 'main', 'sub-dora');
  await database.pool.query("update provisioning.sso_logins set expires_at = now() - interval '1 second'");
  assert.match(await refusedWith(await callBack(browser, url)), /unknown, used or expired state/);
  await toCallback(browser, 'main', 'sub-dora');
  const { rows } = await database.pool.query('select count(*)::int as n from provisioning.sso_logins');
  assert.equal(rows[0].n, 1, `expired ones stay (${before[0].n} before)`);
  await database.pool.query(`
    insert into provisioning.sso_logins (key, kind, provider_id, payload, expires_at)
    select decode(md5(n::text), 'hex'), 'code', (select id from provisioning.identity_providers limit 1), '', now() + interval '1 hour'
    from generate_series(1, 10050) n`);
  await toCallback(browser, 'main', 'sub-dora');
  const { rows: bounded } = await database.pool.query('select count(*)::int as n from provisioning.sso_logins');
  assert.equal(bounded[0].n, 10_000);
  await database.pool.query('delete from provisioning.sso_logins');
});

test('an issuer is read before it is trusted, and its secret is never told', async () => {
  const wrong = async (issuerUrl: string) =>
    expectError(
      await admin.request('POST', '/v1/auth/providers', { name: 'wrong', issuer: issuerUrl, client_id: 'x' }),
      400,
      'VALIDATION_ERROR',
    ).message;
  assert.match(await wrong(`${issuer.issuer}/`), /calls itself|issuer/);
  assert.match(await wrong('http://issuer.example'), /https/);
  assert.match(await wrong('https://169.254.169.254'), /not an address that identity providers may reach/);
  assert.match(await wrong(`http://127.0.0.1:${await freePort()}`), /cannot be used/);
  const told = [
    await admin.request('GET', '/v1/auth/providers'),
    await admin.request('GET', '/v1/auth/providers/main'),
    await admin.request('GET', '/v1/audit?per_page=1000'),
  ].map(({ body }) => JSON.stringify(body));
  for (const text of told) assert.ok(!text.includes(issuer.clientSecret));
  const { rows } = await database.pool.query('select client_secret from provisioning.identity_providers');
  assert.ok(rows.every(({ client_secret: sealed }) => !String(sealed).includes(issuer.clientSecret)));
});

test('what an issuer gives for a session lies encrypted, and so does what a sign-in waits with', async () => {
  const given: Record<string, string> = {};
  issuer.tamper.set('/token', (answer) => {
    for (const name of ['access_token', 'refresh_token', 'id_token']) given[name] = String(answer[name]);
    return answer;
  });
  const { browser } = await signIn('main', 'sub-dora');
  const url = await toCallback(browser, 'main', 'sub-dora');
  const state = String(url.searchParams.get('state'));
  await assertNotStored(database.pool, {
    ...given,
    state,
    cookie: browser.cookiesFor(server.url).replace('provisioning_sso=', ''),
  });
  const end = await callBack(browser, url);
  await assertNotStored(database.pool, { ...given, ticket: end.hash.slice('#sso='.length) });
  assert.equal(Object.keys(given).length, 3);
  issuer.tamper.delete('/token');
});

test('what an issuer names as its endpoints is under the egress policy, too', async () => {
  const described = '/.well-known/openid-configuration';
  const told = async (endpoint: string) => {
    issuer.tamper.set(described, (answer) => ({ ...answer, token_endpoint: endpoint }));
    // It is read anew.
    expectOk(await admin.request('PATCH', '/v1/auth/providers/main', { title: 'The main issuer', ...PROOF }));
    const browser = createBrowser();
    return refusedWith(await callBack(browser, await toCallback(browser, 'main', 'sub-dora')));
  };
  assert.match(await told('https://169.254.169.254/token'), /169\.254\.169\.254 is not an address/);
  assert.match(await told('http://issuer.example/token'), /without TLS/);
  issuer.tamper.delete(described);
  expectOk(await admin.request('PATCH', '/v1/auth/providers/main', { title: 'The main issuer', ...PROOF }));
  await signIn('main', 'sub-dora');
});

test('sign-ins and exchanges are limited for each address', async () => {
  const limited = (await installation.replica({ PORT: String(await freePort()), LOGIN_RATE_LIMIT: '1' })).anonymous;
  const statuses = async (method: string, route: string, body?: object) =>
    new Set(
      await Promise.all(Array.from({ length: 12 }, async () => (await limited.request(method, route, body)).status)),
    );
  const denied = async () =>
    [...(await auditRows('auth.login')), ...(await auditRows('auth.exchange'))].filter(
      ({ outcome }) => outcome === 'denied',
    );
  const before = (await denied()).length;
  assert.ok((await statuses('GET', `/v1/auth/sso/main/callback?state=${'A'.repeat(43)}`)).has(429));
  assert.ok((await statuses('POST', '/v1/auth/sso/token', { ticket: 'A'.repeat(43) })).has(429));
  assert.ok((await statuses('POST', '/v1/auth/sso/device/token', { device: 'A'.repeat(43) })).has(429));
  assert.ok((await statuses('POST', '/v1/auth/exchange', { subject_token: 'x' })).has(429));
  // Strangers do not fill the audit log: one line here, and that there were more.
  const rows = await denied();
  assert.equal(rows.length - before, 2);
  assert.ok(
    rows.some(({ details }) => details?.reason === 'further refusals of this address are left out for a minute'),
  );
  assert.ok((await statuses('GET', '/v1/auth/sso/none/start')).has(429));
  assert.ok((await statuses('POST', '/v1/auth/sso/none/device')).has(429));
});

test('what decides who administers takes the password of whoever sets it up', async () => {
  const set = (name: string, body: object) => admin.request('PATCH', `/v1/auth/providers/${name}`, body);
  expectError(await set('main', { groups_claim: 'roles' }), 403, 'PROOF_REQUIRED');
  const guessed = { groups_claim: 'roles', proof: { password: 'a guess' } };
  expectError(await set('main', guessed), 401, 'INVALID_CREDENTIALS');
  expectOk(await admin.request('DELETE', '/v1/auth/providers/other'));
  const { proof: _, ...third } = { ...providerOf('third', other) };
  expectError(await admin.request('POST', '/v1/auth/providers', third), 403, 'PROOF_REQUIRED');
  const harmless = { ...third, group_roles: GROUP_ROLES.slice(1) };
  // So it is with what lets anybody in, whatever they may do.
  expectError(await admin.request('POST', '/v1/auth/providers', harmless), 403, 'PROOF_REQUIRED');
  expectOk(await admin.request('POST', '/v1/auth/providers', { ...harmless, ...PROOF }));
  const account = { name: 'jobs', roles: ['operator'] };
  expectOk(await admin.request('POST', '/v1/workspaces/north/service-accounts', account));
  const rule = { name: 'any', audience: 'us', claims: { sub: 'job' }, service_account: 'jobs@north' };
  const named = [{ group: 'them', role: 'viewer' as const }];
  const decisive = [
    ...[{ exchange: [rule] }, { group_roles: named }, { client_id: 'another' }, { groups_claim: 'roles' }],
    ...[{ device_login: true }, { required_amr: [] }, { enabled: true }, { roles_hold_seconds: 90_000 }],
  ];
  for (const change of decisive) expectError(await set('third', change), 403, 'PROOF_REQUIRED');
  expectOk(await set('third', { title: 'The third' }));
  expectError(await set('third', { group_roles: GROUP_ROLES }), 403, 'PROOF_REQUIRED');
  // To switch one off takes none: it is urgent.
  expectOk(await set('main', { enabled: false }));
  expectError(await set('main', { enabled: true }), 403, 'PROOF_REQUIRED');
});
