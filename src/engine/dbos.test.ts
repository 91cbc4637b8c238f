/** The engine's library, pinned: each of its inner parts that dbos.ts leans on does what we count on. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, test } from 'node:test';
import { Error as engineErrors } from '@dbos-inc/dbos-sdk';
import utilsModule from '@dbos-inc/dbos-sdk/internal/utils';
import { pino } from 'pino';
import { createTestDatabase } from '../../test/support/database.ts';
import { until } from '../../test/support/server.ts';
import { createPool } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';
import {
  APPLICATION_NAME,
  APPLICATION_VERSION,
  DBOS,
  DBOSClient,
  engineLogger,
  engineStop,
  isEngineStop,
  type Look,
  migrateEngineTables,
  pollQueueNow,
  recover,
  serializeLooks,
  transactionalStep,
} from './dbos.ts';
import { createEnqueue, enqueueMany } from './enqueue.ts';
import { asExecution, skipNeedlessLooks } from './first-execution.ts';
import type { Procedure } from './procedure.ts';

const ME = 'executor-under-test';
const OTHER = 'executor-that-died';
const QUEUE = 'test';
const LIMIT = 10;

const database = await createTestDatabase();
const books = database.pool;
await books.query('create table written (id text, what text)');
const enginePool = createPool(database.settings, { max: 6, applicationName: 'dbos test' });
const logger = pino({ level: 'silent' });
const client = await DBOSClient.create({
  systemDatabaseUrl: database.url,
  systemDatabasePool: enginePool,
  applicationName: APPLICATION_NAME,
  logger: engineLogger(logger),
});
// Polled so seldom that whatever begins was looked for.
await client.registerQueue(QUEUE, { workerConcurrency: LIMIT, minPollingIntervalMs: 3_600_000 });

type Body = (id: string) => Promise<unknown>;
/** What each procedure does. */
const bodies = new Map<string, Body>();
const caught = new Map<string, unknown>();
DBOS.registerWorkflow(
  async (id: string) => {
    try {
      return await bodies.get(id)?.(id);
    } catch (error) {
      caught.set(id, error);
      throw error;
    }
  },
  { name: 'procedure', maxRecoveryAttempts: 1_000 },
);
DBOS.setConfig({
  name: APPLICATION_NAME,
  systemDatabaseUrl: database.url,
  systemDatabasePool: enginePool,
  executorID: ME,
  applicationVersion: APPLICATION_VERSION,
  enablePatching: true,
  runMigrations: false,
  listenQueues: [QUEUE],
  useListenNotify: false,
  logger: engineLogger(logger),
});
await DBOS.launch();
skipNeedlessLooks();
const found: Look = { contended: false, full: false, freedMeanwhile: false };
let freedSlots = 0;
serializeLooks({
  looked: (_queueName, look) => Object.assign(found, look),
  slotFreed: () => {
    freedSlots += 1;
  },
});
after(async () => {
  await DBOS.shutdown();
  await client.destroy();
  await enginePool.end();
  await database.close();
});

/** @param first as an execution before which there was none. */
async function enqueue(body: Body, first = false): Promise<string> {
  const id = uuidv7();
  bodies.set(id, (own) => asExecution(first, () => body(own)));
  await client.enqueueInTransaction(
    books as never,
    { workflowName: 'procedure', queueName: QUEUE, workflowID: id, appVersion: APPLICATION_VERSION },
    id,
  );
  return id;
}

async function begin(body: Body, first = false): Promise<string> {
  const id = await enqueue(body, first);
  await look();
  return id;
}

async function look(): Promise<void> {
  do await pollQueueNow(QUEUE);
  while (found.contended);
}

async function record(id: string): Promise<{ status: string; executor_id: string; owner_xid: string | null }> {
  const { rows } = await books.query(
    'select status, executor_id, owner_xid, started_at_epoch_ms, queue_name from dbos.workflow_status where workflow_uuid = $1',
    [id],
  );
  return rows[0];
}

const untilStatus = (id: string, status: string) =>
  until(async () => (await record(id)).status === status, `${id} to be ${status}`);

async function steps(id: string): Promise<string[]> {
  const { rows } = await books.query<{ function_name: string }>(
    'select function_name from dbos.operation_outputs where workflow_uuid = $1 order by function_id',
    [id],
  );
  return rows.map((row) => row.function_name);
}

async function written(id: string): Promise<string[]> {
  const { rows } = await books.query<{ what: string }>('select what from written where id = $1', [id]);
  return rows.map((row) => row.what);
}

const write = (id: string, what: string, then: () => Promise<unknown> = async () => null) =>
  transactionalStep(what, async (tx) => {
    await tx.query('insert into written values ($1, $2)', [id, what]);
    return then();
  });

// The library opens its queues a moment after the launch. A look before that finds none.
const opened = await enqueue(async () => 'opened');
await until(async () => {
  await look();
  return (await record(opened)).status === 'SUCCESS';
}, 'the queue to be open');

