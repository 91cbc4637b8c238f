/** A host that says more than anybody can read holds up nobody but itself. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { expectOk, type Installation, startInstallation } from '../support/acceptance.ts';
import { ended, type Operation } from '../support/server.ts';
import { needsSshd, startSshd, type TestSshd } from '../support/sshd.ts';
import { submitBatch } from '../support/workflows.ts';

/** A replica that answers nothing for longer is given up by the others, and ends itself. */
const LONGEST_MS = 5_000;

describe('a host that floods', { skip: needsSshd() }, () => {
  let installation: Installation;
  let sshd: TestSshd;
  before(async () => {
    installation = await startInstallation({ EGRESS_ALLOW: '127.0.0.0/8' });
    const { admin } = installation.server;
    const answer = await admin.request<{ public_key: string }>('GET', '/v1/workspaces/default/ssh-key');
    sshd = await startSshd(expectOk(answer).public_key);
    const ssh = { port: sshd.port };
    const machine = { workspace: 'default', hostname: 'loud', ip_address: '127.0.0.1', ssh };
    const { id } = expectOk(await admin.request<Operation>('POST', '/v1/servers/import', machine));
    assert.equal((await ended(admin, id, 60)).status, 'completed');
    // A secret of thousands of lines, each of which is looked for in each line of output.
    const value = Array.from({ length: 13_000 }, (_, line) => (186_624 + line).toString(36)).join('\n');
    expectOk(await admin.request('PUT', '/v1/workspaces/default/secrets/many_lines', { value }));
  });
  after(async () => {
    await installation.close();
    await sshd[Symbol.asyncDispose]();
  });

  for (const [what, script] of [
    ['lines', 'timeout 5 yes; true'],
    ['both streams', 'timeout 5 yes & timeout 5 yes >&2; wait; true'],
    ['no line ends', "timeout 5 tr '\\0' x </dev/zero; true"],
  ] as const)
    test(what, async () => {
      const { admin, anonymous } = installation.server;
      const env = { KEY: `\${{ secrets.workspace.many_lines }}` };
      const step = { id: 'flood', kind: 'command', with: { servers: ['loud'], script, env, timeout: 120 } };
      const { id } = await submitBatch(admin, [step]);
      let over = false;
      const run = ended(admin, id, 150).finally(() => {
        over = true;
      });
      let longest = 0;
      while (!over) {
        const asked = performance.now();
        expectOk(await anonymous.request('GET', '/health/live'));
        longest = Math.max(longest, performance.now() - asked);
        await sleep(20);
      }
      const { status, error } = await run;
      assert.equal(status, 'completed', String(error));
      assert.ok(longest < LONGEST_MS, `somebody waited ${Math.round(longest)} ms`);
    });
});
