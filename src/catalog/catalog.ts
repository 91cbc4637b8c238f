/**
 * The catalog of taskservs: what can be installed on a server, and how. Definitions are folders without code of ours:
 * the built-in ones in `taskservs/`, a workspace's own in `<workspace path>/taskservs/`. docs/contracts/taskserv.md has
 * the rules for writing one.
 */
import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { ROOT } from '../root.ts';
import type { TaskservDefinition } from './definition.ts';
import { type CatalogProblem, loadDefinitions } from './load.ts';

export { generateSecrets, requireUpgrade, resolveConfig, resolveVersion } from './config.ts';
export type { ClusterDefinition, ConfigProperty, PeerScriptName, TaskservDefinition } from './definition.ts';
export type { CatalogProblem } from './load.ts';
export { resolveOrder } from './order.ts';
export { renderScripts } from './render.ts';

/** What a workspace can install, and what is wrong with its own definitions. */
export interface Catalog {
  definitions: Map<string, TaskservDefinition>;
  problems: CatalogProblem[];
}

const BUILT_IN = path.join(ROOT, 'src/catalog/taskservs');
const FOLDER = 'taskservs';

let builtIn: Promise<Catalog> | undefined;

/**
 * The built-in definitions with a workspace's own over them. The workspace's folder is read anew at each call, the
 * built-in one once. A definition with a mistake is left out, also where a built-in one has that name, so that nobody
 * gets another service than they wrote down; `problems` says what is wrong, file, line and column.
 * @param workspacePath null for the built-in definitions alone.
 */
export async function loadCatalog(workspacePath: string | null): Promise<Catalog> {
  builtIn ??= loadDefinitions(BUILT_IN, 'built-in').then(({ definitions, problems }) => ({ definitions, problems }));
  const base = await builtIn;
  if (workspacePath === null) return { definitions: new Map(base.definitions), problems: [...base.problems] };
  const root = await realpath(workspacePath).catch(() => null);
  if (root === null) return { definitions: new Map(base.definitions), problems: [...base.problems] };
  const own = await loadDefinitions(path.join(root, FOLDER), 'workspace', root);
  const definitions = new Map(base.definitions);
  for (const name of own.broken) definitions.delete(name);
  for (const [name, definition] of own.definitions) definitions.set(name, definition);
  const problems = [...base.problems, ...own.problems];
  for (const [name, required] of own.requirements) {
    for (const { requirement, file, line, column } of required) {
      if (definitions.has(requirement) || own.broken.has(requirement)) continue;
      definitions.delete(name);
      problems.push({
        taskserv: name,
        file,
        line,
        column,
        message: `requires "${requirement}", which neither the workspace nor the built-in catalog has`,
      });
    }
  }
  return { definitions, problems };
}
