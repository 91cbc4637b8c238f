import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import Fastify from 'fastify';
import { sql } from 'kysely';
import { createTestDatabase } from '../../test/support/database.ts';
import { USERS_CHANNEL } from '../access/authenticate.ts';
import { createEncryption } from '../access/encryption.ts';
import type { Principal } from '../access/permissions.ts';
import { type Config, ConfigError, loadConfig } from '../config.ts';
import { createClient } from '../database/pool.ts';
import type { RoleBinding } from '../database/tables.ts';
import { setPrincipal } from '../http/context.ts';
import { installErrorHandler } from '../http/error-handler.ts';
import { createMutate } from '../http/mutation.ts';
import type { App, Services } from '../http/section.ts';
import { installValidation } from '../http/validation.ts';
import { touchWorkspace } from '../operations/last-used.ts';
import { registerWorkspaceRoutes } from './routes.ts';
import { ensureDefaultWorkspace, requireWorkspace } from './service.ts';

const testDatabase = await createTestDatabase();
const { db } = testDatabase;
after(() => testDatabase.close());

let base: string;
let config: Config;
let app: App;

function principal(...bindings: RoleBinding[]): Principal {
  return { userId: randomUUID(), name: 'somebody', label: 'somebody', tokenId: null, bindings };
}

const admin = principal({ role: 'admin', workspace: null });
const operatorOfA = principal({ role: 'operator', workspace: 'a' });
const viewerOfA = principal({ role: 'viewer', workspace: 'a' });
let caller = admin;

before(async () => {
  base = await realpath(await mkdtemp(path.join(tmpdir(), 'workspaces-')));
  config = { ...loadConfig(), workspaceRoots: [path.join(base, 'root')] };
  app = Fastify() as unknown as App;
  installValidation(app);
  installErrorHandler(app, () => {});
  app.addHook('onRequest', async (request) => setPrincipal(request, caller));
  const encryption = createEncryption(randomBytes(32).toString('base64'));
  const services = { config, db, mutate: createMutate(db, encryption, encryption) };
  registerWorkspaceRoutes(app, services as unknown as Services);
});
after(async () => {
  await app.close();
  await rm(base, { recursive: true, force: true });
});
beforeEach(async () => {
  caller = admin;
  await sql`delete from provisioning.servers`.execute(db);
  await sql`delete from provisioning.operations`.execute(db);
  await sql`delete from provisioning.workspaces`.execute(db);
});

async function call(method: 'GET' | 'POST' | 'DELETE', url: string, payload?: object) {
  const response = await app.inject({ method, url, ...(payload === undefined ? {} : { payload }) });
  return { status: response.statusCode, body: response.json(), location: response.headers.location };
}

const create = (name: string, more: object = {}) => call('POST', '/v1/workspaces/create', { name, ...more });
const activeNames = async () =>
  (await call('GET', '/v1/workspaces')).body
    .filter((w: { active: boolean }) => w.active)
    .map((w: { name: string }) => w.name);

/** The next message on the channel. */
async function listen(channel: string) {
  const client = createClient(testDatabase.settings, 'test');
  await client.connect();
  await client.query(`listen ${channel}`);
  const next = new Promise<string | undefined>((resolve) =>
    client.once('notification', ({ payload }) => resolve(payload)),
  );
  return { next, [Symbol.asyncDispose]: () => client.end() };
}

describe('create', () => {
  test('answers the workspace and makes its directory', async () => {
    await create('first');
    const { status, body, location } = await create('staging');
    assert.equal(status, 200);
    assert.deepEqual(body, { name: 'staging', path: path.join(base, 'root/staging'), active: false, last_used: null });
    assert.equal(location, '/v1/workspaces/staging');
    assert.match(await readFile(path.join(body.path, 'workspace.yaml'), 'utf8'), /provider: simulated/);
    const audit = await db
      .selectFrom('provisioning.audit_log')
      .selectAll()
      .where('resource', '=', 'workspace:staging')
      .execute();
    assert.deepEqual(
      audit.map((row) => [row.action, row.outcome]),
      [['workspace.create', 'allowed']],
    );
  });

  test('refuses a name twice, and a path twice by whatever name', async () => {
    await create('a');
    assert.equal((await create('a')).status, 409);
    await symlink('a', path.join(base, 'root/link-to-a'));
    const taken = await create('b', { path: path.join(base, 'root/link-to-a') });
    assert.equal(taken.status, 409);
    assert.match(taken.body.message, /belongs to the workspace "a"/);
  });

  test('refuses what is wrong, naming the field, and leaves nothing behind', async () => {
    await writeFile(path.join(base, 'root/file'), '');
    for (const [body, field] of [
      [{ name: 'Upper' }, 'name'],
      [{ name: 'a'.repeat(64) }, 'name'],
      [{ path: '/x' }, 'name'],
      [{ name: 'x', activate: 'yes' }, 'activate'],
      [{ name: 'x', aktivate: true }, 'aktivate'],
      [{ name: 'x', path: '/etc' }, 'path'],
      [{ name: 'x', path: `${base}/root/../x` }, 'path'],
      [{ name: 'x', path: `${base}/root/file` }, 'path'],
      [{ name: 'x', path: `${base}/root/a\0` }, 'path'],
      [{ name: 'x', path: 'x'.repeat(5_000) }, 'path'],
    ] as const) {
      const { status, body: answer } = await call('POST', '/v1/workspaces/create', body);
      assert.equal(status, 400, JSON.stringify(body));
      assert.equal(answer.details[0].field, field, JSON.stringify(answer));
    }
    assert.deepEqual((await call('GET', '/v1/workspaces')).body, []);
  });

  test('twenty at once for one name make one', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => create('a', { activate: true })));
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, ...Array(19).fill(409)]);
  });
});

