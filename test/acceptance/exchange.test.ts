/** Jobs of a CI trade the token that it gave them for one of a service account. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, test } from 'node:test';
import { exportSPKI, generateKeyPair, type JWTPayload } from 'jose';
import { expectError, expectOk, makeUser, PROOF, startInstallation, USER_PASSWORD } from '../support/acceptance.ts';
import { startIssuer } from '../support/issuer.ts';
import { type Answer, type Client, createClient, ended, type Operation, until } from '../support/server.ts';

const ci = await startIssuer({ callbacks: [] });
const stranger = await startIssuer({ callbacks: [] });
const installation = await startInstallation({ EGRESS_ALLOW: '127.0.0.1' });
after(async () => {
  await installation.close();
  await ci.stop();
  await stranger.stop();
});
const { server, database } = installation;
const { admin, anonymous } = server;

const AUDIENCE = 'https://provisioning.example';
const JOB = { sub: 'repo:acme/site:ref:refs/heads/main', aud: AUDIENCE, ref: 'refs/heads/main', run: 7 };

expectOk(
  await admin.request('POST', '/v1/workspaces/create', { name: 'live', path: `${server.dataDir}/workspaces/live` }),
);
const accounts = '/v1/workspaces/live/service-accounts';
for (const [name, roles] of [
  ['deploy', ['operator']],
  ['watch', ['viewer']],
] as const) {
  expectOk(await admin.request('POST', accounts, { name, roles }));
}
const DEPLOY = { name: 'deploy', audience: AUDIENCE, service_account: 'deploy@live', claims: { sub: JOB.sub } };
const setRules = async (...exchange: object[]) =>
  expectOk(await admin.request('PATCH', '/v1/auth/providers/ci', { exchange, ...PROOF }));
expectOk(
  await admin.request('POST', '/v1/auth/providers', { name: 'ci', issuer: ci.issuer, exchange: [DEPLOY], ...PROOF }),
);

interface Exchanged {
  access_token: string;
  issued_token_type: string;
  token_type: string;
  expires_in: number;
  service_account: string;
}
const exchange = (subject_token: string, more: object = {}): Promise<Answer<Exchanged>> =>
  anonymous.request<Exchanged>('POST', '/v1/auth/exchange', { subject_token, ...more });

/** All are refused in the same words; these are what administrators read. */
async function refused(token: string, more: object = {}): Promise<string> {
  const { message } = expectError(await exchange(token, more), 401, 'EXCHANGE_REFUSED');
  assert.equal(
    message,
    'The token was not accepted. An administrator finds the reason in the audit log under this request id.',
  );
  const { rows } = await database.pool.query<{ outcome: string; details: { reason: string } }>(
    "select outcome, details from provisioning.audit_log where action = 'auth.exchange' order by at desc, id desc limit 1",
  );
  assert.equal(rows[0]?.outcome, 'denied');
  return rows[0].details.reason;
}

test('a job gets a token of the service account, for minutes', async () => {
  const given = expectOk(await exchange(await ci.jobToken(JOB)));
  assert.equal(given.issued_token_type, 'urn:ietf:params:oauth:token-type:access_token');
  assert.deepEqual([given.token_type, given.expires_in, given.service_account], ['Bearer', 900, 'deploy@live']);
  const job = createClient(server.url, given.access_token);
  const who = expectOk(await job.request<{ username: string; roles: unknown[] }>('GET', '/v1/auth/me'));
  assert.equal(who.username, 'deploy@live');
  assert.deepEqual(who.roles, [{ role: 'operator', workspace: 'live' }]);
  // What outlives it, it cannot make.
  expectError(await job.request('POST', '/v1/tokens', { name: 'child' }), 409, 'CONFLICT');
  const { rows } = await database.pool.query(
    "select principal, details from provisioning.audit_log where action = 'auth.exchange' and outcome = 'allowed'",
  );
  assert.equal(rows[0].principal, 'deploy@live');
  assert.deepEqual(rows[0].details.token.sub, JOB.sub);
});

/** Its second step is accepted when the token has long expired. */
const HAND_OVER = `
operations:
  - id: first
    kind: wait
    with: { seconds: 5 }
  - id: second
    kind: server.create
    depends_on: [first]
    with: { hostname: made-01, provider: simulated, plan: 2xCPU-4GB, zone: de-fra1 }
`;

