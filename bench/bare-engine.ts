/**
 * The floor of `bench carry-out`, a process of its own: the engine's library alone with procedures of two steps that do
 * nothing, from a queue that is looked at every few milliseconds. Ends when all are carried out.
 * Arguments: the URL of an empty database, how many, how many at once at most.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { DBOS, DBOSClient } from '@dbos-inc/dbos-sdk';
import pg from 'pg';

const [url = '', count = '0', atOnce = '0'] = process.argv.slice(2);
const QUEUE = 'bare';
const ENQUEUED_AT_ONCE = 50;
/** As many connections as the server gives its engine. */
const POOL_SIZE = 20;
const silent = { info() {}, debug() {}, warn() {}, error() {} };

DBOS.registerWorkflow(
  async (id: string) => {
    await DBOS.runStep(async () => id, { name: 'first' });
    await DBOS.runStep(async () => id, { name: 'second' });
  },
  { name: 'two steps' },
);

const pool = new pg.Pool({ connectionString: url, max: POOL_SIZE });
DBOS.setConfig({ name: 'bare', systemDatabaseUrl: url, systemDatabasePool: pool, logger: silent });
await DBOS.launch();
const client = await DBOSClient.create({ systemDatabaseUrl: url, systemDatabasePool: pool, logger: silent });
for (let n = 0; n < Number(count); n += ENQUEUED_AT_ONCE) {
  const some = Array.from({ length: ENQUEUED_AT_ONCE }, () =>
    client.enqueue({ workflowName: 'two steps', queueName: QUEUE }, 'an argument'),
  );
  await Promise.all(some);
}
await DBOS.registerQueue(QUEUE, { workerConcurrency: Number(atOnce), minPollingIntervalMs: 10 });
const left = `select count(*)::int as left from dbos.workflow_status where status <> 'SUCCESS'`;
while ((await pool.query(left)).rows[0].left > 0) await delay(200);
process.exit(0);
