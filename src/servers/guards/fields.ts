/** The fields of requests that guard a server or a taskserv. */
import { type Static, Type } from 'typebox';
import { readClock } from '../../database/clock.ts';
import type { Queryable } from '../../database/pool.ts';
import { errors } from '../../errors.ts';
import type { Guards } from './store.ts';

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 };
/** Nothing expires later than this. Ten years, in milliseconds. */
const LATEST_MS = 3_650 * 86_400_000;

const protect = Type.Optional(
  Type.Boolean({
    description:
      'Whether whatever would delete it is refused, until somebody with `protection_remove` sets this to false.',
  }),
);
const moment = { format: 'date-time', maxLength: 40 };
const ttl = Type.Optional(
  Type.String({
    pattern: '^[1-9][0-9]{0,8}[smhdw]$',
    description: 'Instead of `expires_at`: time from now, such as `30m`, `8h` or `14d`.',
  }),
);

/** At creation. */
export const newGuardFields = {
  protect,
  expires_at: Type.Optional(
    Type.String({ ...moment, description: 'When it is deleted automatically, after warnings. Default: never.' }),
  ),
  ttl,
};

/** Of something that exists. */
export const guardFields = {
  protect,
  expires_at: Type.Optional(
    Type.Union([Type.String(moment), Type.Null()], {
      description: 'When it is deleted automatically, after warnings. Null: never.',
    }),
  ),
  ttl,
};

const GuardFields = Type.Object(guardFields);
export type GuardFields = Static<typeof GuardFields>;

/** Whether the request says anything about them. */
export function hasGuards({ protect, expires_at, ttl }: GuardFields): boolean {
  return protect !== undefined || expires_at !== undefined || ttl !== undefined;
}

/** How it is to be guarded, by the database's clock. @throws 400 for a time that has passed, or is too far away. */
export async function readGuards(tx: Queryable, { protect, expires_at: given, ttl }: GuardFields): Promise<Guards> {
  const guards: Guards = protect === undefined ? {} : { protect };
  if (given !== undefined && ttl !== undefined) throw wrong('ttl', 'give either "expires_at" or "ttl"');
  if (given === null) return { ...guards, expiresAt: null };
  if (given === undefined && ttl === undefined) return guards;
  const now = await readClock(tx);
  const field = ttl === undefined ? 'expires_at' : 'ttl';
  const time = ttl === undefined ? Date.parse(String(given)) : now.getTime() + milliseconds(ttl);
  // Answers show whole seconds.
  const expiresAt = new Date(Math.ceil(time / 1_000) * 1_000);
  if (Number.isNaN(time)) throw wrong(field, 'is not a time as RFC 3339 writes it: 2030-01-31T12:00:00Z');
  if (expiresAt <= now) throw wrong(field, `has passed: it is ${now.toISOString()} now`);
  if (time - now.getTime() > LATEST_MS) throw wrong(field, 'is more than ten years away');
  return { ...guards, expiresAt };
}

/** As requests and answers write them. */
export function fieldsOf({ protect, expiresAt }: Guards): { protect?: boolean; expires_at?: string | null } {
  return {
    ...(protect === undefined ? {} : { protect }),
    ...(expiresAt === undefined ? {} : { expires_at: timeText(expiresAt) }),
  };
}

/** A time as answers write it. */
export function timeText(time: Date | null): string | null {
  return time === null ? null : time.toISOString().replace(/\.\d+Z$/, 'Z');
}

function milliseconds(ttl: string): number {
  return Number(ttl.slice(0, -1)) * (UNITS[ttl.slice(-1)] ?? 0) * 1_000;
}

function wrong(field: string, message: string) {
  return errors.validation([{ field, message }]);
}
