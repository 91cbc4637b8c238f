import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { createTestDatabase } from '../../test/support/database.ts';
import { until } from '../../test/support/server.ts';
import { startListener } from '../database/listener.ts';
import { uuidv7 } from '../database/uuid.ts';
import { CHANNELS, startEngine } from './engine.ts';
import { defineProcedure, OperationError, type StepCall } from './procedure.ts';

/** Of every step here. Seconds. */
const DEADLINE = 1;

class RateLimited extends OperationError {
  readonly retryAfter = 0.6;
  constructor() {
    super('RATE_LIMITED', 'Later.', { retryable: true });
  }
}

let tries = 0;
/** What the step does, by the operation's input. */
const WORK: Record<string, (call: StepCall) => Promise<string>> = {
  limited: async () => {
    if (++tries < 5) throw new RateLimited();
    return 'in the end';
  },
  waiting: async (call) => {
    for (let n = 0; n < 4; n++) {
      await delay(500, undefined, { signal: call.signal });
      call.waited(500);
    }
    return 'in the end';
  },
  slow: async (call) => {
    await delay(3_000, undefined, { signal: call.signal });
    return 'too late';
  },
};

const database = await createTestDatabase();
const logger = pino({ level: 'silent' });
const listener = await startListener(database.settings, Object.values(CHANNELS));
const engine = await startEngine({
  settings: database.settings,
  db: database.db,
  listener,
  logger,
  version: 'test',
  queues: [{ name: 'test', workerConcurrency: 10 }],
  work: true,
  retentionDays: 1,
  poolSize: 4,
  onFenced: () => assert.fail('fenced'),
});
engine.register([
  defineProcedure<{ what: string }>({
    kind: 'test.wait',
    queue: () => 'test',
    run: async ({ what }, { step, finish }) => {
      const said = await step('wait', async (call) => WORK[what]?.(call), { deadline: DEADLINE });
      return finish(async () => ({ said }));
    },
  }),
]);
await engine.join();
after(async () => {
  await engine.close();
  await listener.close();
  await database.close();
});

async function outcome(what: string) {
  const id = uuidv7();
  const { afterCommit } = await database.db.transaction().execute((tx) =>
    engine.submit(tx, {
      ...{ title: 'Wait', checkMode: false },
      ...{
        id,
        kind: 'test.wait',
        workspace: 'default',
        resource: null,
        parentId: null,
        createdBy: 'test',
        ownerId: null,
      },
      input: { what },
    }),
  );
  afterCommit();
  const read = () =>
    database.db
      .selectFrom('provisioning.operations')
      .select(['status', 'error_code', 'result'])
      .where('id', '=', id)
      .executeTakeFirstOrThrow();
  await until(async () => !['pending', 'running'].includes((await read()).status), 'the operation to end');
  return read();
}

test('an operation never fails because of a rate limit: waiting for it does not use up the time of a step', async () => {
  for (const what of ['limited', 'waiting']) {
    assert.deepEqual(await outcome(what), { status: 'completed', error_code: null, result: { said: 'in the end' } });
  }
});

test('a step that takes too long without waiting for a turn ends at its deadline', async () => {
  const { status, error_code: code } = await outcome('slow');
  assert.deepEqual([status, code], ['failed', 'DEADLINE_EXCEEDED']);
});
