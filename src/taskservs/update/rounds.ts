import type { TaskservDefinition } from '../../catalog/catalog.ts';
import {
  goesOn,
  installRounds,
  type Place,
  presentPlaces,
  type Round,
  removeRounds,
  roundsOf,
} from '../cluster/members.ts';
import type { TaskservHost } from '../host-store.ts';

/**
 * The order of a change: servers that leave and do not run go first, so that they count towards no majority any more;
 * then the others are changed and new ones join; servers that leave and run go last, when others can take their work.
 * Where none that stays has joined the service yet, all go last: what they carry is the service.
 * @param to `places`: null where each server has a service of its own.
 */
export function roundsBetween(
  definition: TaskservDefinition,
  to: {
    places: readonly Place[] | null;
    named: readonly { server_id: string }[];
    present: readonly TaskservHost[];
    leaving: readonly TaskservHost[];
  },
): Round[] {
  const { cluster } = definition;
  const { places, named, present, leaving } = to;
  if (cluster === null || places === null) {
    const install: Round = { action: 'install', servers: named.map(({ server_id }) => server_id), at_once: null };
    const remove: Round = { action: 'remove', servers: leaving.map(({ server_id }) => server_id), at_once: null };
    return [install, remove].filter(({ servers }) => servers.length > 0);
  }
  const leaves = ({ server_id }: Pick<Place, 'server_id'>) => leaving.some((host) => host.server_id === server_id);
  const versionOf = (place: Place) => present.find(({ server_id }) => server_id === place.server_id)?.version ?? null;
  const members = presentPlaces(definition, present).map((place) => ({ ...place, version: versionOf(place) }));
  const stays = members.filter((member) => !leaves(member));
  const gone = goesOn(cluster, stays) ? leaving.filter(({ status }) => status !== 'running') : [];
  const removals = removeRounds(cluster, members.filter(leaves));
  return [
    ...roundsOf(removals, gone),
    ...installRounds(cluster, places),
    ...roundsOf(
      removals,
      leaving.filter((host) => !gone.includes(host)),
    ),
  ];
}