test('what a job begins goes on after its token', async () => {
  await setRules({ ...DEPLOY, expires_in: 60 });
  const { access_token: token } = expectOk(await exchange(await ci.jobToken(JOB)));
  const job = createClient(server.url, token);
  const { path: directory } = expectOk(await admin.request<{ path: string }>('GET', '/v1/workspaces/live'));
  await mkdir(path.join(directory, 'workflows'), { recursive: true });
  await writeFile(path.join(directory, 'workflows', 'hand-over.yaml'), HAND_OVER);
  const run = await job.request<Operation>('POST', '/v1/workflows/submit', {
    workspace: 'live',
    workflow_type: 'hand-over',
  });
  await database.pool.query(
    "update provisioning.api_tokens set expires_at = now() - interval '1 second' where exchanged_by is not null and expires_at > now()",
  );
  const { id } = expectOk(run);
  const end = await ended(admin, id, 60);
  assert.equal(end.status, 'completed', JSON.stringify(end));
  await until(async () => (await job.request('GET', '/v1/auth/me')).status === 401, 'the end of the token', 10_000);
  // The next exchange tidies up after it.
  expectOk(await exchange(await ci.jobToken(JOB)));
  const { rows } = await database.pool.query(
    'select count(*)::int as n from provisioning.api_tokens where exchanged_by is not null',
  );
  assert.equal(rows[0].n, 1);
  await setRules(DEPLOY);
});

const encoded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

test('a token is taken only as the issuer signs it, for us, now', async () => {
  const now = Math.floor(Date.now() / 1_000);
  const claims: JWTPayload = { iss: ci.issuer, iat: now, exp: now + 300, ...JOB };
  assert.match(await refused(await ci.jobToken({ ...JOB, aud: 'https://other.example' })), /audience/);
  assert.match(await refused(await ci.jobToken({ sub: JOB.sub })), /aud/);
  assert.match(await refused(await stranger.jobToken(JOB)), /no identity provider here has its issuer/);
  assert.match(await refused(await stranger.jobToken({ ...JOB, iss: ci.issuer })), /signature|key/);
  assert.match(await refused(await ci.jobToken({ ...JOB, iat: now - 900, exp: now - 600 })), /exp/);
  assert.match(await refused(await ci.jobToken({ ...JOB, nbf: now + 600 })), /nbf/);
  assert.match(await refused(await ci.jobToken({ ...JOB, iss: `${ci.issuer}/` })), /no identity provider/);
  assert.match(await refused(`${encoded({ alg: 'none' })}.${encoded(claims)}.`), /alg/i);
  const text = `${encoded({ alg: 'HS256', kid: ci.kid })}.${encoded(claims)}`;
  const mac = createHmac('sha256', await exportSPKI(ci.publicKey))
    .update(text)
    .digest('base64url');
  assert.match(await refused(`${text}.${mac}`), /alg/i);
  const { privateKey } = await generateKeyPair('RS256');
  assert.match(await refused(await ci.jobToken(JOB, { key: privateKey })), /signature/);
  for (const junk of [
    'x',
    'a.b.c',
    `${encoded({ alg: 'RS256' })}.${encoded('text')}.x`,
    '..',
    'é.é.é',
    `x.${encoded({ iss: 'a\u0000b' })}.x`,
  ])
    await refused(junk);
  expectOk(await exchange(await ci.jobToken(JOB)));
});

test('keys are looked for at the issuer once for many unknown ones', async () => {
  const asked = () => ci.requests.filter((path) => path === '/jwks').length;
  const before = asked();
  await Promise.all(
    Array.from({ length: 20 }, async (_, n) => exchange(await ci.jobToken(JOB, { kid: `unknown ${n}` }))),
  );
  assert.match(await refused(await ci.jobToken(JOB, { kid: 'another one' })), /key/);
  assert.ok(asked() - before <= 1, `${asked() - before} requests`);
});

