import type { Logger } from 'pino';
import { isDatabaseUnavailable, type Queryable } from '../../database/pool.ts';
import { ApplicationError } from '../../errors.ts';
import { insertAudit, mutateUnasked, UNASKED } from '../../http/mutation.ts';
import { timeText } from '../../servers/guards/fields.ts';
import { harmlessText } from '../../util/harmless.ts';
import { startRounds } from '../../util/rounds.ts';
import { prepareWorkflow } from '../prepare.ts';
import { actingFor, requireStillPermitted } from '../running/authority.ts';
import type { Runtime } from '../running/runtime.ts';
import { referencedIn } from '../secrets/given.ts';
import { submitWorkflow } from '../service.ts';
import { findNext, timeOf } from './cron.ts';
import {
  advance,
  type DueSchedule,
  dueSchedules,
  lockDue,
  openScheduleSecrets,
  replaceParameters,
  sealScheduleSecrets,
} from './store.ts';

const LOOK_MS = 1_000;
/** Schedules that are being started at once by one replica. Each may wait for a provider for some seconds. */
const MAX_UNDER_WAY = 50;
/** When a schedule is due whose expression names no further time: older versions accepted single dates. */
const NEVER = new Date('9999-12-31T00:00:00Z');
/** A time that passed longer ago than this was missed. Milliseconds. */
const MISSED_MS = 60_000;

/**
 * Starts workflows when their time has come, on any number of replicas: the schedule's row, moved on to its next time,
 * and the workflow commit together, so that a time starts one workflow or, where it was missed or taken, none.
 */
export function startSchedules(runtime: Runtime, logger: Logger): { stop(): Promise<void> } {
  const { db } = runtime.services;
  /** By schedule, so that a slow or broken one holds up no other. */
  const underWay = new Map<string, Promise<void>>();
  const start = (id: string) => {
    const work = runDue(runtime, logger, id)
      .catch((error) => {
        if (!isDatabaseUnavailable(error))
          logger.error({ err: error, schedule_id: id }, 'could not run a schedule; it is tried again in a second');
      })
      .finally(() => underWay.delete(id));
    underWay.set(id, work);
  };
  const look = async (isStopping: () => boolean) => {
    const due = await dueSchedules(db, [...underWay.keys()]);
    if (isStopping()) return;
    for (const id of due.slice(0, MAX_UNDER_WAY - underWay.size)) start(id);
  };
  const rounds = startRounds(LOOK_MS, (isStopping) =>
    look(isStopping).catch((error) => {
      if (!isDatabaseUnavailable(error))
        logger.error({ err: error }, 'could not look for due schedules; the next round tries again');
    }),
  );
  return {
    async stop() {
      await rounds.stop();
      await Promise.all(underWay.values());
    },
  };
}

