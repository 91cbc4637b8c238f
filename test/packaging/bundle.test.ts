/** The bundled server: made anew for other sources, and traces of it name the sources. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { bundleDirectory, currentBundle } from '../../bin/bundle.js';
import { buildServer } from '../../scripts/build-server.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

test('a bundle serves exactly the sources that it was made of', async () => {
  const root = await mkdtemp(path.join(tmpdir(), 'provisioning-bundle-'));
  try {
    for (const name of ['package.json', 'package-lock.json', 'scripts/build-server.ts', 'src/version.ts', 'migrations'])
      await cp(path.join(ROOT, name), path.join(root, name), { recursive: true });
    assert.equal(currentBundle(root), null, 'none was made');
    const made = path.join(bundleDirectory(root), 'start.js');
    await mkdir(path.dirname(made), { recursive: true });
    await writeFile(made, '');
    assert.equal(currentBundle(root), made);

    await writeFile(path.join(root, 'src/version.test.ts'), '');
    assert.equal(currentBundle(root), made, 'a test is no part of it');
    const version = path.join(root, 'src/version.ts');
    const before = await readFile(version);
    await writeFile(version, `${before}\n`);
    assert.equal(currentBundle(root), null, 'a source has changed');
    await writeFile(version, before);
    assert.equal(currentBundle(root), made, 'and changed back');
    await writeFile(path.join(root, 'migrations/9999_new.ts'), '');
    assert.equal(currentBundle(root), null, 'a migration was added');

    await rm(path.join(root, 'scripts'), { recursive: true });
    assert.equal(currentBundle(root), made, 'without sources to change, what is there is right');
  } finally {
    await rm(root, { recursive: true });
  }
});

test('a trace of the bundled server names the sources', async () => {
  const start = await buildServer();
  const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-bundle-'));
  try {
    const file = path.join(directory, 'file');
    await writeFile(file, '');
    const run = promisify(execFile)(process.execPath, [start, 'migrate', '--data-dir', path.join(file, 'data')], {
      env: { PATH: process.env.PATH },
    });
    await assert.rejects(run, (error: Error & { stderr: string }) => {
      assert.match(error.stderr, /ENOTDIR/);
      assert.match(
        error.stderr,
        new RegExp(` at async startEmbeddedPostgres \\(${ROOT}src/database/embedded\\.ts:\\d+:`),
      );
      assert.doesNotMatch(error.stderr, /dist\/server/);
      return true;
    });
  } finally {
    await rm(directory, { recursive: true });
  }
});
