/**
 * A cloud in the database, for trying things out, demos and tests: the same contract as a real one, real latency, and
 * faults on demand. It enters every call in its books (`simulated_cloud.calls`) and refuses what it should never be
 * asked, so that a test can prove "one create, no orphan" from them. Errors of the database pass through as they are.
 */

import type { Database } from '../../database/pool.ts';
import { sleep } from '../../util/sleep.ts';
import {
  type MutationOptions,
  type Provider,
  ProviderError,
  type ProviderServer,
  type ProviderServerStatus,
  type ServerSpec,
} from '../contract.ts';
import { PLANS, specProblems, ZONES } from './catalog.ts';
import {
  type CloudCall,
  type CloudChange,
  type CloudServer,
  changeServer,
  enterRefusal,
  findServer,
  insertServer,
  modifyServer,
  readAllServers,
  readServers,
} from './cloud.ts';
import { happens, type SimulatedFaults } from './faults.ts';

/** How many times longer a slow deletion takes. */
const SLOW_FACTOR = 20;
/** Seconds that a rate-limited caller is asked to wait: the least, and the most. */
const RETRY_AFTER = [0.05, 0.2] as const;

/**
 * @param options `latencyMs`: how long a change takes to settle, after a quarter of it that its request is on the way;
 * 0: all at once. `faults`: read anew at every call.
 */
export function createSimulatedProvider(options: {
  db: Database;
  latencyMs: number;
  faults: SimulatedFaults;
}): Provider {
  const { db, latencyMs, faults } = options;

  /** What the cloud turns away before it has any effect. */
  const refusalOf = (call: CloudCall | 'read'): Refusal | null => {
    if (happens(faults, 'rate_limited')) return 'rate_limited';
    return call !== 'find' && call !== 'read' && happens(faults, 'server_error') ? 'error' : null;
  };
  const refuse = async (refusal: Refusal, call: CloudCall, ref: string | null, operationId: string) => {
    await enterRefusal(db, call, ref, operationId, refusal);
    throw refusalError(refusal);
  };

  const look = (operationId: string, foundAs: 'ok' | 'adopted', signal: AbortSignal | undefined) =>
    whileWanted(async () => {
      const refusal = refusalOf('find');
      if (refusal !== null) return refuse(refusal, 'find', null, operationId);
      return findServer(db, operationId, { foundAs, enterMissing: foundAs === 'ok' });
    }, signal);

  const read = (query: () => Promise<CloudServer[]>, signal: AbortSignal | undefined) =>
    whileWanted(async () => {
      const refusal = refusalOf('read');
      if (refusal !== null) throw refusalError(refusal);
      return query();
    }, signal);

  /** The request's way to the cloud. What follows sends it, awaiting nothing before. */
  const approach = async ({ signal, guard }: MutationOptions) => {
    if (latencyMs > 0) await sleep(latencyMs / 4, signal);
    signal?.throwIfAborted();
    return guard;
  };

  const create = async (spec: ServerSpec, call: MutationOptions): Promise<CloudServer | null> => {
    const guard = await approach(call);
    guard();
    const refusal = refusalOf('create');
    if (refusal !== null) return refuse(refusal, 'create', null, call.operationId);
    const stuck = happens(faults, 'stuck');
    const half = !stuck && happens(faults, 'half_created');
    const lost = happens(faults, 'lost_answer');
    const made = await insertServer(db, spec, call.operationId, { latencyMs, half, stuck, lost });
    if (made !== null && lost) throw answerLost();
    return made;
  };

  const change = async (kind: Exclude<CloudChange, 'create'>, ref: string, call: MutationOptions): Promise<void> => {
    const guard = await approach(call);
    guard();
    const refusal = refusalOf(kind);
    if (refusal !== null) return refuse(refusal, kind, ref, call.operationId);
    if (kind === 'delete' && happens(faults, 'delete_refused')) {
      await enterRefusal(db, kind, ref, call.operationId, 'error');
      throw isProtected(ref);
    }
    const slow = kind === 'delete' && happens(faults, 'slow_delete') ? SLOW_FACTOR : 1;
    const outcome = await changeServer(db, kind, ref, call.operationId, {
      latencyMs: latencyMs * slow,
      lost: happens(faults, 'lost_answer'),
    });
    if (outcome === 'lost') throw answerLost();
    if (kind === 'delete') return;
    if (outcome === 'missing') throw notFound(ref);
    if (outcome === 'deleting') throw underDeletion(ref);
  };

  const modify = async (
    what: Parameters<typeof modifyServer>[3],
    ref: string,
    call: MutationOptions,
  ): Promise<void> => {
    const guard = await approach(call);
    guard();
    const refusal = refusalOf(what.call);
    if (refusal !== null) return refuse(refusal, what.call, ref, call.operationId);
    const outcome = await modifyServer(db, ref, call.operationId, what, happens(faults, 'lost_answer'));
    if (outcome === 'lost') throw answerLost();
    if (outcome === 'missing') throw notFound(ref);
    if (outcome === 'deleting') throw underDeletion(ref);
    if (outcome === 'on') throw stillOn(ref);
  };

  /** Takes the server over as it is; one whose create half succeeded is finished by switching it on. */
  const adopt = async (found: CloudServer, call: MutationOptions): Promise<ProviderServer> => {
    if (!found.broken || found.change === 'delete') return toServer(found);
    await change('start', found.ref, call);
    return toServer({ ...found, broken: false, power: 'on', change: 'start', settling: latencyMs > 0 });
  };

  return {
    name: 'simulated',
    concurrency: Number.POSITIVE_INFINITY,
    takesSshKey: false,
    listPlans: async () => [...PLANS],
    listZones: async () => [...ZONES],
    validate: async (spec) => specProblems(spec),

    async findServer(operationId, { signal } = {}) {
      const found = await look(operationId, 'ok', signal);
      return found === null ? null : toServer(found);
    },

    async ensureServer(spec, call) {
      const found = await look(call.operationId, 'adopted', call.signal);
      if (found !== null) return adopt(found, call);
      const made = await create(spec, call);
      if (made !== null) return toServer(made);
      // Another process was faster by a moment: the server is the operation's all the same.
      const other = await look(call.operationId, 'adopted', call.signal);
      if (other === null) throw refusedTwice(call.operationId);
      return adopt(other, call);
    },

    async observeServers(refs, { signal } = {}) {
      signal?.throwIfAborted();
      if (refs.length === 0) return new Map();
      const servers = await read(() => readServers(db, refs), signal);
      return new Map(servers.map((server) => [server.ref, toServer(server)]));
    },

    startServer: (ref, call) => change('start', ref, call),
    stopServer: (ref, call) => change('stop', ref, call),
    restartServer: (ref, call) => change('restart', ref, call),
    deleteServer: (ref, call) => change('delete', ref, call),
    labelServer: (ref, labels, call) => modify({ call: 'label', labels }, ref, call),
    resizeServer: (ref, { plan }, call) => modify({ call: 'resize', plan }, ref, call),

    async listServers({ signal, unlabelled = false } = {}) {
      const servers = await read(() => readAllServers(db, unlabelled), signal);
      return servers.map(toServer);
    },
  };
}

