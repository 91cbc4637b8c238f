/** Whoever reads the database, or a copy of it, can sign no token and guess no password. */
import assert from 'node:assert/strict';
import { createCipheriv, createHash, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { after, test } from 'node:test';
import { expectError, expectOk, type Installation, startInstallation } from '../support/acceptance.ts';
import { assertNotStored, assertNotStoredAsBytes } from '../support/canaries.ts';
import { createTestDatabase } from '../support/database.ts';
import { ADMIN_PASSWORD, type Client, createClient, spawnProvisioning, startTestServer } from '../support/server.ts';

const MASTER_KEY = 'kept apart from the database of this test';
const installation = await startInstallation({ ROLE: 'api', MASTER_KEY });
after(() => installation.close());
const { server, database } = installation;

/** A token with the claims of another one, signed with a key of ours. */
function resigned(token: string, key: string | Buffer): string {
  const text = token.split('.').slice(0, 2).join('.');
  return `${text}.${createHmac('sha256', key).update(text).digest('base64url')}`;
}

/** An answer as earlier versions keep it: AES-256-GCM under a key made of the signing key. */
function sealedAsBefore(text: string, signingKey: string): string {
  const key = Buffer.from(hkdfSync('sha256', signingKey, '', 'provisioning seal v1', 32));
  const iv = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  return Buffer.concat([iv, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64');
}

/** Every text in the tables that hold keys, as it is and decoded. */
async function keysIn({ pool }: Installation['database']): Promise<(string | Buffer)[]> {
  const { rows } = await pool.query<{ text: string }>(
    `select value as text from provisioning.settings union all select sealed from provisioning.data_keys
     union all select encode(hash, 'hex') from provisioning.api_tokens`,
  );
  assert.ok(rows.length >= 3);
  return rows.flatMap(({ text }) => [text, Buffer.from(text, 'base64'), Buffer.from(text, 'hex')]);
}

const opens = async (url: string, token: string) =>
  (await createClient(url, token).request('GET', '/v1/auth/me')).status;

test('no text in the database signs a token that the server takes', async () => {
  expectOk(await server.admin.request('POST', '/v1/tokens', { name: 'for-its-hash' }));
  for (const key of await keysIn(database)) {
    assert.equal(await opens(server.url, resigned(server.admin.token, key)), 401);
  }
  assert.equal(await opens(server.url, server.admin.token), 200);
});

test('a request with a password leaves nothing that a guess could be held against', async () => {
  const password = 'Guess-me-if-you-can-1';
  const body = { password, roles: [], username: 'guessed' };
  const headers = { 'idempotency-key': 'a-request-with-a-password' };
  const send = (client: Client) => client.request<{ id: string }>('POST', '/v1/users', body, headers);
  const { id } = expectOk(await send(server.admin));
  const canonical = `POST /v1/users\n${JSON.stringify(body)}`;
  await assertNotStored(database.pool, { password });
  await assertNotStoredAsBytes(database.pool, {
    'hash of the request': createHash('sha256').update(canonical).digest(),
    'hash of the body': createHash('sha256').update(JSON.stringify(body)).digest(),
    'hash of the password': createHash('sha256').update(password).digest(),
  });
  assert.equal(expectOk(await send(server.admin)).id, id, 'the same request has the same answer');
  const other = await server.admin.request('POST', '/v1/users', { ...body, username: 'another' }, headers);
  expectError(other, 409, 'IDEMPOTENCY_KEY_REUSED');
});

test('a key that an earlier version left readable is encrypted at the next start; sessions and kept answers go on', async () => {
  const secret = 'a signing key that stood open in the database of an earlier version';
  await using fresh = await createTestDatabase({ poolSize: 2 });
  await fresh.pool.query(`insert into provisioning.settings (key, value) values ('jwt_secret', $1)`, [secret]);
  const start = () =>
    startTestServer({ databaseUrl: fresh.url, settings: { ROLE: 'api', MASTER_KEY, POOL_SIZE: '4' } });
  const headers = { 'idempotency-key': 'a-request-of-before' };
  const body = { name: 'ci' };
  {
    await using first = await start();
    await assertNotStored(fresh.pool, { 'signing key': secret });
    assert.equal(await opens(first.url, resigned(first.admin.token, secret)), 200);
    expectOk(await first.admin.request('POST', '/v1/tokens', body, headers));
  }
  // As the version before stored a request.
  const plain = createHash('sha256')
    .update(`POST /v1/tokens\n${JSON.stringify(body)}`)
    .digest();
  const { rowCount } = await fresh.pool.query(
    `update provisioning.idempotency_keys set request_hash = $1, request_keyed = false, response_sealed = false,
       response_body = '{"token":"of before"}' where key = $2`,
    [plain, headers['idempotency-key']],
  );
  assert.equal(rowCount, 1);
  await using second = await start();
  await assertNotStoredAsBytes(fresh.pool, { 'hash of the request': plain });
  const answer = await second.admin.request('POST', '/v1/tokens', body, headers);
  assert.deepEqual(expectOk(answer), { token: 'of before' });
});

test('answers that a replica of an earlier version keeps are read; with another signing key they are not given again', async () => {
  const JWT_SECRET = 'a signing key that the settings give, as before';
  await using fresh = await createTestDatabase({ poolSize: 2 });
  const start = (secret: string) =>
    startTestServer({
      databaseUrl: fresh.url,
      settings: { ROLE: 'api', MASTER_KEY, POOL_SIZE: '4', JWT_SECRET: secret },
    });
  const headers = { 'idempotency-key': 'a-request-to-an-old-replica' };
  const body = { name: 'ci' };
  const hash = createHash('sha256')
    .update(`POST /v1/tokens\n${JSON.stringify(body)}`)
    .digest();
  const asBefore = () =>
    fresh.pool.query(
      `update provisioning.idempotency_keys set request_hash = $1, request_keyed = false, response_sealed = true,
         response_body = $2 where key = $3`,
      [hash, sealedAsBefore('{"token":"of an old replica"}', JWT_SECRET), headers['idempotency-key']],
    );
  {
    await using first = await start(JWT_SECRET);
    expectOk(await first.admin.request('POST', '/v1/tokens', body, headers));
    await asBefore();
    const answer = await first.admin.request('POST', '/v1/tokens', body, headers);
    assert.deepEqual(expectOk(answer), { token: 'of an old replica' });
  }
  await fresh.pool.query(
    `insert into provisioning.idempotency_keys (principal, key, request_hash, response_status, response_body)
     select 'somebody', n::text, '\\x00', 200, '{}' from generate_series(1, 1200) as n`,
  );
  await using second = await start('another signing key, given by the settings');
  const { rows } = await fresh.pool.query('select from provisioning.idempotency_keys where not request_keyed');
  assert.equal(rows.length, 0, 'however many there were');
  const refused = await second.admin.request('POST', '/v1/tokens', body, headers);
  assert.match(expectError(refused, 409, 'CONFLICT').message, /was executed before/);
  const names = expectOk(await second.admin.request<{ name: string }[]>('GET', '/v1/tokens')).map(({ name }) => name);
  assert.deepEqual(
    names.filter((name) => name === 'ci'),
    ['ci'],
    'it was not done twice',
  );
});

test('a replica with another master key says so and does not start', async () => {
  const other = spawnProvisioning(['serve'], {
    ...{ DATABASE_URL: database.url, DATA_DIR: server.dataDir, PORT: '0', ROLE: 'api' },
    MASTER_KEY: 'another master key than that of the first one',
    ADMIN_PASSWORD,
  });
  assert.equal(await other.closed, 2);
  assert.match(
    other.output(),
    /The master key of this replica is not the one that the signing key .* is encrypted under/,
  );
});
