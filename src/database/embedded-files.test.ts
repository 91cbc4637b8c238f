import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, lstat, mkdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createDataDir, postmasters, query, startOwner } from '../../test/support/embedded.ts';
import { skipped } from '../../test/support/needs.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from './embedded.ts';
import { repairLinks } from './embedded-binaries.ts';
import { boundLog } from './embedded-process.ts';

const onLinux = { skip: process.platform === 'linux' ? false : 'skipped: /proc is absent' };
const asRoot = { skip: process.getuid?.() === 0 ? onLinux.skip : skipped('needs root, to act as another user') };
const NOBODY = { uid: 65_534, gid: 65_534 };

function start(dataDir: string): Promise<EmbeddedPostgres> {
  return startEmbeddedPostgres({ dataDir, log: () => {} });
}

async function answers(postgres: EmbeddedPostgres): Promise<void> {
  assert.deepEqual(await query(postgres.connection, 'select 1 as one'), [{ one: 1 }]);
}

for (const [what, name] of [
  ['far too long for a socket', `${'long'.repeat(40)}/${'longer'.repeat(30)}`],
  ['with spaces, quotes, commas and what a shell would take', `a "quoted" 'name', $HOME \`date\` \\ & ü`],
] as const) {
  test(
    `a data directory whose path is ${what} works, is adopted, and its socket is closed to others`,
    onLinux,
    async () => {
      await using place = await createDataDir(name);
      const killed = await startOwner(place.dataDir);
      assert.equal(killed.refusal, null);
      await killed.kill();
      const postgres = await start(place.dataDir);
      assert.equal(postgres.adopted, true);
      await answers(postgres);
      assert.equal((await stat(postgres.connection.host)).mode & 0o777, 0o700);
      await postgres.stop();
      assert.deepEqual(await postmasters(place.dataDir), []);
      if (
        postgres.connection.host.startsWith('/tmp/provisioning-') &&
        !postgres.connection.host.startsWith(place.dataDir)
      )
        await assert.rejects(stat(postgres.connection.host), { code: 'ENOENT' });
    },
  );
}

test("it runs as an ordinary user, who is told when the database is another one's", asRoot, async (t) => {
  const repository = fileURLToPath(new URL('../..', import.meta.url));
  if (!(await othersMayEnter(repository))) return t.skip(`skipped: other users cannot enter ${repository}`);
  await using place = await createDataDir();
  await mkdir(place.dataDir);
  await chown(place.dataDir, NOBODY.uid, NOBODY.gid);
  const owner = await startOwner(place.dataDir, NOBODY);
  assert.equal(owner.refusal, null);
  const [pid] = await postmasters(place.dataDir);
  assert.equal((await stat(`/proc/${pid}`)).uid, NOBODY.uid);
  await owner.stop();

  // Root goes on with that user's database, as that user.
  const postgres = await start(place.dataDir);
  await answers(postgres);
  const [now] = await postmasters(place.dataDir);
  assert.equal((await stat(`/proc/${now}`)).uid, NOBODY.uid);
  await postgres.stop();

  await using other = await createDataDir();
  await (await start(other.dataDir)).stop();
  await chown(other.dataDir, NOBODY.uid, NOBODY.gid);
  const refused = await startOwner(other.dataDir, NOBODY);
  assert.match(refused.refusal ?? '', /belongs to another user \(uid \d+\)\. Start as that user or as root/);
});

test(
  "root may keep its data where Postgres' user cannot get to; a data directory made anew starts empty",
  asRoot,
  async () => {
    await using place = await createDataDir();
    await mkdir(place.dataDir, { mode: 0o700 });
    const first = await start(place.dataDir);
    await query(first.connection, 'create table kept as select 42 as answer');
    await first.stop();
    const elsewhere = await readlink(path.join(place.dataDir, 'postgres'));
    assert.match(elsewhere, /^\/var\/lib\/provisioning\/data-[0-9a-f]{16}\/postgres$/);
    const second = await start(place.dataDir);
    assert.deepEqual(await query(second.connection, 'select answer from kept'), [{ answer: 42 }]);
    await second.stop();

    await rm(place.dataDir, { recursive: true });
    await mkdir(place.dataDir, { mode: 0o700 });
    const anew = await start(place.dataDir);
    await assert.rejects(query(anew.connection, 'select answer from kept'), { code: '42P01' });
    await anew.stop();

    await rm(path.dirname(elsewhere), { recursive: true });
    await rm(path.join(place.dataDir, 'postgres'));
    await symlink(elsewhere, path.join(place.dataDir, 'postgres'));
    await assert.rejects(start(place.dataDir), /which is gone\. Restore it, or remove the link/);
    await rm(path.join(place.dataDir, 'postgres'));
  },
);

