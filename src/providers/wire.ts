/** Reading JSON that somebody else wrote: numbers may be strings, fields may lack, nothing is believed unseen. */
import { harmlessText } from '../util/harmless.ts';

/** The value's fields; none where it is no object. */
export function fields(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}

/** The text, made harmless, or a number as text; undefined for anything else and for the empty text. */
export function text(value: unknown): string | undefined {
  if (typeof value === 'number') return String(value);
  return typeof value === 'string' && value !== '' ? harmlessText(value) : undefined;
}

/** The number, also where it came as text; undefined for anything else. */
export function numeric(value: unknown): number | undefined {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
}

/** The items of an array; null where it is none: a list that lacks is not an empty list. */
export function items(value: unknown): Record<string, unknown>[] | null {
  return Array.isArray(value) ? value.map(fields) : null;
}
