import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { ApplicationError } from '../errors.ts';
import { makeWorkspaceDirectory, resolveWorkspacePath } from './paths.ts';

const defaults = { provider: 'simulated', plan: '2xCPU-4GB', zone: 'de-fra1' };

async function scratch() {
  const base = await realpath(await mkdtemp(path.join(tmpdir(), 'workspace-paths-')));
  const root = path.join(base, 'root');
  const outside = path.join(base, 'outside');
  await mkdir(root);
  await mkdir(outside);
  return { base, root, outside, [Symbol.asyncDispose]: () => rm(base, { recursive: true, force: true }) };
}

async function refused(work: Promise<unknown>, message: RegExp): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof ApplicationError, String(error));
    assert.equal(error.code, 'VALIDATION_ERROR');
    assert.deepEqual(
      (error.details as { field: string }[]).map(({ field }) => field),
      ['path'],
    );
    assert.match(error.message, message);
    return true;
  });
}

describe('resolveWorkspacePath', () => {
  test('takes a path inside a root as it was given, missing parts included', async () => {
    await using s = await scratch();
    const wanted = path.join(s.root, 'a/b/c');
    assert.deepEqual(await resolveWorkspacePath([s.root], wanted), { path: wanted, canonical: wanted });
    assert.equal((await resolveWorkspacePath([s.root], `${s.root}//a/./b/`)).path, path.join(s.root, 'a/b'));
  });

  test('takes a root that does not exist yet', async () => {
    await using s = await scratch();
    const root = path.join(s.base, 'later/root');
    assert.equal((await resolveWorkspacePath([root], path.join(root, 'a'))).path, path.join(root, 'a'));
  });

  test('takes any of the roots, and passes over one that is unusable', async () => {
    await using s = await scratch();
    await writeFile(path.join(s.base, 'file'), '');
    const roots = [path.join(s.base, 'file'), s.root, s.outside];
    assert.equal((await resolveWorkspacePath(roots, path.join(s.outside, 'a'))).path, path.join(s.outside, 'a'));
  });

  test('refuses what is no plain absolute path', async () => {
    await using s = await scratch();
    await refused(resolveWorkspacePath([s.root], 'a'), /absolute/);
    await refused(resolveWorkspacePath([s.root], ''), /absolute/);
    await refused(resolveWorkspacePath([s.root], `${s.root}/a\0b`), /NUL/);
    await refused(resolveWorkspacePath([s.root], `${s.root}/${'ä'.repeat(600)}`), /1024 bytes/);
    await refused(resolveWorkspacePath([s.root], `${s.root}/${'a'.repeat(300)}`), /too long/);
  });

  test('refuses every way up', async () => {
    await using s = await scratch();
    await refused(resolveWorkspacePath([s.root], `${s.root}/../outside/a`), /\.\./);
    await refused(resolveWorkspacePath([s.root], `${s.root}/a/../b`), /\.\./);
    await refused(resolveWorkspacePath([s.root], `${s.root}/..`), /\.\./);
  });

  test('refuses what lies outside, a sibling with the same beginning, the root itself and what holds it', async () => {
    await using s = await scratch();
    for (const wanted of [path.join(s.outside, 'a'), `${s.root}-more/a`, s.root, s.base, '/']) {
      await refused(resolveWorkspacePath([s.root], wanted), /inside one of the workspace roots/);
    }
    assert.equal((await resolveWorkspacePath([s.root], `${s.root}/..a`)).path, `${s.root}/..a`);
  });

  test('refuses a link that leads outside, at the end and on the way', async () => {
    await using s = await scratch();
    await symlink(s.outside, path.join(s.root, 'link'));
    await refused(resolveWorkspacePath([s.root], path.join(s.root, 'link')), /inside one of/);
    await refused(resolveWorkspacePath([s.root], path.join(s.root, 'link/a/b')), /inside one of/);
  });

  test('refuses links that lead nowhere or in a circle', async () => {
    await using s = await scratch();
    await symlink(path.join(s.outside, 'missing'), path.join(s.root, 'dangling'));
    await symlink(path.join(s.root, 'circle'), path.join(s.root, 'circle'));
    await refused(resolveWorkspacePath([s.root], path.join(s.root, 'dangling')), /nowhere/);
    await refused(resolveWorkspacePath([s.root], path.join(s.root, 'dangling/a')), /nowhere/);
    await refused(resolveWorkspacePath([s.root], path.join(s.root, 'circle')), /circle/);
  });

  test('takes a link that stays inside, under the name of where it leads', async () => {
    await using s = await scratch();
    await mkdir(path.join(s.root, 'real'));
    await symlink('real', path.join(s.root, 'link'));
    assert.equal((await resolveWorkspacePath([s.root], path.join(s.root, 'link/a'))).path, path.join(s.root, 'real/a'));
  });

  test('takes a root that is a link itself, and keeps its name', async () => {
    await using s = await scratch();
    const link = path.join(s.base, 'root-link');
    await symlink(s.root, link);
    const viaLink = { path: path.join(link, 'a'), canonical: path.join(s.root, 'a') };
    assert.deepEqual(await resolveWorkspacePath([link], path.join(link, 'a')), viaLink);
    // The same directory by its other name has the same path: it cannot belong to two workspaces.
    assert.deepEqual(await resolveWorkspacePath([link], path.join(s.root, 'a')), viaLink);
  });

  test('refuses a file, and what lies behind one', async () => {
    await using s = await scratch();
    await writeFile(path.join(s.root, 'file'), '');
    await refused(resolveWorkspacePath([s.root], path.join(s.root, 'file')), /not a directory/);
    await refused(resolveWorkspacePath([s.root], path.join(s.root, 'file/a')), /not a directory/);
  });
});

