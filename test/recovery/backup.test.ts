/** Backup and restore through the command line, on real databases. */
import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import pg from 'pg';
import { pino } from 'pino';
import { BackupError } from '../../src/backup/errors.ts';
import { restore } from '../../src/backup/restore.ts';
import { startEmbeddedPostgres } from '../../src/database/embedded.ts';
import { askForServer, expectError, expectOk, makeServer, type Server } from '../support/acceptance.ts';
import { verifyAudit } from '../support/audit.ts';
import { createTestDatabase } from '../support/database.ts';
import { createClient, ended, type Operation, spawnProvisioning, startTestServer, until } from '../support/server.ts';

const LOAD_EVERY_MS = 300;
const MASTER_KEY = 'a master key that is kept elsewhere';
const logger = pino({ level: 'silent' });
const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-backup-'));
await chmod(directory, 0o711);
after(() => rm(directory, { recursive: true, force: true }));

async function run(args: string[], settings: Record<string, string>) {
  const command = spawnProvisioning(args, { LOG_FORMAT: 'json', LOG_LEVEL: 'warn', MASTER_KEY, ...settings });
  const status = await command.closed;
  return { status, output: command.output() };
}

async function succeed(args: string[], settings: Record<string, string>): Promise<string> {
  const { status, output } = await run(args, settings);
  assert.equal(status, 0, output);
  return output;
}

/** A server on an embedded database with something of everything, and a backup taken while it works. */
const sourceDir = path.join(directory, 'source');
// The database is made before anybody waits for the server.
await succeed(['migrate'], { DATA_DIR: sourceDir });
const source = await startTestServer({
  dataDir: sourceDir,
  settings: { MASTER_KEY, SIMULATED_LATENCY_MS: '1500', WEBHOOK_ALLOW: 'http,local' },
});
after(() => source[Symbol.asyncDispose]());
const { admin } = source;
const { server: kept } = await makeServer(admin, 'kept');
const CANARY = 'canary-of-redis-in-its-config';
const redis = { workspace: 'default', name: 'redis', servers: [kept.hostname], config: { password: CANARY } };
const installed = expectOk(await admin.request<Operation>('POST', '/v1/taskservs/create', redis));
assert.equal((await ended(admin, installed.id, 120)).status, 'completed');
const { token } = expectOk(await admin.request<{ token: string }>('POST', '/v1/tokens', { name: 'ci' }));
const socketOf = async (dataDir: string) => ({
  host: path.join(dataDir, 'socket'),
  user: 'postgres',
  database: 'provisioning',
  password: (await readFile(path.join(dataDir, 'postgres-password'), 'utf8')).trim(),
});
const once = { body: { name: 'made-once' }, headers: { 'idempotency-key': 'a-request-of-before' } };
expectOk(await admin.request('POST', '/v1/tokens', once.body, once.headers));
// As a version before keyed hashes kept it: its answer is encrypted under the signing key.
await withEmbedded(source.dataDir, (client) =>
  client.query(
    `update provisioning.idempotency_keys set request_hash = $1, request_keyed = false, response_sealed = true,
       response_body = 'under the signing key of then' where key = $2`,
    [
      createHash('sha256')
        .update(`POST /v1/tokens\n${JSON.stringify(once.body)}`)
        .digest(),
      once.headers['idempotency-key'],
    ],
  ),
);
const workspace = path.join(source.dataDir, 'workspaces', 'filed');
expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'filed', path: workspace }));
await mkdir(path.join(workspace, 'workflows'));
await writeFile(path.join(workspace, 'workflows', 'own.yaml'), 'a file of the workspace\n'.repeat(50_000));
const { public_key: publicKey } = expectOk(
  await admin.request<{ public_key: string }>('GET', '/v1/workspaces/filed/ssh-key'),
);
const hook = expectOk(await admin.request<{ id: string }>('POST', '/v1/webhooks', { url: 'http://127.0.0.1:9/' }));
await makeServer(admin, 'also-kept');
const file = path.join(directory, 'backup');
// Under load: some have ended at the moment of the backup, some are under way, some are not asked for yet.
const flying: string[] = [];
const backup = { running: true };
const load = (async () => {
  while (backup.running) {
    flying.push((await askForServer(admin, `flying-${flying.length}`)).id);
    await new Promise((resolve) => setTimeout(resolve, LOAD_EVERY_MS));
  }
})();
const said = await succeed(['backup', file], { DATA_DIR: source.dataDir }).finally(() => {
  backup.running = false;
});
await load;
for (const id of flying) assert.equal((await ended(admin, id, 120)).status, 'completed');
const { operation: later } = await makeServer(admin, 'after-the-backup');

