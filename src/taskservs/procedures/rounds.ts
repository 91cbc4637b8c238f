/** Work on the hosts of a service across servers, in order. */
import type { ProcedureContext, StepCall } from '../../engine/procedure.ts';
import type { Slots } from '../../util/slots.ts';
import type { Round } from '../cluster/members.ts';
import { type HostOutcome, onEachHost } from './each-host.ts';
import type { Host, HostsInput, HostTools } from './input.ts';

/** Code of a host on which nothing was done, because another one had failed. */
export const NOT_BEGUN = 'NOT_BEGUN';

/** What is done on a host in a round, and the step's name before the hostname, which is a persisted contract. */
export interface RoundWork<T> {
  what: string;
  work(host: Host, call: StepCall, slots: Slots): Promise<T>;
}

/**
 * Round by round, each with no more hosts at once than it says. After a failure no further host is begun, but those of
 * the same round where all go at once: a service that needs a majority must not lose a second member.
 * @param goesOn also after a failure, as for a service that goes as a whole.
 * @throws when the operation is cancelled or interrupted.
 */
export async function inRounds<T>(
  context: ProcedureContext,
  tools: HostTools,
  input: HostsInput & { rounds: Round[] },
  works: Record<Round['action'], RoundWork<T>>,
  goesOn = false,
): Promise<HostOutcome<T>[]> {
  const outcomes: HostOutcome<T>[] = [];
  const tally = { ended: 0, all: input.rounds.reduce((sum, { servers }) => sum + servers.length, 0) };
  for (const { action, servers, at_once: atOnce } of input.rounds) {
    const hosts = servers.flatMap((id) => input.hosts.find(({ server_id }) => server_id === id) ?? []);
    const { what, work } = works[action];
    for (let from = 0; from < hosts.length; from += atOnce ?? hosts.length) {
      const next = hosts.slice(from, from + (atOnce ?? hosts.length));
      const failed = goesOn ? undefined : outcomes.find(({ ok }) => !ok);
      outcomes.push(
        ...(failed === undefined
          ? await onEachHost(context, tools, what, next, work, tally)
          : next.map((host) => notBegun(host, failed.host))),
      );
    }
  }
  return outcomes;
}

function notBegun(host: Host, failed: Host): HostOutcome<never> {
  return {
    host,
    ok: false,
    code: NOT_BEGUN,
    message: `${host.hostname}: not begun, because ${failed.hostname} failed.`,
  };
}
