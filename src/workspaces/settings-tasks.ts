/** What of this section is evaluated in threads (src/evaluator.ts): the text of a workspace.yaml. */
import { isObject, type JsonObject } from '../documents/json.ts';
import { createProblems, type Problem } from '../documents/problems.ts';
import { readYaml } from '../documents/yaml.ts';
import { notePlace } from '../evaluation/meter.ts';

/** What `workspace.yaml` says. */
export type WorkspaceSettings = JsonObject;

export type ReadSettings = { settings: WorkspaceSettings } | { problems: readonly Problem[] };

/** Aliases (`*name`) that are resolved. */
const MAX_ALIASES = 10;

function read({ text }: { text: string }): ReadSettings {
  notePlace('workspace.yaml');
  const { source, problems } = readYaml(text, MAX_ALIASES);
  if (source === null) return { problems };
  if (source.value === null) return { settings: {} };
  if (isObject(source.value)) return { settings: source.value };
  const wrong = createProblems();
  wrong.add([], 'must hold names and values');
  return { problems: wrong.list };
}

export const SETTINGS_TASKS = { 'workspace.settings': read };
