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
 * Whether an installed version may become another one in one go.
 * @throws 409 naming the versions that it may become.
 */
export function requireUpgrade(definition: TaskservDefinition, from: string, to: string): void {
  const [now, then] = [minorOf(from), minorOf(to)];
  if (definition.versions.upgrade === 'any' || from === to || now === null || then === null) return;
  const allowed = (version: string) => {
    const minor = minorOf(version);
    return minor !== null && minor.major === now.major && [now.minor, now.minor + 1].includes(minor.minor);
  };
  const newer = (version: string) => compareVersions(version, from) > 0;
  if (allowed(to) && newer(to)) return;
  const next = definition.versions.supported.filter((version) => allowed(version) && newer(version));
  throw errors.conflict(
    `${definition.name} ${from} cannot become ${to}: it is upgraded by one minor version at a time, and never downgraded. ${next.length === 0 ? 'The catalog has no version that it could become.' : `It can become ${next.join(' or ')}.`}`,
    { version: from, possible_versions: next },
  );
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
