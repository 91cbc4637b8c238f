import { sql } from 'kysely';
import type pg from 'pg';
import type { Logger } from 'pino';
import type { Listener } from '../database/listener.ts';
import { type ConnectionSettings, createPool, type Database, type Queryable } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';
import {
  APPLICATION_NAME,
  APPLICATION_VERSION,
  DBOS,
  DBOSClient,
  engineLogger,
  migrateEngineTables,
  recover,
  serializeLooks,
} from './dbos.ts';
import { endInTransaction } from './ending.ts';
import { createEnqueue, type Enqueue, procedureOf } from './enqueue.ts';
import { createEventWriter, type EventWriter, logEvent, type OutputBudget } from './events.ts';
import { skipNeedlessLooks } from './first-execution.ts';
import { createGathering, type Gathering } from './gather.ts';
import { startMaintenance } from './maintenance.ts';
import { insertEndedOperation, insertOperation, lockUnfinished, type NewOperation } from './operation-record.ts';
import type { Procedure } from './procedure.ts';
import { createQueueLooker } from './queue-looker.ts';
import { joinReplicas, type Replica } from './replica.ts';
import { createRunner, type Runner } from './runner.ts';
import { CHANNELS, createSignals, type Signals } from './signals.ts';
import { startStraySweep } from './strays.ts';

/** Hints make the queues move; polling only covers a hint that was lost. */
const QUEUE_POLL_MS = 1_000;
/** Executions of one procedure over all crashes; past that the engine gives it up. */
const MAX_RECOVERY_ATTEMPTS = 1_000;
/** On stop: how long a change already sent to a provider may take to come back. */
const HAND_OVER_MS = 35_000;

/** Who stands as the maker of what the server has found out by itself. No user can be called so. */
export const OBSERVER = '(observer)';

/** A named queue. Limits are exact and hold over all replicas. */
interface QueueSettings {
  name: string;
  /** Procedures at once in one replica. */
  workerConcurrency: number;
  /** Procedures at once over all replicas; absent: no such limit. */
  globalConcurrency?: number;
  /** Procedures of one owner at once in one replica, so that nobody holds up all others; absent: no such limit. */
  ownerConcurrency?: number;
}

/** Something that has happened outside, found by looking. */
interface Happened {
  kind: string;
  /** What has happened, in words for people. */
  title: string;
  workspace: string;
  /** What it is about, such as `server:srv-…`. */
  resource: string;
  /** Plain data without secrets. */
  result: Record<string, unknown>;
  lines: string[];
  /** On behalf of which operation one has looked; null: the server does so by itself. */
  parentId: string | null;
}

/** Durable execution, as the sections see it. */
export interface Engine {
  readonly signals: Signals;
  /** This process's name among the replicas; null where it carries nothing out (role `api`, or not joined yet). */
  readonly replicaId: string | null;
  /** Tells the procedures there are. Call it once, before anything is submitted. */
  register(procedures: readonly Procedure[]): void;
  /**
   * Joins the replicas and begins to carry operations out, where it is to. From here on the process must not stand still
   * for longer than its lease: call it once everything else that takes long at a start is done.
   */
  join(): Promise<void>;
  /**
   * Stores the operation and puts its procedure on the queue, in the caller's transaction: both or neither.
   * @returns the operation as JSON text, and what to call after the commit so that it starts at once.
   */
  submit(tx: Queryable, operation: NewOperation): Promise<{ json: string; afterCommit: () => void }>;
  /** For a transaction that submits many operations. Begin anew for each try of it. */
  gather(): Gathering;
  /**
   * Stores what has happened without an operation as one that is over, in the caller's transaction.
   * @param lines what its log says. Never a secret.
   * @returns what to call after the commit, so that followers see it at once.
   */
  record(tx: Queryable, happened: Happened): Promise<{ afterCommit: () => void }>;
  /**
   * Stores an operation that is over with its answer: a check, whose `result` says what would be done, or what the
   * caller's transaction has done itself. @returns it as JSON text, and what to call after the commit.
   */
  recordEnded(
    tx: Queryable,
    operation: NewOperation,
    result: Record<string, unknown>,
  ): Promise<{ json: string; afterCommit: () => void }>;
  /**
   * Asks an operation to stop, in the caller's transaction. One still pending ends here and now.
   * @returns false when it has already ended.
   */
  requestCancel(
    tx: Queryable,
    operationId: string,
    by: string,
  ): Promise<{ accepted: boolean; afterCommit: () => void }>;
  /** Lets running procedures reach a safe point and hands them to the other replicas. Operations can still be submitted. */
  handOver(): Promise<void>;
  /** Hands over where that has not been done, and disconnects. */
  close(): Promise<void>;
}

