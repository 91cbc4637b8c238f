/** What lies in a workspace's directory cannot hold up the server, and shows nothing of what lies elsewhere. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, test } from 'node:test';
import { type ErrorBody, expectError, expectOk, makeServer, startInstallation } from '../support/acceptance.ts';
import type { Answer } from '../support/server.ts';

/** Longer than the requests take on a busy machine; a read of a pipe that nobody writes to never ends. */
const ANSWER_MS = 120_000;
/** More than the four threads that Node reads files with: each of them would wait on a pipe. */
const AT_ONCE = 6;
const SECRET = 'canary: of-another-workspace';

const installation = await startInstallation();
after(() => installation.close());
const { server } = installation;
const { admin } = server;
const roots = path.join(server.dataDir, 'workspaces');
const inWorkspace = (...parts: string[]) => path.join(roots, 'default', ...parts);
await mkdir(inWorkspace('workflows'));
const { server: host } = await makeServer(admin, 'web-1');

/** What makes a file that must not be read, where it is asked for. */
const MAKE: Record<string, (file: string) => unknown> = {
  'is not a regular file': (file) => execFileSync('mkfifo', [file]),
  'leads out of the folder that it must lie in': (file) => symlink(path.join(roots, 'elsewhere.yaml'), file),
  'must have at most': (file) => writeFile(file, '#'.repeat(2_000_000)),
};
await writeFile(path.join(roots, 'elsewhere.yaml'), SECRET);

const validation = { workspace: 'default', workflow_type: 'batch', parameters: { operations: [] } };
const installing = { workspace: 'default', name: 'odd', servers: [host.id], config: {}, check_mode: true };
const FILES: [file: string, ask: () => Promise<Answer>][] = [
  ['workspace.yaml', () => admin.request('POST', '/v1/workflows/validate', validation)],
  ['workflows/odd.yaml', () => admin.request('GET', '/v1/workflow-types/odd?workspace=default')],
  ['taskservs/odd/taskserv.yaml', () => admin.request('POST', '/v1/taskservs/create', installing)],
];

async function answered<T>(work: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} holds up a request`)), ANSWER_MS);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

for (const [file, ask] of FILES) {
  for (const [problem, make] of Object.entries(MAKE)) {
    test(`${file} ${problem}: it is not read, and the request says so`, async () => {
      const place = inWorkspace(file);
      await mkdir(path.dirname(place), { recursive: true });
      await rm(place, { force: true });
      await make(place);
      try {
        const asked = Array.from({ length: AT_ONCE }, ask);
        const live = await answered(fetch(`${server.url}/health/live`), place);
        assert.equal(live.status, 200);
        for (const answer of await answered(Promise.all(asked), place)) {
          const text = JSON.stringify(answer.body);
          assert.match(text, new RegExp(problem), text);
          assert.ok(!text.includes(SECRET));
        }
      } finally {
        await rm(place, { force: true });
      }
    });
  }
}

test('a folder of workflows that leads out of the workspace, or in a circle, is a problem of that workspace alone', async () => {
  const folder = inWorkspace('workflows');
  for (const [target, problem] of [
    [path.join(roots, 'other', 'workflows'), /leads out/],
    [folder, /cannot be read \(ELOOP\)/],
  ] as const) {
    await mkdir(path.join(roots, 'other', 'workflows'), { recursive: true });
    await rm(folder, { recursive: true });
    await symlink(target, folder);
    const { message } = expectError(await admin.request('GET', '/v1/workflow-types?workspace=default'), 400);
    assert.match(message, problem);
    expectOk(await admin.request('GET', '/v1/workflow-types'));
  }
  await rm(folder);
  await mkdir(folder);
});

test('no workspace lies inside another one', async () => {
  const create = (name: string, directory: string) =>
    admin.request<ErrorBody>('POST', '/v1/workspaces/create', { name, path: directory });
  expectOk(await create('deep', path.join(roots, 'a/b')));
  for (const directory of ['a/b/c', 'a/b/c/d', 'a', 'default/inside']) {
    assert.match(expectError(await create('next', path.join(roots, directory)), 409).message, /lies inside, or around/);
  }
  expectOk(await create('beside', path.join(roots, 'a/bc')));
});

test('nobody is called as the server calls itself', async () => {
  for (const username of ['system', 'anonymous', 'provisioning']) {
    const answer = await admin.request('POST', '/v1/users', { username, password: 'a password for tests' });
    assert.match(expectError(answer, 400).message, /a name that the server itself uses/);
  }
});