test('the version that was looked into is the one that is installed', async () => {
  const read = async (file: string) => JSON.parse(await readFile(new URL(file, import.meta.url), 'utf8'));
  const wanted = (await read('../../package.json')).dependencies['@dbos-inc/dbos-sdk'];
  assert.match(wanted, /^\d+\.\d+\.\d+$/, 'pinned exactly');
  assert.equal((await read('../../node_modules/@dbos-inc/dbos-sdk/package.json')).version, wanted);
});

test('enqueueing is part of the caller’s transaction', async () => {
  const id = uuidv7();
  const connection = await books.connect();
  await connection.query('begin');
  await client.enqueueInTransaction(connection, { workflowName: 'procedure', queueName: QUEUE, workflowID: id }, id);
  await connection.query('rollback');
  connection.release();
  assert.equal(await record(id), undefined);
});

test('a look at a queue begins what waits there, without waiting for the poll', async () => {
  const id = await begin(async () => 'done');
  await untilStatus(id, 'SUCCESS');
  assert.equal((await record(id)).executor_id, ME);
  await pollQueueNow('no such queue');
});

test('many enqueued at once are stored as the library stores one, and begin', async () => {
  const procedures = new Map([['procedure', { queue: () => QUEUE } as unknown as Procedure]]);
  const ids = [uuidv7(), uuidv7(), uuidv7()];
  for (const id of ids) bodies.set(id, async (own) => own);
  const alone = await enqueue(async (own) => own);
  await database.db.transaction().execute((tx) =>
    enqueueMany(
      tx,
      createEnqueue(client, procedures),
      procedures,
      ids.map((id) => ({ id, kind: 'procedure', input: {} })),
    ),
  );
  const stored = async (id: string) => {
    const { rows } = await books.query(
      `select to_jsonb(s) - array['workflow_uuid', 'creator_xid', 'created_at', 'updated_at'] as status,
              to_jsonb(i) - array['workflow_uuid', 'inputs', 'retention_timestamp'] as input, replace(i.inputs, $1, 'id') as inputs
       from dbos.workflow_status s join dbos.workflow_input i using (workflow_uuid) where workflow_uuid = $1`,
      [id],
    );
    return rows;
  };
  const [one] = await stored(alone);
  assert.equal(typeof one?.status, 'object');
  for (const id of ids) assert.deepEqual(await stored(id), [one]);
  await look();
  for (const id of [alone, ...ids]) await untilStatus(id, 'SUCCESS');
  const { rows } = await books.query(
    'select workflow_uuid from dbos.workflow_output where strpos(output, workflow_uuid) > 0 and workflow_uuid = any($1)',
    [ids],
  );
  assert.equal(rows.length, ids.length, 'each got its own id');
});

test('a look says whether a limit may have left some waiting', async () => {
  const gate = Promise.withResolvers<void>();
  let begun = 0;
  const work = () => {
    begun += 1;
    return gate.promise;
  };
  const ids = await Promise.all(Array.from({ length: LIMIT + 1 }, () => enqueue(work)));
  await look();
  assert.equal(found.full, true);
  // From then on the slots are theirs alone.
  await until(async () => {
    await look();
    return begun === LIMIT;
  }, 'as many as the limit allows');
  const freedBefore = freedSlots;
  gate.resolve();
  for (const id of ids) {
    await until(async () => {
      await look();
      return (await record(id)).status === 'SUCCESS';
    }, `${id} to end`);
  }
  await until(async () => freedSlots - freedBefore >= LIMIT + 1, 'a word of each slot that came free');
  assert.equal(freedSlots - freedBefore, LIMIT + 1);
  await look();
  assert.equal(found.full, false);
});

test('looks at once by us and by the library take no more than the limit', async () => {
  let running = 0;
  let most = 0;
  const gate = Promise.withResolvers<void>();
  const ids = await Promise.all(
    Array.from({ length: 3 * LIMIT }, () =>
      enqueue(async () => {
        running += 1;
        most = Math.max(most, running);
        await gate.promise;
        running -= 1;
      }),
    ),
  );
  // The library's poll calls the same method on the same object (wfqueue.js, runQueuePoll).
  await Promise.all(Array.from({ length: 5 }, () => pollQueueNow(QUEUE)));
  await until(async () => running === LIMIT, 'as many as the limit allows');
  gate.resolve();
  for (const id of ids) {
    await until(async () => {
      await look();
      return (await record(id)).status === 'SUCCESS';
    }, `${id} to end`);
  }
  assert.equal(most, LIMIT);
});

