/** Characters of an answer: what fits beside a conversation. */
const MAX_CHARACTERS = 50_000;
/** From generous to narrow: characters of one text, and items of one list. */
const LIMITS = [
  { text: 10_000, items: 1_000 },
  { text: 2_000, items: 200 },
  { text: 500, items: 50 },
  { text: 200, items: 10 },
  { text: 100, items: 3 },
  { text: 20, items: 1 },
] as const;

/** The same with long texts and lists cut short until it fits, and `cut: true` where that was needed. */
export function bounded(answer: Record<string, unknown>): Record<string, unknown> {
  for (const limit of LIMITS) {
    const state = { cut: false };
    const shortened = shorten(answer, limit, state) as Record<string, unknown>;
    const fitting = state.cut ? { ...shortened, cut: true } : shortened;
    if (JSON.stringify(fitting).length <= MAX_CHARACTERS) return fitting;
  }
  // Very many fields: nothing that the API answers.
  throw new Error('The answer is too large. Ask for less at a time.');
}

function shorten(value: unknown, limit: (typeof LIMITS)[number], state: { cut: boolean }): unknown {
  if (typeof value === 'string') {
    if (value.length <= limit.text) return value;
    state.cut = true;
    return `${value.slice(0, limit.text)}…`;
  }
  if (Array.isArray(value)) {
    if (value.length > limit.items) state.cut = true;
    return value.slice(0, limit.items).map((item) => shorten(item, limit, state));
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, shorten(field, limit, state)]));
}
