import { Cron } from 'croner';
import { errors } from '../../errors.ts';

/** The first time after `after` that a cron expression names; in the time zone, over changes of the clock. @throws 400. */
export function nextRun(cron: string, timezone: string, after: Date): Date {
  let next: Date | null;
  try {
    next = new Cron(cron, { timezone, paused: true }).nextRun(after);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw errors.validation([{ field: /time ?zone/i.test(message) ? 'timezone' : 'cron', message }]);
  }
  if (next === null) throw errors.validation([{ field: 'cron', message: `"${cron}" never comes` }]);
  return next;
}