test('a backup is for its owner alone, says where the master key is, and never takes the place of a file', async () => {
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.match(said, /The backup does NOT contain the master key\. Keep a copy of PROVISIONING_MASTER_KEY/);
  const content = gunzipSync(await readFile(file)).toString('latin1');
  assert.ok(!content.includes(MASTER_KEY));
  assert.ok(!content.includes('PRIVATE KEY'));
  assert.ok(content.includes(installed.id) && !content.includes(CANARY));
  const [, kept = ''] = /^jwt_secret\t(\S+)/m.exec(content) ?? [];
  const text = admin.token.split('.').slice(0, 2).join('.');
  for (const key of [kept, Buffer.from(kept, 'base64')]) {
    assert.notEqual(key.length, 0, 'the signing key is in it');
    const forged = `${text}.${createHmac('sha256', key).update(text).digest('base64url')}`;
    assert.equal((await createClient(source.url, forged).request('GET', '/v1/auth/me')).status, 401, 'encrypted');
  }
  const again = await run(['backup', file], { DATA_DIR: source.dataDir });
  assert.equal(again.status, 1);
  assert.match(again.output, /already exists/);
});

test('restored into another data directory: everything is there, and what was under way ends once', async () => {
  const dataDir = path.join(directory, 'restored');
  const output = await succeed(['restore', file], { DATA_DIR: dataDir });
  assert.match(output, /Restored/);
  // What the cloud knows by now: what was under way at the backup has been made there since.
  const from = new pg.Client(await socketOf(source.dataDir));
  await from.connect();
  const { rows: cloud } = await from.query<{ json: string }>(
    `select coalesce(json_agg(s), '[]')::text as json from simulated_cloud.servers s where hostname <> 'after-the-backup'`,
  );
  await from.end();
  const fast = { MASTER_KEY, SIMULATED_LATENCY_MS: '20', WEBHOOK_ALLOW: 'http,local' };
  const restored = await withEmbedded(dataDir, async (client) => {
    await client.query('delete from simulated_cloud.servers');
    await client.query(
      'insert into simulated_cloud.servers select * from json_populate_recordset(null::simulated_cloud.servers, $1)',
      [cloud[0]?.json],
    );
    const { rows } = await client.query<{ id: string; hostname: string; underway: boolean }>(
      `select o.id, s.hostname, o.status in ('pending', 'running') as underway
       from provisioning.operations o join provisioning.servers s on s.operation_id = o.id where hostname like 'flying-%'`,
    );
    return rows;
  });
  assert.ok(
    restored.some(({ underway }) => underway),
    'some were under way',
  );
  await using server = await startTestServer({ dataDir, settings: fast });
  for (const { id } of restored) assert.equal((await ended(server.admin, id, 60)).status, 'completed');
  expectError(await server.admin.request('GET', `/v1/operations/${later.id}`), 404);
  const servers = expectOk(await server.admin.request<Server[]>('GET', '/v1/servers'));
  assert.deepEqual(
    servers.map(({ hostname, status }) => `${hostname} ${status}`).sort(),
    ['also-kept', 'kept', ...restored.map(({ hostname }) => hostname)].map((name) => `${name} running`).sort(),
  );
  assert.deepEqual(
    servers.find(({ id }) => id === kept.id),
    kept,
  );
  const me = expectOk(await createClient(server.url, token).request<{ username: string }>('GET', '/v1/auth/me'));
  assert.equal(me.username, 'admin');
  assert.equal((await createClient(server.url, admin.token).request('GET', '/v1/auth/me')).status, 401, 'a login');
  // It stays known that it was carried out, though nobody can read the answer.
  const repeated = await server.admin.request('POST', '/v1/tokens', once.body, once.headers);
  assert.match(expectError(repeated, 409, 'CONFLICT').message, /was executed before/);
  const key = expectOk(await server.admin.request<{ public_key: string }>('GET', '/v1/workspaces/filed/ssh-key'));
  assert.equal(key.public_key, publicKey);
  const restoredFile = path.join(dataDir, 'workspaces', 'filed', 'workflows', 'own.yaml');
  assert.equal(
    await readFile(restoredFile, 'utf8'),
    await readFile(path.join(workspace, 'workflows', 'own.yaml'), 'utf8'),
  );
  // New work has numbers of its own, and webhooks are told of it.
  const { operation } = await makeServer(server.admin, 'made-after-the-restore');
  await until(
    async () =>
      expectOk(
        await server.admin.request<{ operation_id: string }[]>('GET', `/v1/webhooks/${hook.id}/deliveries`),
      ).some(({ operation_id: told }) => told === operation.id),
    'a delivery of the new operation',
  );
  const told = expectOk(
    await server.admin.request<{ operation_id: string }[]>('GET', `/v1/webhooks/${hook.id}/deliveries`),
  ).map(({ operation_id: id }) => id);
  assert.equal(new Set(told).size, told.length, 'each operation is told once');
  const events = expectOk(await server.admin.request<{ operation_id: string }[]>('GET', '/v1/events?limit=10000'));
  assert.equal(events.at(-1)?.operation_id, operation.id, 'the feed goes on behind what was restored');
  // The cloud has one server for each of the source's, and the new one.
  const made = await withEmbedded(dataDir, (client) =>
    client.query<{ hostname: string }>('select hostname from simulated_cloud.servers'),
  );
  const names = made.rows.map(({ hostname }) => hostname);
  assert.equal(new Set(names).size, names.length, 'nothing was made twice');
  assert.equal(names.length, flying.length + 3);
});

