import type { DriftEntry } from '../../database/tables.ts';
import type { Provider } from '../../providers/contract.ts';

/** A field that is to become again what it was left as. */
export interface Difference {
  field: DriftEntry['field'];
  expected: DriftEntry['expected'];
  actual: DriftEntry['actual'];
  /** What is done about it; null: nothing can be. */
  action: string | null;
  /** What somebody has to do instead; null: nothing. */
  by_hand: string | null;
}

/** Tags first: they need no interruption. The power comes last: a change of plan needs it off. */
const ORDER: readonly DriftEntry['field'][] = ['tags', 'zone', 'plan', 'status', 'ip_address'];

/** What a provider can do about each difference, in the order in which it is done. */
export function differencesOf(provider: Provider, drift: readonly DriftEntry[]): Difference[] {
  return drift
    .toSorted((a, b) => ORDER.indexOf(a.field) - ORDER.indexOf(b.field))
    .map(({ field, expected, actual }) => ({ field, expected, actual, ...remedyOf(provider, field, expected) }));
}

function remedyOf(
  provider: Provider,
  field: DriftEntry['field'],
  expected: DriftEntry['expected'],
): Pick<Difference, 'action' | 'by_hand'> {
  const { name } = provider;
  const byHand = (words: string) => ({ action: null, by_hand: words });
  switch (field) {
    case 'status':
      return { action: expected === 'stopped' ? 'stop the server' : 'start the server', by_hand: null };
    case 'tags':
      if (provider.labelServer !== undefined) return { action: 'set its labels', by_hand: null };
      return byHand(`${name} cannot change the labels of a server: make it anew with the tags that it shall have.`);
    case 'plan':
      if (provider.resizeServer !== undefined) {
        return { action: `stop it, give it the plan ${String(expected)}, start it again`, by_hand: null };
      }
      return byHand(`${name} cannot change the plan of a server: make it anew with the plan ${String(expected)}.`);
    default:
      return byHand(`A server does not move: make a new one in ${String(expected)}.`);
  }
}
