import type { Encryption } from '../../access/encryption.ts';
import type { Database } from '../../database/pool.ts';
import {
  defineProcedure,
  OperationError,
  type Procedure,
  type ProcedureContext,
  type StepCall,
} from '../../engine/procedure.ts';
import type { Provider, ProviderServer, ServerSpec } from '../../providers/contract.ts';
import { untilObserved } from '../../providers/observer.ts';
import type { ProviderRegistry } from '../../providers/registry.ts';
import { callOptions, lookOptions, queueOf, tellOf, withAccount } from '../server-change.ts';
import { pinGivenKey } from '../ssh-store.ts';
import { lockServer, noteRef, removeServer, updateServer } from '../store.ts';
import { decryptSpec, type StoredSpec } from '../stored-spec.ts';

interface CreateInput {
  /** Null in check mode. */
  server_id: string | null;
  provider: string;
  check_mode: boolean;
  spec: StoredSpec;
  /** How it is guarded, for the plan. Absent: accepted by a version that did not know. */
  guards?: { protect?: boolean; expires_at?: string | null };
}

/**
 * A cloud may leave a new server off, and its user data may switch it off once. Three times are no chance any more. The
 * pauses are longer than any cloud takes to show that a start has begun. Milliseconds.
 */
const START_PAUSES_MS = [5_000, 10_000, 20_000];

/** Makes a server and waits until it runs. What a failure or a cancel leaves behind is deleted by `server.cleanup`. */
export function createProcedure(db: Database, providers: ProviderRegistry, encryption: Encryption): Procedure {
  return defineProcedure<CreateInput>({
    kind: 'server.create',
    queue: queueOf,
    async run(input, { operationId, step, finish }) {
      const { server_id: serverId } = input;
      const spec = decryptSpec(encryption, input.spec);
      if (serverId === null) {
        const plan = await step('check what would be made', (call) => planCreate(providers, input, spec, call));
        return finish(async () => ({ check_mode: true, plan }));
      }
      const server = await untilRunning(step, spec, {
        withProvider: (work) => withAccount(providers, input.provider, spec.workspace, work),
        note: async (ref) => {
          const holder = await noteRef(db, serverId, ref);
          if (holder !== null) throw refTaken(input.provider, ref, holder);
        },
      });
      const { ref, ip_address: ipAddress } = server;
      return finish(async (tx) => {
        await updateServer(tx, serverId, { status: 'running', ipAddress, providerRef: ref });
        await pinGivenKey(tx, serverId, server.host_key);
        return {
          server_id: serverId,
          hostname: spec.hostname,
          ip_address: ipAddress,
          provider: input.provider,
          operation_id: operationId,
        };
      });
    },
    async compensate(tx, input, { operationId, started }) {
      const { server_id: serverId } = input;
      if (serverId === null) return null;
      if (!started) {
        await removeServer(tx, serverId);
        return null;
      }
      await updateServer(tx, serverId, { status: 'deleting' });
      const server = await lockServer(tx, serverId);
      return {
        kind: 'server.cleanup',
        title: `Clean up after creating ${input.spec.hostname}`,
        resource: `server:${serverId}`,
        input: {
          server_id: serverId,
          provider: input.provider,
          provider_ref: server?.provider_ref ?? null,
          create_operation_id: operationId,
          previous_status: 'creating',
        },
      };
    },
  });
}

/** A provider used an id again before the server that had it was forgotten here: that passes where it is being deleted. */
function refTaken(provider: string, ref: string, holder: { id: string; hostname: string; status: string }) {
  const { id, hostname, status } = holder;
  const passes = status === 'deleting';
  const what = passes
    ? 'It is being deleted, and then the id is free.'
    : 'Refresh that server, and delete it here where the provider has it no more.';
  return new OperationError(
    'PROVIDER_ID_REUSED',
    `${provider} gave the new server the id ${ref}, which is that of ${hostname} (${id}) here. ${what}`,
    { retryable: passes },
  );
}

/** Works with the account that the workspace uses at the time. */
export type WithProvider = <T>(work: (provider: Provider) => Promise<T>) => Promise<T>;

/** A server that was made, and the host key that it was given for certain; null: it may show one of its own. */
type MadeServer = ProviderServer & { host_key: string | null };

/**
 * Makes the operation's server and waits until it runs: two steps, the second where it is needed.
 * @param note keeps what the provider calls it, as soon as that is known, where lists may not show it yet.
 * @param startPausesMs how long a server that is off is given to come up after each time that it is switched on.
 */
