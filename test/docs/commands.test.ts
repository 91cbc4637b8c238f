/** What the pages for newcomers tell them to type is typed, as it stands there, at a real server. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ended } from '../cli/support.ts';
import { createTestDatabase } from '../support/database.ts';
import { needs } from '../support/needs.ts';
import { startTestServer } from '../support/server.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** The password that the pages use. */
const PASSWORD = 'river-otter-lamp-7';

const home = await mkdtemp(path.join(tmpdir(), 'provisioning-docs-'));
after(() => rm(home, { recursive: true, force: true }));

/** The shell's blocks of a page, but for those that install or start: they run for ever. */
async function blocks(page: string): Promise<string[]> {
  const text = await readFile(path.join(ROOT, page), 'utf8');
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```/gm)]
    .map(([, block = '']) => block)
    .filter((block) => !/^npm ci|npm start/m.test(block));
}

for (const { page, left } of [
  { page: 'README.md', left: ['k8s-1', 'k8s-2', 'k8s-3', 'web-02'] },
  { page: 'docs/quick-start.md', left: ['web-03'] },
]) {
  test(`${page}: every command does what the page says`, { skip: needs('bash', 'curl', 'jq') }, async () => {
    const database = await createTestDatabase({ poolSize: 2 });
    const server = await startTestServer({ databaseUrl: database.url, settings: { ADMIN_PASSWORD: PASSWORD } });
    try {
      const script = (await blocks(page)).join('\n').replaceAll('http://localhost:8083', server.url);
      const shell = spawn('bash', ['-euo', 'pipefail', '-c', script], {
        cwd: ROOT,
        env: { PATH: process.env.PATH ?? '', HOME: home },
      });
      shell.stdin.end();
      const { status, stdout, stderr } = await ended(shell);
      assert.equal(status, 0, `${stdout}\n${stderr}`);
      const { body } = await server.admin.request<{ hostname: string; status: string }[]>('GET', '/v1/servers');
      const names = body.filter((one) => ['running', 'creating'].includes(one.status)).map(({ hostname }) => hostname);
      assert.deepEqual(names.sort(), left);
    } finally {
      await server[Symbol.asyncDispose]();
      await database.close();
    }
  });
}
