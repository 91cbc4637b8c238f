/** Commands of workflows on a real machine: who runs the script, and how steps with hyphens are named. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { expectError, expectOk, startInstallation } from '../../test/support/acceptance.ts';
import { needs } from '../../test/support/needs.ts';
import { ended, type Operation, until } from '../../test/support/server.ts';
import { needsSshd, startSshd } from '../../test/support/sshd.ts';
import { rolledBack, runBatch, statuses, submitBatch } from '../../test/support/workflows.ts';

const installation = await startInstallation({ EGRESS_ALLOW: '127.0.0.0/8' });
after(() => installation.close());
const { admin } = installation.server;

test('a step whose id has hyphens is waited for, read in quotes, and approved', async () => {
  const definition = `operations:
  - { id: pull-image, kind: wait, with: { seconds: 0 } }
  - { id: web-1, kind: approval, depends_on: [pull-image], with: { message: '\${{ operations."pull-image".status }}' } }
  - { id: last-of-all, kind: wait, for_each: [1, 2], depends_on: [{ id: web-1, type: soft }], with: { seconds: 0 } }
outputs: { waited: '\${{ operations."last-of-all"[*].result.waited_seconds }}' }`;
  expectOk(await admin.request('POST', '/v1/workflows/validate', { workspace: 'default', definition }));
  const { id } = await submitBatch(admin, [
    { id: 'pull-image', kind: 'wait', with: { seconds: 0 } },
    { id: 'web-1', kind: 'approval', with: { message: '${{ operations."pull-image".status }}' } },
    { id: 'last-of-all', kind: 'wait', for_each: [1, 2], depends_on: ['web-1'], with: { seconds: 0 } },
  ]);
  await until(async () => (await statuses(admin, id))['web-1'] === 'running', 'the approval to wait');
  expectOk(await admin.request('POST', `/v1/workflows/${id}/steps/web-1/approve`, {}));
  assert.equal((await ended(admin, id)).status, 'completed');

  for (const [message, words] of [
    ['operations.pull-image.status', /operations\."pull-…"/],
    ['operations.web-1.status', /operations\."web-1"/],
  ] as const) {
    const steps = ['pull-image', 'web-1'].map((step) => `{ id: ${step}, kind: wait, with: { seconds: 0 } }`);
    const last = `{ id: last, kind: approval, with: { message: "\${{ ${message} }}" } }`;
    const body = { workspace: 'default', definition: `operations: [${[...steps, last].join(', ')}]` };
    assert.match(expectError(await admin.request('POST', '/v1/workflows/validate', body), 400).message, words);
  }
});

test('the first line of a script says who runs it, of one that undoes as well', {
  skip: needsSshd() || needs('bash'),
}, async () => {
  const key = expectOk(await admin.request<{ public_key: string }>('GET', '/v1/workspaces/default/ssh-key'));
  await using sshd = await startSshd(key.public_key);
  const machine = { workspace: 'default', hostname: 'machine', ip_address: '127.0.0.1' };
  const ssh = { user: 'root', port: sshd.port };
  const { id } = expectOk(await admin.request<Operation>('POST', '/v1/servers/import', { ...machine, ssh }));
  assert.equal((await ended(admin, id)).status, 'completed');
  const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-commands-'));
  after(() => rm(directory, { recursive: true }));
  const script = (first: string, name: string) =>
    `${first}\na=(one two)\necho "\${#a[@]} of bash" >${directory}/${name}\n`;
  const command = (step: string, fields: Record<string, unknown>, more = {}) => ({
    ...{ id: step, kind: 'command', with: { servers: ['machine'], ...fields } },
    ...more,
  });
  const run = await runBatch(admin, [
    command('env', { script: script('#!/usr/bin/env bash', 'done'), undo_script: script('#!/bin/bash -e', 'undone') }),
    command('fails', { script: '#!/usr/bin/env no-such-interpreter\n' }, { depends_on: ['env'] }),
  ]);
  assert.match(run.error ?? '', /"?fails"?.*status 127: .*no-such-interpreter/);
  assert.equal((await rolledBack(admin, run)).status, 'completed');
  for (const name of ['done', 'undone'])
    assert.equal(await readFile(path.join(directory, name), 'utf8'), '2 of bash\n', name);
});