describe('makeWorkspaceDirectory', () => {
  test('makes the directory for us and our group only, with the defaults', async () => {
    await using s = await scratch();
    const place = await resolveWorkspacePath([s.root], path.join(s.root, 'a/b'));
    await makeWorkspaceDirectory(place, defaults);
    assert.equal((await stat(place.path)).mode & 0o007, 0);
    const text = await readFile(path.join(place.path, 'workspace.yaml'), 'utf8');
    assert.match(text, /^provider: simulated\nplan: 2xCPU-4GB\nzone: de-fra1\n$/m);
  });

  test('never writes over a workspace.yaml, nor through a link of that name', async () => {
    await using s = await scratch();
    const place = await resolveWorkspacePath([s.root], path.join(s.root, 'a'));
    await mkdir(place.path);
    await writeFile(path.join(place.path, 'workspace.yaml'), 'mine');
    await makeWorkspaceDirectory(place, defaults);
    assert.equal(await readFile(path.join(place.path, 'workspace.yaml'), 'utf8'), 'mine');

    const linked = await resolveWorkspacePath([s.root], path.join(s.root, 'b'));
    await mkdir(linked.path);
    await symlink(path.join(s.outside, 'target'), path.join(linked.path, 'workspace.yaml'));
    await makeWorkspaceDirectory(linked, defaults);
    assert.deepEqual(await readdir(s.outside), []);
  });

  test('makes nothing behind a link that appeared after the check', async () => {
    await using s = await scratch();
    const place = await resolveWorkspacePath([s.root], path.join(s.root, 'a/b'));
    await symlink(s.outside, path.join(s.root, 'a'));
    await refused(makeWorkspaceDirectory(place, defaults), /became a link/);
    assert.deepEqual(await readdir(s.outside), []);
  });

  test('says so where the server may not write', {
    skip: process.getuid?.() === 0 && 'root may write anywhere',
  }, async () => {
    await using s = await scratch();
    await chmod(s.root, 0o500);
    const place = await resolveWorkspacePath([s.root], path.join(s.root, 'a'));
    await refused(makeWorkspaceDirectory(place, defaults), /no permission/);
    await chmod(s.root, 0o700);
  });
});
