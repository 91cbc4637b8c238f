import { OperationError, type StepCall } from '../../engine/procedure.ts';
import { aheadOf } from '../../servers/turn-store.ts';
import type { Transport } from '../../transports/contract.ts';
import { backoff } from '../../util/backoff.ts';
import { sleep } from '../../util/sleep.ts';
import type { Slots } from '../../util/slots.ts';
import { readHost } from '../host-store.ts';
import { withTransport } from './each-host.ts';
import type { Host, HostTools } from './input.ts';

/** Pauses between looks for the turn. Milliseconds. */
const LOOK_PAUSES = { first: 50, most: 1_000 };
/** A host held longer than this is not waited for. Seconds. */
const MAX_WAIT_SECONDS = 14_400;

/**
 * Waits until the host is this operation's to change, and is running.
 * @throws HOST_BUSY after four hours, SERVER_MISSING, SERVER_NOT_RUNNING.
 */
export async function untilTurn(tools: HostTools, host: Host, call: StepCall): Promise<{ address: string | null }> {
  await waitForTurn(tools, host, call);
  return requireRunning(tools, host);
}

/** As `untilTurn`, whether the host runs or not. @throws HOST_BUSY. */
export async function waitForTurn(tools: HostTools, host: Host, call: StepCall): Promise<void> {
  const began = performance.now();
  let told: string | null = null;
  for (let looks = 1; ; looks += 1) {
    const ahead = await aheadOf(tools.db, call.operationId, host.server_id);
    if (ahead === null) break;
    if (performance.now() - began > MAX_WAIT_SECONDS * 1_000) {
      throw new OperationError(
        'HOST_BUSY',
        `operation ${ahead.id} (${ahead.kind}) has held ${host.hostname} for ${MAX_WAIT_SECONDS / 3_600} hours.`,
      );
    }
    if (told !== ahead.id) {
      told = ahead.id;
      await call.log(`Waiting for operation ${ahead.id} (${ahead.kind}) to be done with ${host.hostname}.`, {
        host: host.hostname,
        waits_for: ahead.id,
      });
    }
    await sleep(backoff(looks, LOOK_PAUSES), call.signal);
  }
}

/**
 * Does the work on the host when it is this operation's turn there and a place is free. The way into the host is closed
 * after the work; the turn is the work's to give back.
 * @throws as `untilTurn`; the signal's reason; whatever `work` throws.
 */
export async function inTurn<T>(
  tools: HostTools,
  host: Host,
  call: StepCall,
  slots: Slots,
  work: (transport: Transport, address: string | null) => Promise<T>,
): Promise<T> {
  const { address } = await untilTurn(tools, host, call);
  return slots.run(call.signal, () => withTransport(tools, host, call.signal, (transport) => work(transport, address)));
}

/** @throws SERVER_MISSING, SERVER_NOT_RUNNING. */
export async function requireRunning(tools: HostTools, host: Host): Promise<{ address: string | null }> {
  const now = await readHost(tools.db, host.server_id);
  if (now === null) {
    throw new OperationError('SERVER_MISSING', `the server ${host.hostname} (${host.server_id}) is gone.`);
  }
  if (now.status !== 'running') {
    throw new OperationError('SERVER_NOT_RUNNING', `the server ${host.hostname} is ${now.status}; it must be running.`);
  }
  return { address: now.ip_address };
}