test('every claim of a rule must fit, exactly or by a glob that does not cross its separators', async () => {
  const of = async (claims: object, job: JWTPayload) => {
    await setRules({ ...DEPLOY, claims });
    return job;
  };
  const taken = async (claims: object, job: JWTPayload) =>
    expectOk(await exchange(await ci.jobToken(await of(claims, job))));
  const left = async (claims: object, job: JWTPayload) =>
    assert.match(await refused(await ci.jobToken(await of(claims, job))), /does not fit/);
  await left({ sub: 'repo:acme/site:ref:refs/heads/mai' }, JOB);
  await left({ sub: JOB.sub, environment: 'production' }, JOB);
  await left({ sub: JOB.sub, ref: 'refs/heads/release' }, JOB);
  await taken({ sub: JOB.sub, ref: ['refs/heads/release', 'refs/heads/main'], run: '7' }, JOB);
  await taken({ sub: 'repo:acme/*:ref:refs/heads/main' }, JOB);
  await left(
    { sub: 'repo:acme/*:ref:refs/heads/main' },
    { ...JOB, sub: 'repo:acme/x:environment:y:ref:refs/heads/main' },
  );
  await left({ sub: 'repo:acme/*' }, JOB);
  await taken({ sub: 'repo:acme/**' }, JOB);
  await left({ sub: 'repo:acme/**' }, { ...JOB, sub: 'repo:acme-evil/site:ref:refs/heads/main' });
  await taken({ groups: 'ops' }, { ...JOB, groups: ['dev', 'ops'] });
  await left({ groups: 'ops' }, { ...JOB, groups: ['dev', 'ops2'] });
  await left({ 'a.b': 'c' }, { ...JOB, a: { b: { c: 1 } } });
  await taken({ 'a.b': 'c' }, { ...JOB, a: { b: 'c' } });
  for (const claims of [
    ...[{ sub: '*' }, { sub: '**' }, { sub: ['repo:acme/site', '*:*'] }, {}, { iss: ci.issuer }, { aud: AUDIENCE }],
    ...[
      { sub: 'repo:**' },
      { sub: 'r**' },
      { sub: '**a' },
      { sub: 'repo:acme-*/site:**' },
      { user_email: 'a@b.example' },
    ],
  ]) {
    expectError(
      await admin.request('PATCH', '/v1/auth/providers/ci', { exchange: [{ ...DEPLOY, claims }] }),
      400,
      'VALIDATION_ERROR',
    );
  }
  // However a pattern is made, its work is bounded.
  const many = { ...DEPLOY, claims: { ref: JOB.ref, sub: `${'*a'.repeat(9)}b` } };
  const refusal = await admin.request('PATCH', '/v1/auth/providers/ci', { exchange: [many] });
  assert.match(expectError(refusal, 400, 'VALIDATION_ERROR').message, /at most 8 wildcards/);
  const slow = { ref: JOB.ref, sub: `${'*a'.repeat(8)}b` };
  await setRules({ ...DEPLOY, claims: slow });
  const began = performance.now();
  await refused(await ci.jobToken({ ...JOB, sub: 'a'.repeat(2_000) }));
  assert.ok(performance.now() - began < 10_000);
  await setRules(DEPLOY);
});

test('a token of a job is traded a few times and not for hours, whoever has it', async () => {
  await setRules(DEPLOY);
  const token = await ci.jobToken(JOB);
  const statuses = await Promise.all(Array.from({ length: 12 }, async () => (await exchange(token)).status));
  assert.equal(statuses.filter((status) => status === 200).length, 5, statuses.join());
  assert.match(await refused(token), /traded 5 times already/);
  const plain = await ci.jobToken({ ...JOB, jti: undefined, run: 8 });
  for (let use = 0; use < 5; use += 1) expectOk(await exchange(plain));
  assert.match(await refused(plain), /traded 5 times already/);
  const now = Math.floor(Date.now() / 1_000);
  assert.match(await refused(await ci.jobToken({ ...JOB, iat: now - 4_000, exp: now + 4_000 })), /iat/);
});

test('what is no token of a job is not taken for one', async () => {
  assert.match(await refused(await ci.jobToken({ ...JOB, nonce: 'x' })), /of a person/);
  assert.match(await refused(await ci.jobToken({ ...JOB, aud: [AUDIENCE, 'x'], sid: 'x' })), /of a person/);
  for (const sub of ['{"toString":1}', `${'['.repeat(5_000)}${']'.repeat(5_000)}`]) {
    const claims = Buffer.from(`{"iss":"${ci.issuer}","sub":${sub}}`).toString('base64url');
    await refused(`${encoded({ alg: 'RS256' })}.${claims}.x`);
  }
  const asLogins = { client_id: AUDIENCE };
  expectError(await admin.request('PATCH', '/v1/auth/providers/ci', asLogins), 400, 'VALIDATION_ERROR');
  expectOk(await exchange(await ci.jobToken(JOB)));
});

test('with a rule or its provider go the tokens that jobs have, and what they began', async () => {
  await setRules(DEPLOY);
  const given = async () => createClient(server.url, expectOk(await exchange(await ci.jobToken(JOB))).access_token);
  const works = async (job: Client) => (await job.request('GET', '/v1/auth/me')).status === 200;
  const job = await given();
  await setRules(DEPLOY, { ...DEPLOY, name: 'another', service_account: 'watch@live' });
  assert.ok(await works(job), 'its rule is as it was');
  await setRules({ ...DEPLOY, claims: { ...DEPLOY.claims, ref: JOB.ref } });
  assert.ok(!(await works(job)));
  await setRules(DEPLOY);
  const next = await given();
  const { id } = expectOk(
    await next.request<Operation>('POST', '/v1/workflows/submit', { workspace: 'live', workflow_type: 'hand-over' }),
  );
  expectOk(await admin.request('PATCH', '/v1/auth/providers/ci', { enabled: false }));
  assert.ok(!(await works(next)));
  const end = await ended(admin, id, 60);
  assert.equal(end.status, 'failed', JSON.stringify(end));
  assert.match(JSON.stringify(end), /rule .*deploy.* by which a job got a token/);
  expectOk(await admin.request('PATCH', '/v1/auth/providers/ci', { enabled: true, ...PROOF }));
  assert.ok(!(await works(next)));
  await setRules();
  assert.match(await refused(await ci.jobToken(JOB)), /no rule/);
  await setRules(DEPLOY);
});

