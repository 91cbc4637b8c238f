import { readClock } from '../../database/clock.ts';
import type { Database } from '../../database/pool.ts';
import type { Engine } from '../../engine/engine.ts';
import { defineProcedure, type Procedure, type StepCall } from '../../engine/procedure.ts';
import { type CallOptions, type Provider, ProviderError } from '../../providers/contract.ts';
import type { ProviderRegistry } from '../../providers/registry.ts';
import { type Change, compare, type KnownServer } from '../observing/compare.ts';
import { type ChangedServer, enterLook, findAll, type Look, usersOf } from '../observing/observe.ts';
import { standingServers } from '../observing/store.ts';
import { type PricedServer, priceReader, totals } from '../prices.ts';
import { isRefusal, lookOptions } from '../server-change.ts';

/** Name of the queue that carries out what only looks. */
export const OBSERVE_QUEUE = 'servers.observe';

export interface RefreshInput {
  /** Ids by provider. */
  servers: Record<string, string[]>;
  check_mode: boolean;
}

/** Servers of an account that could not be asked. */
interface NotAsked {
  provider: string;
  servers: number;
  reason: string;
}

interface Outcome {
  looked_at: number;
  changed: ChangedServer[];
  not_asked: NotAsked[];
  priced: PricedServer[];
}

/** Somebody waits: a provider that is away is soon reported as such. */
const LOOK_STEP = { deadline: 120, attempts: 1 };
/** Seconds that a look may wait for the account's turn. */
const PATIENCE = 60;

/** Compares servers with what their providers say, and records what has changed. Changes nothing at a provider. */
export function refreshProcedure(db: Database, providers: ProviderRegistry, engine: Pick<Engine, 'record'>): Procedure {
  return defineProcedure<RefreshInput>({
    kind: 'server.refresh',
    queue: () => OBSERVE_QUEUE,
    async run({ servers, check_mode: checkMode }, { operationId, step, finish }) {
      const outcomes: Outcome[] = [];
      for (const name of Object.keys(servers).toSorted()) {
        outcomes.push(
          await step(
            `look at ${name}`,
            async (call) => {
              const known = await standingServers(db, name, servers[name] ?? []);
              const tools = { db, providers, engine };
              return lookAt(tools, name, known, { call, checkMode, operationId });
            },
            LOOK_STEP,
          ),
        );
      }
      const changed = outcomes.flatMap((outcome) => outcome.changed);
      const summary = {
        looked_at: outcomes.reduce((sum, outcome) => sum + outcome.looked_at, 0),
        not_asked: outcomes.flatMap((outcome) => outcome.not_asked),
      };
      if (!checkMode) return finish(async () => ({ ...summary, changed }));
      const priced = outcomes.flatMap((outcome) => outcome.priced);
      const plan = {
        ...{ create: [], delete: [], order: ['enter what has changed; nothing is changed at a provider'] },
        change: changed.map((server) => ({ type: 'server', ...server })),
        ...totals(priced),
      };
      return finish(async () => ({ check_mode: true, plan, ...summary }));
    },
    // Nothing was begun that would have to be tidied up.
    compensate: async () => null,
  });
}

async function lookAt(
  tools: { db: Database; providers: ProviderRegistry; engine: Pick<Engine, 'record'> },
  name: string,
  known: readonly KnownServer[],
  { call, checkMode, operationId }: { call: StepCall; checkMode: boolean; operationId: string },
): Promise<Outcome> {
  const outcome: Outcome = { looked_at: 0, changed: [], not_asked: [], priced: [] };
  const options: CallOptions = { ...lookOptions(call), patience: PATIENCE };
  const look = async (account: Provider, servers: readonly KnownServer[]) => {
    const listedAt = await readClock(tools.db);
    const found = await findAll(account, servers, options);
    const seen: Look = { servers, found, listedAt, lagMs: account.listingLagMs ?? 0 };
    if (checkMode) outcome.priced.push(...servers.map(await priceReader(account, options)));
    outcome.changed.push(...(checkMode ? whatWouldBe(seen) : await enterLook(tools, seen, operationId)));
    outcome.looked_at += servers.length;
  };
  for (let left = known; left.length > 0; ) {
    const moved: KnownServer[] = [];
    for (const [account, servers] of await byAccount(tools.providers, name, left, outcome)) {
      try {
        await look(account, servers);
      } catch (error) {
        if (!(error instanceof ProviderError)) throw error;
        // Whose credentials were replaced meanwhile is asked for again, with the new ones.
        const still = isRefusal(error) ? await usersOf(tools.providers, account, servers) : servers;
        moved.push(...servers.filter((server) => !still.includes(server)));
        if (still.length > 0) outcome.not_asked.push({ provider: name, servers: still.length, reason: error.message });
      }
    }
    left = moved;
  }
  return outcome;
}

/** The servers by the account that their workspaces use. */
async function byAccount(
  providers: ProviderRegistry,
  name: string,
  known: readonly KnownServer[],
  outcome: Outcome,
): Promise<Map<Provider, KnownServer[]>> {
  const accounts = new Map<Provider, KnownServer[]>();
  for (const [workspace, servers] of Map.groupBy(known, (server) => server.workspace)) {
    try {
      const account = await providers.for(name, workspace);
      accounts.set(account, [...(accounts.get(account) ?? []), ...servers]);
    } catch (error) {
      // An account that was taken away, or a provider that this replica does not have.
      const reason = error instanceof Error ? error.message : String(error);
      outcome.not_asked.push({ provider: name, servers: servers.length, reason });
    }
  }
  return accounts;
}

function whatWouldBe({ servers, found, listedAt }: Look): ChangedServer[] {
  return servers.flatMap((known) => {
    const changes: Change[] = compare(known, found.get(known.provider_ref) ?? null, listedAt).changes;
    return changes.length === 0 ? [] : [{ server_id: known.id, hostname: known.hostname, changes }];
  });
}
