import { readClock } from '../../database/clock.ts';
import { type Database, isUniqueViolation } from '../../database/pool.ts';
import { defineProcedure, OperationError, type Procedure, type StepCall } from '../../engine/procedure.ts';
import { ApplicationError } from '../../errors.ts';
import { learnSizes, requireWorkspaceRoom } from '../../limits/workspace-room.ts';
import { type Provider, ProviderError } from '../../providers/contract.ts';
import { readInstallationId } from '../../providers/installation.ts';
import type { ProviderRegistry } from '../../providers/registry.ts';
import type { WithProvider } from '../create/procedure.ts';
import { writeGuards } from '../guards/store.ts';
import { deletionOf, dropOrphan, isProtectedOrphan, lockRef } from '../orphans/store.ts';
import { priceReader, totals } from '../prices.ts';
import { callOptions, lookOptions, queueOf, withAccount } from '../server-change.ts';
import { compensateAdoptions, insertServer, removeServer, serverAtRef, updateServer } from '../store.ts';
import { type AdoptInput, type Candidate, chosen, judge, type Refused } from './plan.ts';

/** A state that a server which has just been taken over can show. */
const STANDING: readonly string[] = ['running', 'stopped', 'error'];

interface Taken {
  adopted: { server_id: string; hostname: string; provider_id: string }[];
  refused: Refused[];
}

/** Takes over servers that exist at a provider: a row for each, and labels by which they are known from then on. */
export function adoptProcedure(db: Database, providers: ProviderRegistry): Procedure {
  return defineProcedure<AdoptInput>({
    kind: 'server.adopt',
    queue: queueOf,
    async run(input, { workspace, createdBy, ownerId, step, finish }) {
      const withProvider: WithProvider = (work) => withAccount(providers, input.provider, workspace, work);
      const found = await step('look at the provider', (call) =>
        withProvider((account) => lookFor(db, providers, account, input, workspace, call)),
      );
      if (input.check_mode) return finish(async () => ({ check_mode: true, plan: planOf(input, workspace, found) }));
      // A cancel must not leave a server labelled that no row stands for.
      const taken = await step(
        'take them over',
        async (call) => {
          const done: Taken = { adopted: [], refused: [...found.refused] };
          const places = found.candidates.map(({ server: { plan, zone } }) => ({
            provider: input.provider,
            plan,
            zone,
          }));
          await learnSizes(db, providers, workspace, places);
          for (const candidate of found.candidates)
            await take(db, input.provider, withProvider, candidate, {
              ...{ workspace, createdBy, ownerId, call, done },
            });
          return done;
        },
        { outlivesCancel: true },
      );
      if (taken.adopted.length === 0) {
        const reasons = taken.refused.map(({ provider_id: id, reason }) => `${id}: ${reason}`).join(' ');
        throw new OperationError('ADOPTION_REFUSED', `No server was adopted. ${reasons}`);
      }
      return finish(async () => ({ provider: input.provider, ...taken }));
    },
    async compensate(tx, { provider }, { operationId }) {
      await compensateAdoptions(tx, provider, operationId);
      return null;
    },
  });
}

async function lookFor(
  db: Database,
  providers: ProviderRegistry,
  account: Provider,
  input: AdoptInput,
  workspace: string,
  call: StepCall,
) {
  const ownAccount = !providers.has(input.provider) || account !== providers.get(input.provider);
  const listedAt = await readClock(db);
  const listed = await account.listServers({ ...lookOptions(call), unlabelled: true });
  const servers = chosen(input, listed);
  if (servers.length === 0) {
    const what = input.server === null ? `a server with the label ${input.label}` : `the server ${input.server}`;
    throw new OperationError('NOT_FOUND', `${input.provider} does not show ${what} to this account.`);
  }
  const context = { provider: account, workspace, installation: await readInstallationId(db), ownAccount, listedAt };
  const judgement = await judge(db, input, servers, context);
  const priceOf = await priceReader(account, lookOptions(call));
  return { ...judgement, prices: judgement.candidates.map(({ server }) => priceOf(server)) };
}

