/** What servers cost, where their provider tells. */
import { type CallOptions, type Price, type Provider, ProviderError } from '../providers/contract.ts';

/** A server's price; null: its provider tells none. */
export interface PricedServer {
  price: Price | null;
}

type Place = { plan: string; zone: string };

/** Reads prices off the plans of an account. A provider that does not tell them now is as one that tells none. */
export async function priceReader(
  provider: Provider,
  options: CallOptions,
): Promise<(server: Place) => PricedServer & Place> {
  const plans = await provider.listPlans(options).catch((error: unknown) => {
    if (!(error instanceof ProviderError)) throw error;
    return [];
  });
  const byName = new Map(plans.map((plan) => [plan.name, plan]));
  return ({ plan, zone }) => ({ plan, zone, price: byName.get(plan)?.prices?.[zone] ?? null });
}

/** The sum, an amount a currency, and of how many servers no price is known. */
export function totals(servers: readonly PricedServer[]): { costs: Price[]; unpriced: number } {
  const sums = new Map<string | null, Price>();
  for (const { price } of servers) {
    if (price === null) continue;
    const sum = sums.get(price.currency) ?? { currency: price.currency, hourly: 0, monthly: 0 };
    const { currency } = price;
    sums.set(currency, { currency, hourly: sum.hourly + price.hourly, monthly: sum.monthly + price.monthly });
  }
  const costs = [...sums.values()].map(({ currency, hourly, monthly }) => ({
    currency,
    hourly: withoutNoise(hourly),
    monthly: withoutNoise(monthly),
  }));
  return { costs, unpriced: servers.filter(({ price }) => price === null).length };
}

/** Sums of prices without the digits that only binary fractions have. */
function withoutNoise(amount: number): number {
  return Math.round(amount * 1e6) / 1e6;
}