test('a first execution looks nothing up, a later one what has been recorded', async () => {
  const model = await begin(async (id) => write(id, 'kept'));
  await untilStatus(model, 'SUCCESS');
  for (const first of [true, false]) {
    let ran = false;
    const id = await enqueue(
      (own) =>
        write(own, 'kept', async () => {
          ran = true;
          return null;
        }),
      first,
    );
    await books.query(
      `insert into dbos.operation_outputs (workflow_uuid, function_id, function_name, output)
       select $1, function_id, function_name, output from dbos.operation_outputs where workflow_uuid = $2`,
      [id, model],
    );
    await look();
    await untilStatus(id, 'SUCCESS');
    assert.deepEqual([ran, await written(id)], [first, []]);
  }
});

test('an engine stop thrown in a step records nothing and leaves the procedure to whoever recovers it', async () => {
  let runs = 0;
  const id = await begin(async (own) => {
    await DBOS.runStep(async () => 'once', { name: 'first' });
    await DBOS.runStep(
      async () => {
        runs += 1;
        if (runs === 1) throw engineStop(own);
      },
      { name: 'second' },
    );
  });
  await until(async () => caught.has(id), 'the stop');
  assert.ok(isEngineStop(caught.get(id)));
  assert.equal((await record(id)).status, 'PENDING');
  assert.deepEqual(await steps(id), ['first']);
  await books.query('update dbos.workflow_status set executor_id = $2 where workflow_uuid = $1', [id, OTHER]);
  assert.equal(await recover([OTHER]), 1);
  const back = await record(id);
  assert.deepEqual([back.status, back.owner_xid], ['ENQUEUED', null]);
  await look();
  await untilStatus(id, 'SUCCESS');
  assert.deepEqual([await steps(id), runs], [['first', 'second'], 2]);
});

test('recovery leaves alone what another version of the procedures began', async () => {
  const id = await enqueue(async () => 'never');
  await books.query(
    "update dbos.workflow_status set status = 'PENDING', executor_id = $2, application_version = 'engine-0' where workflow_uuid = $1",
    [id, OTHER],
  );
  assert.equal(await recover([OTHER]), 0);
  await books.query('delete from dbos.workflow_status where workflow_uuid = $1', [id]);
});

test('the two errors that stop an execution are told from all others', () => {
  assert.ok(isEngineStop(new engineErrors.DBOSWorkflowConflictError('id')));
  assert.ok(isEngineStop(new engineErrors.DBOSWorkflowCancelledError('id')));
  assert.ok(!isEngineStop(new engineErrors.DBOSMaxStepRetriesError('step', 1, [])));
});

for (const [execution, first] of [
  ['first execution', true],
  ['later execution', false],
] as const) {
  test(`${execution}: a transactional step commits our writes with its checkpoint, and neither where it fails`, async () => {
    const good = await begin(async (id) => write(id, 'kept'), first);
    await untilStatus(good, 'SUCCESS');
    assert.deepEqual([await written(good), await steps(good)], [['kept'], ['kept']]);
    const bad = await begin(async (id) => write(id, 'lost', () => Promise.reject(new Error('no'))), first);
    await untilStatus(bad, 'ERROR');
    assert.deepEqual(await written(bad), []);
    await assert.rejects(write('nobody', 'outside'), /outside a procedure/);
  });

  test(`${execution}: an execution that lost its ownership can neither write nor record a step`, async () => {
    const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const;
    const transactional = await begin(
      async (id) =>
        write(id, 'stale', async () => {
          await gates[0].promise;
          return null;
        }),
      first,
    );
    const plain = await begin(async () => DBOS.runStep(() => gates[1].promise, { name: 'plain' }), first);
    for (const id of [transactional, plain]) {
      await untilStatus(id, 'PENDING');
      await books.query("update dbos.workflow_status set owner_xid = 'somebody else' where workflow_uuid = $1", [id]);
    }
    for (const gate of gates) gate.resolve();
    await until(async () => caught.has(transactional) && caught.has(plain), 'both to be stopped');
    for (const id of [transactional, plain]) {
      assert.ok(isEngineStop(caught.get(id)), String(caught.get(id)));
      assert.deepEqual([await written(id), await steps(id), (await record(id)).status], [[], [], 'PENDING']);
      await books.query('delete from dbos.workflow_status where workflow_uuid = $1', [id]);
    }
  });

  test(`${execution}: a lost connection is tried again, soon, and the work goes on`, async () => {
    assert.ok(utilsModule.dbRetryConfig.maxBackoffSec <= 5, 'the setting that the library reads at every try');
    const gate = Promise.withResolvers<void>();
    const id = await begin(async (own) => {
      await gate.promise;
      await DBOS.runStep(async () => 'plain', { name: 'plain' });
      return write(own, 'kept');
    }, first);
    await books.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'dbos test%'",
    );
    gate.resolve();
    await untilStatus(id, 'SUCCESS');
    assert.deepEqual([await steps(id), await written(id)], [['plain', 'kept'], ['kept']]);
  });
}

test('making its tables again changes nothing', async () => {
  await migrateEngineTables(database.url, logger);
});
