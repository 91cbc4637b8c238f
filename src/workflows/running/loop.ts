/** What carrying a graph out and undoing it have in common. */
import type { StepCall } from '../../engine/procedure.ts';
import type { Scheduler } from './scheduler.ts';
import type { Wake } from './wake.ts';

/** Hints may be lost; so often a run looks without one. */
const FALLBACK_MS = 10_000;

/** When to look again although nothing was heard. */
export function soon(): Date {
  return new Date(Date.now() + FALLBACK_MS);
}

/** When the next node is to be tried again, at the latest soon. */
export function nextRetry(scheduler: Scheduler): Date {
  let next = soon().getTime();
  for (const { nextAttemptAt } of scheduler.retrying) next = Math.min(next, nextAttemptAt?.getTime() ?? Date.now());
  return new Date(next);
}

/** Tells how many of the nodes have been seen to, in per cent, whenever that has grown. */
export function createReport(
  total: number,
  scheduler: Scheduler,
  progress: (percent: number) => Promise<void>,
): () => Promise<void> {
  let told = 0;
  return async () => {
    const percent = Math.min(99, Math.floor((100 * (total - scheduler.open())) / Math.max(1, total)));
    if (percent <= told) return;
    told = percent;
    await progress(percent);
  };
}

/** Does the work, woken also by a cancel, and closes what wakes it. */
export async function wokenByCancel<T>(wake: Wake, call: StepCall, work: () => Promise<T>): Promise<T> {
  const onCancel = () => wake.now();
  call.cancelled.addEventListener('abort', onCancel);
  try {
    return await work();
  } finally {
    call.cancelled.removeEventListener('abort', onCancel);
    wake.close();
  }
}
