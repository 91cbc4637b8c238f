import type { Encryption } from '../../access/encryption.ts';
import type { Database } from '../../database/pool.ts';
import {
  defineProcedure,
  OperationError,
  type Procedure,
  type ProcedureContext,
  type StepCall,
} from '../../engine/procedure.ts';
import type { Provider, ServerSpec } from '../../providers/contract.ts';
import type { ProviderRegistry } from '../../providers/registry.ts';
import { untilRunning, type WithProvider } from '../create/procedure.ts';
import { beginServerRemoval } from '../guards/store.ts';
import { compare, type KnownServer } from '../observing/compare.ts';
import { findAll } from '../observing/observe.ts';
import { readKnown } from '../observing/store.ts';
import { bringTo, changePlan, lookOnce } from '../plan-change.ts';
import { priceReader, totals } from '../prices.ts';
import { reconcileAfter } from '../reconcile/procedure.ts';
import { callOptions, lookOptions, queueOf, type ServerChange, withAccount } from '../server-change.ts';
import { pinGivenKey } from '../ssh-store.ts';
import { forgetDrift, type RecreatedServer, restoreAfterRecreation, updateServer } from '../store.ts';
import { decryptSpec, type StoredSpec } from '../stored-spec.ts';
import { type Difference, differencesOf } from './plan.ts';

export interface RepairInput extends ServerChange {
  check_mode: boolean;
  /** What to repair; null: everything. */
  fields: Difference['field'][] | null;
  /** From what a server that is gone is made anew; null: it is not. */
  recreate: StoredSpec | null;
}

/** What a look at the server shows. */
interface Findings {
  missing: boolean;
  differences: Difference[];
  ref: string;
  zone: string;
  /** Whether it is to run after a change of plan. */
  running: boolean;
  prices: ReturnType<typeof totals>;
}

/** Makes a server as it was left, as far as its provider can. What it cannot is refused before anything is touched. */
export function repairProcedure(db: Database, providers: ProviderRegistry, encryption: Encryption): Procedure {
  return defineProcedure<RepairInput>({
    kind: 'server.repair',
    queue: queueOf,
    async run(input, context) {
      const { workspace, step, finish } = context;
      const withProvider: WithProvider = (work) => withAccount(providers, input.provider, workspace, work);
      const found = await step('look what is different', (call) =>
        withProvider((provider) => findings(db, provider, input, call)),
      );
      const recreates = found.missing && input.recreate !== null;
      if (input.check_mode) return finish(async () => planOf(input, found, recreates));
      if (found.missing) {
        if (input.recreate === null) throw gone(input);
        const spec = decryptSpec(encryption, input.recreate);
        const inItsPlace: WithProvider = async (work) => {
          await db.transaction().execute((tx) => beginServerRemoval(tx, input.server_id, context.operationId));
          return withProvider(work);
        };
        return recreate(input, spec, inItsPlace, context);
      }
      refuseByHand(found.differences);
      for (const difference of found.differences) {
        await step(`repair ${difference.field}`, (call) =>
          withProvider((provider) => repair(db, provider, input, found, difference, call)),
        );
      }
      const seen = await step('look at the outcome', (call) =>
        withProvider((provider) => lookOnce(provider, found.ref, call)),
      );
      return finish(async (tx) => {
        await restoreAfterRecreation(tx, input.server_id, { operationId: input.create_operation_id });
        await forgetDrift(
          tx,
          input.server_id,
          found.differences.map(({ field }) => field),
        );
        const status = seen?.status ?? 'missing';
        await updateServer(tx, input.server_id, { status, ipAddress: seen?.ip_address ?? null });
        return { server_id: input.server_id, status, repaired: found.differences };
      });
    },
    async compensate(tx, input, compensation) {
      if (input.check_mode) return null;
      if (input.recreate === null) return reconcileAfter(tx, input, compensation);
      const { server_id, provider, create_operation_id, previous_status } = input;
      const restore: RecreatedServer = { operationId: create_operation_id, status: previous_status };
      if (!compensation.started) {
        await restoreAfterRecreation(tx, server_id, restore);
        return null;
      }
      // What was made for it is deleted; the server stays in the list as it was.
      return {
        kind: 'server.cleanup',
        title: `Clean up after recreating ${server_id}`,
        resource: `server:${server_id}`,
        input: {
          ...{ server_id, provider, provider_ref: null, previous_status },
          ...{ create_operation_id: compensation.operationId, restore },
        },
      };
    },
  });
}

