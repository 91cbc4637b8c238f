/** Places that are given out one at a time, first come, first served. */
export interface Slots {
  /**
   * Resolves with what to call to give the place back (once; more often does no harm).
   * @param urgent may also have the places that are kept back.
   * @throws the signal's reason while waiting.
   */
  take(urgent: boolean, signal: AbortSignal): Promise<() => void>;
}

/** @param options `most`: places in all; `urgent`: how many of them are kept back. */
export function createSlots(options: { most: number; urgent: number }): Slots {
  let taken = 0;
  const waiting: { urgent: boolean; give: () => void }[] = [];
  const free = (urgent: boolean) => taken < options.most - (urgent ? 0 : options.urgent);

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

  return {
    async take(urgent, signal) {
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
    },
  };
}
