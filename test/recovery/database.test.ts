/** Databases that are too old, too new, empty, full or away: said clearly, and work goes on when they are well again. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { startCutProxy } from '../support/cut-proxy.ts';
import { createTestDatabase } from '../support/database.ts';
import { createClient, MAIN, type Operation, serverRequest, startTestServer, until } from '../support/server.ts';
import {
  assertAllCompleted,
  assertCreatedOnce,
  assertEventsComplete,
  assertListEqualsProvider,
  createServers,
  openBooks,
  unfinished,
  untilAllEnded,
} from './support.ts';

const USAGE = 2;

/** Runs the program to its end. */
async function run(command: 'serve' | 'migrate', databaseUrl: string) {
  const child = spawn(process.execPath, [MAIN, command], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH,
      PROVISIONING_DATABASE_URL: databaseUrl,
      PROVISIONING_PORT: '0',
      PROVISIONING_LOG_FORMAT: 'json',
    },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await once(child, 'close');
  return { status: child.exitCode, output };
}

/** Says what is wrong, in a line for people. */
function assertRefused({ status, output }: { status: number | null; output: string }, told: RegExp): void {
  assert.equal(status, USAGE, output);
  assert.match(output, told);
  assert.doesNotMatch(output, /^ {4}at /m, 'a stack is not for people');
}

// A start waits half a minute for a database that is not there yet: the other tests run meanwhile.
const nobody = run('serve', 'postgres://nobody:secret-word@127.0.0.1:1/nowhere');

test('migrate makes the tables of an empty database, once', async () => {
  await using database = await createTestDatabase({ poolSize: 1, empty: true });
  const first = await run('migrate', database.url);
  assert.equal(first.status, 0, first.output);
  assert.match(first.output, /^Migrated: 0001_initial/m);
  const second = await run('migrate', database.url);
  assert.deepEqual(second, { status: 0, output: 'The database is up to date.\n' });
});

test('two servers and a migrate that start at once on an empty database get along', async () => {
  await using database = await createTestDatabase({ poolSize: 1, empty: true });
  const start = () => startTestServer({ databaseUrl: database.url, settings: { POOL_SIZE: '5' } });
  const [one, two, migrated] = await Promise.all([start(), start(), run('migrate', database.url)]);
  await using stack = new AsyncDisposableStack();
  stack.use(one);
  stack.use(two);
  assert.equal(migrated.status, 0, migrated.output);
  await using books = await openBooks({ databaseUrl: database.url });
  await Promise.all([createServers(one.admin, 'one', 5), createServers(two.admin, 'two', 5)]);
  await untilAllEnded(books);
  await assertAllCompleted(books);
  assert.equal((await books.query('select from provisioning.users')).length, 1, 'one admin');
});

