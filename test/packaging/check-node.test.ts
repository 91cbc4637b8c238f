/** `npm ci` under a Node that is too old ends at once and says what to do, instead of leaving packages out in silence. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../../src/root.ts';

for (const [version, refused] of [
  ['18.20.4', true],
  ['20.18.9', true],
  ['20.19.0', false],
  ['21.7.3', true],
  ['22.11.0', true],
  ['22.12.0', false],
  ['24.21.0', false],
] as const) {
  test(`npm that runs on Node ${version} ${refused ? 'is refused in words' : 'installs'}`, async () => {
    const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-node-'));
    try {
      const node = path.join(directory, 'node');
      await writeFile(node, `#!/bin/sh\necho ${version}\n`, { mode: 0o755 });
      const { status, stderr } = spawnSync(process.execPath, [path.join(ROOT, 'scripts/check-node.cjs')], {
        env: { ...process.env, npm_node_execpath: node },
        encoding: 'utf8',
      });
      assert.equal(status, refused ? 1 : 0, stderr);
      if (refused) {
        assert.match(stderr, new RegExp(`npm runs on Node ${version.replaceAll('.', '\\.')}, which is too old`));
        assert.match(stderr, /npx --yes --package node@24 npm ci/);
      }
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
}
