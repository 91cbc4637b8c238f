/** Which events a webhook is told of. */

/** One event of the feed that may be told: an operation has begun or ended. */
export interface Happening {
  kind: string;
  status: string;
}

/** An entry of `events`: words joined by dots, `*` for any number of characters. */
export const EVENT_PATTERN = '^(\\*|[a-z][a-z0-9_]*)(\\.(\\*|[a-z][a-z0-9_]*)){0,4}$';

/** What an event is called in a payload: `operation.completed`. */
export function eventName({ status }: Happening): string {
  return `operation.${status}`;
}

/**
 * Whether one of the patterns names the event: by its status (`operation.failed`), by the operation's kind
 * (`server.create`, `server.*`), or by both (`server.create.failed`).
 */
export function isWanted(patterns: readonly string[], { kind, status }: Happening): boolean {
  const names = [`operation.${status}`, kind, `${kind}.${status}`];
  return patterns.some((pattern) => {
    const parts = pattern.split('*');
    return names.some((name) => fits(name, parts));
  });
}

/** Whether the text is the parts in order with anything between them. Its cost grows with the text alone. */
function fits(text: string, parts: readonly string[]): boolean {
  const [first = '', ...rest] = parts;
  const last = rest.pop();
  if (last === undefined) return text === first;
  if (!text.startsWith(first)) return false;
  let at = first.length;
  for (const part of rest) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return text.length - last.length >= at && text.endsWith(last);
}
