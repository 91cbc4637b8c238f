/** What the recovery tests share: their scale, and the books of the server and of the simulated cloud, read with SQL. */
import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { type Client, type Operation, serverRequest, until } from '../support/server.ts';

/** CI runs the short form; `npm run test:chaos` sets PROVISIONING_TEST_SCALE=full. */
export function scale<T>(short: T, full: T): T {
  return process.env.PROVISIONING_TEST_SCALE === 'full' ? full : short;
}

/** A data directory that outlives its servers. The user that Postgres runs as may pass through it. */
export async function temporaryDataDir(): Promise<AsyncDisposable & { directory: string }> {
  const directory = await mkdtemp(path.join(tmpdir(), 'provisioning-recovery-'));
  await chmod(directory, 0o711);
  return { directory, [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) };
}

/** SQL on the database of the server under test. */
export interface Books extends AsyncDisposable {
  pool: pg.Pool;
  query<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>;
}

/** The pid of the embedded Postgres and the directory of its socket, as its own file says. */
export async function embeddedPostgres(dataDir: string): Promise<{ pid: number; socketDir: string }> {
  const lines = (await readFile(path.join(dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n');
  return { pid: Number(lines[0]), socketDir: lines[4] ?? '' };
}

/** The books behind an external database, or behind the embedded one of a data directory. */
export async function openBooks(where: { databaseUrl: string } | { dataDir: string }): Promise<Books> {
  const settings =
    'databaseUrl' in where
      ? { connectionString: where.databaseUrl }
      : {
          host: (await embeddedPostgres(where.dataDir)).socketDir,
          user: 'postgres',
          password: (await readFile(path.join(where.dataDir, 'postgres-password'), 'utf8')).trim(),
          database: 'provisioning',
        };
  const pool = new pg.Pool({ ...settings, max: 4, application_name: 'recovery test' });
  pool.on('error', () => 'Postgres was killed; the next query connects again');
  return {
    pool,
    query: async (text, values = []) => (await pool.query(text, values)).rows,
    [Symbol.asyncDispose]: () => pool.end(),
  };
}

/** Asks for `count` servers, `parallel` requests at a time. @returns ids of the accepted operations. */
export async function createServers(
  client: Client,
  prefix: string,
  count: number,
  parallel = 10,
  overrides: Record<string, unknown> = {},
): Promise<string[]> {
  const ids: string[] = [];
  await inParallel(count, parallel, async (n) => {
    const body = { ...serverRequest(`${prefix}-${n}`), ...overrides };
    const answer = await client.request<Operation>('POST', '/v1/servers/create', body);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    ids.push(answer.body.id);
  });
  return ids;
}

/** Runs `work` for 0 to count - 1, `parallel` at a time. */
export async function inParallel(count: number, parallel: number, work: (n: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: Math.min(parallel, count) }, lane));
}

/** How many operations stand where. */
export async function countByStatus(books: Books): Promise<Record<string, number>> {
  const rows = await books.query<{ status: string; count: number }>(
    'select status, count(*)::int as count from provisioning.operations group by status',
  );
  return Object.fromEntries(rows.map((row) => [row.status, row.count]));
}

/** Every operation is `completed`. */
export async function assertAllCompleted(books: Books): Promise<void> {
  const others = await books.query(`select id, kind, status, error_code, error, cancel_requested_at
    from provisioning.operations where status <> 'completed' order by created_at limit 20`);
  assert.deepEqual(others, [], 'not every operation was completed');
}

/** Operations that have not ended. */
export async function unfinished(books: Books): Promise<number> {
  const { pending = 0, running = 0 } = await countByStatus(books);
  return pending + running;
}

/** Whether every operation has ended; false also while the database is away. */
export async function allEnded(books: Books): Promise<boolean> {
  return (await unfinished(books).catch(() => 1)) === 0;
}

/** Waits until every operation has ended. @throws saying how those stand that have not. */
export async function untilAllEnded(books: Books, timeoutMs = 30_000): Promise<void> {
  try {
    await until(() => allEnded(books), 'all operations to end', timeoutMs);
  } catch (error) {
    const left = await books.query(`
      select o.id, o.kind, o.status, o.cancel_requested_at, w.status as engine, w.executor_id, w.queue_name,
             w.recovery_attempts, now() - to_timestamp(w.started_at_epoch_ms / 1000) as taken,
             (select string_agg(concat(s.function_id, ' ', s.function_name), ', ') from dbos.operation_outputs s
              where s.workflow_uuid = o.id::text) as steps,
             (select data::text from provisioning.operation_events e where e.operation_id = o.id order by seq desc limit 1)
               as last_event
      from provisioning.operations o left join dbos.workflow_status w on w.workflow_uuid = o.id::text
      where o.status in ('pending', 'running') limit 10`);
    const replicas = await books.query('select id, now() - heartbeat_at as silent from provisioning.replicas');
    throw new Error(`Operations did not end: ${JSON.stringify({ left, replicas }, null, 1)}`, { cause: error });
  }
}

/** Every server at the provider stands in the list with the operation that made it, and the other way round. */
export async function assertListEqualsProvider(books: Books): Promise<void> {
  const differences = await books.query(`
    select l.id, l.status, l.operation_id as listed, s.ref, s.operation_id as made, s.power, s.change
    from provisioning.servers l
    full join (select * from simulated_cloud.servers
               where not (change = 'delete' and settles_at <= clock_timestamp())) s
      on s.operation_id = l.operation_id::text
    where l.id is null or s.ref is null or l.provider_ref is distinct from s.ref
       or l.status is distinct from case s.power when 'on' then 'running' else 'stopped' end`);
  assert.deepEqual(differences, [], 'the list and the provider disagree');
}

/** No create that the cloud refused as a second one, and no two that it carried out for one operation. */
export async function assertCreatedOnce(books: Books): Promise<void> {
  const refused = await books.query("select * from simulated_cloud.calls where outcome = 'refused'");
  assert.deepEqual(refused, [], 'the cloud was asked to create twice');
  const twice = await books.query(`select operation_id, count(*)::int from simulated_cloud.calls
    where call = 'create' and outcome = 'ok' group by operation_id having count(*) > 1`);
  assert.deepEqual(twice, [], 'one operation created two servers');
}

/** Every operation's events are numbered without a gap, and exactly one of them says how it ended. */
export async function assertEventsComplete(books: Books): Promise<void> {
  const wrong = await books.query(`
    select o.id, o.status, o.last_seq, count(e.*)::int as events, max(e.seq) as greatest,
           count(*) filter (where e.data ->> 'status' in ('completed', 'failed', 'cancelled'))::int as ends
    from provisioning.operations o left join provisioning.operation_events e on e.operation_id = o.id
    group by o.id
    having count(e.*) <> o.last_seq or max(e.seq) is distinct from o.last_seq
        or count(*) filter (where e.type = 'status' and e.data ->> 'status' = o.status) <> 1
        or count(*) filter (where e.type = 'status' and e.data ->> 'status' in ('completed', 'failed', 'cancelled')) <> 1`);
  assert.deepEqual(wrong, [], 'events are missing, or an operation ended twice');
}
