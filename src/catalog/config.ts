import { isDeepStrictEqual } from 'node:util';
import { errors } from '../errors.ts';
import { type Budget, evaluate } from '../evaluation/pool.ts';
import { nearMatches } from '../util/near-matches.ts';
import { generateSecret } from '../util/secret-pattern.ts';
import type { TaskservDefinition } from './definition.ts';
import type { CATALOG_TASKS } from './tasks.ts';

/**
 * Checks a config against the definition and fills in its defaults; `config` itself stays as it is. In a thread of its
 * own: patterns and schemas of a workspace's definitions, and what is held against them, are written by users.
 * @returns every value, the names of those that are secret and have one, and of those that are privileged and not as the
 * definition has them.
 * @throws 400 VALIDATION_ERROR naming each wrong field as `config.<name>`, never its value; 400 TOO_COSTLY.
 */
export async function resolveConfig(
  definition: TaskservDefinition,
  config: Record<string, unknown>,
  budget: Budget,
): Promise<{ values: Record<string, unknown>; secrets: string[]; privileged: string[] }> {
  const { name, config: properties } = definition;
  const { values, problems } = await evaluate<(typeof CATALOG_TASKS)['taskserv.config']>(
    'taskserv.config',
    { name, properties, config },
    budget,
    'config',
  );
  if (problems.length > 0) throw errors.validation(problems);
  const names = Object.keys(values);
  return {
    values,
    secrets: names.filter((field) => properties[field]?.secret === true),
    privileged: names.filter((field) => {
      const { privileged, default: usual } = properties[field] ?? {};
      return privileged === true && !isDeepStrictEqual(values[field], usual);
    }),
  };
}

/**
 * The version to install: the one asked for, or the default where it is undefined.
 * @throws 400 VALIDATION_ERROR naming `config.version` and the versions that there are.
 */
export function resolveVersion(definition: TaskservDefinition, version: unknown): string {
  const { supported } = definition.versions;
  if (version === undefined) return definition.versions.default;
  if (typeof version === 'string' && supported.includes(version)) return version;
  const near = typeof version === 'string' ? nearMatches(version, supported) : [];
  throw errors.validation([
    {
      field: 'config.version',
      message: `must be a version of ${definition.name} that the catalog has: ${supported.join(', ')}`,
      near_matches: near.length > 0 ? near : supported.slice(0, 3),
    },
  ]);
}

/**
 * The values with a secret for each property that generates one and has none.
 * @param kept what was generated before, which is kept.
 */
export function generateSecrets(
  definition: TaskservDefinition,
  { values, secrets }: { values: Record<string, unknown>; secrets: string[] },
  kept: Record<string, unknown>,
): { values: Record<string, unknown>; secrets: string[] } {
  const made = Object.entries(definition.config).flatMap(([name, { generate }]) =>
    generate === undefined || values[name] !== undefined
      ? []
      : [[name, kept[name] ?? generateSecret(generate)] as const],
  );
  return { values: { ...values, ...Object.fromEntries(made) }, secrets: [...secrets, ...made.map(([name]) => name)] };
}

/**
 * Whether what is installed may become another version in one go. What was asked for does not count: it may have failed.
 * @param hosts that are to have it; `version` null: nothing is installed there.
 * @throws 409 naming the versions that all of them may become.
 */
export function requireUpgrade(
  definition: TaskservDefinition,
  hosts: readonly { hostname: string; version: string | null }[],
  to: string,
): void {
  if (definition.versions.upgrade === 'any') return;
  const refuses = (version: string) => hosts.find((host) => host.version !== null && !isStep(host.version, version));
  const stuck = refuses(to);
  if (stuck === undefined) return;
  const { hostname, version: from } = stuck;
  const next = definition.versions.supported.filter((version) => refuses(version) === undefined);
  throw errors.conflict(
    `${definition.name} ${from} on ${hostname} cannot become ${to}: it is upgraded by one minor version at a time, and never downgraded. ${next.length === 0 ? 'The catalog has no version that it could become.' : `It can become ${next.join(' or ')}.`}`,
    { server: hostname, version: from, possible_versions: next },
  );
}

/** Whether the one is the other, or a newer one of the same or the next minor version. */
function isStep(from: string, to: string): boolean {
  const [now, then] = [minorOf(from), minorOf(to)];
  if (from === to || now === null || then === null) return true;
  const near = now.major === then.major && [now.minor, now.minor + 1].includes(then.minor);
  return near && compareVersions(to, from) > 0;
}

function minorOf(version: string): { major: number; minor: number } | null {
  const found = /^v?(\d+)\.(\d+)/.exec(version);
  return found === null ? null : { major: Number(found[1]), minor: Number(found[2]) };
}

/** By their numbers, one after the other. */
function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => (version.match(/\d+/g) ?? []).map(Number));
  for (let at = 0; at < Math.max(left?.length ?? 0, right?.length ?? 0); at += 1) {
    const difference = (left?.[at] ?? 0) - (right?.[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