test(
  'lock files of a Postgres that was killed do not confuse it, whoever has its process id now',
  onLinux,
  async () => {
    await using place = await createDataDir();
    const owner = await startOwner(place.dataDir);
    const lockFile = path.join(place.dataDir, 'postgres', 'postmaster.pid');
    const socketLock = path.join(owner.connection.host, `.s.PGSQL.${owner.connection.port}.lock`);
    const left = [
      [lockFile, await readFile(lockFile, 'utf8')],
      [socketLock, await readFile(socketLock, 'utf8')],
    ] as const;
    const { uid, gid } = await stat(path.join(place.dataDir, 'postgres'));
    await owner.stop();

    // One of Postgres' own user, for which Postgres itself takes it for another Postgres.
    const stranger = spawn('sleep', ['600'], { ...(process.getuid?.() === 0 ? { uid, gid } : {}), stdio: 'ignore' });
    const gone = spawn('true', { stdio: 'ignore' });
    await once(gone, 'exit');
    for (const pid of [stranger.pid, gone.pid]) {
      for (const [file, text] of left) await writeFile(file, text.replace(/^\d+/, String(pid)));
      const postgres = await start(place.dataDir);
      assert.equal(postgres.adopted, false);
      await answers(postgres);
      await postgres.stop();
    }
    assert.equal(stranger.exitCode ?? stranger.signalCode, null);
    stranger.kill();
    await once(stranger, 'exit');
  },
);

test('a Postgres that does not start says why in its own words, and leaves no process', onLinux, async () => {
  await using place = await createDataDir();
  await (await start(place.dataDir)).stop();
  const settings = path.join(place.dataDir, 'postgres', 'postgresql.auto.conf');
  const right = await readFile(settings, 'utf8');
  await writeFile(settings, "shared_buffers = 'as much as there is'\n");
  await assert.rejects(start(place.dataDir), (error: Error) => {
    assert.match(error.message, /did not start\. It said:\n.*invalid value for parameter "shared_buffers"/s);
    return true;
  });
  assert.deepEqual(await postmasters(place.dataDir), []);

  await writeFile(settings, right);
  const version = path.join(place.dataDir, 'postgres', 'PG_VERSION');
  await writeFile(version, '12\n');
  await assert.rejects(start(place.dataDir), (error: Error) => {
    assert.match(error.message, /initialized by PostgreSQL version 12/);
    assert.doesNotMatch(error.message, /shared_buffers/, 'what it said at an earlier start');
    return true;
  });
  await writeFile(version, '18\n');
  await writeFile(path.join(place.dataDir, 'postgres-password'), 'another\n');
  await assert.rejects(start(place.dataDir), /postgres-password does not fit the database/);
  assert.deepEqual(await postmasters(place.dataDir), []);
});

test('the log is kept from growing, also while Postgres writes to it', onLinux, async () => {
  await using place = await createDataDir();
  const postgres = await start(place.dataDir);
  const log = path.join(place.dataDir, 'postgres.log');
  const complain = () =>
    assert.rejects(query({ ...postgres.connection, database: 'nowhere' }, 'select 1'), { code: '3D000' });
  const old = 'an old line\n'.repeat(1_000_000);
  await writeFile(log, old, { flag: 'a' });
  await boundLog({ log });
  assert.ok((await readFile(`${log}.1`, 'utf8')).endsWith(old));
  await complain();
  assert.match(await readFile(log, 'utf8'), /^[^\0]*database "nowhere" does not exist/);
  await postgres.stop();

  await writeFile(log, old);
  await (await start(place.dataDir)).stop();
  assert.ok((await stat(log)).size < 100_000);
});

test('a failed statement is not written to the log: it may hold what belongs in none', onLinux, async () => {
  await using place = await createDataDir();
  const postgres = await start(place.dataDir);
  await assert.rejects(query(postgres.connection, "select 'hunter2' from nowhere"), { code: '42P01' });
  await postgres.stop();
  const log = await readFile(path.join(place.dataDir, 'postgres.log'), 'utf8');
  assert.match(log, /relation "nowhere" does not exist/);
  assert.doesNotMatch(log, /hunter2/);
});

test('links that npm dropped or spoiled in the package are made again', async () => {
  await using place = await createDataDir('package');
  const lib = path.join(place.dataDir, 'native', 'lib');
  await mkdir(lib, { recursive: true });
  const names = ['missing.so', 'dangling.so', 'elsewhere.so', 'copied.so', 'right.so'];
  const links = names.map((name) => ({ source: 'native/lib/real.so.1', target: `native/lib/${name}` }));
  await writeFile(path.join(place.dataDir, 'native', 'pg-symlinks.json'), JSON.stringify(links));
  await writeFile(path.join(lib, 'real.so.1'), 'the library');
  await writeFile(path.join(lib, 'other.so'), 'another one');
  await symlink('real.so.0', path.join(lib, 'dangling.so'));
  await symlink('other.so', path.join(lib, 'elsewhere.so'));
  await writeFile(path.join(lib, 'copied.so'), 'real.so.1');
  await symlink('real.so.1', path.join(lib, 'right.so'));
  await Promise.all([repairLinks(place.dataDir), repairLinks(place.dataDir)]);
  for (const name of names) {
    assert.ok((await lstat(path.join(lib, name))).isSymbolicLink(), name);
    assert.equal(await readFile(path.join(lib, name), 'utf8'), 'the library', name);
  }
  assert.equal(await readlink(path.join(lib, 'missing.so')), 'real.so.1');
});

/** Whether a user that owns nothing may read what is in there. */
async function othersMayEnter(directory: string): Promise<boolean> {
  for (let at = path.resolve(directory); ; at = path.dirname(at)) {
    if (((await stat(at)).mode & 0o005) !== 0o005) return false;
    if (at === path.dirname(at)) return true;
  }
}
