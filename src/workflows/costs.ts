/** What the servers that a workflow makes cost together, where their providers tell. */

import type { Json, JsonObject } from '../documents/json.ts';
import type { Services } from '../http/section.ts';
import type { NodeRules } from '../operations/node.ts';
import { type PricedServer, priceReader, totals } from '../servers/prices.ts';
import { askInTime } from '../servers/provider-check.ts';
import type { Kind } from './kinds/plain-rules.ts';
import { rulesOf } from './kinds/rules.ts';
import type { Plan } from './planning/contract.ts';

/**
 * Summed over all nodes that make a server, those of nested workflows included. No price have those whose plan is still
 * to come, and each step that makes servers in a nested workflow whose parameters are.
 */
export async function costsOf(
  { providers }: Services,
  workspace: string,
  plan: Plan,
): Promise<ReturnType<typeof totals>> {
  const { servers, unplanned } = makersIn(plan);
  const readers = new Map<string, Awaited<ReturnType<typeof priceReader>> | null>();
  const priced: PricedServer[] = [];
  for (const { provider, ...server } of servers) {
    if (!readers.has(provider)) {
      const account = await providers.for(provider, workspace).catch(() => null);
      readers.set(provider, account === null ? null : await askInTime((options) => priceReader(account, options)));
    }
    priced.push(readers.get(provider)?.(server) ?? { price: null });
  }
  const { costs, unpriced } = totals(priced);
  return { costs, unpriced: unpriced + unplanned };
}

type PriceOf = NonNullable<NodeRules['price']>;

/** Undefined for a kind that makes no server. */
function priceOf(kind: Kind | undefined): PriceOf | undefined {
  return kind === undefined ? undefined : rulesOf(kind).price;
}

/** What is known of the servers that a plan makes, and how many steps that make servers are not planned yet. */
function makersIn(
  plan: Plan,
  creators: Map<string, number> = new Map(),
): { servers: ReturnType<PriceOf>[]; unplanned: number } {
  const kinds = new Map(plan.steps.map(({ id, kind }) => [id, kind]));
  const nodes = plan.nodes.filter(({ skipped }) => !skipped);
  const own = nodes.flatMap(({ step, known }) => priceOf(kinds.get(step))?.(known) ?? []);
  const later = nodes.filter((node) => kinds.get(node.step) === 'workflow' && node.with === null);
  const inner = plan.inner.map((nested) => makersIn(nested.plan, creators));
  return {
    servers: [...own, ...inner.flatMap(({ servers }) => servers)],
    unplanned:
      later.reduce((sum, { known }) => sum + creatorsIn(plan, known.workflow_type, creators), 0) +
      inner.reduce((sum, { unplanned }) => sum + unplanned, 0),
  };
}

/**
 * Steps that make servers in a type that the plan nests, and in what that nests. No type contains itself.
 * @param known by type: types that nest each other thousands of times are counted once.
 */
function creatorsIn(plan: Plan, type: Json | undefined, known: Map<string, number>): number {
  if (typeof type !== 'string') return 0;
  const operations = plan.nested.get(type)?.fields.operations;
  if (!Array.isArray(operations)) return 0;
  const count =
    known.get(type) ??
    operations.reduce((sum, { kind, with: given }) => {
      if (kind === 'workflow') return sum + creatorsIn(plan, (given as JsonObject | undefined)?.workflow_type, known);
      return sum + (priceOf(kind) === undefined ? 0 : 1);
    }, 0);
  known.set(type, count);
  return count;
}
