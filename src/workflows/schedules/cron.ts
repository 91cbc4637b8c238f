import { Cron } from 'croner';
import { errors, type FieldProblem } from '../../errors.ts';

/** Minute, hour, day, month, weekday; with seconds in front of them six. */
const FIELDS = [5, 6];
const MINUTE_MS = 60_000;

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

/** When a cron expression is to be looked at, and from when on. */
export interface CronQuestion {
  cron: string;
  timezone: string;
  after: string;
}

/** The next time, or what is wrong. */
export type NextTime = { next: string } | { problem: FieldProblem };

/**
 * The first time after `after` that a cron expression names; in the time zone, over changes of the clock. Of one that
 * never comes eight thousand years are looked at, which takes a second: that is asked of a thread (evaluation.ts). One
 * that has come once comes again within 400 years, as the calendar does.
 */
export function findNext({ cron, timezone, after }: CronQuestion): NextTime {
  try {
    const next = new Cron(cron, { timezone: zoneNamed(timezone), paused: true }).nextRun(new Date(after));
    if (next !== null) return { next: next.toISOString() };
    return { problem: { field: 'cron', message: `"${cron}" never matches a time` } };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { problem: { field: /time ?zone/i.test(message) ? 'timezone' : 'cron', message } };
  }
}

/** The first time, and how many seconds lie between two times at least (60: as many or more); or what is wrong. */
export type FirstTime = { next: string; apart: number } | { problem: FieldProblem };

/** As `findNext`. Two times that lie less than a minute apart lie as near in every minute that has any. */
export function findFirst(question: CronQuestion): FirstTime {
  const found = findNext(question);
  if ('problem' in found) return found;
  const minute = Math.floor(Date.parse(found.next) / MINUTE_MS) * MINUTE_MS;
  let apart = MINUTE_MS / 1_000;
  let last: number | null = null;
  while (last === null || last < minute + MINUTE_MS) {
    const following = findNext({ ...question, after: new Date(last ?? minute - 1).toISOString() });
    if ('problem' in following) break;
    const time = Date.parse(following.next);
    if (last !== null) apart = Math.min(apart, (time - last) / 1_000);
    last = time;
  }
  return { ...found, apart };
}

/** One name for all ways to write it: the library keeps something for each that it has met. @throws RangeError. */
function zoneNamed(timezone: string): string {
  return new Intl.DateTimeFormat('en', { timeZone: timezone }).resolvedOptions().timeZone;
}

/** @throws 400 where its times lie nearer than that. Seconds. */
export function requireApart(found: FirstTime, atLeast: number): void {
  if ('problem' in found || found.apart >= atLeast) return;
  throw refusedCron(
    `comes again after ${found.apart} s; the times of a schedule lie at least ${atLeast} s apart (limit schedule_interval). Write one second in the first field, or five fields`,
  );
}

/** @throws 400 */
export function timeOf(found: NextTime): Date {
  if ('problem' in found) throw errors.validation([found.problem]);
  return new Date(found.next);
}
