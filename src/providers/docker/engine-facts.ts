import type { CallOptions } from '../contract.ts';
import { read } from './calls.ts';
import type { Engine } from './connection.ts';
import type { Capacity } from './plans.ts';

/** What the engine says of itself and of its machine. */
export interface EngineFacts extends Capacity {
  version: string;
  operatingSystem: string;
  /** False where the engine drops processor or memory limits without a word (rootless Podman on cgroups v1, some kernels). */
  keepsLimits: boolean;
}

/** How long an answer is good for. Podman takes 0.2 s to describe itself, too long for every request that names a plan. */
const REMEMBERED_MS = 30_000;

/** Returns a function that reads the facts, at most once in 30 s, however many ask at once. A failure is not remembered. */
export function engineFactsReader(engine: Engine): (options?: CallOptions) => Promise<EngineFacts> {
  let answer: Promise<EngineFacts> | undefined;
  let askedAt = 0;
  const ask = () => {
    if (answer && performance.now() - askedAt < REMEMBERED_MS) return answer;
    askedAt = performance.now();
    const asked = engine.docker.info().then(toFacts);
    asked.catch(() => {
      if (answer === asked) answer = undefined;
    });
    answer = asked;
    return asked;
  };
  // Each caller waits under its own signal and time limit.
  return (options = {}) => read(engine, 'describe itself', options, ask);
}

function toFacts(info: Record<string, unknown>): EngineFacts {
  const positive = (value: unknown) => (typeof value === 'number' && value > 0 ? value : null);
  const memory = positive(info.MemTotal);
  const rootlessOnV1 = info.Rootless === true && info.CgroupVersion === '1';
  return {
    // Without a number nothing is known to be too large.
    cpus: positive(info.NCPU) ?? Number.POSITIVE_INFINITY,
    memoryGb: memory === null ? Number.POSITIVE_INFINITY : Math.ceil(memory / 2 ** 30),
    version: String(info.ServerVersion ?? 'unknown'),
    operatingSystem: String(info.OperatingSystem ?? 'unknown'),
    keepsLimits: info.MemoryLimit !== false && info.CpuCfsQuota !== false && !rootlessOnV1,
  };
}

/** The zone's description: which engine it is, and whether the plans are kept to there. */
export function describeEngine({ version, operatingSystem, keepsLimits }: EngineFacts): string {
  const limits = keepsLimits ? '' : "; it does not hold containers to the plan's processors and memory";
  return `Containers of the local engine (version ${version} on ${operatingSystem})${limits}`;
}