test('a rule stops when whoever made it is no administrator any more', async () => {
  const id = await makeUser(admin, 'mallory', [{ role: 'admin' }]);
  const mallory = await server.login('mallory', USER_PASSWORD);
  const theirs = { ...DEPLOY, name: 'theirs', claims: { sub: 'repo:mallory/mine:ref:refs/heads/main' } };
  expectOk(
    await mallory.request('PATCH', '/v1/auth/providers/ci', {
      exchange: [DEPLOY, theirs],
      proof: { password: USER_PASSWORD },
    }),
  );
  const own = { ...JOB, sub: theirs.claims.sub };
  const job = createClient(server.url, expectOk(await exchange(await ci.jobToken(own))).access_token);
  expectOk(await job.request('GET', '/v1/auth/me'));
  expectOk(await admin.request('PATCH', `/v1/users/${id}`, { roles: [{ role: 'viewer' }] }));
  expectError(await job.request('GET', '/v1/auth/me'), 401);
  assert.match(await refused(await ci.jobToken(own)), /stopped: whoever made it/);
  expectOk(await exchange(await ci.jobToken(JOB)));
  const { exchange: rules } = expectOk(
    await admin.request<{ exchange: { name: string; stopped: boolean }[] }>('GET', '/v1/auth/providers/ci'),
  );
  assert.deepEqual(
    rules.map(({ name, stopped }) => [name, stopped]),
    [
      ['deploy', false],
      ['theirs', true],
    ],
  );
  await setRules(DEPLOY, theirs);
  expectOk(await exchange(await ci.jobToken(own)));
  await setRules(DEPLOY);
});

test('a rule narrows, names one account, and ends with it', async () => {
  await setRules({ ...DEPLOY, permissions: ['server_read', 'workspace_read'] });
  const narrow = createClient(server.url, expectOk(await exchange(await ci.jobToken(JOB))).access_token);
  expectOk(await narrow.request('GET', '/v1/servers'));
  expectError(await narrow.request('POST', '/v1/servers/create', {}), 403, 'FORBIDDEN');

  await setRules(DEPLOY, { ...DEPLOY, name: 'watch', service_account: 'watch@live' });
  assert.match(await refused(await ci.jobToken(JOB)), /several service accounts \(deploy@live, watch@live\)/);
  const given = expectOk(await exchange(await ci.jobToken(JOB), { service_account: 'watch@live' }));
  assert.equal(given.service_account, 'watch@live');
  assert.match(await refused(await ci.jobToken(JOB), { service_account: 'admin' }), /no rule gives a token/);

  const watch = createClient(server.url, given.access_token);
  expectOk(await admin.request('PATCH', `${accounts}/watch`, { disabled: true }));
  expectError(await watch.request('GET', '/v1/auth/me'), 401);
  assert.match(await refused(await ci.jobToken(JOB), { service_account: 'watch@live' }), /disabled/);
  expectOk(await admin.request('DELETE', `${accounts}/watch`));
  assert.match(await refused(await ci.jobToken(JOB), { service_account: 'watch@live' }), /no rule gives a token/);
  expectOk(await exchange(await ci.jobToken(JOB)));

  expectOk(await admin.request('PATCH', '/v1/auth/providers/ci', { enabled: false }));
  assert.match(await refused(await ci.jobToken(JOB)), /no identity provider/);
  expectOk(await admin.request('PATCH', '/v1/auth/providers/ci', { enabled: true, ...PROOF }));
  // One that jobs alone use has no button.
  assert.deepEqual(expectOk(await anonymous.request('GET', '/v1/auth/sso')), []);
  expectError(await anonymous.request('GET', '/v1/auth/sso/ci/start'), 404, 'NOT_FOUND');
});

test('an API token sets up no identity provider', async () => {
  const { token } = expectOk(await admin.request<{ token: string }>('POST', '/v1/tokens', { name: 'all' }));
  const program = createClient(server.url, token);
  const provider = { name: 'mine', issuer: stranger.issuer };
  expectError(await program.request('POST', '/v1/auth/providers', provider), 409, 'CONFLICT');
  expectError(await program.request('PATCH', '/v1/auth/providers/ci', { enabled: false }), 409, 'CONFLICT');
  expectError(await program.request('DELETE', '/v1/auth/providers/ci'), 409, 'CONFLICT');
});
