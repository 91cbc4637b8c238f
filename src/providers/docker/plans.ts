import type { Plan } from '../contract.ts';
import { parsePlanName } from '../plan-names.ts';

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
  const size = parsePlanName(name);
  return size ? plan(size.cpus, size.memoryGb) : null;
}

/** Whether the engine's machine has as much. Docker refuses more processors than it has; Podman lets them pass unkept. */
export function fits(wanted: Plan, capacity: Capacity): boolean {
  return wanted.cpus <= capacity.cpus && wanted.memory_mb <= capacity.memoryGb * 1024;
}

function plan(cpus: number, memoryGb: number): Plan {
  const name = `${cpus}xCPU-${memoryGb}GB`;
  return { name, cpus, memory_mb: memoryGb * 1024, storage_gb: null, native_name: name };
}
