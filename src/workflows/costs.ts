/** What the servers that a workflow makes cost together, where their providers tell. */
import type { Services } from '../http/section.ts';
import { type PricedServer, priceReader, totals } from '../servers/prices.ts';
import type { Plan } from './planning/plan.ts';

/** Somebody waits for the answer: a provider that is asked too much tells no price. Seconds. */
const PATIENCE = 5;

/** Summed over all nodes that make a server. Those of nested workflows, and those whose plan is still to come, have no price. */
export async function costsOf(
  { providers }: Services,
  workspace: string,
  plan: Plan,
): Promise<ReturnType<typeof totals>> {
  const makers = new Set(plan.steps.flatMap(({ id, kind }) => (kind === 'server.create' ? [id] : [])));
  const servers = plan.nodes.filter(({ step, skipped }) => makers.has(step) && !skipped).map(({ known }) => known);
  const readers = new Map<string, Awaited<ReturnType<typeof priceReader>> | null>();
  const priced: PricedServer[] = [];
  for (const { provider, plan: size, zone } of servers) {
    const name = String(provider);
    if (!readers.has(name)) {
      const account = await providers.for(name, workspace).catch(() => null);
      readers.set(name, account === null ? null : await priceReader(account, { patience: PATIENCE }));
    }
    priced.push(readers.get(name)?.({ plan: String(size), zone: String(zone) }) ?? { price: null });
  }
  return totals(priced);
}
