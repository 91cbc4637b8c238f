import { setTimeout as delay } from 'node:timers/promises';

/** Waits. @throws the signal's reason as soon as it fires (the library's own throws an AbortError that only holds it). */
export async function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  try {
    await delay(milliseconds, undefined, { signal });
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  }
}
