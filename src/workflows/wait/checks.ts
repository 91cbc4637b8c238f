/** Checks of wait nodes: how often they go out does not depend on how many nodes wait. */
import type { EgressPolicy } from '../../outbound/egress.ts';
import { sleep } from '../../util/sleep.ts';
import { tryHttp, tryTcp } from '../checks.ts';

/** What must answer. */
export type Check = { http: string; status?: number } | { tcp: string };

interface Shared {
  answer: Promise<string | null>;
  askers: number;
  end: AbortController;
}

export interface Checks {
  /**
   * Checks once, when it is its turn. All who wait for the same answer get it from one check.
   * @returns what is wrong; null: nothing. @throws the signal's reason.
   */
  ask(workspace: string, check: Check, signal: AbortSignal): Promise<string | null>;
}

/** @param turn takes a turn to check the target. @returns milliseconds until then. */
export function createChecks(
  egress: EgressPolicy,
  turn: (workspace: string, target: string) => Promise<number>,
): Checks {
  /** Those that wait for their turn or for the answer. */
  const asked = new Map<string, Shared>();

  const check = async (workspace: string, of: Check, signal: AbortSignal): Promise<string | null> => {
    await sleep(await turn(workspace, targetOf(of)), signal);
    const allowed = egress('check', workspace);
    return 'http' in of ? tryHttp(of.http, of.status ?? null, allowed, signal) : tryTcp(of.tcp, allowed, signal);
  };

  const begin = (workspace: string, of: Check): Shared => {
    const end = new AbortController();
    const shared = { answer: check(workspace, of, end.signal), askers: 0, end };
    // Whoever asked hears of it; it must not count as unheard once they have left.
    shared.answer.catch(() => 'heard by those who asked');
    return shared;
  };

  return {
    async ask(workspace, of, signal) {
      signal.throwIfAborted();
      const key = JSON.stringify([workspace, 'http' in of ? [of.http, of.status ?? null] : of.tcp]);
      const shared = asked.get(key) ?? begin(workspace, of);
      asked.set(key, shared);
      shared.askers += 1;
      try {
        return await untilAborted(shared.answer, signal);
      } finally {
        shared.askers -= 1;
        if (shared.askers === 0) shared.end.abort();
        if ((shared.askers === 0 || !signal.aborted) && asked.get(key) === shared) asked.delete(key);
      }
    },
  };
}

/** Host and port, as the check names them. */
function targetOf(of: Check): string {
  if ('tcp' in of) return of.tcp;
  if (!URL.canParse(of.http)) return of.http;
  const { protocol, hostname, port } = new URL(of.http);
  return `${hostname}:${port === '' ? (protocol === 'https:' ? 443 : 80) : port}`;
}

/** @throws the signal's reason as soon as it fires. */
async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