const WHILE_SETTLING: Record<CloudChange, ProviderServerStatus> = {
  create: 'creating',
  start: 'starting',
  stop: 'stopping',
  restart: 'starting',
  delete: 'deleting',
};

function toServer(server: CloudServer): ProviderServer {
  const { ref, hostname, plan, zone, workspace, ip_address, operation_id, installation } = server;
  const settled = server.power === 'on' ? 'running' : 'stopped';
  const status = server.settling ? WHILE_SETTLING[server.change] : settled;
  return {
    ...{ ref, hostname, plan, zone, workspace, status, ip_address, operation_id },
    ...(installation === null ? {} : { installation }),
    tags: server.tags.toSorted(),
  };
}

type Refusal = 'rate_limited' | 'error';

function refusalError(refusal: Refusal): ProviderError {
  if (refusal === 'error') {
    return new ProviderError('UNAVAILABLE', 'The simulated cloud answered 500. Try again.', { retryable: true });
  }
  const [least, most] = RETRY_AFTER;
  return new ProviderError('RATE_LIMITED', 'The simulated cloud asks for fewer requests. Try again later.', {
    retryable: true,
    retryAfter: least + Math.random() * (most - least),
  });
}

function answerLost(): ProviderError {
  return new ProviderError('TIMEOUT', 'The simulated cloud did not answer in time; the change may have taken effect.', {
    retryable: true,
  });
}

function notFound(ref: string): ProviderError {
  return new ProviderError('NOT_FOUND', `The simulated cloud has no server ${ref}.`, {
    retryable: false,
    details: { ref },
  });
}

function isProtected(ref: string): ProviderError {
  return new ProviderError('FORBIDDEN', `The simulated cloud refuses to delete the server ${ref}: it is protected.`, {
    retryable: false,
    details: { ref },
  });
}

function underDeletion(ref: string): ProviderError {
  return new ProviderError('CONFLICT', `The server ${ref} is being deleted.`, { retryable: true, details: { ref } });
}

function stillOn(ref: string): ProviderError {
  return new ProviderError('CONFLICT', `The server ${ref} must be stopped for that.`, {
    retryable: true,
    details: { ref },
  });
}

function refusedTwice(operationId: string): ProviderError {
  return new ProviderError('CONFLICT', `The simulated cloud refused a second create for operation ${operationId}.`, {
    retryable: false,
    details: { refused: true },
  });
}

/** Begins the work unless the signal has fired, and stops waiting for it when the signal fires. */
async function whileWanted<T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work();
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([work(), aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
