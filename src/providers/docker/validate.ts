import type { ServerSpec, SpecProblem } from '../contract.ts';
import { hostnameProblems, type LabelRules, tagProblems } from '../labels.ts';
import { nearestPlans } from '../plan-names.ts';
import { ZONE } from './containers.ts';
import { type Capacity, fits, parsePlan, plansWithin } from './plans.ts';

/** Everything wrong with the spec for an engine on a machine of that capacity. */
export function specProblems(spec: ServerSpec, capacity: Capacity): SpecProblem[] {
  return [
    ...zoneProblems(spec),
    ...planProblems(spec, capacity),
    ...hostnameProblems(spec),
    ...tagProblems(spec, LABELS),
    ...choiceProblems(spec),
  ];
}

function zoneProblems({ zone }: ServerSpec): SpecProblem[] {
  if (zone === ZONE) return [];
  return [
    {
      field: 'zone',
      message: `The docker provider has no zone "${zone}": its only one is "${ZONE}".`,
      near_matches: [ZONE],
    },
  ];
}

function planProblems({ plan }: ServerSpec, capacity: Capacity): SpecProblem[] {
  const wanted = parsePlan(plan);
  if (wanted && fits(wanted, capacity)) return [];
  return [
    {
      field: 'plan',
      message: wanted
        ? `The plan "${plan}" does not fit: the engine's machine has ${capacity.cpus} processors and ${capacity.memoryGb} GB.`
        : `There is no plan "${plan}". Plans are named like "2xCPU-4GB".`,
      near_matches: nearestPlans(plan, plansWithin(capacity)),
    },
  ];
}

/** Docker splits label keys at "=" when it is asked to filter by them: values may hold more of them. */
const LABELS: LabelRules = {
  key: /^[\w.:/@+-]{1,128}$/,
  value: /^[\w.:/@+=-]{0,128}$/,
  words: 'use 1 to 128 letters, digits and _ . : / @ + -',
};

/** What a container leaves no choice of. */
function choiceProblems({ image, user_data: userData, networks }: ServerSpec): SpecProblem[] {
  const problem = (field: 'image' | 'user_data' | 'networks', message: string) => ({
    field,
    message,
    near_matches: [],
  });
  return [
    ...(image ? [problem('image', 'Containers are made from the image in PROVISIONING_DOCKER_IMAGE.')] : []),
    ...(userData ? [problem('user_data', 'A container has no cloud-init.')] : []),
    ...(networks?.length ? [problem('networks', "Containers are in the engine's default network.")] : []),
  ];
}
