/** kill -9 of the server while installs run on ten hosts: the hosts' own books prove that each ran once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertFree, assertNotOnDisk, assertNotStored } from '../support/canaries.ts';
import { ended, type Operation, startTestServer, type TestServer, until } from '../support/server.ts';
import {
  allEnded,
  assertAllCompleted,
  assertEventsComplete,
  type Books,
  createServers,
  openBooks,
  scale,
  temporaryDataDir,
} from './support.ts';

const HOSTS = 10;
const ROUNDS = scale(2, 6);
const NAMES = ['redis', 'nginx'];
const SECRETS = { password: 'recovery-canary-5f1d' };

async function jobsBegun(books: Books): Promise<number> {
  const rows = await books.query<{ n: number }>(
    "select count(*)::int as n from simulated_cloud.runs where kind = 'job'",
  );
  return rows[0]?.n ?? 0;
}

test(`a server killed with -9 ${ROUNDS} times while it installs on ${HOSTS} hosts runs each install once on each`, async (t) => {
  await using data = await temporaryDataDir();
  const start = () =>
    startTestServer({
      dataDir: data.directory,
      settings: { SIMULATED_LATENCY_MS: '100', HEALTH_CHECK_INTERVAL: '0', HOSTS_AT_ONCE: '4' },
    });
  const stack = new AsyncDisposableStack();
  await using _ = stack;
  let server: TestServer = await start();
  stack.defer(() => server[Symbol.asyncDispose]());
  await using books = await openBooks({ dataDir: data.directory });
  await createServers(server.admin, 'install', HOSTS);
  await until(() => allEnded(books), 'the servers to run');
  const servers = Array.from({ length: HOSTS }, (_, n) => `install-${n}`);
  const operations: Operation[] = [];
  for (const name of NAMES) {
    const answer = await server.admin.request<Operation>('POST', '/v1/taskservs/create', {
      workspace: 'default',
      name,
      servers,
      config: name === 'redis' ? SECRETS : {},
    });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    operations.push(answer.body);
  }
  const jobs = HOSTS * (NAMES.length + 1);
  for (let round = 1; round <= ROUNDS; round += 1) {
    const moment = Math.floor((jobs * round) / (ROUNDS + 1));
    await until(async () => (await jobsBegun(books)) >= moment, `${moment} jobs to have begun`);
    await server.kill();
    t.diagnostic(`round ${round}: killed with ${await jobsBegun(books)} of ${jobs} jobs begun`);
    server = await start();
  }
  for (const { id } of operations) assert.equal((await ended(server.admin, id, 60)).status, 'completed');

  const ran = await books.query<{ hostname: string; label: string; runs: number; good: number }>(`
    select s.hostname, r.label, count(*)::int as runs, count(*) filter (where r.exit_code = 0)::int as good
    from simulated_cloud.runs r join provisioning.servers s on s.provider_ref = r.ref
    where r.kind = 'job' group by 1, 2`);
  assert.equal(ran.length, jobs);
  assert.deepEqual(
    ran.filter(({ runs, good }) => runs !== 1 || good !== 1),
    [],
    'something ran twice, or not to its end',
  );
  const lines = await books.query<{ host: string; job: string; numbers: number[] }>(`
    select data ->> 'host' as host, data ->> 'job' as job, array_agg((data ->> 'n')::int order by seq) as numbers
    from provisioning.operation_events where data ? 'n' group by 1, 2`);
  assert.equal(lines.length, jobs);
  assert.deepEqual(
    lines.filter(({ numbers }) => numbers.join() !== '1,2'),
    [],
    'a line of output is missing or told twice',
  );
  await assertNotStored(books.pool, SECRETS);
  await books.query('checkpoint');
  await assertNotOnDisk(data.directory, SECRETS);
  assertFree(server.output(), SECRETS, 'in the log');
  const left = await books.query('select * from provisioning.host_turns');
  assert.deepEqual(left, []);
  await assertEventsComplete(books);
  await assertAllCompleted(books);
});
