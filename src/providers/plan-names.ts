import type { Plan } from './contract.ts';

/** The size in a neutral plan name (`2xCPU-4GB`); null when the text is none. */
export function parsePlanName(name: string): { cpus: number; memoryGb: number } | null {
  const match = /^([1-9]\d{0,3})xCPU-([1-9]\d{0,4})GB$/.exec(name);
  return match ? { cpus: Number(match[1]), memoryGb: Number(match[2]) } : null;
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
