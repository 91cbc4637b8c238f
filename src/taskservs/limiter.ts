/** Lets a number of works run at once; the others wait in the order in which they came. */
export interface Limiter {
  /** @throws the signal's reason while waiting; whatever `work` throws. */
  run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T>;
}

export function createLimiter(atOnce: number): Limiter {
  const waiting: (() => void)[] = [];
  let running = 0;

  const enter = async (signal: AbortSignal) => {
    signal.throwIfAborted();
    if (running < atOnce) {
      running += 1;
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = () => {
      const place = waiting.indexOf(resolve);
      if (place === -1) return;
      waiting.splice(place, 1);
      reject(signal.reason);
    };
    signal.addEventListener('abort', abort, { once: true });
    waiting.push(resolve);
    await promise.finally(() => signal.removeEventListener('abort', abort));
  };

  return {
    async run(signal, work) {
      await enter(signal);
      try {
        return await work();
      } finally {
        const next = waiting.shift();
        // The place is handed on as it is.
        if (next === undefined) running -= 1;
        else next();
      }
    },
  };
}