describe('activate', () => {
  test('moves the mark; the first workspace has it in any case', async () => {
    await create('a');
    await create('b');
    assert.deepEqual(await activeNames(), ['a']);
    assert.equal((await call('POST', '/v1/workspaces/b/activate')).body.active, true);
    assert.deepEqual(await activeNames(), ['b']);
    await create('c', { activate: true });
    assert.deepEqual(await activeNames(), ['c']);
  });

  test('leaves exactly one active, however many ask at once', async () => {
    const names = ['a', 'b', 'c', 'd', 'e'];
    for (const name of names) await create(name);
    const answers = await Promise.all(
      [...names, ...names].map((name) => call('POST', `/v1/workspaces/${name}/activate`)),
    );
    assert.ok(answers.every(({ status }) => status === 200));
    assert.equal((await activeNames()).length, 1);
  });
});

describe('delete', () => {
  test('keeps the files, says what was deleted, and passes the mark on', async () => {
    await create('a');
    await create('b');
    const { status, body } = await call('DELETE', '/v1/workspaces/a', { name: 'a' });
    assert.equal(status, 200);
    assert.deepEqual(body, {
      deleted: true,
      name: 'a',
      path: path.join(base, 'root/a'),
      active: true,
      last_used: null,
    });
    assert.ok(await readFile(path.join(base, 'root/a/workspace.yaml')));
    assert.deepEqual(await activeNames(), ['b']);
    assert.equal((await call('DELETE', '/v1/workspaces/a')).status, 404);
  });

  test('takes away the roles bound to it', async () => {
    await create('a');
    await create('b');
    const id = randomUUID();
    await db.insertInto('provisioning.users').values({ id, username: id, password_hash: 'x' }).execute();
    const bindings = ['a', 'b', null].map((workspace) => ({ user_id: id, role: 'operator', workspace }));
    await db.insertInto('provisioning.role_bindings').values(bindings).execute();
    await using listener = await listen(USERS_CHANNEL);
    assert.equal((await call('DELETE', '/v1/workspaces/a')).status, 200);
    assert.equal(await listener.next, id);
    const left = await db
      .selectFrom('provisioning.role_bindings')
      .select('workspace')
      .where('user_id', '=', id)
      .execute();
    assert.deepEqual(left.map(({ workspace }) => workspace).sort(), ['b', null]);
  });

  test('refuses a contradiction and unknown fields', async () => {
    await create('a');
    assert.equal((await call('DELETE', '/v1/workspaces/a', { name: 'b' })).status, 400);
    assert.equal((await call('DELETE', '/v1/workspaces/a', { nam: 'a' })).body.details[0].field, 'nam');
  });

  test('refuses while it holds servers or unfinished operations', async () => {
    await create('a');
    const operation = { id: randomUUID(), kind: 'server.create', workspace: 'a', input: '{}', created_by: 'somebody' };
    await db.insertInto('provisioning.operations').values(operation).execute();
    assert.match((await call('DELETE', '/v1/workspaces/a')).body.message, /unfinished operation/);
    await db.updateTable('provisioning.operations').set({ status: 'completed' }).execute();
    const server = {
      id: 'srv-1',
      workspace: 'a',
      hostname: 'h',
      provider: 'p',
      plan: 'p',
      zone: 'z',
      status: 'running',
    };
    await db
      .insertInto('provisioning.servers')
      .values({ ...server, operation_id: operation.id, created_by: 'somebody' })
      .execute();
    const { status, body } = await call('DELETE', '/v1/workspaces/a');
    assert.equal(status, 409);
    assert.deepEqual(body.details, { servers: 1, operations: 0 });
  });
});