async function runDue(runtime: Runtime, logger: Logger, id: string): Promise<void> {
  const { db, encryption, limits } = runtime.services;
  const apart = limits.settings.schedule_interval;
  try {
    const due = await db.transaction().execute((tx) => lockDue(tx, id));
    if (due === null) return;
    const reason = whyNot(due);
    if (reason !== null) {
      await db.transaction().execute((tx) => moveOn(tx, id, apart, { error: reason, state: 'active' }));
      return;
    }
    const { workspace, workflow_type, parameters, authority } = due;
    const acting = await actingFor(runtime.services, authority, `schedule ${id}`);
    requireStillPermitted(acting, ['workflow_submit'], workspace);
    const { principal } = acting;
    const given = openScheduleSecrets(encryption, due);
    const request = { workspace, workflow_type, parameters, given };
    const prepared = await prepareWorkflow(runtime.services, principal, request);
    await mutateUnasked(db, principal, null, async (mutation) => {
      // Another replica may have been faster, for this time and even for one after it.
      const still = await lockDue(mutation.tx, id);
      if (still === null) return;
      const late = whyNot(still);
      if (late !== null) {
        await moveOn(mutation.tx, id, apart, { error: late, state: 'active' });
        return;
      }
      const { id: workflowId } = await submitWorkflow(runtime.services, mutation, workspace, prepared);
      const referenced = referencedIn(prepared.parameters, prepared.given);
      if (referenced.size > given.size) {
        const secrets = sealScheduleSecrets(encryption, id, referenced);
        await replaceParameters(mutation.tx, { id, parameters: prepared.parameters, secrets });
      }
      const { next, error } = nextOf(still, apart);
      await advance(mutation.tx, id, next, { workflowId, error, state: 'active' });
    });
  } catch (error) {
    if (isDatabaseUnavailable(error)) throw error;
    const known = error instanceof ApplicationError;
    if (!known)
      logger.error({ err: error, schedule_id: id }, 'a schedule failed unexpectedly; it runs again at its next time');
    const message = known ? error.message : 'an unexpected error; the log of the server has the details';
    const state = known && error.code === 'AUTHORITY_ENDED' ? 'authority_ended' : 'active';
    const told = await db.transaction().execute(async (tx) => {
      const failed = await moveOn(tx, id, apart, { error: message, state });
      if (failed === null) return null;
      if (known && error.denied) {
        await insertAudit(tx, UNASKED, `${failed.due.authority.name} (schedule ${id})`, 'denied', {
          ...{ action: 'workflow.submit', workspace: failed.due.workspace, resource: `schedule:${id}` },
          details: { code: error.code, message },
        });
      }
      return tellFailure(runtime.services, tx, { ...failed, code: known ? error.code : 'INTERNAL_ERROR' });
    });
    told?.afterCommit();
  }
}

/** Enters that a time has started nothing because of a failure, where events and webhooks tell it. */
function tellFailure(
  { engine }: Runtime['services'],
  tx: Queryable,
  { due, next, error, code }: MovedOn & { code: string },
): Promise<{ afterCommit: () => void }> {
  const { id, name, workspace, workflow_type } = due;
  return engine.record(tx, {
    kind: 'schedule.failed',
    title: `The schedule ${name} could not start its workflow`,
    workspace,
    resource: `schedule:${id}`,
    result: {
      ...{ schedule_id: id, name, workflow_type, due_at: timeText(due.next_run_at), next_run_at: timeText(next) },
      ...{ error_code: code, error },
    },
    lines: [error],
    parentId: null,
  });
}

/** Why this time starts nothing; null: it does. */
function whyNot({ busy, overlap, missed, next_run_at }: DueSchedule): string | null {
  if (missed === 'skip' && Date.now() - next_run_at.getTime() > MISSED_MS) return 'its time was missed';
  return busy && overlap === 'skip' ? 'its last workflow has not ended' : null;
}

interface MovedOn {
  due: DueSchedule;
  next: Date;
  /** As it is stored. */
  error: string;
}

/** @returns null: another replica was faster. */
async function moveOn(
  tx: Queryable,
  id: string,
  apart: number,
  { error, state }: { error: string; state: 'active' | 'authority_ended' },
): Promise<MovedOn | null> {
  const due = await lockDue(tx, id);
  if (due === null) return null;
  const after = nextOf(due, apart);
  const whole = harmlessText(after.error === null ? error : `${error}; ${after.error}`);
  await advance(tx, id, after.next, { workflowId: null, error: whole, state });
  return { due, next: after.next, error: whole };
}

/** When it is due next, `apart` seconds later at the earliest; with the reason where that is never. */
function nextOf(
  { cron, timezone, next_run_at: last }: DueSchedule,
  apart: number,
): { next: Date; error: string | null } {
  // Of an earlier version, or made while nearer times were allowed.
  const after = new Date(Math.max(Date.now(), last.getTime() + apart * 1_000 - 1)).toISOString();
  try {
    return { next: timeOf(findNext({ cron, timezone, after })), error: null };
  } catch (error) {
    if (!(error instanceof ApplicationError)) throw error;
    return { next: NEVER, error: `"${cron}" names no further time: delete this schedule` };
  }
}
