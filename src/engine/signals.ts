import { sql } from 'kysely';
import type { Logger } from 'pino';
import type { Listener } from '../database/listener.ts';
import type { Database } from '../database/pool.ts';

/** Postgres channels by which replicas tell each other that there is something to look at. All of them are hints:
 * whoever misses one finds out by looking a second later. */
export const CHANNELS = {
  operations: 'provisioning_operations',
  cancel: 'provisioning_cancel',
  queue: 'provisioning_queue',
} as const;

const COALESCE_MS = 10;
/** NOTIFY takes 8,000 bytes: 200 ids of 36. More than that are sent as `*`: look at all you follow. */
const MAX_IDS = 200;

/**
 * Sends hints after the commit they are about, gathered: NOTIFY inside a transaction makes Postgres commit one at a
 * time.
 */
export interface Signals {
  operationsChanged(operationIds: Iterable<string>): void;
  queueFilled(queueName: string): void;
  onOperationsChanged(callback: (operationIds: ReadonlySet<string> | '*') => void): () => void;
  onQueueFilled(callback: (queueName: string) => void): () => void;
  onCancel(callback: (operationId: string) => void, onReconnect: () => void): () => void;
  close(): Promise<void>;
}

export function createSignals(db: Database, listener: Listener, logger: Logger): Signals {
  const operations = new Set<string>();
  const queues = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  let sending: Promise<void> = Promise.resolve();

  const send = async () => {
    const messages = [...queues].map((queue) => ({ channel: CHANNELS.queue, payload: queue }));
    queues.clear();
    if (operations.size > 0) {
      const payload = operations.size > MAX_IDS ? '*' : [...operations].join(',');
      messages.push({ channel: CHANNELS.operations, payload } as never);
      operations.clear();
    }
    try {
      for (const { channel, payload } of messages) await sql`select pg_notify(${channel}, ${payload})`.execute(db);
    } catch (error) {
      logger.debug({ err: error }, 'a hint to the other replicas was lost; they look by themselves in a second');
    }
  };
  const schedule = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      sending = sending.then(send);
    }, COALESCE_MS);
  };

  return {
    operationsChanged(ids) {
      for (const id of ids) operations.add(id);
      schedule();
    },
    queueFilled(queueName) {
      queues.add(queueName);
      schedule();
    },
    onOperationsChanged: (callback) =>
      listener.listen(
        CHANNELS.operations,
        (payload) => callback(payload === '*' ? '*' : new Set(payload.split(','))),
        () => callback('*'),
      ),
    onQueueFilled: (callback) => listener.listen(CHANNELS.queue, callback),
    onCancel: (callback, onReconnect) => listener.listen(CHANNELS.cancel, callback, onReconnect),
    async close() {
      clearTimeout(timer);
      await sending;
      await send();
    },
  };
}