describe('what a caller bound to one workspace sees', () => {
  test('only that one, and of the others not even that they exist', async () => {
    await create('a');
    await create('b');
    caller = viewerOfA;
    assert.deepEqual(
      (await call('GET', '/v1/workspaces')).body.map((w: { name: string }) => w.name),
      ['a'],
    );
    assert.equal((await call('GET', '/v1/workspaces/a')).status, 200);
    assert.equal((await call('GET', '/v1/workspaces/b')).status, 404);
    assert.equal((await call('DELETE', '/v1/workspaces/b')).status, 404);
    assert.equal((await call('POST', '/v1/workspaces/a/activate')).status, 403);
    assert.equal((await call('DELETE', '/v1/workspaces/a')).status, 403);
    assert.equal((await create('c')).status, 403);
    caller = operatorOfA;
    assert.equal((await create('c')).status, 403);
    assert.equal((await call('POST', '/v1/workspaces/a/activate')).status, 200);
  });

  test('requireWorkspace: unknown and hidden are the same 400, visible without permission is 403', async () => {
    await create('a');
    await create('hidden');
    await requireWorkspace(db, operatorOfA, 'server_create', 'a');
    await assert.rejects(requireWorkspace(db, viewerOfA, 'server_create', 'a'), { status: 403, code: 'FORBIDDEN' });
    for (const name of ['hidden', 'missing', 'A', '', 'a\0']) {
      await assert.rejects(requireWorkspace(db, operatorOfA, 'server_create', name), {
        status: 400,
        code: 'VALIDATION_ERROR',
      });
    }
    await assert.rejects(
      requireWorkspace(db, operatorOfA, 'server_create', 'hiddem'),
      (error: { details: unknown }) => {
        assert.ok(!JSON.stringify(error.details).includes('"hidden"'));
        return true;
      },
    );
    await assert.rejects(requireWorkspace(db, admin, 'server_create', 'hiddem'), (error: { details: unknown }) => {
      assert.ok(JSON.stringify(error.details).includes('"hidden"'));
      return true;
    });
  });

  test('names that are none are unknown, not broken', async () => {
    for (const name of ['A', '%00', 'x'.repeat(80), '..%2f']) {
      assert.equal((await call('GET', `/v1/workspaces/${name}`)).status, 404, name);
    }
  });
});

describe('list', () => {
  test('filters and sorts', async () => {
    for (const name of ['b', 'a', 'c']) await create(name);
    const names = async (query: string) =>
      (await call('GET', `/v1/workspaces?${query}`)).body.map((w: { name: string }) => w.name);
    assert.deepEqual(await names(''), ['b', 'a', 'c']);
    assert.deepEqual(await names('sort=-name'), ['c', 'b', 'a']);
    assert.deepEqual(await names('name=a'), ['a']);
    assert.deepEqual(await names('created_after=2020-01-01'), ['b', 'a', 'c']);
    assert.deepEqual(await names('created_before=2020-01-01T00:00:00%2B02:00'), []);
    for (const query of [
      'created_after=0000-01-01',
      'created_after=2025-02-30',
      'created_before=soon',
      'name=%00',
      'nam=a',
    ]) {
      assert.equal((await call('GET', `/v1/workspaces?${query}`)).status, 400, query);
    }
  });
});

test('ensureDefaultWorkspace makes one, with any number of replicas, only where there is none', async () => {
  await Promise.all(Array.from({ length: 8 }, () => ensureDefaultWorkspace(db, config)));
  assert.deepEqual(await activeNames(), ['default']);
  await create('other');
  await call('DELETE', '/v1/workspaces/default');
  await ensureDefaultWorkspace(db, config);
  assert.deepEqual(await activeNames(), ['other']);
});

test('ensureDefaultWorkspace names the setting where the directory cannot be made', async () => {
  await writeFile(path.join(base, 'file'), '');
  await assert.rejects(
    ensureDefaultWorkspace(db, { ...config, workspaceRoots: [path.join(base, 'file')] }),
    (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /PROVISIONING_WORKSPACE_ROOTS/);
      return true;
    },
  );
});

test('touchWorkspace writes once a minute and never waits', async () => {
  await create('a');
  const lastUsed = async () => (await call('GET', '/v1/workspaces/a')).body.last_used;
  await db.transaction().execute(async (tx) => {
    await touchWorkspace(tx, 'a');
    await touchWorkspace(db, 'a');
  });
  const first = await lastUsed();
  assert.match(first, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  await sql`update provisioning.workspaces set last_used = now() - interval '59 seconds'`.execute(db);
  const older = await lastUsed();
  await touchWorkspace(db, 'a');
  assert.equal(await lastUsed(), older);
  await sql`update provisioning.workspaces set last_used = now() - interval '61 seconds'`.execute(db);
  await touchWorkspace(db, 'a');
  assert.ok((await lastUsed()) >= first);
});
