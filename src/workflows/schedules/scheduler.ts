import type { Logger } from 'pino';
import { isDatabaseUnavailable } from '../../database/pool.ts';
import { ApplicationError } from '../../errors.ts';
import { prepareWorkflow } from '../prepare.ts';
import { type Authority, principalFor } from '../running/authority.ts';
import { type Runtime, submitTogether } from '../running/runtime.ts';
import { submitWorkflow } from '../service.ts';
import { nextRun } from './cron.ts';
import { advance, currentBindings, type DueSchedule, dueSchedules, lockDue } from './store.ts';

const LOOK_MS = 1_000;
/** A time that passed longer ago than this was missed. Milliseconds. */
const MISSED_MS = 60_000;

/**
 * Starts workflows when their time has come, on any number of replicas: the schedule's row, moved on to its next time,
 * and the workflow commit together, so that a time starts one workflow or, where it was missed or taken, none.
 */
export function startSchedules(runtime: Runtime, logger: Logger): { stop(): Promise<void> } {
  const { db } = runtime.services;
  let stopped = false;
  let running: Promise<void> = Promise.resolve();
  const look = async () => {
    for (const id of await dueSchedules(db)) {
      if (stopped) return;
      await runDue(runtime, id);
    }
  };
  const timer = setInterval(() => {
    running = running.then(look).catch((error) => {
      if (!isDatabaseUnavailable(error))
        logger.error({ err: error }, 'a schedule could not be looked after; the next round tries again');
    });
  }, LOOK_MS);
  return {
    async stop() {
      stopped = true;
      clearInterval(timer);
      await running;
    },
  };
}

async function runDue(runtime: Runtime, id: string): Promise<void> {
  const { db } = runtime.services;
  try {
    const due = await db.transaction().execute((tx) => lockDue(tx, id));
    if (due === null) return;
    const reason = whyNot(due);
    if (reason !== null) {
      await db.transaction().execute((tx) => moveOn(tx, id, reason));
      return;
    }
    const principal = await actingFor(runtime, due);
    if (typeof principal === 'string') {
      await db.transaction().execute((tx) => moveOn(tx, id, principal));
      return;
    }
    const { workspace, workflow_type, parameters } = due;
    const prepared = await prepareWorkflow(runtime.services, principal, { workspace, workflow_type, parameters });
    await submitTogether(runtime, principal, null, async (mutation) => {
      // Another replica may have been faster.
      const still = await lockDue(mutation.tx, id);
      if (still === null) return;
      const { id: workflowId } = await submitWorkflow(runtime.services, mutation, workspace, prepared);
      await advance(mutation.tx, id, nextRun(still.cron, still.timezone, new Date()), { workflowId, error: null });
    });
  } catch (error) {
    if (!(error instanceof ApplicationError)) throw error;
    await db.transaction().execute((tx) => moveOn(tx, id, error.message));
  }
}

/** Why this time starts nothing; null: it does. */
function whyNot({ busy, overlap, missed, next_run_at }: DueSchedule): string | null {
  if (missed === 'skip' && Date.now() - next_run_at.getTime() > MISSED_MS) return 'its time was missed';
  return busy && overlap === 'skip' ? 'its last workflow has not ended' : null;
}

async function moveOn(tx: Parameters<typeof lockDue>[0], id: string, error: string): Promise<void> {
  const due = await lockDue(tx, id);
  if (due !== null) await advance(tx, id, nextRun(due.cron, due.timezone, new Date()), { workflowId: null, error });
}

/** Whoever made the schedule, with those of their roles of then that they still have; or why nobody does. */
async function actingFor({ services }: Runtime, { authority, id }: DueSchedule) {
  const now = await currentBindings(services.db, authority.userId);
  if (now === null) return 'whoever made it is disabled or gone';
  const kept: Authority['bindings'] = authority.bindings.filter((binding) =>
    now.some(({ role, workspace }) => role === binding.role && (workspace === null || workspace === binding.workspace)),
  );
  if (kept.length === 0) return 'whoever made it has none of the roles any more that it was made with';
  return { ...principalFor({ ...authority, bindings: kept }, id), label: `${authority.name} (schedule ${id})` };
}
