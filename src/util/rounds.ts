export interface Rounds {
  /** No further round begins. Resolves when the one under way has ended. */
  stop(): Promise<void>;
}

/**
 * Runs a round every so often, never two at once: one whose time comes while another runs is left out.
 * @param round rejects never. It is told how to ask whether it should come to an end.
 */
export function startRounds(intervalMs: number, round: (isStopping: () => boolean) => Promise<void>): Rounds {
  let stopping = false;
  let running: Promise<void> | undefined;
  const timer = setInterval(() => {
    running ??= round(() => stopping).finally(() => {
      running = undefined;
    });
  }, intervalMs);
  timer.unref();
  return {
    async stop() {
      stopping = true;
      clearInterval(timer);
      await running;
    },
  };
}
