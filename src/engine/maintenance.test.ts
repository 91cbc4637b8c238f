import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { sql } from 'kysely';
import { pino } from 'pino';
import { createTestDatabase } from '../../test/support/database.ts';
import { startListener } from '../database/listener.ts';
import { uuidv7 } from '../database/uuid.ts';
import { APPLICATION_NAME, DBOSClient } from './dbos.ts';
import { createEnqueue } from './enqueue.ts';
import { maintain } from './maintenance.ts';
import { insertOperation } from './operation-record.ts';
import { defineProcedure, type Procedure } from './procedure.ts';
import { CHANNELS, createSignals } from './signals.ts';

const database = await createTestDatabase();
const { db, pool } = database;
const logger = pino({ level: 'silent' });
const listener = await startListener(database.settings, Object.values(CHANNELS));
const signals = createSignals(db, listener, logger);
const client = await DBOSClient.create({
  systemDatabaseUrl: database.url,
  systemDatabasePool: pool,
  applicationName: APPLICATION_NAME,
});
after(async () => {
  await signals.close();
  await listener.close();
  await client.destroy();
  await database.close();
});

const tidy = defineProcedure({
  kind: 'test.tidy',
  queue: () => 'test',
  run: (_, { finish }) => finish(async () => ({})),
});
const work = defineProcedure({
  kind: 'test.work',
  queue: () => 'test',
  run: (_, { finish }) => finish(async () => ({})),
  compensate: async (_tx, _input, { started }) =>
    started ? { kind: 'test.tidy', title: 'Tidy up', resource: null, input: {} } : null,
});
const procedures = new Map<string, Procedure>([work, tidy].map((procedure) => [procedure.kind, procedure]));
const enqueue = createEnqueue(client, procedures);
const looked: string[] = [];
const round = () =>
  maintain(
    { db, logger, signals, procedures, enqueue, retentionDays: 90, look: (queueName) => looked.push(queueName) },
    () => false,
  );

/** An operation and the engine's record of it, both last touched two minutes ago. */
async function operation(
  status: 'pending' | 'running',
  engineStatus: string | null,
  ageSeconds = 120,
): Promise<string> {
  const id = uuidv7();
  await db.transaction().execute(async (tx) => {
    const base = {
      title: 'Work',
      checkMode: false,
      workspace: 'default',
      resource: null,
      parentId: null,
      input: {},
      createdBy: 'test',
      ownerId: null,
    };
    await insertOperation(tx, { ...base, id, kind: 'test.work' });
    await enqueue(tx, id, 'test.work', {});
    await sql`update provisioning.operations set status = ${status}, updated_at = now() - make_interval(secs => ${ageSeconds}::int)
      where id = ${id}`.execute(tx);
    await sql`update dbos.workflow_status set status = coalesce(${engineStatus}, status),
      updated_at = updated_at - ${ageSeconds * 1_000}::bigint where workflow_uuid = ${id}`.execute(tx);
    if (engineStatus === null) await sql`delete from dbos.workflow_status where workflow_uuid = ${id}`.execute(tx);
  });
  return id;
}

async function read(id: string) {
  const { rows } = await sql<{ status: string; error_code: string | null; result: Record<string, unknown> | null }>`
    select status, error_code, result from provisioning.operations where id = ${id}`.execute(db);
  return rows[0];
}

for (const engineStatus of ['MAX_RECOVERY_ATTEMPTS_EXCEEDED', 'ERROR', 'CANCELLED', 'SUCCESS', null]) {
  test(`an operation is not left unfinished when the engine's record of it is ${engineStatus ?? 'missing'}`, async () => {
    const id = await operation('running', engineStatus);
    await round();
    const ended = await read(id);
    assert.equal(ended?.status, 'failed');
    assert.equal(ended?.error_code, 'ABANDONED');
    const followUp = await read(String(ended?.result?.cleanup_operation_id));
    assert.equal(followUp?.status, 'pending', 'what tidies up has been started');
    assert.ok(looked.includes('test'));
    const { rows } = await sql<{ data: { status: string } }>`
      select data from provisioning.operation_events where operation_id = ${id}`.execute(db);
    assert.deepEqual(
      rows.map((row) => row.data.status),
      ['failed'],
    );
  });
}

test('an operation that has not begun fails without a follow-up', async () => {
  const id = await operation('pending', 'CANCELLED');
  await round();
  assert.deepEqual(await read(id), { status: 'failed', error_code: 'ABANDONED', result: null });
});

test('work that goes on, waits, or ended a moment ago is left alone', async () => {
  const ids = [
    await operation('running', 'PENDING'),
    await operation('pending', 'ENQUEUED'),
    await operation('running', 'DELAYED'),
    await operation('running', 'SUCCESS', 20),
    await operation('running', null, 20),
  ];
  await round();
  const statuses = await Promise.all(ids.map(async (id) => (await read(id))?.status));
  assert.deepEqual(statuses, ['running', 'pending', 'running', 'running', 'running']);
});

test('the engine’s records of what ended go after an hour, with all that belongs to them', async () => {
  const old = await operation('running', 'SUCCESS', 7_200);
  const recent = await operation('running', 'SUCCESS', 20);
  const tables = ['workflow_status', 'workflow_input', 'workflow_output', 'operation_outputs'];
  for (const id of [old, recent]) {
    await sql`insert into dbos.workflow_input (workflow_uuid) values (${id}) on conflict do nothing`.execute(db);
    await sql`insert into dbos.workflow_output (workflow_uuid) values (${id})`.execute(db);
    await sql`insert into dbos.operation_outputs (workflow_uuid, function_id, function_name) values (${id}, 0, 'step')`.execute(
      db,
    );
  }
  await round();
  const { rows: known } = await sql<{ table_name: string }>`
    select table_name from information_schema.columns
    where table_schema = 'dbos' and column_name = 'retention_timestamp' order by 1`.execute(db);
  assert.deepEqual(
    known.map((row) => row.table_name),
    tables.slice(1).sort(),
    'the library has no further table that does not cascade',
  );
  for (const table of tables) {
    const { rows } = await sql<{ id: string }>`
      select workflow_uuid as id from ${sql.table(`dbos.${table}`)} where workflow_uuid in (${old}, ${recent})`.execute(
      db,
    );
    assert.deepEqual(rows, [{ id: recent }], table);
  }
});