test('a database that a newer version has migrated is refused, unchanged', async () => {
  await using database = await createTestDatabase({ poolSize: 1 });
  await database.pool.query("insert into provisioning.migrations (name, timestamp) values ('9999_later', 'now')");
  const told = /migrated by a newer version of provisioning \(it has 9999_later, .*Run that version or a later one\./;
  for (const command of ['serve', 'migrate'] as const) assertRefused(await run(command, database.url), told);
});

test('a Postgres that is too old is refused before anything is made', async () => {
  await using database = await createTestDatabase({ poolSize: 1, empty: true });
  // The real server answers as a 14 would where it is asked for its version.
  await database.pool.query(`create schema older;
    create function older.current_setting(name text) returns text language sql as $$
      select case name when 'server_version_num' then '140011' else pg_catalog.current_setting(name) end $$;
    alter database ${database.settings.database} set search_path = older, pg_catalog, public`);
  assertRefused(await run('migrate', database.url), /PostgreSQL 14; PostgreSQL 15 or newer is needed/);
  const { rows } = await database.pool.query("select to_regnamespace('provisioning') as made");
  assert.deepEqual(rows, [{ made: null }]);
});

test('a database or a role that does not exist is named, and what to do', async () => {
  await using database = await createTestDatabase({ poolSize: 1 });
  const url = new URL(database.url);
  url.pathname = '/no_such_database';
  assertRefused(await run('serve', url.href), /database "no_such_database" does not exist.*PROVISIONING_DATABASE_URL/);
  const role = new URL(database.url);
  role.username = 'no_such_role';
  assertRefused(await run('migrate', role.href), /role "no_such_role" does not exist.*PROVISIONING_DATABASE_URL/);
});

test('a full database refuses new work as 503, and running work waits until there is room', async () => {
  await using database = await createTestDatabase({ poolSize: 1 });
  await using server = await startTestServer({ databaseUrl: database.url, settings: { SIMULATED_LATENCY_MS: '2500' } });
  await using books = await openBooks({ databaseUrl: database.url });
  await createServers(server.admin, 'running', 10);
  // What Postgres answers when the disk is full, without filling the disk of this machine.
  await books.query('create sequence provisioning.hits');
  await books.query(`create function provisioning.no_room() returns trigger language plpgsql as $$ begin
    perform nextval('provisioning.hits');
    raise exception 'could not extend file: No space left on device' using errcode = 'disk_full'; end $$`);
  const tables = ['provisioning.operations', 'provisioning.operation_events', 'simulated_cloud.servers'];
  for (const table of [...tables, 'dbos.operation_outputs']) {
    await books.query(
      `create trigger no_room before insert or update on ${table} for each row execute function provisioning.no_room()`,
    );
  }
  const before = await unfinished(books);
  assert.ok(before > 0, 'all creates had ended before the database was full');
  const refused = await server.admin.request('POST', '/v1/servers/create', serverRequest('too-much'));
  assert.equal(refused.status, 503, JSON.stringify(refused.body));
  assert.match(refused.headers.get('retry-after') ?? '', /^\d+$/);
  assert.equal((await server.admin.request('GET', '/v1/servers')).status, 200, 'reading goes on');
  // A sequence counts what was rolled back, too: long enough that each has run into it more than once.
  const hits = async () =>
    Number((await books.query<{ n: string }>('select last_value as n from provisioning.hits'))[0]?.n);
  await until(async () => (await hits()) > 3 * before, 'all of them to meet the full disk');
  assert.equal(await unfinished(books), before);
  for (const table of [...tables, 'dbos.operation_outputs']) await books.query(`drop trigger no_room on ${table}`);
  await untilAllEnded(books);
  await assertAllCompleted(books);
  await assertListEqualsProvider(books);
  await assertCreatedOnce(books);
  await assertEventsComplete(books);
});

test('while the database is away requests get 503, and then all work goes on, on every replica', async (t) => {
  await using database = await createTestDatabase({ poolSize: 1 });
  await using cable = await startCutProxy({
    path: path.join(database.settings.host, `.s.PGSQL.${database.settings.port}`),
  });
  const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-cable-'));
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  await symlink(cable.socketPath, path.join(directory, '.s.PGSQL.5432'));
  const { user, password } = database.settings;
  const name = database.settings.database;
  const databaseUrl = `postgres://${user}:${password}@localhost/${name}?host=${encodeURIComponent(directory)}`;
  const settings = { POOL_SIZE: '8', SIMULATED_LATENCY_MS: '3000' };
  const start = async () => stack.use(await startTestServer({ databaseUrl, settings }));
  const [one, two] = await Promise.all([start(), start()]);
  const books = stack.use(await openBooks({ databaseUrl: database.url }));
  await Promise.all([createServers(one.admin, 'one', 15), createServers(two.admin, 'two', 15)]);

  cable.mode = 'refuse';
  cable.cut();
  const cutAt = Date.now();
  const client = createClient(one.url, one.admin.token);
  const refused = await client.request<{ error: string }>('POST', '/v1/servers/create', serverRequest('away'));
  assert.equal(refused.status, 503, JSON.stringify(refused.body));
  assert.equal(refused.body.error, 'SERVICE_UNAVAILABLE');
  assert.match(refused.headers.get('retry-after') ?? '', /^\d+$/);
  assert.equal((await one.anonymous.request('GET', '/health/live')).status, 200);
  assert.equal((await one.anonymous.request('GET', '/health/ready')).status, 503);
  // Past every lease: nobody may be struck off for what was not its fault.
  await until(async () => Date.now() - cutAt > 10_000, 'the outage to be long enough', 20_000);
  cable.mode = 'pass';
  const backAt = Date.now();
  await until(
    async () =>
      (await Promise.all([one, two].map((s) => s.anonymous.request('GET', '/health/ready')))).every(
        (a) => a.status === 200,
      ),
    'both to be ready again',
  );
  const ready = Date.now() - backAt;
  await untilAllEnded(books);
  t.diagnostic(`away for 10 s; ready again after ${ready} ms, all ended after ${Date.now() - backAt} ms`);
  await assertAllCompleted(books);
  await assertListEqualsProvider(books);
  await assertCreatedOnce(books);
  await assertEventsComplete(books);
  const accepted = await client.request<Operation>('POST', '/v1/servers/create', serverRequest('back'));
  assert.equal(accepted.status, 200, JSON.stringify(accepted.body));
  assert.deepEqual([one.process.exitCode, two.process.exitCode], [null, null], 'a replica gave up');
});

test('a database that does not answer is waited for, then named without its password', async () => {
  const ended = await nobody;
  assertRefused(ended, /The database does not answer \(.*ECONNREFUSED.*\)\. Check PROVISIONING_DATABASE_URL/);
  assert.doesNotMatch(ended.output, /secret-word/);
});
