/** What is checked of a spec at every cloud, against the lists that the cloud gave. */

import { nearMatches } from '../util/near-matches.ts';
import { type CloudInitOptions, cloudInit } from './cloud-init.ts';
import type { Plan, ServerSpec, SpecProblem, Zone } from './contract.ts';
import { nearestPlans } from './plan-names.ts';
import { readUserData } from './user-data.ts';

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

/**
 * What cloud-init could not use, and what is too long for the cloud.
 * @param options what is sent besides, and how much the cloud takes.
 * @param made what is sent of what cloud-init can use.
 */
export function userDataProblems(
  cloud: string,
  spec: ServerSpec,
  options: CloudInitOptions,
  made: () => Buffer = () => cloudInit(spec, options),
): SpecProblem[] {
  const own = readUserData(spec.user_data);
  if (own !== null && 'problem' in own) return [userDataProblem(own.problem)];
  const { length } = made();
  if (length <= options.limit) return [];
  const added = options.compressed === null ? 'This' : 'With what is added to it (host name, keys), compressed, this';
  const ways = 'Have it fetch what is long (#include), or install it as a service.';
  return [
    userDataProblem(`${cloud} takes at most ${options.limit} bytes of user data. ${added} is ${length}. ${ways}`),
  ];
}

export function userDataProblem(message: string): SpecProblem {
  return { field: 'user_data', message, near_matches: [] };
}
