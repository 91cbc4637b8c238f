/** Checks of wait nodes: how often they go out does not depend on how many nodes wait. */
import type { Limits } from '../../limits/limits.ts';
import type { EgressPolicy } from '../../outbound/egress.ts';
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

export function createChecks(egress: EgressPolicy, limits: Pick<Limits, 'turnToCheck'>): Checks {
  /** Those that wait for their turn or for the answer. */
  const asked = new Map<string, Shared>();

  const check = async (workspace: string, of: Check, signal: AbortSignal): Promise<string | null> => {
    const allowed = egress('check', workspace);
    const target = targetOf(of);
    // What may not be reached takes no turn of those who may.
    const refused = allowed.refusal(target.host);
    if (refused !== null) return refused;
    await limits.turnToCheck(workspace, `${target.host}:${target.port}`, signal);
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

/** As the check names it. What is no address is not checked, and takes its turns by itself. */
function targetOf(of: Check): { host: string; port: string } {
  if ('tcp' in of) {
    const [, host = of.tcp, port = ''] = /^(.+):(\d+)$/.exec(of.tcp) ?? [];
    return { host, port };
  }
  if (!URL.canParse(of.http)) return { host: of.http, port: '' };
  const { protocol, hostname, port } = new URL(of.http);
  return { host: hostname, port: port || (protocol === 'https:' ? '443' : '80') };
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
