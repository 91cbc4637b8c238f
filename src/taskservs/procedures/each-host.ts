import { OperationError, type ProcedureContext, type StepCall } from '../../engine/procedure.ts';
import { type Transport, TransportError } from '../../transports/contract.ts';
import { createSlots, type Slots } from '../../util/slots.ts';
import type { Host, HostTools } from './input.ts';

/** A host's step may wait for other operations and for a place; what it does there has deadlines of its own. */
const STEP = { deadline: 172_800, attempts: 8 };

/** How the work on one host ended. */
export type HostOutcome<T> =
  | { host: Host; ok: true; value: T }
  | { host: Host; ok: false; code: string; message: string };

/**
 * Runs `<what> <hostname>` on every host as a step of its own, all begun at once, a bounded number at work. One that
 * fails does not hide the others: it is an outcome. The steps' names and order are a persisted contract, which is why
 * each host has exactly one.
 * @param tally of an operation that works on its hosts in several calls: how many of all have ended.
 * @throws when the operation is cancelled or interrupted, after all hosts have stopped.
 */
export async function onEachHost<T>(
  context: ProcedureContext,
  tools: HostTools,
  what: string,
  hosts: readonly Host[],
  work: (host: Host, call: StepCall, slots: Slots) => Promise<T>,
  tally: { ended: number; all: number } = { ended: 0, all: hosts.length },
): Promise<HostOutcome<T>[]> {
  const slots = createSlots(tools.hostsAtOnce);
  const settled = await Promise.allSettled(
    hosts.map(async (host) => {
      try {
        return await context.step(
          `${what} ${host.hostname}`,
          (call) => asOperation(() => work(host, call, slots)),
          STEP,
        );
      } finally {
        tally.ended += 1;
        await context.progress((99 * tally.ended) / tally.all);
      }
    }),
  );
  const interruption = settled.find((one) => one.status === 'rejected' && failureOf(one.reason) === null);
  if (interruption?.status === 'rejected') throw interruption.reason;
  return settled.map((one, index): HostOutcome<T> => {
    const host = hosts[index] ?? { server_id: '', hostname: '' };
    if (one.status === 'fulfilled') return { host, ok: true, value: one.value };
    const { code, message } = failureOf(one.reason) ?? { code: 'FAILED', message: '' };
    return { host, ok: false, code, message };
  });
}

/** A host's own failure; null for a cancel, for a stop of this replica, and for what nobody foresaw. */
function failureOf(reason: unknown): { code: string; message: string } | null {
  if (!(reason instanceof Error) || reason.name !== 'OperationError' || !('code' in reason)) return null;
  const code = String(reason.code);
  return code === 'CANCELLED' || code === 'HANDED_OVER' ? null : { code, message: reason.message };
}

/** Failures of the way into the host become the operation's own. */
async function asOperation<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof TransportError)) throw error;
    throw new OperationError(error.code, error.message, { retryable: error.retryable, cause: error });
  }
}

/** Opens the way into a host, and closes it after the work. */
export async function withTransport<T>(
  tools: HostTools,
  host: Host,
  signal: AbortSignal,
  work: (transport: Transport) => Promise<T>,
): Promise<T> {
  const transport = await tools.hosts.open(host.server_id, signal);
  try {
    return await work(transport);
  } finally {
    await transport.close();
  }
}
