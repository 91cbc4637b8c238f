import type { CallOptions, MutationOptions } from '../contract.ts';
import type { Engine } from './connection.ts';
import { timedOut, toProviderError } from './errors.ts';

/** How long one answer may take. A local engine answers within a second; a loaded one that starts a container, in a few. */
const CALL_TIMEOUT_MS = 30_000;

/** How long a call may take, and what ends the waiting for it. */
interface Bounds extends CallOptions {
  timeoutMs?: number;
}

/**
 * Asks the engine something. Ends at once when the signal fires, with the signal's own reason.
 *
 * @param what the call in a few words, for messages: `list the containers`.
 * @throws ProviderError; TIMEOUT (retryable) when no whole answer came within `timeoutMs`.
 */
export async function read<T>(engine: Engine, what: string, bounds: Bounds, send: (signal: AbortSignal) => Promise<T>) {
  const { signal, timeoutMs = CALL_TIMEOUT_MS } = bounds;
  signal?.throwIfAborted();
  const request = new AbortController();
  // dockerode's promise stays open for ever when the engine dies in the middle of an answer: it is never relied on alone.
  const ended = Promise.withResolvers<never>();
  const end = (reason: unknown) => {
    ended.reject(reason);
    request.abort(reason);
  };
  const timer = setTimeout(() => end(timedOut(engine, what, timeoutMs)), timeoutMs);
  const onAbort = () => end(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([ended.promise, send(request.signal)]);
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw toProviderError(engine, what, error);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

/**
 * Has the engine change something. Nothing goes out once the signal has fired or when the guard throws; what has gone
 * out is awaited whatever the signal does, and never cut off: a cut connection makes Docker give up half-way.
 *
 * @throws ProviderError; TIMEOUT (retryable) when no answer came in time: the change may have happened or may yet.
 */
export async function mutate<T>(
  engine: Engine,
  what: string,
  options: MutationOptions,
  send: () => Promise<T>,
): Promise<T> {
  options.signal?.throwIfAborted();
  options.guard();
  return read(engine, what, {}, send);
}
