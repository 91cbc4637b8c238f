/** Looking how servers stand at their providers, and recording what has changed there behind our back. */
import type { Database } from '../../database/pool.ts';
import type { Engine } from '../../engine/engine.ts';
import type { CallOptions, Provider, ProviderServer } from '../../providers/contract.ts';
import { ABSENCE_MS, readServer } from '../../providers/observer.ts';
import type { ProviderRegistry } from '../../providers/registry.ts';
import { sleep } from '../../util/sleep.ts';
import { type Change, type Comparison, compare, type KnownServer } from './compare.ts';
import { lockUnchanged, noteObserved, writeComparison } from './store.ts';

export interface ObserveTools {
  db: Database;
  engine: Pick<Engine, 'record'>;
}

/** Servers that are entered in one transaction. */
const BATCH = 200;

/** What was seen of servers, and when it was asked for. */
export interface Look {
  servers: readonly KnownServer[];
  /** By the provider's id; what lacks here is gone. */
  found: ReadonlyMap<string, ProviderServer>;
  listedAt: Date;
  /** How far behind the provider's lists may be. Milliseconds. */
  lagMs: number;
}

/** A server that was found changed. */
export interface ChangedServer {
  server_id: string;
  hostname: string;
  changes: Change[];
}

/** Those of the servers whose workspace uses this very account. */
export async function usersOf(
  providers: ProviderRegistry,
  provider: Provider,
  servers: readonly KnownServer[],
): Promise<KnownServer[]> {
  const using = new Set<string>();
  for (const workspace of new Set(servers.map((server) => server.workspace))) {
    const used = await providers.for(provider.name, workspace).catch(() => 'it has no account at all');
    if (used === provider) using.add(workspace);
  }
  return servers.filter(({ workspace }) => using.has(workspace));
}

/**
 * What is there of the servers. Those that a list lacks are looked for a second time: a page may shift while it is read.
 * Where lists lag, each server that a list shows otherwise than we know it is asked for by itself, and one that a list
 * lacks some time later.
 * @param listed what a list of the whole account has shown already; absent: it is asked for here.
 */
export async function findAll(
  provider: Provider,
  servers: readonly KnownServer[],
  options: CallOptions,
  listed?: readonly ProviderServer[],
): Promise<Map<string, ProviderServer>> {
  const refs = servers.map(({ provider_ref: ref }) => ref);
  const found =
    listed === undefined
      ? await provider.observeServers(refs, options)
      : new Map(listed.map((server) => [server.ref, server]));
  const absent = refs.filter((ref, place) => !found.has(ref) && servers[place]?.status !== 'missing');
  if (provider.readServer === undefined) {
    return absent.length === 0 ? found : new Map([...found, ...(await provider.observeServers(absent, options))]);
  }
  const differing = servers.filter((known) => differs(known, found.get(known.provider_ref)));
  if (absent.length > 0) await sleep(ABSENCE_MS, options.signal);
  const seen = new Map(found);
  await Promise.all(
    differing.map(async ({ provider_ref: ref }) => {
      const server = await readServer(provider, ref, options);
      if (server === null) seen.delete(ref);
      else seen.set(ref, server);
    }),
  );
  return seen;
}

function differs(known: KnownServer, seen: ProviderServer | undefined): boolean {
  return compare(known, seen ?? null, new Date()).changes.length > 0;
}

/** Enters what was seen. Each server that has changed gets an operation `server.observed`, which is over. */
export async function enterLook(
  { db, engine }: ObserveTools,
  { servers, found, listedAt, lagMs }: Look,
  parentId: string | null,
): Promise<ChangedServer[]> {
  const before = new Date(listedAt.getTime() - lagMs);
  const changed: ChangedServer[] = [];
  for (let start = 0; start < servers.length; start += BATCH) {
    const ids = servers.slice(start, start + BATCH).map(({ id }) => id);
    const done: (() => void)[] = [];
    await db.transaction().execute(async (tx) => {
      const quiet: string[] = [];
      for (const known of await lockUnchanged(tx, ids, before)) {
        const comparison = compare(known, found.get(known.provider_ref) ?? null, listedAt);
        if (comparison.changes.length === 0) {
          quiet.push(known.id);
          continue;
        }
        await writeComparison(tx, known.id, comparison);
        changed.push({ server_id: known.id, hostname: known.hostname, changes: comparison.changes });
        const { afterCommit } = await engine.record(tx, happenedTo(known, comparison, parentId));
        done.push(afterCommit);
      }
      await noteObserved(tx, quiet);
    });
    for (const callback of done) callback();
  }
  return changed;
}

function happenedTo(known: KnownServer, { status, drift, changes }: Comparison, parentId: string | null) {
  const { id, workspace, hostname, provider } = known;
  return {
    title: `${hostname} has changed at ${provider}`,
    ...{ kind: 'server.observed', workspace, resource: `server:${id}`, parentId },
    result: { server_id: id, hostname, provider, status, changes, drift },
    lines: changes.map((change) => `${hostname}: ${describe(change)}`),
  };
}

const shown = (value: Change['after']) => (Array.isArray(value) ? value.join(', ') || 'none' : (value ?? 'none'));

function describe({ field, before, after }: Change): string {
  if (field === 'status' && after === 'missing') return 'its provider has it no more';
  return `${field} was ${shown(before)} and is ${shown(after)}`;
}
