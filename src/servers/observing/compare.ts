/** How a server stands at its provider against how we left it. */
import type { DriftEntry } from '../../database/tables.ts';
import type { ProviderServer, ProviderServerStatus } from '../../providers/contract.ts';
import { canonicalTags } from '../../providers/labels.ts';

/** What we hold of a server. */
export interface KnownServer {
  id: string;
  workspace: string;
  hostname: string;
  provider: string;
  provider_ref: string;
  plan: string;
  zone: string;
  ip_address: string | null;
  status: string;
  tags: string[];
  drift: DriftEntry[];
}

/** A field that has become another since it was last looked at. */
export interface Change {
  field: DriftEntry['field'];
  before: DriftEntry['actual'];
  after: DriftEntry['actual'];
}

/** What is true of the server now. */
export interface Comparison {
  status: string;
  ip_address: string | null;
  drift: DriftEntry[];
  /** Empty: nothing has changed since the last look. */
  changes: Change[];
}

/** States that pass by themselves, and those the provider cannot tell: nothing is judged by them. */
const IN_BETWEEN: readonly ProviderServerStatus[] = ['creating', 'starting', 'stopping', 'deleting', 'unknown'];
/** States that somebody can have wished for. */
const WISHED: readonly string[] = ['running', 'stopped'];

/** The state in which the server was left; null where that is not known. */
function wishedStatus({ status, drift }: Pick<KnownServer, 'status' | 'drift'>): string | null {
  const expected = drift.find(({ field }) => field === 'status')?.expected;
  if (typeof expected === 'string') return expected;
  return WISHED.includes(status) ? status : null;
}

/**
 * Compares field by field. The status is always what the provider says; that it was left otherwise is drift. An address
 * is the provider's to give: another one is taken over, and is no drift. Plan, zone and tags stay as they were asked for.
 * @param seen null: the provider has it no more.
 */
export function compare(known: KnownServer, seen: ProviderServer | null, now: Date): Comparison {
  const earlier = new Map(known.drift.map((entry) => [entry.field, entry]));
  const drift: DriftEntry[] = [];
  const changes: Change[] = [];
  const judge = (field: DriftEntry['field'], expected: DriftEntry['expected'], actual: DriftEntry['actual']) => {
    const before = earlier.get(field);
    const same = JSON.stringify(expected) === JSON.stringify(actual);
    const seenBefore = JSON.stringify(before === undefined ? expected : before.actual) === JSON.stringify(actual);
    if (!seenBefore) changes.push({ field, before: before === undefined ? expected : before.actual, after: actual });
    if (!same) drift.push({ field, expected, actual, since: seenBefore && before ? before.since : now.toISOString() });
  };
  const keep = (...fields: DriftEntry['field'][]) => {
    for (const field of fields) drift.push(...known.drift.filter((entry) => entry.field === field));
  };

  const wished = wishedStatus(known);
  let { status, ip_address } = known;
  if (seen === null || !IN_BETWEEN.includes(seen.status)) {
    status = seen?.status ?? 'missing';
    if (wished !== null) judge('status', wished, status);
    else if (status !== known.status) changes.push({ field: 'status', before: known.status, after: status });
  } else {
    keep('status');
  }
  if (seen === null) {
    keep('plan', 'zone', 'tags');
    return { status, ip_address, drift, changes };
  }
  if (seen.ip_address !== known.ip_address && !IN_BETWEEN.includes(seen.status)) {
    changes.push({ field: 'ip_address', before: known.ip_address, after: seen.ip_address });
    ip_address = seen.ip_address;
  }
  for (const field of ['plan', 'zone'] as const) if (seen[field] !== '') judge(field, known[field], seen[field]);
  if (seen.tags !== undefined) judge('tags', canonicalTags(known.tags), canonicalTags(seen.tags));
  return { status, ip_address, drift, changes };
}
