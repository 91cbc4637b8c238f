import type { Logger } from 'pino';
import { harmlessText } from '../util/harmless.ts';
import { startRounds } from '../util/rounds.ts';
import { createSlots } from '../util/slots.ts';
import { askHealth } from './check/procedure.ts';
import { type DueCheck, type Health, noteHealth, takeDueChecks } from './host-store.ts';
import type { HostTools } from './procedures/input.ts';
import { lockTaskserv, settleIdle } from './store.ts';

/** Looks for checks that are due. Milliseconds. */
const ROUND_MS = 1_000;
/** Checks taken in one round at most, and run at once. */
const BATCH = 50;
const AT_ONCE = 10;
/** Seconds for one check with its connection. */
const CHECK_SECONDS = 90;

/**
 * Asks every taskserv on every host whether it is healthy, each `seconds` apart, and records the answers. Any number of
 * replicas share the work.
 */
export function startHealthChecks(
  tools: HostTools,
  options: { seconds: number; logger: Logger },
): { stop(): Promise<void> } {
  const { logger, seconds } = options;
  const slots = createSlots(AT_ONCE);
  const stopped = new AbortController();

  const round = async () => {
    const due = await takeDueChecks(tools.db, seconds, BATCH);
    await Promise.all(due.map((check) => slots.run(stopped.signal, () => checkOne(check))));
  };

  const checkOne = async (check: DueCheck) => {
    const health: Health = await askHealth(
      tools,
      check,
      check,
      AbortSignal.any([stopped.signal, AbortSignal.timeout(CHECK_SECONDS * 1_000)]),
    ).catch((error: unknown) => {
      stopped.signal.throwIfAborted();
      return {
        since: check.operation_id,
        ok: false,
        message: harmlessText(`could not be checked: ${error instanceof Error ? error.message : String(error)}`),
      };
    });
    const where = { serverId: check.server_id, taskservId: check.taskserv_id };
    const noted = await tools.db.transaction().execute(async (tx) => {
      await lockTaskserv(tx, check.taskserv_id);
      const change = await noteHealth(tx, where, health);
      if (change?.news === true) await settleIdle(tx, check.taskserv_id);
      return change;
    });
    if (noted?.news !== true) return;
    const { taskserv_id, name, hostname } = check;
    logger[noted.status === 'running' ? 'info' : 'warn'](
      { taskserv: taskserv_id, name, server: hostname, status: noted.status, message: health.message },
      'the health of a taskserv changed',
    );
  };

  const rounds = startRounds(ROUND_MS, () =>
    round().catch((error: unknown) => {
      if (!stopped.signal.aborted) logger.warn({ err: error }, 'health checks failed; the next round tries again');
    }),
  );
  return {
    async stop() {
      stopped.abort(new Error('The server is stopping.'));
      await rounds.stop();
    },
  };
}
