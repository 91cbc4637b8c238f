import { defineProcedure, OperationError, type Procedure } from '../../engine/procedure.ts';
import type { EgressPolicy } from '../../outbound/egress.ts';
import { sleep } from '../../util/sleep.ts';
import { tryHttp, tryTcp } from '../checks.ts';
import { WORKFLOW_QUEUE } from '../queue.ts';

interface WaitInput {
  check:
    | { seconds: number }
    | ({ every?: number; within?: number } & ({ http: string; status?: number } | { tcp: string }));
}

/** Where a check does not say. Seconds. */
const EVERY = 2;
const WITHIN = 300;
/** Longer timers than this are not trusted: clocks are set. Milliseconds. */
const LONGEST_SLEEP_MS = 600_000;

/** Waits for a time, or until something answers. */
export function waitProcedure(egress: EgressPolicy): Procedure {
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
          const allowed = egress('check', workspace);
          for (let tries = 1; ; tries += 1) {
            const problem =
              'http' in check
                ? await tryHttp(check.http, check.status ?? null, allowed, call.signal)
                : await tryTcp(check.tcp, allowed, call.signal);
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

async function sleepUntil(time: number, signal: AbortSignal): Promise<void> {
  while (Date.now() < time) await sleep(Math.min(LONGEST_SLEEP_MS, time - Date.now()), signal);
}
