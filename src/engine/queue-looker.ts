import { pollQueueNow, type QueueObserver } from './dbos.ts';

/** Slots that come free within this time are filled by one look. */
const REFILL_DELAY_MS = 10;
/** Another replica was looking at the same moment: try again after it. */
const CONTENTION_DELAY_MS = 30;

/**
 * Looks at queues when there is reason to, so that they need not be polled fast: an idle server stays quiet and a
 * request still starts within milliseconds. It observes the library's own polls as well: whoever filled a queue's
 * slots, each one that comes free is refilled.
 */
export interface QueueLooker extends QueueObserver {
  /** There may be something on this queue. Many calls at once become one look. */
  look(queueName: string): void;
  stop(): void;
}

interface State {
  looking: boolean;
  /** Look once more after the look under way. */
  again: boolean;
  /** A look is going to begin. */
  timer: NodeJS.Timeout | undefined;
  /** The last look may have left some waiting. */
  full: boolean;
}

export function createQueueLooker(queues: readonly { name: string }[]): QueueLooker {
  const states = new Map<string, State>(
    queues.map(({ name }) => [name, { looking: false, again: false, timer: undefined, full: false }]),
  );
  let stopped = false;

  const later = (queueName: string, state: State, ms: number) => {
    if (stopped || state.timer !== undefined) return;
    state.timer = setTimeout(() => {
      state.timer = undefined;
      look(queueName);
    }, ms);
  };

  const look = (queueName: string) => {
    const state = states.get(queueName);
    if (state === undefined || stopped) return;
    if (state.looking) {
      state.again = true;
      return;
    }
    state.looking = true;
    state.again = false;
    void pollQueueNow(queueName).finally(() => {
      state.looking = false;
      if (state.again) look(queueName);
    });
  };

  return {
    look,
    looked(queueName, { contended, full, freedMeanwhile }) {
      const state = states.get(queueName);
      if (state === undefined) return;
      state.full = full;
      if (contended) later(queueName, state, CONTENTION_DELAY_MS * (0.5 + Math.random()));
      else if (full && freedMeanwhile) later(queueName, state, REFILL_DELAY_MS);
    },
    slotFreed(queueName) {
      const state = states.get(queueName);
      if (state?.full === true) later(queueName, state, REFILL_DELAY_MS);
    },
    stop() {
      stopped = true;
      for (const { timer } of states.values()) clearTimeout(timer);
    },
  };
}
