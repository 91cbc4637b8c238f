/**
 * What stands at a provider without anybody here knowing of it, and how our own servers stand. One list call looks at a
 * whole account. A list that did
 * not come, or not whole, is an error of the provider's and changes nothing here.
 */

import type { Logger } from 'pino';
import { readClock } from '../../database/clock.ts';
import type { Database } from '../../database/pool.ts';
import { shortId, uuidv7 } from '../../database/uuid.ts';
import { type Engine, OBSERVER } from '../../engine/engine.ts';
import type { Provider, ProviderServer } from '../../providers/contract.ts';
import { isOfInstallation } from '../../providers/installation.ts';
import { readServer } from '../../providers/observer.ts';
import type { ProviderAccount, ProviderRegistry } from '../../providers/registry.ts';
import { enterLook, findAll, usersOf } from '../observing/observe.ts';
import { standingServers } from '../observing/store.ts';
import { priceReader } from '../prices.ts';
import { deletionOf } from './delete/operation.ts';
import {
  type AccountName,
  dropOrphans,
  forgetDepartures,
  keepOrphans,
  lockOverdue,
  lockRef,
  noteDeletion,
  type OrphanRecord,
  operationsOfOurs,
  reportedOrphans,
  unknownAmong,
} from './store.ts';
import { openBooks } from './sweep-store.ts';

export interface SweepTools {
  db: Database;
  engine: Engine;
  providers: ProviderRegistry;
  /** Value of this installation's label. */
  installation: string;
  logger: Logger;
  /** Seconds after which an orphan is deleted; 0: never. */
  deleteAfter: number;
}

/** Where servers are counted to whose labels name no workspace. */
const NOBODYS = 'default';

/** Looks at everything in an account once. @throws ProviderError; then nothing has changed here. */
export async function sweepAccount(
  tools: SweepTools,
  { provider, workspace }: ProviderAccount,
  signal?: AbortSignal,
): Promise<void> {
  const { db, logger } = tools;
  const account: AccountName = { provider: provider.name, workspace };
  const listedAt = await readClock(db);
  const listed = await provider.listServers({ signal });
  const lists = { listedAt, lagMs: provider.listingLagMs ?? 0 };
  const candidates = await oursAmong(tools, await withoutLag(tools, { provider, workspace }, listed, lists, signal));
  const suspects = await unknownAmong(db, provider.name, candidates, lists);
  const priceOf = suspects.size === 0 ? null : await priceReader(provider, { signal });
  const done: (() => void)[] = [];
  await db.transaction().execute(async (tx) => {
    if (!(await openBooks(tx, account, listedAt))) return;
    const unknown = await unknownAmong(tx, provider.name, candidates, lists);
    const orphans = candidates
      .filter(({ ref }) => suspects.has(ref) && unknown.has(ref))
      .map((server) => ({
        ...server,
        id: shortId('orp'),
        workspace: server.workspace ?? workspace ?? NOBODYS,
        price: priceOf?.(server).price ?? null,
      }));
    const gone = await dropOrphans(
      tx,
      account,
      orphans.map(({ ref }) => ref),
    );
    for (const orphan of await keepOrphans(tx, account, orphans)) {
      logger.warn({ orphan: orphan.id, provider: orphan.provider, provider_id: orphan.ref }, 'found an orphan');
      done.push(
        await tell(tools, tx, 'orphan.found', orphan, `${describe(orphan)} stands there, and nobody knows it.`),
      );
    }
    for (const orphan of gone) {
      logger.info(
        { orphan: orphan.id, provider: orphan.provider, provider_id: orphan.ref },
        'an orphan is none any more',
      );
      done.push(await tell(tools, tx, 'orphan.gone', orphan, `${describe(orphan)} is gone, or known by now.`));
    }
    if (tools.deleteAfter === 0) return;
    for (const orphan of await lockOverdue(tx, account, tools.deleteAfter)) {
      logger.warn({ orphan: orphan.id, provider: orphan.provider, provider_id: orphan.ref }, 'deleting an orphan');
      await lockRef(tx, orphan.provider, orphan.ref);
      const id = uuidv7();
      const own = { id, checkMode: false, parentId: null, createdBy: OBSERVER, ownerId: null };
      const submitted = await tools.engine.submit(tx, { ...deletionOf(orphan), ...own });
      await noteDeletion(tx, orphan.id, id);
      done.push(submitted.afterCommit);
    }
  });
  for (const callback of done) callback();
  await forgetDepartures(db);
  await lookAfterOurs(tools, provider, { listed, listedAt }, signal);
}

