/** What is checked of a spec at every cloud, against the lists that the cloud gave. */

import { nearMatches } from '../util/near-matches.ts';
import type { Plan, ServerSpec, SpecProblem, Zone } from './contract.ts';
import { nearestPlans } from './plan-names.ts';

/** @param cloud its name as people write it, for messages. */
export function zoneProblems(cloud: string, { zone }: ServerSpec, zones: readonly Zone[]): SpecProblem[] {
  const names = zones.map((known) => known.name);
  if (names.includes(zone)) return [];
  const near = nearMatches(zone, names);
  return [
    {
      field: 'zone',
      message: `${cloud} has no zone "${zone}" for this account.`,
      near_matches: near.length > 0 ? near : names.slice(0, 3),
    },
  ];
}

export function planProblems(cloud: string, { plan }: ServerSpec, plans: readonly Plan[]): SpecProblem[] {
  if (plans.some((known) => known.name === plan)) return [];
  return [{ field: 'plan', message: `${cloud} has no plan "${plan}".`, near_matches: nearestPlans(plan, plans) }];
}

/** @param text what would be sent. @param limit in bytes. */
export function userDataProblems(cloud: string, text: string, limit: number): SpecProblem[] {
  if (Buffer.byteLength(text) <= limit) return [];
  return [
    {
      field: 'user_data',
      message: `${cloud} takes at most ${limit} bytes of user data, with what is added to it (host name, key).`,
      near_matches: [],
    },
  ];
}
