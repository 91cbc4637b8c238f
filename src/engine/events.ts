import type { Logger } from 'pino';
import { type Database, isDatabaseUnavailable } from '../database/pool.ts';
import { harmlessText } from '../util/harmless.ts';
import { sleep } from '../util/sleep.ts';
import { appendEvents, bytesOf, type NewEvent } from './operation-record.ts';
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

/** How much output of operations is kept. Bytes; 0: no bound. */
export interface OutputBudget {
  readonly ofOperation: number;
  /** Of all operations of a user in a day. */
  readonly ofUser: number;
  /** Of all operations of a workspace in a day. */
  readonly ofWorkspace: number;
  /** Counts for the user (null: nobody) and the workspace. @returns what they have used today. */
  add(userId: string | null, workspace: string, bytes: number): { user: number; workspace: number };
}

/** Whose bound. */
type Bound = 'operation' | 'user' | 'workspace';

const UNBOUNDED: OutputBudget = {
  ...{ ofOperation: 0, ofUser: 0, ofWorkspace: 0 },
  add: () => ({ user: 0, workspace: 0 }),
};

/** Whose output it is, and where. */
interface OutputOwner {
  ownerId: string | null;
  workspace: string;
  /** What is kept of it already. */
  eventBytes: number;
}

/** Writes the events of all procedures of this process in batches. */
export interface EventWriter {
  /** From here on the operation's output is bounded. */
  begin(operationId: string, owner: OutputOwner): void;
  /** It has ended here. */
  end(operationId: string): void;
  /** Queues an event; lines of output past the bounds are left out. Resolves at once, or when there is room again. */
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
  output?: OutputBudget | undefined;
}): EventWriter {
  const { db, logger, signals, replicaId, output = UNBOUNDED } = options;
  const outputs = new Map<string, OutputOwner & { full: Bound | null }>();
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
        await sleep(RETRY_DELAY_MS);
      } else {
        logger.error({ err: error, events: batch.length }, 'could not store events of operations');
      }
    }
    if (queue.length < HIGH_WATER) {
      room?.resolve();
      room = undefined;
    }
    if (queue.length > 0) schedule();
  };

  /** The event, or what is said in its place; null: that has been said. */
  const bounded = (operationId: string, event: NewEvent): NewEvent | null => {
    const kept = outputs.get(operationId);
    // What a machine says; what is said about the operation itself is never left out.
    if (kept === undefined || event.type !== 'log' || !('stream' in event.data)) return event;
    if (kept.full === 'operation') return null;
    const bytes = bytesOf(event);
    const count = (by: number) => output.add(kept.ownerId, kept.workspace, by);
    // A new day begins while the operation goes on.
    const today = count(kept.full === null ? bytes : 0);
    const past = pastBound(output, { operation: kept.eventBytes + bytes, ...today });
    if (past === null && kept.full !== null) count(bytes);
    const known = kept.full === past;
    kept.full = past;
    if (past === null) {
      kept.eventBytes += bytes;
      return event;
    }
    if (known) return null;
    return logEvent(reasonOf(past, output, kept.workspace), 'step' in event.data ? { step: event.data.step } : {});
  };

  return {
    begin(operationId, { ownerId, workspace, eventBytes }) {
      const full = output.ofOperation > 0 && eventBytes > output.ofOperation ? 'operation' : null;
      outputs.set(operationId, { ownerId, workspace, eventBytes, full });
    },
    end: (operationId) => void outputs.delete(operationId),
    async append(operationId, given) {
      const event = bounded(operationId, given);
      if (event === null) return;
      queue.push({ ...event, operationId });
      schedule();
      if (queue.length >= HIGH_WATER) {
        room ??= Promise.withResolvers();
        await room.promise;
      }
    },
    async take(operationId) {
      // A batch on its way to the database comes before what is taken here, and so does what is too much for the last write.
      const unwritten = () => queue.reduce((count, event) => count + (event.operationId === operationId ? 1 : 0), 0);
      do {
        if (unwritten() > MAX_BATCH) flushing = flushing.then(flush);
        await flushing;
      } while (!closed && unwritten() > MAX_BATCH);
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

/** The bound that the output is past; null: it is not. */
function pastBound({ ofOperation, ofUser, ofWorkspace }: OutputBudget, used: Record<Bound, number>): Bound | null {
  if (ofOperation > 0 && used.operation > ofOperation) return 'operation';
  if (ofUser > 0 && used.user > ofUser) return 'user';
  return ofWorkspace > 0 && used.workspace > ofWorkspace ? 'workspace' : null;
}

/** What is said instead of the first line that is past a bound. */
function reasonOf(bound: Bound, { ofOperation, ofUser, ofWorkspace }: OutputBudget, workspace: string): string {
  if (bound === 'operation')
    return `The output of this operation is longer than ${ofOperation} bytes (limit operation_event_bytes): the rest is left out.`;
  const [who, allowed] =
    bound === 'user' ? ["this operation's owner", ofUser] : [`workspace "${workspace}"`, ofWorkspace];
  return `The output of ${who} is longer than ${allowed} bytes today (limit ${bound}_event_bytes): the rest of this operation's is left out.`;
}