/**
 * What a list shows. Where lists lag, a server that would be reported for the first time is asked for by itself, and so is
 * one that was reported and is not listed.
 */
async function withoutLag(
  tools: SweepTools,
  { provider, workspace }: ProviderAccount,
  listed: readonly ProviderServer[],
  lists: Parameters<typeof unknownAmong>[3],
  signal: AbortSignal | undefined,
): Promise<readonly ProviderServer[]> {
  if (provider.readServer === undefined) return listed;
  const reported = await reportedOrphans(tools.db, { provider: provider.name, workspace });
  const unknown = await unknownAmong(tools.db, provider.name, await oursAmong(tools, listed), lists);
  const shown = new Set(listed.map(({ ref }) => ref));
  const doubtful = [...unknown, ...reported].filter((ref) => reported.has(ref) !== shown.has(ref));
  const read = await Promise.all(doubtful.map((ref) => readServer(provider, ref, { signal })));
  return [...listed.filter(({ ref }) => !doubtful.includes(ref)), ...read.filter((server) => server !== null)];
}

/** The same list tells how our own servers stand. */
async function lookAfterOurs(
  tools: SweepTools,
  provider: Provider,
  { listed, listedAt }: { listed: readonly ProviderServer[]; listedAt: Date },
  signal: AbortSignal | undefined,
): Promise<void> {
  const known = await standingServers(tools.db, provider.name, null);
  const servers = await usersOf(tools.providers, provider, known);
  const found = await findAll(provider, servers, { signal }, listed);
  const changed = await enterLook(tools, { servers, found, listedAt, lagMs: provider.listingLagMs ?? 0 }, null);
  for (const { server_id: server, hostname, changes } of changed) {
    tools.logger.warn({ server, hostname, changes }, 'a server has changed behind our back');
  }
}

/**
 * Those that this installation has made. Another one's, in the same account, are none of our business. What carries no
 * label of an installation is ours where it names an operation that was ours.
 */
async function oursAmong(
  { db, installation }: SweepTools,
  listed: readonly ProviderServer[],
): Promise<ProviderServer[]> {
  const standing = listed.filter(({ status }) => status !== 'deleting');
  const unsigned = standing.filter((server) => server.installation === null);
  const known = await operationsOfOurs(
    db,
    unsigned.map((server) => server.operation_id),
  );
  return standing.filter((server) => isOfInstallation(server, installation, known));
}

function describe({ hostname, ref, provider }: OrphanRecord): string {
  return `The server ${hostname} (${ref}) at ${provider}`;
}

async function tell(
  { engine }: SweepTools,
  tx: Parameters<Engine['record']>[0],
  kind: 'orphan.found' | 'orphan.gone',
  { id, provider, ref, workspace, hostname, operation_id }: OrphanRecord,
  line: string,
): Promise<() => void> {
  const result = { orphan_id: id, provider, provider_id: ref, hostname, operation_id };
  const title =
    kind === 'orphan.found' ? `Found the orphaned server ${hostname}` : `The orphaned server ${hostname} is gone`;
  const happened = { kind, title, workspace, resource: `orphan:${id}`, result, lines: [line], parentId: null };
  return (await engine.record(tx, happened)).afterCommit;
}