/** On a database that a server is using, or in between two. */
async function withEmbedded<T>(dataDir: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const running = await socketOf(dataDir)
    .then(async (settings) => {
      const client = new pg.Client(settings);
      await client.connect();
      return client;
    })
    .catch(() => null);
  if (running !== null) {
    try {
      return await work(running);
    } finally {
      await running.end();
    }
  }
  const embedded = await startEmbeddedPostgres({ dataDir, log: () => {} });
  const client = new pg.Client(embedded.connection);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
    await embedded.stop();
  }
}

test('a damaged, cut off or foreign file is refused before anything is written', async () => {
  const whole = await readFile(file);
  const plain = gunzipSync(whole);
  const flipped = Buffer.from(plain);
  flipped.writeUInt8(flipped.readUInt8(plain.length >> 1) ^ 1, plain.length >> 1);
  const torn = Buffer.from(whole);
  torn.writeUInt8(torn.readUInt8(whole.length >> 1) ^ 0xff, whole.length >> 1);
  await using database = await createTestDatabase({ poolSize: 1, empty: true });
  for (const [name, bytes, words] of [
    ['cut', whole.subarray(0, whole.length - 100), /damaged or cut off/],
    ['cut-inside', gzipSync(plain.subarray(0, plain.length - 10)), /damaged or cut off/],
    ['flipped', gzipSync(flipped), /damaged or cut off/],
    ['torn', torn, /damaged or cut off/],
    ['longer', gzipSync(Buffer.concat([plain, Buffer.from('C\0\0\0\0')])), /damaged or cut off/],
    ['foreign', gzipSync('something else altogether'), /is not a backup/],
    ['text', Buffer.from('no gzip'), /damaged or cut off/],
    ['newer', gzipSync(newer(plain)), /newer version/],
  ] as const) {
    const bad = path.join(directory, name);
    await writeFile(bad, bytes);
    const options = {
      file: bad,
      config: { dataDir: directory, workspaceRoots: [] },
      force: true,
      withFiles: true,
      identities: [],
      logger,
    };
    await assert.rejects(restore(database.settings, database.db, options), (error) => {
      assert.ok(error instanceof BackupError && words.test(error.message), `${name}: ${error}`);
      return true;
    });
  }
  const none = path.join(directory, 'none');
  const missing = await run(['restore', none], { DATABASE_URL: database.url, DATA_DIR: directory });
  assert.equal(missing.status, 1);
  assert.match(missing.output, /^provisioning: .*none cannot be read: .*\n$/, 'and no stack');
  const { rows } = await database.pool.query(`select from pg_namespace where nspname in ('provisioning', 'dbos')`);
  assert.equal(rows.length, 0, 'nothing was written');
});