async function findings(db: Database, provider: Provider, input: RepairInput, call: StepCall): Promise<Findings> {
  const known = await readKnown(db, input.server_id);
  if (known === null) throw new OperationError('SERVER_MISSING', `Server ${input.server_id} no longer exists.`);
  const standing: KnownServer = { ...known, status: input.previous_status };
  const found = await findAll(provider, [{ ...standing, status: 'unknown' }], lookOptions(call));
  const seen = found.get(known.provider_ref) ?? null;
  const drift = compare(standing, seen, new Date()).drift;
  const priced = (await priceReader(provider, lookOptions(call)))(known);
  const differences = differencesOf(provider, drift).filter(
    ({ field }) => input.fields === null || input.fields.includes(field),
  );
  return {
    missing: seen === null,
    differences: seen === null ? [] : differences,
    ref: known.provider_ref,
    zone: known.zone,
    // As it is to be in the end: a change of plan interrupts it anyway.
    running: (differences.find(({ field }) => field === 'status')?.expected ?? seen?.status) === 'running',
    prices: totals([priced]),
  };
}

function planOf(input: RepairInput, { missing, differences, prices }: Findings, recreates: boolean) {
  const byHand = differences.filter(({ by_hand: hand }) => hand !== null);
  const problems = missing && !recreates ? [gone(input).message] : byHand.map(({ by_hand: hand }) => hand);
  const { sealed_user_data: _, host_key: __, sealed_host_key: ___, ...spec } = input.recreate ?? {};
  const made = { type: 'server', server_id: input.server_id, ...spec };
  const plan = {
    create: recreates ? [made] : [],
    change: differences.map((difference) => ({ type: 'server', server_id: input.server_id, ...difference })),
    delete: [],
    order: recreates ? ['create the server anew, empty'] : differences.flatMap(({ action }) => action ?? []),
    ...{ problems, ...prices },
  };
  return { check_mode: true, server_id: input.server_id, missing, plan };
}

/** @throws NOT_REPAIRABLE naming all that must be done by hand: a repair is whole, or nothing is touched. */
function refuseByHand(differences: readonly Difference[]): void {
  const byHand = differences.flatMap(({ by_hand: hand }) => hand ?? []);
  if (byHand.length === 0) return;
  const rest = differences.flatMap(({ field, by_hand: hand }) => (hand === null ? [field] : []));
  const others = rest.length === 0 ? '' : ` To repair the others alone, send "fields": ${JSON.stringify(rest)}.`;
  throw new OperationError('NOT_REPAIRABLE', `Nothing was changed. Repair this by hand: ${byHand.join(' ')}${others}`);
}

async function repair(
  db: Database,
  provider: Provider,
  input: RepairInput,
  { ref, zone, running }: Findings,
  difference: Difference,
  call: StepCall,
): Promise<void> {
  if (difference.field === 'status')
    return bringTo(provider, ref, difference.expected === 'stopped' ? 'stopped' : 'running', call);
  const known = await readKnown(db, input.server_id);
  if (known === null) throw gone(input);
  if (difference.field === 'tags') {
    const labels = { operationId: input.create_operation_id, workspace: known.workspace, tags: known.tags };
    return provider.labelServer?.(ref, labels, callOptions(call));
  }
  return changePlan(provider, ref, { plan: known.plan, zone }, running, call);
}

async function recreate(
  input: RepairInput,
  spec: ServerSpec,
  withProvider: WithProvider,
  { operationId, step, finish }: ProcedureContext,
) {
  const server = await untilRunning(step, spec, { withProvider });
  return finish(async (tx) => {
    await updateServer(tx, input.server_id, {
      ...{ status: 'running', ipAddress: server.ip_address, providerRef: server.ref },
    });
    await pinGivenKey(tx, input.server_id, server.host_key);
    await forgetDrift(tx, input.server_id, ['status', 'plan', 'zone', 'tags']);
    const { ip_address } = server;
    return { server_id: input.server_id, status: 'running', ip_address, recreated: true, operation_id: operationId };
  });
}

function gone({ provider, server_id }: RepairInput): OperationError {
  return new OperationError(
    'SERVER_MISSING',
    `${provider} no longer has server ${server_id}. Delete it here, or send "recreate": true to create it again from scratch.`,
  );
}