export async function untilRunning(
  step: ProcedureContext['step'],
  spec: ServerSpec,
  {
    withProvider,
    note,
    startPausesMs = START_PAUSES_MS,
  }: { withProvider: WithProvider; note?: (ref: string) => Promise<void>; startPausesMs?: readonly number[] },
): Promise<MadeServer> {
  let begunHere: boolean | undefined;
  // A replica of a version that gave no host keys has recorded none.
  const { host_key: hostKey = null, ...server }: ProviderServer & Partial<MadeServer> = await step(
    'create the server',
    (call) =>
      withProvider(async (provider) => {
        // What another process has begun may have been asked for by such a version.
        begunHere ??= !call.repeated;
        const made = await provider.ensureServer(spec, callOptions(call));
        // Where lists never lag, its label finds it.
        if (provider.listingLagMs !== undefined) await note?.(made.ref);
        const given = begunHere && ((await provider.givesHostKey?.(spec, lookOptions(call))) ?? true);
        return { ...made, host_key: given ? (spec.ssh_host_key?.public_key ?? null) : null };
      }),
  );
  if (server.status === 'running') return { ...server, host_key: hostKey };
  const { ref } = server;
  const running = await step('wait until the server runs', (call) =>
    withProvider(async (provider) => {
      await call.log(`${provider.name} accepted ${spec.hostname} as ${ref}; waiting until it runs.`);
      return waitUntilRunning(provider, ref, call, startPausesMs);
    }),
  );
  return { ...running, host_key: hostKey };
}

async function waitUntilRunning(
  provider: Provider,
  ref: string,
  call: StepCall,
  startPausesMs: readonly number[],
): Promise<ProviderServer> {
  const lagMs = provider.listingLagMs ?? 0;
  const listedUntil = performance.now() + lagMs;
  /** What is off stays so for this long before that is believed: lists may not yet show that it was started. */
  const settled = (believedAt: number) => (now: ProviderServer | null) => {
    if (now === null) return performance.now() >= listedUntil;
    return now.status === 'stopped' ? performance.now() >= believedAt : ['running', 'error'].includes(now.status);
  };
  let seen = await untilObserved(provider, ref, settled(0), call.signal, tellOf(call));
  for (const pauseMs of startPausesMs) {
    if (seen?.status !== 'stopped') break;
    await call.log(`${provider.name} left the server ${ref} switched off; switching it on.`);
    await provider.startServer(ref, callOptions(call));
    const believedAt = performance.now() + Math.max(pauseMs, lagMs);
    seen = await untilObserved(provider, ref, settled(believedAt), call.signal, tellOf(call));
  }
  if (seen === null) {
    const why = await provider.whyGone?.(ref, lookOptions(call));
    if (why) throw why;
    throw new OperationError(
      'SERVER_VANISHED',
      `${provider.name} no longer has the server ${ref}; somebody deleted it while it was being created.`,
    );
  }
  if (seen.status === 'error') {
    throw new OperationError('SERVER_ERROR', `${provider.name} reports the server ${ref} as broken.`);
  }
  if (seen.status === 'stopped') {
    const times = `was switched on ${startPausesMs.length} times and is off again`;
    throw new OperationError(
      'SERVER_ERROR',
      `The server ${ref} at ${provider.name} ${times}. Does its user data or its image switch it off?`,
    );
  }
  return seen;
}

async function planCreate(
  providers: ProviderRegistry,
  { provider: name, guards }: CreateInput,
  spec: ServerSpec,
  call: StepCall,
) {
  const options = lookOptions(call);
  const { workspace, hostname, plan, zone, tags } = spec;
  const problems = await providers.validate(name, spec, options);
  const provider = problems.length === 0 ? await providers.for(name, workspace) : null;
  const offered = (await provider?.listPlans(options)) ?? [];
  // Null where the provider tells none.
  const price = offered.find(({ name }) => name === plan)?.prices?.[zone] ?? null;
  return {
    create: [{ type: 'server', workspace, hostname, provider: name, plan, zone, tags, price, ...guards }],
    change: [],
    delete: [],
    order: [`create server ${hostname} at ${name}`, 'wait until it runs'],
    problems,
    cost: price === null ? null : { currency: price.currency, hourly: price.hourly, monthly: price.monthly },
  };
}
