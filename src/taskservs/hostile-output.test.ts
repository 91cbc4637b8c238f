/** A host may print anything: what it means is kept, and nothing of it breaks a record, an event stream or a terminal. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { expectOk, type Installation, startInstallation } from '../../test/support/acceptance.ts';
import { ended, type Operation, until } from '../../test/support/server.ts';
import { needsSshd, startSshd, type TestSshd } from '../../test/support/sshd.ts';
import { defineTaskserv } from '../../test/support/taskserv-definitions.ts';

describe('a host that prints control characters', { skip: needsSshd() }, () => {
  let installation: Installation;
  let sshd: TestSshd;
  let directory: string;
  const flag = (name: string) => path.join(directory, name);
  const client = () => installation.server.admin;

  before(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'provisioning-hostile-'));
    installation = await startInstallation({ EGRESS_ALLOW: '127.0.0.0/8', HEALTH_CHECK_INTERVAL: '1' });
    const key = expectOk(await client().request<{ public_key: string }>('GET', '/v1/workspaces/default/ssh-key'));
    sshd = await startSshd(key.public_key);
    const ssh = { user: 'root', port: sshd.port };
    const body = { workspace: 'default', hostname: 'odd-01', ip_address: '127.0.0.1', ssh };
    const { id } = expectOk(await client().request<Operation>('POST', '/v1/servers/import', body));
    assert.equal((await ended(client(), id)).status, 'completed');
    const say = String.raw`printf 'x\000\001\n\033]52;c;ZXZpbA==\007y\033[2J\n 10 %%\r100 %%\n\355\240\200\n'`;
    await defineTaskserv(installation.server.dataDir, 'default', 'odd', {
      install: `${say}; [ ! -e ${flag('install')} ]`,
      check: `if [ -e ${flag('check')} ]; then ${say}; exit 1; fi`,
      remove: 'true',
    });
  });
  after(async () => {
    await installation?.close();
    await sshd?.[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  /** The shell that keeps a job's lines drops NUL. */
  const saidBy = (kind: 'job' | 'check') => [kind === 'job' ? 'x␁' : 'x␀␁', 'y', '100 %', '\uFFFD\uFFFD\uFFFD'];

  test('in an installation: it succeeds, and its events say it visibly', async () => {
    const body = { workspace: 'default', name: 'odd', servers: ['odd-01'] };
    const { id } = expectOk(await client().request<Operation>('POST', '/v1/taskservs/create', body));
    const operation = await ended(client(), id);
    assert.equal(operation.status, 'completed', String(operation.error));
    const { body: events } = await client().request<{ line?: string }[]>(
      'GET',
      `/v1/operations/${id}/events?limit=500`,
    );
    const lines = events.map(({ line }) => line);
    const said = saidBy('job');
    const from = lines.indexOf(said[0]);
    assert.deepEqual(lines.slice(from, from + said.length), said, JSON.stringify(lines));
  });

  test('in a health check: the service is failed, and its message is the cause', async () => {
    await writeFile(flag('check'), '');
    interface Shown {
      id: string;
      status: string;
      hosts: { status: string; message: string | null }[];
    }
    const [listed] = expectOk(await client().request<Shown[]>('GET', '/v1/taskservs'));
    const shown = async () => expectOk(await client().request<Shown>('GET', `/v1/taskservs/${listed?.id}`));
    await until(async () => (await shown()).status !== 'running', 'the health check to find it', 30_000);
    const { hosts } = await shown();
    assert.equal(hosts[0]?.status, 'failed', JSON.stringify(hosts));
    assert.equal(hosts[0]?.message, `ended with status 1: ${saidBy('check').join(' / ')}`);
  });

  test('in an operation that fails: its error is the cause', async () => {
    await writeFile(flag('install'), '');
    const body = { workspace: 'default', name: 'odd', servers: ['odd-01'], config: { version: '2' } };
    const { id } = expectOk(await client().request<Operation>('POST', '/v1/taskservs/create', body));
    const { error } = await ended(client(), id);
    assert.match(error ?? '', /x␁ \/ y \/ 100 %/);
  });

  test("in a workflow's command: its result holds it", async () => {
    const script = String.raw`printf 'bell\007 \033[31mred\n'`;
    const operations = [{ id: 'say', kind: 'command', with: { servers: ['odd-01'], script } }];
    const body = { workspace: 'default', workflow_type: 'batch', parameters: { operations } };
    const { id } = expectOk(await client().request<Operation>('POST', '/v1/workflows/submit', body));
    const run = await ended(client(), id);
    assert.equal(run.status, 'completed', String(run.error));
    const steps = expectOk(await client().request<{ result: unknown }[]>('GET', `/v1/workflows/${id}/steps`));
    assert.match(JSON.stringify(steps[0]?.result), /bell␇ red/);
  });
});
