/** What a user's work may take of others: output that is kept, and checks that go out. Over two replicas. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { expectOk, makeClient, startInstallation } from '../support/acceptance.ts';
import { startReceiver } from '../support/receiver.ts';
import { type Client, ended, type Operation } from '../support/server.ts';
import { needsSshd, startSshd } from '../support/sshd.ts';
import { runBatch, stepsOf, submitBatch } from '../support/workflows.ts';

const OPERATION_BYTES = 40_000;
const CHECKS = 5;
/** Of a workspace: less than two targets take. */
const WORKSPACE_CHECKS = 8;
const installation = await startInstallation({
  EGRESS_ALLOW: '127.0.0.0/8',
  LOCAL_CHECKS: 'true',
  LIMIT_OPERATION_EVENT_BYTES: String(OPERATION_BYTES),
  LIMIT_USER_EVENT_BYTES: String(3 * OPERATION_BYTES),
  LIMIT_WORKSPACE_EVENT_BYTES: String(4 * OPERATION_BYTES),
  LIMIT_TARGET_CHECKS: String(CHECKS),
  LIMIT_WORKSPACE_CHECKS: String(WORKSPACE_CHECKS),
});
after(() => installation.close());
const { server, database } = installation;
const { admin } = server;
await installation.replica();

test('many waits for one answer at once: as many checks go out as one target takes, and all hear of it', async () => {
  await using receiver = await startReceiver();
  receiver.answer = { status: 503 };
  const wait = (n: number, path: string) => ({
    ...{ id: `w${n}`, kind: 'wait' },
    with: { http: `${receiver.url}${path}`, every: 0.1, within: 120 },
  });
  // Half of them wait for the same, the others for something of their own at the same target.
  const steps = Array.from({ length: 120 }, (_, n) => wait(n, n % 2 === 0 ? '/ready' : `/ready/${n}`));
  const runs = [
    await submitBatch(admin, steps.slice(0, 60), { parallel_limit: 100 }),
    await submitBatch(admin, steps.slice(60), { parallel_limit: 100 }),
  ];
  while (receiver.received.length === 0) await delay(50);
  const from = Date.now();
  const before = receiver.received.length;
  await delay(4_000);
  const seconds = (Date.now() - from) / 1_000;
  const checks = receiver.received.length - before;
  assert.ok(checks <= CHECKS * (seconds + 1), `${checks} checks in ${seconds} s`);
  assert.ok(checks >= CHECKS, `${checks} checks in ${seconds} s`);
  receiver.answer = { status: 200 };
  for (const { id } of runs) assert.equal((await ended(admin, id, 120)).status, 'completed');
});

test('waits of one workspace at many targets: as many checks go out as a workspace may send', async () => {
  const receivers = await Promise.all([1, 2, 3, 4].map(() => startReceiver()));
  after(() => Promise.all(receivers.map((receiver) => receiver[Symbol.asyncDispose]())));
  for (const receiver of receivers) receiver.answer = { status: 503 };
  const steps = receivers.flatMap(({ url }, target) =>
    Array.from({ length: 20 }, (_, n) => ({
      ...{ id: `w${target}-${n}`, kind: 'wait' },
      with: { http: `${url}/${n}`, every: 0.1, within: 120 },
    })),
  );
  const run = await submitBatch(admin, steps, { parallel_limit: 100 });
  const received = () => receivers.reduce((sum, receiver) => sum + receiver.received.length, 0);
  while (received() === 0) await delay(50);
  const [from, before] = [Date.now(), received()];
  await delay(4_000);
  const seconds = (Date.now() - from) / 1_000;
  const checks = received() - before;
  assert.ok(checks <= WORKSPACE_CHECKS * (seconds + 1), `${checks} checks in ${seconds} s`);
  assert.ok(checks >= WORKSPACE_CHECKS, `${checks} checks in ${seconds} s`);
  for (const receiver of receivers) receiver.answer = { status: 200 };
  assert.equal((await ended(admin, run.id, 120)).status, 'completed');
});