export interface EngineOptions {
  settings: ConnectionSettings;
  db: Database;
  listener: Listener;
  logger: Logger;
  version: string;
  queues: QueueSettings[];
  /** False: only submits (role `api`). */
  work: boolean;
  /** No other process can be on this database (an embedded one has one owner): what is left of others is dead. */
  alone?: boolean;
  /** Days that ended operations are kept. */
  retentionDays: number;
  /** Connections of the engine's own. */
  poolSize: number;
  /** How often each queue is polled without a hint. Milliseconds; default: a second. */
  queuePoll?: number;
  /** How much output of operations is kept; absent: all. */
  output?: OutputBudget;
  /** Called when the others have given this process up. It must end. */
  onFenced: () => void;
}

export { CHANNELS };

/** Creates or updates the engine's own tables. Call it under the migration lock. */
export async function migrateEngine(settings: ConnectionSettings, logger: Logger): Promise<void> {
  await migrateEngineTables(connectionUrl(settings), logger);
}

function connectionUrl(settings: ConnectionSettings): string {
  if ('connectionString' in settings) return settings.connectionString;
  const { host, port, user, password, database } = settings;
  const socket = host.startsWith('/');
  const authority = `${encodeURIComponent(user)}:${encodeURIComponent(password)}@${socket ? 'localhost' : host}:${port}`;
  return `postgres://${authority}/${database}${socket ? `?host=${encodeURIComponent(host)}` : ''}`;
}

/** Opens the engine: operations can be submitted; none is carried out before `join`. */
export async function startEngine(options: EngineOptions): Promise<Engine> {
  const { db, listener, logger, settings } = options;
  const signals = createSignals(db, listener, logger);
  const pool = createPool(settings, { max: options.poolSize, applicationName: 'provisioning engine' });
  const client = await DBOSClient.create({
    systemDatabaseUrl: connectionUrl(settings),
    systemDatabasePool: pool,
    applicationName: APPLICATION_NAME,
    logger: engineLogger(logger),
  });
  const procedures = new Map<string, Procedure>();
  const shared = options.queues.filter(({ ownerConcurrency }) => ownerConcurrency !== undefined);
  const enqueue = createEnqueue(client, procedures, new Set(shared.map(({ name }) => name)));

  let worker: Worker | null = null;
  let handingOver: Promise<void> | undefined;
  const handOver = () => {
    handingOver ??= worker?.close() ?? Promise.resolve();
    return handingOver;
  };

  const submitted = (operationId: string, queueName: string) => {
    worker?.look(queueName);
    signals.queueFilled(queueName);
    signals.operationsChanged([operationId]);
  };

  return {
    signals,
    get replicaId() {
      return worker?.replica.id ?? null;
    },
    register(all) {
      for (const procedure of all) procedures.set(procedure.kind, procedure);
    },
    async join() {
      if (options.work) worker = await startWorker({ ...options, signals, client, pool, procedures, enqueue });
    },
    async submit(tx, operation) {
      const json = await insertOperation(tx, operation);
      const queueName = await enqueue(tx, operation.id, operation.kind, operation.input, operation.ownerId);
      return { json, afterCommit: () => submitted(operation.id, queueName) };
    },
    async record(tx, { lines, result, ...happened }) {
      const id = uuidv7();
      const operation = { ...happened, id, checkMode: false, input: {}, createdBy: OBSERVER, ownerId: null };
      await insertEndedOperation(
        tx,
        operation,
        result,
        lines.map((line) => logEvent(line, {})),
      );
      return { afterCommit: () => signals.operationsChanged([id]) };
    },
    async recordEnded(tx, operation, result) {
      const json = await insertEndedOperation(tx, operation, result, []);
      return { json, afterCommit: () => signals.operationsChanged([operation.id]) };
    },
    gather: () =>
      createGathering({
        enqueue,
        procedures,
        submitted: ({ id, kind, input }) => submitted(id, procedureOf(procedures, kind).queue(input)),
      }),
    async requestCancel(tx, operationId, by) {
      const row = await lockUnfinished(tx, operationId);
      if (row === null) return { accepted: false, afterCommit: () => {} };
      await tx
        .updateTable('provisioning.operations')
        .set({
          cancel_requested_at: sql`coalesce(cancel_requested_at, now())`,
          cancel_requested_by: by,
          updated_at: sql`now()`,
        })
        .where('id', '=', operationId)
        .execute();
      let followUpQueue: string | undefined;
      if (row.status === 'pending') {
        followUpQueue = await endInTransaction(
          tx,
          {
            operationId,
            procedure: procedureOf(procedures, row.kind),
            input: row.input,
            failure: { code: 'CANCELLED', message: '' },
            started: false,
            pending: [],
          },
          enqueue,
        );
      } else {
        await sql`select pg_notify(${CHANNELS.cancel}, ${operationId})`.execute(tx);
      }
      return {
        accepted: true,
        afterCommit: () => {
          if (followUpQueue !== undefined) signals.queueFilled(followUpQueue);
          signals.operationsChanged([operationId]);
        },
      };
    },
    handOver,
    async close() {
      await handOver();
      await signals.close();
      await client.destroy();
      await pool.end();
    },
  };
}

