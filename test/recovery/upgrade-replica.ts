/**
 * A replica of the version before a change (`old`) or after it (`new`), for upgrade.test.ts. The change adds the step
 * "check in between". The step named by the input lasts until the table `gate` has a row.
 */
import { pino } from 'pino';
import { startListener } from '../../src/database/listener.ts';
import { type ConnectionSettings, createDatabase, createPool } from '../../src/database/pool.ts';
import { CHANNELS, type Engine, startEngine } from '../../src/engine/engine.ts';
import { defineProcedure, type Procedure, type StepCall } from '../../src/engine/procedure.ts';
import { sleep } from '../../src/util/sleep.ts';

type Version = 'old' | 'new';
const KIND = 'test.upgraded';
const QUEUE = 'upgrade';

function procedure(version: Version, isOpen: () => Promise<boolean>): Procedure {
  const work = (name: string, holdAt: string) => async (call: StepCall) => {
    while (name === holdAt && !(await isOpen())) await sleep(25, call.signal);
    return version;
  };
  return defineProcedure<{ hold_at: string }>({
    kind: KIND,
    queue: () => QUEUE,
    async run({ hold_at }, { step, patched, finish }) {
      await step('begin', work('begin', hold_at));
      if (version === 'new' && (await patched('check-in-between'))) await step('check in between', async () => version);
      await step('go on', work('go on', hold_at));
      const ended = await step('end', work('end', hold_at));
      return finish(async () => ({ ended_by: ended }));
    },
  });
}

/** @param work false: only submits. */
export async function startReplica(
  settings: ConnectionSettings,
  version: Version,
  work: boolean,
): Promise<{ engine: Engine; close: () => Promise<void> }> {
  const logger = pino({ level: 'warn' }, pino.destination({ fd: 2, sync: true }));
  const pool = createPool(settings, { max: 4, applicationName: 'upgrade test' });
  const listener = await startListener(settings, Object.values(CHANNELS));
  const isOpen = async () => (await pool.query('select from gate')).rows.length > 0;
  const engine = await startEngine({
    settings,
    db: createDatabase(pool),
    listener,
    logger,
    version,
    queues: [{ name: QUEUE, workerConcurrency: 10 }],
    work,
    retentionDays: 1,
    poolSize: 4,
    onFenced: () => process.exit(75),
  });
  engine.register([procedure(version, isOpen)]);
  await engine.join();
  return {
    engine,
    async close() {
      await engine.close();
      await listener.close();
      await pool.end();
    },
  };
}

if (import.meta.main) {
  const [version = '', connectionString = ''] = process.argv.slice(2);
  await startReplica({ connectionString }, version === 'new' ? 'new' : 'old', true);
  process.stdout.write('ready\n');
}
