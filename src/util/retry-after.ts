/**
 * The seconds that an answer's `Retry-After` asks for, as a number or as a date; null where it lacks or means nothing.
 * @param most what is honoured at most: a mistaken header must not stop a caller for days
 */
export function retryAfterSeconds(header: string | null | undefined, most: number): number | null {
  const text = header?.trim() ?? '';
  const seconds = /^\d{1,9}(\.\d{1,9})?$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1_000;
  return Number.isNaN(seconds) ? null : Math.min(most, Math.max(0, seconds));
}
