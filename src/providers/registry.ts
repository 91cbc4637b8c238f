import { createHash } from 'node:crypto';
import type { FieldProblem } from '../errors.ts';
import { nearMatches } from '../util/near-matches.ts';
import type { CloudKind, Credentials } from './clouds.ts';
import { type CallOptions, type Provider, ProviderError, type ServerSpec } from './contract.ts';

/** An account: a provider with credentials, and whose these are. */
export interface ProviderAccount {
  provider: Provider;
  /** The workspace that has these credentials; null: the installation. */
  workspace: string | null;
}

/** The enabled providers by name, and the accounts that workspaces have there. */
export interface ProviderRegistry {
  /** Of the providers that every workspace can use. */
  names(): string[];
  all(): Provider[];
  /** Those whose operations are carried out here, with how many at once. */
  queues(): { name: string; concurrency: number }[];
  /** With the installation's account. @throws when it is not enabled here: a procedure then waits for a replica that has it. */
  get(name: string): Provider;
  has(name: string): boolean;
  /** The cloud at which workspaces may have accounts; undefined for anything else. */
  cloud(name: string): CloudKind | undefined;
  clouds(): CloudKind[];
  /** Whether its servers are logged in to with the workspace's key. */
  takesSshKey(name: string): boolean;
  /**
   * With the account that the workspace uses: its own where it has one, else the installation's.
   * @throws ProviderError AUTHENTICATION_FAILED where there is neither.
   */
  for(name: string, workspace: string): Promise<Provider>;
  /**
   * The account of the workspace itself, or (null) the installation's.
   * @throws ProviderError AUTHENTICATION_FAILED where it has none any more.
   */
  account(name: string, workspace: string | null): Promise<Provider>;
  /** Opens an account; the same credentials are the same account, with one budget. */
  open(cloud: CloudKind, credentials: Credentials): Provider;
  /** Everything that a workspace can make servers at, with the account that it uses. */
  usableBy(workspace: string): Promise<Provider[]>;
  /** Every account once. */
  accounts(): Promise<ProviderAccount[]>;
  /** Everything wrong with a spec, near matches included: an unknown provider, or what the provider itself says. */
  validate(providerName: string, spec: ServerSpec, options?: CallOptions): Promise<FieldProblem[]>;
  close(): Promise<void>;
}

/** The accounts of workspaces, as they are kept. */
export interface KeptAccounts {
  find(provider: string, workspace: string): Promise<Credentials | null>;
  list(): Promise<{ provider: string; workspace: string; credentials: Credentials }[]>;
}

const NONE: KeptAccounts = { find: async () => null, list: async () => [] };

/** @param fixed providers without accounts. @param kinds clouds; those with own credentials are enabled for all. */
export function createRegistry(
  fixed: readonly Provider[],
  kinds: readonly CloudKind[] = [],
  kept: KeptAccounts = NONE,
): ProviderRegistry {
  const clouds = new Map(kinds.map((kind) => [kind.name, kind]));
  const opened = new Map<string, Provider>();
  const open = (cloud: CloudKind, credentials: Credentials): Provider => {
    const sorted = Object.entries(credentials).toSorted(([a], [b]) => (a < b ? -1 : 1));
    const key = createHash('sha256')
      .update(JSON.stringify([cloud.name, sorted]))
      .digest('hex');
    const provider = opened.get(key) ?? cloud.open(credentials);
    opened.set(key, provider);
    return provider;
  };
  const enabled = [...fixed, ...kinds.flatMap((kind) => (kind.own === null ? [] : [open(kind, kind.own)]))];
  const byName = new Map(enabled.map((provider) => [provider.name, provider]));
  const get = (name: string): Provider => {
    const provider = byName.get(name);
    if (provider === undefined) throw new Error(`The provider "${name}" is not enabled on this replica.`);
    return provider;
  };
  const find = async (name: string, workspace: string): Promise<Provider | undefined> => {
    const cloud = clouds.get(name);
    const own = cloud === undefined ? null : await kept.find(name, workspace);
    return cloud === undefined || own === null ? byName.get(name) : open(cloud, own);
  };

  return {
    names: () => [...byName.keys()],
    all: () => [...byName.values()],
    queues: () => [
      ...fixed.map(({ name, concurrency }) => ({ name, concurrency })),
      ...kinds.map(({ name, concurrency }) => ({ name, concurrency })),
    ],
    get,
    has: (name) => byName.has(name),
    cloud: (name) => clouds.get(name),
    clouds: () => [...clouds.values()],
    takesSshKey: (name) => clouds.has(name) || (byName.has(name) && get(name).takesSshKey !== false),
    async for(name, workspace) {
      const provider = await find(name, workspace);
      if (provider !== undefined) return provider;
      return clouds.has(name) ? withoutAccount(name, workspace) : get(name);
    },
    async account(name, workspace) {
      const cloud = clouds.get(name);
      const own = workspace === null || cloud === undefined ? null : await kept.find(name, workspace);
      if (cloud !== undefined && own !== null) return open(cloud, own);
      return workspace === null ? get(name) : withoutAccount(name, workspace);
    },
    open,
    async usableBy(workspace) {
      const names = new Set([...byName.keys(), ...clouds.keys()]);
      const found = await Promise.all([...names].map((name) => find(name, workspace)));
      return found.filter((provider) => provider !== undefined);
    },
    async accounts() {
      const accounts: ProviderAccount[] = [...byName.values()].map((provider) => ({ provider, workspace: null }));
      for (const { provider: name, workspace, credentials } of await kept.list()) {
        const cloud = clouds.get(name);
        if (cloud === undefined) continue;
        const provider = open(cloud, credentials);
        if (!accounts.some((account) => account.provider === provider)) accounts.push({ provider, workspace });
      }
      return accounts;
    },
    async validate(providerName, spec, options) {
      const provider = await find(providerName, spec.workspace);
      if (provider !== undefined) return provider.validate(spec, options);
      const names = [...byName.keys()];
      const remedy = clouds.has(providerName)
        ? `; the workspace can bring an account of its own: PUT /v1/workspaces/${spec.workspace}/credentials/${providerName}`
        : '';
      return [
        {
          field: 'provider',
          message: `"${providerName}" is not an enabled provider; enabled: ${names.join(', ')}${remedy}`,
          near_matches: nearMatches(providerName, names),
        },
      ];
    },
    async close() {
      const all = new Set([...byName.values(), ...opened.values()]);
      await Promise.all([...all].map((provider) => provider.close?.()));
    },
  };
}

function withoutAccount(name: string, workspace: string): never {
  throw new ProviderError(
    'AUTHENTICATION_FAILED',
    `Workspace "${workspace}" has no account at ${name}, and neither has this installation. Set its credentials with PUT /v1/workspaces/${workspace}/credentials/${name}.`,
    { retryable: false },
  );
}

/** Name of the queue that carries out a provider's operations. */
export function providerQueue(name: string): string {
  return `provider.${name}`;
}
