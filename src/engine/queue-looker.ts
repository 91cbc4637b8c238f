import { pollQueueNow } from './dbos.ts';

/** Places that come free within this time are filled by one look. */
const REFILL_DELAY_MS = 10;
/** Another replica was looking at the same moment: try again after it. */
const CONTENTION_DELAY_MS = 30;

/**
 * Looks at queues when there is reason to, so that they need not be polled fast: an idle server stays quiet and a
 * request still starts within milliseconds.
 */
export interface QueueLooker {
  /** There may be something on this queue. Many calls at once become one look. */
  look(queueName: string): void;
  /** A procedure ended here: its place may be wanted by one that waits on a queue that was full. */
  freed(): void;
  stop(): void;
}

interface State {
  looking: boolean;
  again: boolean;
  refilling: boolean;
  /** The last look may have left some waiting. */
  full: boolean;
}

export function createQueueLooker(queues: readonly { name: string }[]): QueueLooker {
  const states = new Map<string, State>(
    queues.map(({ name }) => [name, { looking: false, again: false, refilling: false, full: true }]),
  );
  const timers = new Set<NodeJS.Timeout>();
  let stopped = false;

  const later = (queueName: string, ms: number) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      look(queueName);
    }, ms);
    timers.add(timer);
  };

  const look = (queueName: string) => {
    const state = states.get(queueName);
    if (state === undefined || stopped) return;
    if (state.looking) {
      state.again = true;
      return;
    }
    state.looking = true;
    void pollQueueNow(queueName).then(({ contended, full }) => {
      state.looking = false;
      state.refilling = false;
      state.full = full;
      if (contended) later(queueName, CONTENTION_DELAY_MS * (0.5 + Math.random()));
      else if (state.again) later(queueName, 0);
      state.again = false;
    });
  };

  return {
    look,
    freed() {
      for (const [name, state] of states) {
        if (state.refilling || !(state.full || state.looking)) continue;
        state.refilling = true;
        later(name, REFILL_DELAY_MS);
      }
    },
    stop() {
      stopped = true;
      for (const timer of timers) clearTimeout(timer);
    },
  };
}
