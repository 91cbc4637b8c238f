import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

test('the published client is plain JavaScript with types, needs no Node, and holds no server code', async () => {
  const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-client-'));
  try {
    // The configuration has only the browser's types: anything of Node's would not compile.
    await run(
      process.execPath,
      ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.client.json', '--outDir', directory],
      {
        cwd: ROOT,
      },
    );
    await writeFile(path.join(directory, 'package.json'), '{"type": "module"}');
    await symlink(path.join(ROOT, 'node_modules'), path.join(directory, 'node_modules'));
    const program =
      'import { createClient } from "./client.js"; console.log(typeof createClient({ url: "http://x" }).follow);';
    const { stdout } = await run(process.execPath, ['--no-strip-types', '--input-type=module', '-e', program], {
      cwd: directory,
    });
    assert.equal(stdout.trim(), 'function');
    assert.match(await readFile(path.join(directory, 'client.d.ts'), 'utf8'), /export declare function createClient/);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