interface Worker {
  replica: Replica;
  /** Looks at the queue now. */
  look(queueName: string): void;
  close(): Promise<void>;
}

async function startWorker(
  options: EngineOptions & {
    signals: Signals;
    client: DBOSClient;
    pool: pg.Pool;
    procedures: Map<string, Procedure>;
    enqueue: Enqueue;
  },
): Promise<Worker> {
  const { db, logger, signals, client, pool, settings } = options;
  for (const queue of options.queues) {
    await client.registerQueue(queue.name, {
      workerConcurrency: Math.min(queue.workerConcurrency, queue.globalConcurrency ?? Number.POSITIVE_INFINITY),
      ...(queue.globalConcurrency === undefined ? {} : { globalConcurrency: queue.globalConcurrency }),
      ...(queue.ownerConcurrency === undefined ? {} : { partitionWorkerConcurrency: queue.ownerConcurrency }),
      minPollingIntervalMs: options.queuePoll ?? QUEUE_POLL_MS,
    });
  }
  const looker = createQueueLooker(options.queues);
  const { look } = looker;
  const lookAtAll = () => {
    for (const queue of options.queues) look(queue.name);
  };

  let fenced = false;
  const replica = await joinReplicas({
    settings,
    db,
    logger,
    role: 'worker',
    version: options.version,
    alone: options.alone ?? false,
    onDead: async (executorIds) => {
      const others = executorIds.filter((id) => id !== replica.id);
      const recovered = await recover(others);
      if (recovered > 0) {
        logger.warn(
          { operations: recovered, replicas: others },
          'took over the unfinished operations of a dead replica',
        );
        lookAtAll();
      }
    },
    onFenced: () => {
      fenced = true;
      options.onFenced();
    },
  });
  const events: EventWriter = createEventWriter({
    ...{ db, logger, signals, replicaId: replica.id, output: options.output },
  });
  const runner = createRunner({ ...options, events, replica: () => replica });
  for (const procedure of options.procedures.values()) {
    DBOS.registerWorkflow(
      async (operationId: string) => {
        await runner.run(procedure, operationId);
      },
      { name: procedure.kind, maxRecoveryAttempts: MAX_RECOVERY_ATTEMPTS },
    );
  }
  DBOS.setConfig({
    name: APPLICATION_NAME,
    systemDatabaseUrl: connectionUrl(settings),
    systemDatabasePool: pool,
    executorID: replica.id,
    applicationVersion: APPLICATION_VERSION,
    enablePatching: true,
    runMigrations: false,
    listenQueues: options.queues.map((queue) => queue.name),
    useListenNotify: false,
    logger: engineLogger(logger),
  });
  await DBOS.launch();
  skipNeedlessLooks();
  serializeLooks(looker);
  const unlisten = [
    signals.onQueueFilled(look),
    signals.onCancel(runner.cancel, () => void cancelMissed(db, runner, logger)),
  ];
  const maintenance = startMaintenance({ ...options, look });
  const strays = startStraySweep({
    db,
    logger,
    replica,
    running: runner.running,
    onFound: (queueNames) => {
      for (const name of queueNames) look(name);
    },
  });

  return {
    replica,
    look,
    async close() {
      for (const stop of unlisten) stop();
      await maintenance.stop();
      await strays.stop();
      looker.stop();
      await runner.handOver(HAND_OVER_MS);
      // Without waiting: what was handed over would wait here for its end elsewhere.
      if (!fenced) await DBOS.shutdown();
      await events.close();
      await replica.leave();
    },
  };
}

/** Catches up on cancel requests that came while the connection for hints was away. */
async function cancelMissed(db: Database, runner: Runner, logger: Logger): Promise<void> {
  const running = [...runner.running()];
  if (running.length === 0) return;
  try {
    const rows = await db
      .selectFrom('provisioning.operations')
      .select('id')
      .where('id', 'in', running)
      .where('cancel_requested_at', 'is not', null)
      .execute();
    for (const { id } of rows) runner.cancel(id);
  } catch (error) {
    logger.warn({ err: error }, 'could not look for cancel requests after a reconnect; the next reconnect tries again');
  }
}
