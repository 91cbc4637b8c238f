import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { sql } from 'kysely';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { type Client, startTestServer, type TestServer } from '../../test/support/server.ts';
import { generateSshKey } from '../transports/keys.ts';

interface SshKey {
  workspace: string;
  public_key: string;
  fingerprint: string;
  generated: boolean;
}

describe('the SSH key of a workspace', () => {
  let database: TestDatabase;
  let server: TestServer;
  let admin: Client;
  before(async () => {
    database = await createTestDatabase();
    server = await startTestServer({ databaseUrl: database.url });
    admin = server.admin;
    await admin.request('POST', '/v1/workspaces/create', { name: 'keys' });
  });
  after(async () => {
    await server[Symbol.asyncDispose]();
    await database.close();
  });
  const get = (name: string, client = admin) => client.request<SshKey>('GET', `/v1/workspaces/${name}/ssh-key`);
  const put = (name: string, body: unknown, client = admin) =>
    client.request<SshKey & { message: string }>('PUT', `/v1/workspaces/${name}/ssh-key`, body);

  test('it is an ed25519 key made on first need, one for all who ask at once, another one in each workspace', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => get('default')));
    assert.ok(answers.every(({ status }) => status === 200));
    assert.equal(new Set(answers.map(({ body }) => body.public_key)).size, 1);
    const [{ body } = { body: undefined }] = answers;
    assert.match(body?.public_key ?? '', /^ssh-ed25519 [A-Za-z0-9+/=]+ provisioning-default$/);
    assert.match(body?.fingerprint ?? '', /^SHA256:[A-Za-z0-9+/]{43}$/);
    assert.equal(body?.generated, true);
    assert.notEqual((await get('keys')).body.public_key, body?.public_key);
    assert.equal((await get('nowhere')).status, 404);
  });

  test('a key of one’s own takes its place; its private part is in no answer, log line or column', async () => {
    const own = generateSshKey('somebody@example');
    const { status, body } = await put('keys', { private_key: own.privateKey });
    assert.equal(status, 200);
    const key = own.publicKey.split(' ')[1];
    assert.deepEqual([body.public_key, body.generated], [`ssh-ed25519 ${key} provisioning-keys`, false]);
    assert.equal((await get('keys')).body.public_key, body.public_key);
    const canary = own.privateKey.split('\n')[2] ?? '';
    assert.ok(canary.length > 40);
    assert.ok(!JSON.stringify(body).includes(canary));
    assert.ok(!server.output().includes(canary));
    const { rows } = await sql<{ all: string }>`
      select (select json_agg(k) from provisioning.ssh_keys k)::text || (select json_agg(a) from provisioning.audit_log a)::text
        || coalesce((select json_agg(i) from provisioning.idempotency_keys i)::text, '') as all`.execute(database.db);
    assert.ok(rows[0]?.all.includes(key ?? 'no key'));
    assert.ok(!rows[0]?.all.includes(canary));
    assert.ok(!rows[0]?.all.includes(Buffer.from(canary).toString('base64').slice(4, 40)));
  });

  test('RSA and ECDSA in PEM are taken; what is no usable private key is refused with what would be right', async () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
    const pem = rsa.export({ type: 'pkcs1', format: 'pem' }).toString();
    assert.match((await put('keys', { private_key: pem })).body.public_key, /^ssh-rsa /);
    const small = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
    const locked = rsa.export({ type: 'pkcs1', format: 'pem', cipher: 'aes-128-cbc', passphrase: 'x' }).toString();
    for (const [text, message] of [
      ['no key', /OpenSSH or PEM/],
      [generateSshKey('x').publicKey, /public key/],
      [locked, /passphrase/],
      [small.export({ type: 'pkcs1', format: 'pem' }).toString(), /2048 bits/],
    ] as const) {
      const answer = await put('keys', { private_key: text });
      assert.equal(answer.status, 400);
      assert.match(answer.body.message, message);
      assert.ok(!answer.body.message.includes(text));
    }
  });

  test('a key that servers let in is not replaced without force', async () => {
    await sql`
      insert into provisioning.servers (id, workspace, hostname, provider, plan, zone, status, operation_id, created_by)
      values ('srv-x', 'keys', 'old-01', 'upcloud', 'p', 'z', 'running', gen_random_uuid(), 'admin')`.execute(
      database.db,
    );
    const { privateKey, publicKey } = generateSshKey('x');
    const refused = await put('keys', { private_key: privateKey });
    assert.equal(refused.status, 409);
    assert.match(refused.body.message, /old-01/);
    assert.equal((await put('keys', { private_key: privateKey, force: true })).status, 200);
    assert.equal((await put('keys', { private_key: privateKey })).status, 200, 'the same key again');
    assert.ok((await get('keys')).body.public_key.includes(publicKey.split(' ')[1] ?? '-'));
  });

  test('reading takes the permission to read the workspace, replacing the one to change it', async () => {
    await admin.request('POST', '/v1/users', {
      username: 'viewer',
      password: 'river-otter-lamp-7',
      roles: [{ role: 'viewer', workspace: 'keys' }],
    });
    const viewer = await server.login('viewer', 'river-otter-lamp-7');
    assert.equal((await get('keys', viewer)).status, 200);
    assert.equal((await get('default', viewer)).status, 404);
    const { privateKey } = generateSshKey('x');
    assert.equal((await put('keys', { private_key: privateKey }, viewer)).status, 403);
    assert.equal((await put('default', { private_key: privateKey }, viewer)).status, 403);
    assert.equal((await get('keys', server.anonymous)).status, 401);
  });
});
