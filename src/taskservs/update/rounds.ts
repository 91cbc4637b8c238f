import type { TaskservDefinition } from '../../catalog/catalog.ts';
import { installRounds, type Place, placesAmong, type Round, removeRounds, roundsOf } from '../cluster/members.ts';
import type { TaskservHost } from '../host-store.ts';

/**
 * The order of a change: servers that leave and do not run go first, so that they count towards no majority any more;
 * then the others are changed and new ones join; servers that leave and run go last, when others can take their work.
 * @param to `places`: null where each server has a service of its own.
 */
export function roundsBetween(
  { cluster }: TaskservDefinition,
  to: { places: readonly Place[] | null; named: readonly { server_id: string }[]; leaving: readonly TaskservHost[] },
): Round[] {
  const { places, named, leaving } = to;
  if (cluster === null || places === null) {
    const install: Round = { action: 'install', servers: named.map(({ server_id }) => server_id), at_once: null };
    const remove: Round = { action: 'remove', servers: leaving.map(({ server_id }) => server_id), at_once: null };
    return [install, remove].filter(({ servers }) => servers.length > 0);
  }
  const gone = leaving.filter(({ status }) => status !== 'running');
  const removals = removeRounds(cluster, placesAmong(leaving));
  return [
    ...roundsOf(removals, gone),
    ...installRounds(cluster, places),
    ...roundsOf(
      removals,
      leaving.filter((host) => !gone.includes(host)),
    ),
  ];
}