function planOf(
  input: AdoptInput,
  workspace: string,
  { candidates, refused, prices }: Awaited<ReturnType<typeof lookFor>>,
) {
  const create = candidates.map(({ hostname, server }, place) => ({
    ...{ type: 'server', workspace, hostname, provider: input.provider, provider_id: server.ref, plan: server.plan },
    ...{ zone: server.zone, status: server.status, ip_address: server.ip_address, tags: server.tags ?? [] },
    price: prices[place]?.price ?? null,
  }));
  return {
    ...{ create, change: [], delete: [], refused },
    order: create.map(({ hostname, provider_id: id }) => `take over ${id} as ${hostname}, and label it`),
    problems: refused.map(({ provider_id: id, reason }) => `${id}: ${reason}`),
    note: 'Deleting such a server later deletes it at the provider, as any other.',
    ...totals(prices),
  };
}

/** One server: its row, its labels, then its state. Again after a crash it goes on where it was. */
async function take(
  db: Database,
  provider: string,
  withProvider: WithProvider,
  { server_id: id, label_id: labelId, hostname, server, labels }: Candidate,
  {
    workspace,
    createdBy,
    ownerId,
    call,
    done,
  }: { workspace: string; createdBy: string; ownerId: string | null; call: StepCall; done: Taken },
): Promise<void> {
  const { ref, plan, zone } = server;
  const tags = server.tags ?? [];
  const refuse = (reason: string) => done.refused.push({ provider_id: ref, hostname, reason });
  const taken = () => done.adopted.push({ server_id: id, hostname, provider_id: ref });
  const entered = await enter(db, {
    ...{ id, ref, workspace, hostname, plan, zone, tags },
    ...{ provider, operationId: labelId, createdBy, ownerId },
  });
  if (entered.refused !== null) {
    refuse(entered.refused);
    return;
  }
  if (entered.through) {
    taken();
    return;
  }
  try {
    const wanted = { operationId: labelId, workspace, tags };
    if (labels) await withProvider(async (account) => account.labelServer?.(ref, wanted, callOptions(call)));
  } catch (error) {
    if (!(error instanceof ProviderError) || error.retryable) throw error;
    await db.transaction().execute((tx) => removeServer(tx, id));
    refuse(error.message);
    return;
  }
  await db.transaction().execute(async (tx) => {
    const status = STANDING.includes(server.status) ? server.status : 'unknown';
    await updateServer(tx, id, { status, ipAddress: server.ip_address });
    // It may have been protected while it was labelled.
    const { wasProtected } = await dropOrphan(tx, provider, ref, labelId);
    if (wasProtected) await writeGuards(tx, 'servers', id, { protect: true });
  });
  await call.log(`Took over ${ref} at ${provider} as ${hostname}.`);
  taken();
}

interface Entered {
  /** Why there can be no row; null: it is there. */
  refused: string | null;
  /** All has been done before, up to a crash. */
  through: boolean;
}

/** Enters the row. */
async function enter(db: Database, server: Parameters<typeof insertServer>[1] & { ref: string }): Promise<Entered> {
  const refused = (reason: string): Entered => ({ refused: reason, through: false });
  const { id, provider, ref, workspace, hostname, plan, zone } = server;
  try {
    return await db.transaction().execute(async (tx) => {
      await lockRef(tx, provider, ref);
      const holder = await serverAtRef(tx, provider, ref);
      if (holder?.id === id) return { refused: null, through: holder.status !== 'creating' };
      if (holder !== null) return refused(`It is server ${holder.id} already.`);
      const deletion = await deletionOf(tx, provider, ref);
      if (deletion !== null) return refused(`Operation ${deletion} is deleting it.`);
      await requireWorkspaceRoom(tx, workspace, { place: { provider, plan, zone } });
      await insertServer(tx, server);
      await updateServer(tx, id, { status: 'creating', providerRef: ref });
      if (await isProtectedOrphan(tx, provider, ref)) await writeGuards(tx, 'servers', id, { protect: true });
      return { refused: null, through: false };
    });
  } catch (error) {
    if (error instanceof ApplicationError) return refused(error.message);
    if (!isUniqueViolation(error, 'servers_workspace_hostname_key')) throw error;
    return refused(`The hostname "${hostname}" is taken in workspace "${workspace}".`);
  }
}
