/** Places that are given out one at a time, first come, first served. */
export interface Slots {
  /**
   * Resolves with what to call to give the place back (once; more often does no harm).
   * @param urgent may also have the places that are kept back.
   * @throws the signal's reason while waiting.
   */
  take(signal: AbortSignal, urgent?: boolean): Promise<() => void>;
  /** Does the work in a place of its own. @throws the signal's reason while waiting; whatever `work` throws. */
  run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T>;
}

/** @param most places in all @param keptBack how many of them only urgent takers get */
export function createSlots(most: number, keptBack = 0): Slots {
  let taken = 0;
  const waiting: { urgent: boolean; give: () => void }[] = [];
  const free = (urgent: boolean) => taken < most - (urgent ? 0 : keptBack);

  const give = () => {
    for (let next = waiting.findIndex(({ urgent }) => free(urgent)); next !== -1; ) {
      waiting.splice(next, 1)[0]?.give();
      next = waiting.findIndex(({ urgent }) => free(urgent));
    }
  };
  const lend = () => {
    taken += 1;
    let lent = true;
    return () => {
      if (!lent) return;
      lent = false;
      taken -= 1;
      give();
    };
  };

  const take = async (signal: AbortSignal, urgent = false) => {
    signal.throwIfAborted();
    if (free(urgent)) return lend();
    const { promise, resolve, reject } = Promise.withResolvers<() => void>();
    const entry = { urgent, give: () => resolve(lend()) };
    waiting.push(entry);
    const onAbort = () => {
      const at = waiting.indexOf(entry);
      if (at === -1) return;
      waiting.splice(at, 1);
      reject(signal.reason);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    return promise.finally(() => signal.removeEventListener('abort', onAbort));
  };

  return {
    take,
    async run(signal, work) {
      const release = await take(signal);
      try {
        return await work();
      } finally {
        release();
      }
    },
  };
}