test('waits of one workspace, or those that are over, hold up nobody else at the same target', async () => {
  await using receiver = await startReceiver();
  receiver.answer = { status: 503 };
  const path = `${server.dataDir}/workspaces/crowd`;
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'crowd', path }));
  const crowd = Array.from({ length: 250 }, (_, n) => ({
    ...{ id: `c${n}`, kind: 'wait', on_failure: 'continue', retry: { max_attempts: 1 } },
    with: { http: `${receiver.url}/${n}`, every: 0.1, within: 0.1 },
  }));
  const run = await submitBatch(admin, crowd, { parallel_limit: 250 }, 'crowd');
  while (receiver.received.length < CHECKS) await delay(50);
  receiver.answer = { status: 200 };
  // Their turns together would last for 50 s, and more than this one waits.
  const one = [{ id: 'one', kind: 'wait', with: { http: `${receiver.url}/one`, within: 5 } }];
  const answered = await runBatch(admin, one);
  assert.equal(answered.status, 'completed', String(answered.error));
  await ended(admin, run.id, 120);
});

describe('output of a command', { skip: needsSshd() }, () => {
  test('past the bound of its operation it is left out, in one line that says so; the command goes on', async () => {
    const key = expectOk(await admin.request<{ public_key: string }>('GET', '/v1/workspaces/default/ssh-key'));
    await using sshd = await startSshd(key.public_key);
    const ssh = { user: 'root', port: sshd.port };
    const machine = { workspace: 'default', hostname: 'loud-01', ip_address: '127.0.0.1', ssh };
    const { id } = expectOk(await admin.request<Operation>('POST', '/v1/servers/import', machine));
    assert.equal((await ended(admin, id)).status, 'completed');
    const loud = {
      ...{ id: 'loud', kind: 'command' },
      with: {
        servers: ['loud-01'],
        script: 'n=0; while [ $n -lt 5000 ]; do echo "line $n of many"; n=$((n+1)); done; echo the end',
      },
    };
    const run = await runBatch(admin, [loud], {}, 120);
    assert.equal(run.status, 'completed', String(run.error));
    const [step] = await stepsOf(admin, run.id);
    const lines = await linesOf(step?.operation_id ?? '');
    const told = lines.filter((line) => line.includes('limit operation_event_bytes'));
    assert.equal(told.length, 1, 'said once');
    assert.ok(lines.includes('line 0 of many') && !lines.includes('the end'));
    const { rows } = await database.pool.query<{ bytes: number }>(
      'select sum(length(data::text))::int as bytes from provisioning.operation_events where operation_id = $1',
      [step?.operation_id],
    );
    assert.ok((rows[0]?.bytes ?? 0) <= 1.5 * OPERATION_BYTES, String(rows[0]?.bytes));

    // The bounds for a day, of the user and, whoever else goes on, of the workspace.
    const cutBy = async (client: Client) => {
      for (let n = 0; n < 5; n += 1) {
        const next = await runBatch(client, [loud], {}, 120);
        assert.equal(next.status, 'completed', String(next.error));
        const [again] = await stepsOf(admin, next.id);
        const said = (await linesOf(again?.operation_id ?? '')).flatMap(
          (line) => /limit (user|workspace)_event_bytes/.exec(line)?.[1] ?? [],
        );
        if (said.length > 0) return said;
      }
      return [];
    };
    assert.deepEqual(await cutBy(admin), ['user']);
    const bob = await makeClient(server, 'bob', [{ role: 'operator', workspace: 'default' }]);
    assert.deepEqual(await cutBy(bob), ['workspace']);
    interface Limit {
      name: string;
      used: number;
    }
    const limits = expectOk(await admin.request<Limit[]>('GET', '/v1/limits?workspace=default'));
    const used = limits.find(({ name }) => name === 'workspace_event_bytes')?.used ?? 0;
    assert.ok(used > 0);
  });
});

async function linesOf(operation: string): Promise<string[]> {
  const { body } = await admin.request<{ line?: string }[]>('GET', `/v1/operations/${operation}/events?limit=5000`);
  return body.flatMap(({ line }) => line ?? []);
}
