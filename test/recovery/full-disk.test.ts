/** Disks that take no more, really: a small file system of its own that is filled up, or mounted read-only. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, open, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { expectError, expectOk, makeServer } from '../support/acceptance.ts';
import { skipped } from '../support/needs.ts';
import { ended, type Operation, serverRequest, spawnProvisioning, startTestServer, until } from '../support/server.ts';

const SIZE_MIB = 220;
const CHUNK = Buffer.alloc(1_048_576);

const root = await mkdtemp(path.join(tmpdir(), 'provisioning-disk-'));
const skip = needsMount();
if (skip === false) await chmod(root, 0o755);
after(async () => {
  if (skip === false) execFileSync('umount', ['--lazy', root]);
  await rmdir(root);
});

/** Mounts the file system. For `skip`: why that cannot be done here. */
function needsMount(): string | false {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE_MIB}m,mode=755`, 'tmpfs', root], { stdio: 'pipe' });
    return false;
  } catch {
    return skipped('needs the right to mount a file system, as root has it');
  }
}

/** Takes all the room that is left. */
async function fill(): Promise<void> {
  const file = await open(path.join(root, 'filler'), 'w');
  try {
    for (;;) await file.write(CHUNK);
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
  } finally {
    await file.close();
  }
}

const free = () => rm(path.join(root, 'filler'), { force: true });

/** What a start on the data directory says before it gives up. */
async function failToStart(dataDir: string): Promise<string> {
  const run = spawnProvisioning(['serve'], { DATA_DIR: dataDir, PORT: '0', LOG_FORMAT: 'json', LOG_LEVEL: 'warn' });
  assert.equal(await run.closed, 1, run.output());
  assert.doesNotMatch(run.output(), /^ +at /m);
  return run.output();
}

test('a disk that fills up is told by /health/ready and by what would write; with room again all goes on', {
  skip,
}, async () => {
  const dataDir = path.join(root, 'data');
  await using server = await startTestServer({ dataDir });
  const { admin, anonymous } = server;
  await makeServer(admin, 'before');
  await fill();
  const place = `the disk of ${dataDir}/postgres is full \\(\\d+\\.\\d MiB free\\)`;
  const ready = expectError(await anonymous.request('GET', '/health/ready'), 503, 'SERVICE_UNAVAILABLE');
  assert.match(ready.message, new RegExp(`^Not ready: .*${place}\\.$`));
  assert.ok((ready.details as { missing: string[] }).missing.includes('disk'));

  // Room that Postgres had already made lasts for a while. What it accepts is kept.
  const accepted: string[] = [];
  const refused = await untilRefused(async (n) => {
    const answer = await admin.request<Operation>(
      'POST',
      '/v1/servers/create',
      serverRequest(`full-${n}`, { user_data: 'x'.repeat(16_000) }),
    );
    if (answer.status === 200) accepted.push(answer.body.id);
    return answer;
  });
  const error = expectError(refused, 503, 'SERVICE_UNAVAILABLE');
  assert.match(error.message, new RegExp(`cannot store data: ${place}\\. Free space there`));
  assert.ok(Number(refused.headers.get('retry-after')) > 0);

  await free();
  await until(
    async () => (await anonymous.request('GET', '/health/ready')).status === 200,
    'the server to be ready',
    120_000,
  );
  for (const id of accepted) assert.equal((await ended(admin, id, 120)).status, 'completed');
  await makeServer(admin, 'afterwards');
});

/** Sends until it is refused. */
async function untilRefused<T extends { status: number }>(send: (n: number) => Promise<T>): Promise<T> {
  for (let n = 0; n < 5_000; n += 1) {
    const answer = await send(n);
    if (answer.status !== 200) return answer;
  }
  throw new Error('nothing was refused');
}

test('a start on a full or a read-only disk says where, in words', { skip }, async () => {
  const dataDir = path.join(root, 'data');
  const empty = path.join(root, 'empty');
  await mkdir(empty);
  await fill();
  for (const place of [dataDir, empty]) {
    const said = await failToStart(place);
    assert.match(
      said,
      new RegExp(`Cannot write.*: the disk of ${place}.* is full \\(\\d+\\.\\d MiB free\\)\\. Make it`),
      said,
    );
  }
  await free();
  execFileSync('mount', ['-o', 'remount,ro', root]);
  for (const place of [dataDir, empty, path.join(root, 'none')]) {
    const said = await failToStart(place);
    assert.match(said, new RegExp(`Cannot write.*: the file system of ${place}.* is read-only`), said);
  }
  execFileSync('mount', ['-o', 'remount,rw', root]);
  await using server = await startTestServer({ dataDir });
  expectOk(await server.anonymous.request('GET', '/health/ready'));
});

test('a backup onto a full disk says which file it could not write', { skip }, async () => {
  const dataDir = path.join(root, 'data');
  await using server = await startTestServer({ dataDir });
  const file = path.join(root, 'backup.gz');
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4k', 'tmpfs', path.join(root, 'empty')]);
  try {
    const run = spawnProvisioning(['backup', path.join(root, 'empty', 'backup.gz')], { DATA_DIR: server.dataDir });
    assert.equal(await run.closed, 1);
    assert.match(run.output(), /empty\/backup\.gz cannot be written: .*no space left/i);
    assert.doesNotMatch(run.output(), /^ +at /m);
  } finally {
    execFileSync('umount', [path.join(root, 'empty')]);
  }
  const run = spawnProvisioning(['backup', file], { DATA_DIR: server.dataDir });
  assert.equal(await run.closed, 0, run.output());
});
