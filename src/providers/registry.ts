import type { FieldProblem } from '../errors.ts';
import type { CallOptions, Provider, ServerSpec } from './contract.ts';
import { nearMatches } from './near-matches.ts';

/** The enabled providers by name. */
export interface ProviderRegistry {
  names(): string[];
  all(): Provider[];
  /** @throws when it is not enabled here: a procedure then waits for a replica that has it. */
  get(name: string): Provider;
  has(name: string): boolean;
  /** Everything wrong with a spec, near matches included: an unknown provider, or what the provider itself says. */
  validate(providerName: string, spec: ServerSpec, options?: CallOptions): Promise<FieldProblem[]>;
  close(): Promise<void>;
}

export function createRegistry(providers: readonly Provider[]): ProviderRegistry {
  const byName = new Map(providers.map((provider) => [provider.name, provider]));
  const get = (name: string): Provider => {
    const provider = byName.get(name);
    if (provider === undefined) throw new Error(`The provider "${name}" is not enabled on this replica.`);
    return provider;
  };
  return {
    names: () => [...byName.keys()],
    all: () => [...byName.values()],
    get,
    has: (name) => byName.has(name),
    async validate(providerName, spec, options) {
      if (!byName.has(providerName)) {
        const names = [...byName.keys()];
        return [
          {
            field: 'provider',
            message: `"${providerName}" is not an enabled provider; enabled: ${names.join(', ')}`,
            near_matches: nearMatches(providerName, names),
          },
        ];
      }
      return get(providerName).validate(spec, options);
    },
    async close() {
      await Promise.all([...byName.values()].map((provider) => provider.close?.()));
    },
  };
}

/** Name of the queue that carries out a provider's operations. */
export function providerQueue(name: string): string {
  return `provider.${name}`;
}
