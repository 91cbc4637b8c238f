import type { Logger } from 'pino';
import { type Database, isDatabaseUnavailable } from '../database/pool.ts';
import { harmlessText } from '../util/harmless.ts';
import { appendEvents, type NewEvent } from './operation-record.ts';
import type { Signals } from './signals.ts';

/** Lines are gathered this long: one INSERT for all of them is ten times what one each can do. */
const FLUSH_INTERVAL_MS = 20;
/** Events in one INSERT at most. */
const MAX_BATCH = 2_000;
/** Past this many unwritten events `append` makes its caller wait, so that a flood cannot fill the memory. */
const HIGH_WATER = 10_000;
const RETRY_DELAY_MS = 250;
/** A longer line is cut, and says so. Characters. */
const MAX_LINE_LENGTH = 16_384;

type QueuedEvent = NewEvent & { operationId: string };

/** Writes the events of all procedures of this process in batches. */
export interface EventWriter {
  /** Queues an event. Resolves at once, or when there is room again. */
  append(operationId: string, event: NewEvent): Promise<void>;
  /** Takes the operation's unwritten events out of the queue, to be written by the caller's own transaction. */
  take(operationId: string): Promise<NewEvent[]>;
  /** Puts events back that `take` gave out and whose transaction failed. */
  putBack(operationId: string, events: NewEvent[]): void;
  /** Writes what is queued and stops. */
  close(): Promise<void>;
}

/** A log event. `source` names where it comes from: `server` is our own narration. */
export function logEvent(line: string, fields: Record<string, unknown> = {}): NewEvent {
  const clean = harmlessText(line);
  const text =
    clean.length > MAX_LINE_LENGTH ? `${clean.slice(0, MAX_LINE_LENGTH)}… (${clean.length} characters, cut)` : clean;
  return { type: 'log', at: new Date(), data: { line: text, ...fields } };
}

export function createEventWriter(options: {
  db: Database;
  logger: Logger;
  signals: Signals;
  replicaId: string;
}): EventWriter {
  const { db, logger, signals, replicaId } = options;
  let queue: QueuedEvent[] = [];
  let timer: NodeJS.Timeout | undefined;
  let flushing: Promise<void> = Promise.resolve();
  let room: PromiseWithResolvers<void> | undefined;
  let closed = false;

  const schedule = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      flushing = flushing.then(flush);
    }, FLUSH_INTERVAL_MS);
  };

  const flush = async () => {
    const batch = queue.splice(0, MAX_BATCH);
    if (batch.length === 0) return;
    try {
      await appendEvents(db, batch, replicaId);
      signals.operationsChanged(batch.map((event) => event.operationId));
    } catch (error) {
      if (isDatabaseUnavailable(error) && !closed) {
        queue = batch.concat(queue);
        await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY_MS));
      } else {
        logger.error({ err: error, events: batch.length }, 'operation events could not be stored');
      }
    }
    if (queue.length < HIGH_WATER) {
      room?.resolve();
      room = undefined;
    }
    if (queue.length > 0) schedule();
  };

  return {
    async append(operationId, event) {
      queue.push({ ...event, operationId });
      schedule();
      if (queue.length >= HIGH_WATER) {
        room ??= Promise.withResolvers();
        await room.promise;
      }
    },
    async take(operationId) {
      // A batch on its way to the database comes before what is taken here.
      await flushing;
      const taken: NewEvent[] = [];
      queue = queue.filter((event) => {
        if (event.operationId !== operationId) return true;
        taken.push({ type: event.type, at: event.at, data: event.data });
        return false;
      });
      return taken;
    },
    putBack(operationId, events) {
      queue = events.map((event) => ({ ...event, operationId })).concat(queue);
      schedule();
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      await flushing;
      while (queue.length > 0) await flush();
    },
  };
}
