/** Starting, stopping and restarting servers at UpCloud. */
import type { CloudHttp } from '../cloud-http.ts';
import { type MutationOptions, type Provider, ProviderError } from '../contract.ts';
import { untilObserved } from '../observer.ts';
import { readOne } from './listing.ts';

/** Seconds that a server has to shut down in order when it is stopped or restarted. */
const SHUTDOWN_SECONDS = '60';
/** A server that restarts is shown as it was for some 6 s; one that shows nothing within this has restarted by then. */
const RESTART_SHOWS_MS = 20_000;

const START = { server: {} };
const STOP = { stop_server: { stop_type: 'soft', timeout: SHUTDOWN_SECONDS } };
const STOP_AT_ONCE = { stop_server: { stop_type: 'hard' } };
const RESTART = {
  restart_server: { stop_type: 'soft', timeout: SHUTDOWN_SECONDS, timeout_action: 'destroy' },
};

/** Asks for the change; a server whose state does not allow it is looked at instead. @returns its state then, or null. */
async function unlessIllegal(
  http: CloudHttp,
  ref: string,
  change: 'start' | 'stop' | 'restart',
  body: object,
  options: MutationOptions,
): Promise<string | null> {
  try {
    await http.change(
      `${change} the server`,
      'POST',
      `/1.3/server/${encodeURIComponent(ref)}/${change}`,
      body,
      options,
    );
    return null;
  } catch (error) {
    if (!isCode(error, 'CONFLICT')) throw error;
    const now = await readOne(http, ref, options);
    if (now === null) throw notFound(ref);
    return now.state;
  }
}

export async function startServer(http: CloudHttp, ref: string, options: MutationOptions): Promise<void> {
  const state = await unlessIllegal(http, ref, 'start', START, options);
  if (state !== null && state !== 'started') throw busy(ref, state);
}

export async function stopServer(http: CloudHttp, ref: string, options: MutationOptions): Promise<void> {
  const state = await unlessIllegal(http, ref, 'stop', STOP, options);
  if (state !== null && state !== 'stopped') throw busy(ref, state);
}

/** Cuts the power. A server that does not exist is success. */
export async function stopAtOnce(http: CloudHttp, ref: string, options: MutationOptions): Promise<void> {
  try {
    await unlessIllegal(http, ref, 'stop', STOP_AT_ONCE, options);
  } catch (error) {
    if (!isCode(error, 'NOT_FOUND')) throw error;
  }
}

/** Returns once the server shows that it restarts: until then it is shown as running. */
export async function restartServer(
  http: CloudHttp,
  provider: Provider,
  ref: string,
  options: MutationOptions,
): Promise<void> {
  const state = await unlessIllegal(http, ref, 'restart', RESTART, options);
  if (state === 'stopped') return startServer(http, ref, options);
  if (state !== null) throw busy(ref, state);
  const late = AbortSignal.timeout(RESTART_SHOWS_MS);
  const signal = AbortSignal.any([late, ...(options.signal === undefined ? [] : [options.signal])]);
  try {
    await untilObserved(provider, ref, (server) => server?.status !== 'running', signal, options);
  } catch (error) {
    if (!late.aborted || error !== late.reason) throw error;
  }
}

export function isCode(error: unknown, code: ProviderError['code']): boolean {
  return error instanceof ProviderError && error.code === code;
}

function notFound(ref: string): ProviderError {
  return new ProviderError('NOT_FOUND', `UpCloud has no server ${ref}.`, { retryable: false, details: { ref } });
}

export function busy(ref: string, state: string): ProviderError {
  const remedy = state === 'error' ? ' Should it stay so, UpCloud’s support can mend it.' : '';
  return new ProviderError(
    'CONFLICT',
    `The server ${ref} at UpCloud is in a state that does not allow this now (${state}).${remedy}`,
    { retryable: true, details: { ref, state } },
  );
}
