import { errors } from '../errors.ts';
import { type Budget, evaluate } from '../evaluation/pool.ts';
import { nearMatches } from '../util/near-matches.ts';
import type { TaskservDefinition } from './definition.ts';
import type { CATALOG_TASKS } from './tasks.ts';

/**
 * Checks a config against the definition and fills in its defaults; `config` itself stays as it is. In a thread of its
 * own: patterns and schemas of a workspace's definitions, and what is held against them, are written by users.
 * @returns every value, and the names of those that are secret and have one.
 * @throws 400 VALIDATION_ERROR naming each wrong field as `config.<name>`, never its value; 400 TOO_COSTLY.
 */
export async function resolveConfig(
  definition: TaskservDefinition,
  config: Record<string, unknown>,
  budget: Budget,
): Promise<{ values: Record<string, unknown>; secrets: string[] }> {
  const { name, config: properties } = definition;
  const { values, problems } = await evaluate<(typeof CATALOG_TASKS)['taskserv.config']>(
    'taskserv.config',
    { name, properties, config },
    budget,
    'config',
  );
  if (problems.length > 0) throw errors.validation(problems);
  return { values, secrets: Object.keys(values).filter((field) => properties[field]?.secret === true) };
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
