/**
 * A backlog that one look has filled all slots from does not drain in lockstep: each slot that comes free is filled again at
 * once, whoever asked for that look. Counted where the work is done, with a poll so rare that only a look for a free slot
 * can be what fills it.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { pino } from 'pino';
import { createTestDatabase } from '../../test/support/database.ts';
import { until } from '../../test/support/server.ts';
import { startListener } from '../database/listener.ts';
import { uuidv7 } from '../database/uuid.ts';
import { pollQueueNow } from './dbos.ts';
import { CHANNELS, startEngine } from './engine.ts';
import { defineProcedure } from './procedure.ts';

const QUEUE = 'test';
const LIMIT = 4;
const NEVER_MS = 3_600_000;

const database = await createTestDatabase();
const logger = pino({ level: 'silent' });
const listener = await startListener(database.settings, Object.values(CHANNELS));
const engine = await startEngine({
  ...{ settings: database.settings, db: database.db, listener, logger, version: 'test' },
  ...{ work: true, retentionDays: 1, poolSize: 4, queuePoll: NEVER_MS, onFenced: () => assert.fail('fenced') },
  queues: [{ name: QUEUE, workerConcurrency: LIMIT }],
});

/** What the provider does for each operation: it answers when the test says so, or at once. */
const provider = {
  holds: true,
  begun: 0,
  underWay: [] as (() => void)[],
  most: 0,
  async work() {
    provider.begun += 1;
    const { promise, resolve } = Promise.withResolvers<void>();
    provider.underWay.push(resolve);
    provider.most = Math.max(provider.most, provider.underWay.length);
    if (!provider.holds) provider.letGo();
    await promise;
  },
  /** Answers the oldest request. */
  letGo() {
    provider.underWay.shift()?.();
  },
};
engine.register([
  defineProcedure({
    kind: 'test.work',
    queue: () => QUEUE,
    run: async (_input, { step, finish }) => {
      await step('work', provider.work);
      return finish(async () => ({}));
    },
  }),
]);
await engine.join();
after(async () => {
  provider.holds = false;
  while (provider.underWay.length > 0) provider.letGo();
  await engine.close();
  await listener.close();
  await database.close();
});

/** Operations that nobody has hinted at, as those of another replica are, or those from before a restart. */
async function backlog(count: number): Promise<void> {
  await database.db.transaction().execute(async (tx) => {
    for (let n = 0; n < count; n += 1) {
      await engine.submit(tx, {
        ...{ id: uuidv7(), kind: 'test.work', title: 'Work', checkMode: false, workspace: 'default', resource: null },
        ...{ parentId: null, createdBy: 'test', ownerId: null, input: {} },
      });
    }
  });
}

/** As the library's own poll does: it calls the same method (wfqueue.js, runQueuePoll), and nobody here has asked for it. */
async function poll(): Promise<void> {
  await until(async () => {
    await pollQueueNow(QUEUE);
    return provider.underWay.length === LIMIT;
  }, 'a poll to fill all slots');
}

test('slots that a poll has filled are filled again one by one, as each comes free', async () => {
  const waiting = 5 * LIMIT;
  await backlog(LIMIT + waiting);
  await poll();
  for (let n = 1; n <= waiting; n += 1) {
    provider.letGo();
    await until(async () => provider.begun === LIMIT + n, `operation ${LIMIT + n} to take the slot that came free`);
  }
  assert.equal(provider.most, LIMIT);
  while (provider.underWay.length > 0) provider.letGo();
});

test('a backlog of operations that end at once drains to its end, and no slot is lost on the way', async () => {
  await until(ended, 'the operations of the test before to end');
  const [before, count] = [provider.begun, 50 * LIMIT];
  await backlog(count + LIMIT);
  await poll();
  provider.holds = false;
  while (provider.underWay.length > 0) provider.letGo();
  await until(async () => provider.begun === before + count + LIMIT, 'the whole backlog to begin', 60_000);
  await until(ended, 'the whole backlog to end');
  assert.equal(provider.most, LIMIT);
});

async function ended(): Promise<boolean> {
  const { rows } = await database.pool.query("select from provisioning.operations where status <> 'completed' limit 1");
  return rows.length === 0;
}
