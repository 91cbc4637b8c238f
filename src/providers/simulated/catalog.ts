import { nearMatches } from '../../util/near-matches.ts';
import type { Plan, ServerSpec, SpecProblem, Zone } from '../contract.ts';

/** Suggestions where nothing is near. */
const EXAMPLES = 3;

/** The sizes and zones of the reference's cloud. */
const SIZES: readonly (readonly [cpus: number, gigabytes: number, storage: number])[] = [
  [1, 1, 25],
  [1, 2, 50],
  [2, 2, 60],
  [2, 4, 80],
  [4, 8, 160],
  [6, 16, 320],
  [8, 32, 640],
  [12, 48, 960],
  [16, 64, 1280],
  [20, 96, 1920],
];

export const PLANS: readonly Plan[] = SIZES.map(([cpus, gigabytes, storage]) => {
  const name = `${cpus}xCPU-${gigabytes}GB`;
  return { name, cpus, memory_mb: gigabytes * 1_024, storage_gb: storage, native_name: name };
});

export const ZONES: readonly Zone[] = [
  ['au-syd1', 'Sydney'],
  ['de-fra1', 'Frankfurt'],
  ['es-mad1', 'Madrid'],
  ['fi-hel1', 'Helsinki 1'],
  ['fi-hel2', 'Helsinki 2'],
  ['nl-ams1', 'Amsterdam'],
  ['pl-waw1', 'Warsaw'],
  ['sg-sin1', 'Singapore'],
  ['uk-lon1', 'London'],
  ['us-chi1', 'Chicago'],
  ['us-nyc1', 'New York'],
  ['us-sjo1', 'San Jose'],
].map(([name = '', description = '']) => ({ name, description }));

/** What is wrong with a spec by the catalogue. */
export function specProblems(spec: ServerSpec): SpecProblem[] {
  return [...unknown('plan', spec.plan, PLANS), ...unknown('zone', spec.zone, ZONES)];
}

function unknown(field: 'plan' | 'zone', value: string, known: readonly { name: string }[]): SpecProblem[] {
  const names = known.map(({ name }) => name);
  if (names.includes(value)) return [];
  const near = nearMatches(value, names);
  return [
    {
      field,
      message: `The simulated cloud has no ${field} "${value}".`,
      near_matches: near.length > 0 ? near : names.slice(0, EXAMPLES),
    },
  ];
}
