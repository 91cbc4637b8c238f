import { defineProcedure, OperationError, type Procedure } from '../../engine/procedure.ts';
import { sleep } from '../../util/sleep.ts';
import { WORKFLOW_QUEUE } from '../queue.ts';
import type { Check, Checks } from './checks.ts';

interface WaitInput {
  check: { seconds: number } | ({ every?: number; within?: number } & Check);
}

/** Where a check does not say. Seconds. */
const EVERY = 2;
const WITHIN = 300;
/** A check that is under way when the time is over may still come to its end. Milliseconds. */
const TRY_MS = 15_000;
/** Longer timers than this are not trusted: clocks are set. Milliseconds. */
const LONGEST_SLEEP_MS = 600_000;

/** Waits for a time, or until something answers. */
export function waitProcedure(checks: Checks): Procedure {
  return defineProcedure<WaitInput>({
    kind: 'workflow.wait',
    queue: () => WORKFLOW_QUEUE,
    async run({ check }, { workspace, step, finish }) {
      const seconds = 'seconds' in check ? check.seconds : (check.within ?? WITHIN);
      // Recorded, so that a crash does not make the wait begin anew.
      const until = await step('note the time', async () => Date.now() + seconds * 1_000);
      if ('seconds' in check) {
        await step('wait', async ({ signal }) => sleepUntil(until, signal), { deadline: Number.POSITIVE_INFINITY });
        return finish(async () => ({ waited_seconds: seconds }));
      }
      const tries = await step(
        'wait for an answer',
        async (call) => {
          for (let tries = 1; ; tries += 1) {
            const problem = await inTime(until, call.signal, (signal) => checks.ask(workspace, check, signal));
            if (problem === null) return tries;
            if (tries === 1) await call.log(`Not yet: ${problem}`);
            if (Date.now() >= until) throw new OperationError('NO_ANSWER', `${problem} (tried for ${seconds} s)`);
            await sleepUntil(Math.min(until, Date.now() + (check.every ?? EVERY) * 1_000), call.signal);
          }
        },
        { deadline: Number.POSITIVE_INFINITY },
      );
      return finish(async () => ({ answered: 'http' in check ? check.http : check.tcp, tries }));
    },
  });
}

/** @throws NO_ANSWER where the turn to check has not come long after the time was over; the signal's reason. */
async function inTime<T>(until: number, signal: AbortSignal, ask: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const late = new AbortController();
  const error = new OperationError(
    'NO_ANSWER',
    'Too many checks were waiting for their turn (limits target_checks, workspace_checks).',
  );
  const timer = setTimeout(() => late.abort(error), Math.max(0, until - Date.now()) + TRY_MS);
  try {
    return await ask(AbortSignal.any([signal, late.signal]));
  } finally {
    clearTimeout(timer);
  }
}

async function sleepUntil(time: number, signal: AbortSignal): Promise<void> {
  while (Date.now() < time) await sleep(Math.min(LONGEST_SLEEP_MS, time - Date.now()), signal);
}
