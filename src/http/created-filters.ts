import { type RawBuilder, sql } from 'kysely';
import { Type } from 'typebox';
import { errors } from '../errors.ts';
import { filter } from './list.ts';

const timeSchema = (description: string) =>
  Type.Union([Type.String({ format: 'date-time' }), Type.String({ format: 'date' })], { description });

/**
 * The filters `created_after` (from that moment on) and `created_before` (up to it, excluded) of a list whose table
 * has that time in `column`. A date means its first moment in UTC.
 */
export function createdFilters(column = 'created_at') {
  return {
    created_after: filter<string>(
      timeSchema('From this time on: RFC 3339, or a date (its first moment in UTC).'),
      (text) => sql<boolean>`${sql.ref(column)} >= ${timestamp('created_after', text)}`,
    ),
    created_before: filter<string>(
      timeSchema('Before this time: RFC 3339, or a date (its first moment in UTC).'),
      (text) => sql<boolean>`${sql.ref(column)} < ${timestamp('created_before', text)}`,
    ),
  };
}

/** Normalised here, so that nothing the validator lets through makes Postgres fail. */
function timestamp(field: string, text: string): RawBuilder<Date> {
  const time = new Date(text);
  if (Number.isNaN(time.getTime()) || time.getUTCFullYear() < 1 || time.getUTCFullYear() > 9_999) {
    throw errors.validation([{ field, message: 'is not a time such as 2025-10-01 or 2025-10-01T12:00:00Z' }]);
  }
  return sql<Date>`${time.toISOString()}::timestamptz`;
}
