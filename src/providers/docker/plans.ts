import type { Plan } from '../contract.ts';

/** What the engine's machine has. */
export interface Capacity {
  cpus: number;
  /** Gibibytes, rounded up: a machine sold with 4 GB reports a little less. */
  memoryGb: number;
}

const OFFERED: readonly (readonly [cpus: number, memoryGb: number])[] = [
  [1, 1],
  [1, 2],
  [2, 2],
  [2, 4],
  [2, 8],
  [4, 8],
  [4, 16],
  [6, 16],
  [8, 32],
  [16, 64],
];

/** The offered plans that fit on the engine's machine. */
export function plansWithin(capacity: Capacity): Plan[] {
  return OFFERED.map(([cpus, memoryGb]) => plan(cpus, memoryGb)).filter((offered) => fits(offered, capacity));
}

/** The plan of that name, listed or not; null when the text is not `NxCPU-MGB`. */
export function parsePlan(name: string): Plan | null {
  const match = /^([1-9]\d{0,3})xCPU-([1-9]\d{0,4})GB$/.exec(name);
  return match ? plan(Number(match[1]), Number(match[2])) : null;
}

/** Whether the engine's machine has as much. Docker refuses more processors than it has; Podman lets them pass unkept. */
export function fits(wanted: Plan, capacity: Capacity): boolean {
  return wanted.cpus <= capacity.cpus && wanted.memory_mb <= capacity.memoryGb * 1024;
}

/** The (up to three) available plan names nearest to what was asked for: nearest in size when it names one, else the smallest. */
export function nearestPlans(name: string, available: readonly Plan[]): string[] {
  const [cpus = 1, memoryGb = 1] = (name.match(/[1-9]\d*/g) ?? []).map(Number);
  const distance = (offered: Plan) =>
    Math.abs(Math.log2(offered.cpus / cpus)) + Math.abs(Math.log2(offered.memory_mb / 1024 / memoryGb));
  return available
    .toSorted((a, b) => distance(a) - distance(b))
    .slice(0, 3)
    .map((offered) => offered.name);
}

function plan(cpus: number, memoryGb: number): Plan {
  const name = `${cpus}xCPU-${memoryGb}GB`;
  return { name, cpus, memory_mb: memoryGb * 1024, storage_gb: null, native_name: name };
}
