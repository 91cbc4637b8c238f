import { Cron } from 'croner';
import { errors } from '../../errors.ts';

/** Minute, hour, day, month, weekday; with seconds in front of them six. */
const FIELDS = [5, 6];

/**
 * Refuses what can end (a year, a date) or can be read in two ways.
 * @throws 400 saying what to write instead.
 */
export function requireRecurring(cron: string): void {
  const fields = cron.trim().split(/\s+/);
  if (/^@[a-z]+$/i.test(cron.trim())) return;
  if (!FIELDS.includes(fields.length)) {
    throw refusedCron(
      `has ${fields.length} field${fields.length === 1 ? '' : 's'}; write five (minute hour day month weekday) or six with seconds in front. A schedule repeats, so a year or a single date is not accepted`,
    );
  }
  if (cron.includes('?') && /\d/.test(fields.at(-1) ?? '')) {
    throw refusedCron(
      `is ambiguous: cron counts weekdays from 0 or 7 for Sunday (1-5 is Monday to Friday), Quartz, which "?" comes from, from 1 for Sunday (1-5 is Sunday to Thursday). Write names, such as MON-FRI, or "*" in the place of "?"`,
    );
  }
}

function refusedCron(message: string): Error {
  return errors.validation([{ field: 'cron', message }]);
}

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