/** The same backup as a version of the future would have made it. */
function newer(plain: Buffer): Buffer {
  const magic = plain.indexOf('\n') + 1;
  const length = plain.readUInt32BE(magic + 1);
  const manifest = JSON.parse(plain.toString('utf8', magic + 5, magic + 5 + length));
  manifest.migrations.push('9999_of_the_future');
  return reframed(plain, manifest, magic, length);
}

function reframed(plain: Buffer, manifest: object, magic: number, length: number): Buffer {
  const head = Buffer.from(JSON.stringify(manifest));
  const size = Buffer.alloc(4);
  size.writeUInt32BE(head.length);
  const rest = plain.subarray(magic + 5 + length, plain.lastIndexOf('E\0\0\0'));
  const body = Buffer.concat([plain.subarray(0, magic), Buffer.from('M'), size, head, rest]);
  const end = Buffer.from(JSON.stringify({ sha256: createHash('sha256').update(body).digest('hex') }));
  const endSize = Buffer.alloc(4);
  endSize.writeUInt32BE(end.length);
  return Buffer.concat([body, Buffer.from('E'), endSize, end]);
}

test('to an external Postgres and back out of it; in use or not empty is refused; the audit chain holds', async () => {
  await using database = await createTestDatabase({ poolSize: 2, empty: true });
  const dataDir = path.join(directory, 'external');
  const settings = { DATABASE_URL: database.url, DATA_DIR: dataDir };
  await succeed(['restore', file], settings);
  const { problem, rows: audited, checkpoints } = await verifyAudit(database.db);
  assert.equal(problem, null, 'the chain of the audit log');
  assert.ok(audited > 0 && checkpoints > 0);
  const refused = await run(['restore', file], settings);
  assert.equal(refused.status, 1);
  assert.match(refused.output, /The database is not empty/);
  await database.pool.query(`update provisioning.servers set plan = 'changed'`);
  await database.pool.query(`
    with made as (insert into provisioning.users (id, username) values (gen_random_uuid(), 'keycloak:ada') returning id),
    bound as (insert into provisioning.role_bindings (user_id, role) select id, 'operator' from made)
    insert into provisioning.identities (issuer, subject, user_id, groups)
    select 'https://id.example', 'ada', id, '{ops}' from made`);
  const second = path.join(directory, 'second');
  await succeed(['backup', second, '--no-files'], settings);
  {
    await using server = await startTestServer({
      databaseUrl: database.url,
      dataDir,
      settings: { MASTER_KEY, ROLE: 'api' },
    });
    const busy = await run(['restore', second, '--force'], settings);
    assert.equal(busy.status, 1);
    assert.match(busy.output, /Servers are using this database/);
    await server.stop();
  }
  await succeed(['restore', second, '--force'], settings);
  const { rows } = await database.pool.query<{ plan: string }>('select distinct plan from provisioning.servers');
  assert.deepEqual(rows, [{ plan: 'changed' }]);
  // Whoever has lost a group since the backup: their issuer is to say so anew.
  const { rows: vouched } = await database.pool.query(`
    select groups, (select count(*)::int from provisioning.role_bindings b where b.user_id = i.user_id) as roles
    from provisioning.identities i`);
  assert.deepEqual(vouched, [{ groups: [], roles: 0 }]);
  const wrongKey = await run(['restore', second, '--force'], {
    ...settings,
    MASTER_KEY: 'another master key than the one before',
  });
  assert.equal(wrongKey.status, 0);
  assert.match(wrongKey.output, /master key here does not match the backup/);
});
